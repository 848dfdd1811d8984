"""Making records, and reading until something is there."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from kanal.journal import BatchLimit, Journal, Place, Reader, Record, Stored
from kanal.records import place_of
from kanal.topics import REPORTS

PATIENCE_SECONDS = 30.0
"""How long to wait for what must come; only a failing test waits so long."""


def record(key: str, number: int = 0, topic: str = REPORTS, size: int = 0) -> Record:
    """Record `number` of `key`; its id says so, its value has at least `size` bytes."""
    return Record(topic=topic, key=key, value=f"{number}".encode().rjust(size), headers={"ce_id": f"{key}/{number}"})


def records(keys: Iterable[str], each: int, topic: str = REPORTS) -> list[Record]:
    """`each` records of every key, in turn."""
    return [record(key, number, topic) for number in range(each) for key in keys]


def from_first(_place: Place, _first: int) -> int | None:
    """Start where the group stopped, else at the first record."""
    return None


def ids(batch: Iterable[Record]) -> list[str]:
    """The ids of records, in their order."""
    return [each.headers["ce_id"] for each in batch]


def read_until(reader: Reader, enough: Callable[[list[Stored]], bool], limit: BatchLimit | None = None) -> list[Stored]:
    """All that is read until it is enough. Fails when it is not in time."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    found: list[Stored] = []
    while not enough(found):
        assert time.monotonic() < deadline, f"only {len(found)} records came"
        found.extend(reader.poll(limit or BatchLimit(), 0.2))
    return found


def read(reader: Reader, count: int, limit: BatchLimit | None = None) -> list[Stored]:
    """The next `count` records; fails when more come with them."""
    found = read_until(reader, lambda found: len(found) >= count, limit)
    assert len(found) == count
    return found


def read_all(journal: Journal, group: str, count: int, topics: Sequence[str] = (REPORTS,)) -> list[Stored]:
    """`count` records read by a member of `group`, which commits them and leaves."""
    reader = journal.reader(group, topics, from_first)
    try:
        found = read(reader, count)
        reader.commit(positions(found))
        return found
    finally:
        reader.close()


def positions(batch: Iterable[Stored]) -> dict[Place, int]:
    """The next offsets after a batch."""
    return {place_of(stored): stored.offset + 1 for stored in batch}


def by_key(batch: Iterable[Record]) -> Mapping[str, list[str]]:
    """The ids of each key's records, in their order."""
    found: dict[str, list[str]] = {}
    for each in batch:
        found.setdefault(each.key, []).append(each.headers["ce_id"])
    return found
