"""The journal: the ordered, durable record of events. Here is the contract; `sqlite.py` and `kafka.py` keep it, one suite tests both.

Order is kept per key. What `append` acknowledged is on disk. Each group sees every record, from where it committed. A repeat
after a failure is possible and carries the id of its first; readers drop it.
"""

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import NamedTuple, Protocol

import msgspec

from kanal.errors import RecordTooLarge
from kanal.topics import DEAD_LETTER, TOPICS

MAX_RECORD_BYTES = 1024 * 1024
"""Key, headers and value together; Kafka's default limit, and the same with SQLite so that the two modes agree."""

MAX_DEAD_LETTER_BYTES = MAX_RECORD_BYTES * 3 // 2
"""A dead letter holds a whole record in base64: the largest one must be able to be set aside, or it would stop its stage for ever."""

FOR_STAGE = "for-stage"
"""Header of a redriven record: only this stage handles it, others skip it."""

FOR_STAGE_BYTES = 128
"""How much larger a redriven record may be: a full one could not come back otherwise."""

HEADER_OVERHEAD_BYTES = 16
"""Counted for each header on top of its bytes."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What is appended. `value` None removes the key from a compacted topic."""

    topic: str
    key: str
    value: bytes | None
    headers: dict[str, str]

    def size(self) -> int:
        """Bytes that count against `MAX_RECORD_BYTES`."""
        headers = "".join(self.headers) + "".join(self.headers.values())  # ASCII, as CloudEvents asks
        return len(self.key.encode()) + len(headers) + HEADER_OVERHEAD_BYTES * len(self.headers) + len(self.value or b"")


class Stored(Record, frozen=True, kw_only=True):
    """What is read: a record and where it stands."""

    partition: int
    offset: int


class Place(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


class Bounds(NamedTuple):
    """Offsets of a partition: the first that can still be read and the one that the next record will get at the earliest."""

    first: int
    end: int


class BatchLimit(NamedTuple):
    """When a batch is full: by count, by bytes of its records, or so long after its first record was there."""

    records: int = 500
    bytes: int = 4 * 1024 * 1024
    age_seconds: float = 0.02


StartFrom = Callable[[Place, int], int | None]
"""Asked for each partition when it is assigned, with its first offset: the next to read, or None = the group's commit, else the first."""


class Reader(Protocol):
    """One member of a group. Used by one thread; a partition belongs to one member at a time."""

    def poll(self, limit: BatchLimit, timeout_seconds: float) -> Sequence[Stored]:
        """The next records, each once, in order per key; empty when there is none within the time.

        *Raises:* OffsetsRefused when the start is beyond the end or has expired; TemporaryFailure.
        """

    def assigned(self) -> frozenset[Place]:
        """The partitions that this member owns now."""

    def caught_up(self) -> frozenset[Place]:
        """Those of them of which everything has been handed out that was there when they were last looked at."""

    def commit(self, positions: Mapping[Place, int]) -> None:
        """Note the group's next offsets soon, for lag and for readers that keep no offsets themselves. Waits for nobody."""

    def close(self) -> None:
        """Leave the group, once what was committed is noted; one that is out of reach is left in the background."""


class Journal(Protocol):
    """Append and read. Thread-safe but for its readers."""

    def submit(self, records: Sequence[Record]) -> "Future[None]":
        """Append `records` in order; the future is done when all are durable.

        *Raises:* RecordTooLarge, or ValueError for an unknown topic, at once, before anything is written. The future fails with
        TemporaryFailure; what was submitted may land all the same, so the caller repeats the same records. It fails with RecordTooLarge
        where a topic of Kafka was set to take less than Kanal does.
        """

    def append(self, records: Sequence[Record], timeout_seconds: float = 10.0) -> None:
        """`submit` and wait. *Raises:* RecordTooLarge, TemporaryFailure."""

    def reader(self, group: str, topics: Sequence[str], start_from: StartFrom) -> Reader:
        """Join `group`."""

    def bounds(self, topic: str) -> Mapping[int, Bounds]:
        """First and end offsets by partition."""

    def identity(self, topic: str) -> str:
        """Random and fixed at creation: stored offsets belong to this topic of this journal and no other."""

    def scan(self, topic: str) -> Iterator[Stored]:
        """Everything in a topic up to its end as of now, in order per partition; joins no group."""

    def mark(self) -> int:
        """Taken before looking for records, given to `wait`: what is appended in between is not overslept."""

    def wait(self, mark: int, timeout_seconds: float) -> None:
        """Return when something may have been appended since `mark`, or after the time."""

    def close(self) -> None:
        """Finish what was submitted, then release everything."""


def partition_of(key: str, partitions: int) -> int:
    """Where a key lives: CRC32 of its UTF-8 bytes, computed by Kanal so that no client library can change it."""
    return zlib.crc32(key.encode()) % partitions


def refuse_unknown_topics(records: Sequence[Record]) -> None:
    """*Raises:* ValueError: the caller's bug must stay the caller's, not become the writer thread's."""
    for record in records:
        if record.topic not in TOPICS:
            raise ValueError(f"{record.topic!r} is no topic of Kanal")


def refuse_too_large(records: Sequence[Record]) -> None:
    """*Raises:* RecordTooLarge for the first record over the limit."""
    for record in records:
        limit = MAX_DEAD_LETTER_BYTES if record.topic == DEAD_LETTER else MAX_RECORD_BYTES
        limit += FOR_STAGE_BYTES if FOR_STAGE in record.headers else 0
        if (size := record.size()) > limit:
            raise RecordTooLarge(f"a record for {record.topic} has {size} bytes, the limit is {limit}")
