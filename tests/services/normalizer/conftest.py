"""The normalizer over a database of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kanal.database import Database

from .driver import Normalizer


@pytest.fixture
def normalizer(tmp_path: Path) -> Iterator[Normalizer]:
    database = Database(f"sqlite:///{tmp_path / 'state.db'}")
    yield Normalizer(database)
    database.close()
