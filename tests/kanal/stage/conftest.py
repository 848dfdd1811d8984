"""A bench for each test, and no waiting in place."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kanal.stage.toy import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.close()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back-off and housekeeping without their time."""
    monkeypatch.setattr("kanal.stage.RETRY_SECONDS", (0.0,) * 6)
    monkeypatch.setattr("kanal.stage.HOUSEKEEPING_SECONDS", -1.0)
