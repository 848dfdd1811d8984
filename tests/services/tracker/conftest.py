"""Fixtures of the tracker's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .story import City, Folding


@pytest.fixture
def folding(tmp_path: Path) -> Iterator[Folding]:
    """The handler over a database."""
    folding = Folding(tmp_path)
    yield folding
    folding.close()


@pytest.fixture
def city(tmp_path: Path) -> Iterator[City]:
    """The handler in its loop, clocks off."""
    city = City(tmp_path)
    yield city
    city.close()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back-off and housekeeping without their time."""
    monkeypatch.setattr("kanal.stage.RETRY_SECONDS", (0.0,) * 6)
    monkeypatch.setattr("kanal.stage.HOUSEKEEPING_SECONDS", -1.0)
