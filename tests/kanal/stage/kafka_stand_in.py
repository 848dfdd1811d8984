"""The reader of Kafka over a client that is none: what the library does between the loop and the broker, in the order that it may."""

from collections import deque
from collections.abc import Sequence
from typing import Any

from confluent_kafka import KafkaError, TopicPartition

from kanal.journal import StartFrom
from kanal.journal.kafka_read import KafkaReader
from kanal.journal.sqlite import SqliteJournal
from kanal.topics import REPORTS


class Message:
    """A record of partition 0, or word that there is none left in a partition."""

    def __init__(self, partition: int, offset: int, headers: dict[str, str] | None = None, value: bytes | None = None) -> None:
        self._at = (partition, offset)
        self._headers = headers
        self._value = value

    def error(self) -> KafkaError | None:
        return KafkaError(KafkaError._PARTITION_EOF) if self._headers is None else None

    def topic(self) -> str:
        return REPORTS

    def partition(self) -> int:
        return self._at[0]

    def offset(self) -> int:
        return self._at[1]

    def key(self) -> bytes:
        return b"key"

    def value(self) -> bytes | None:
        return self._value

    def headers(self) -> list[tuple[str, bytes]]:
        return [(name, text.encode()) for name, text in (self._headers or {}).items()]


class Client:
    """Partition 0 has the records of `journal`, partition 1 none. Assigns both in its first poll; then `pauses` polls bring nothing."""

    def __init__(self, journal: SqliteJournal, pauses: int) -> None:
        self._records = list(journal.scan(REPORTS))
        self._pauses = pauses
        self._queue: deque[Message] = deque()
        self._on_assign: Any = None

    def subscribe(self, topics: list[str], on_assign: Any, on_revoke: Any, on_lost: Any) -> None:
        self._on_assign = on_assign

    def assign(self, starts: list[TopicPartition]) -> None:
        for start in starts:
            if start.partition == 0:
                rest = list(enumerate(self._records))[start.offset :]
                self._queue = deque(Message(0, offset, stored.headers, stored.value) for offset, stored in rest)
        if starts:
            self._queue.append(Message(0, len(self._records)))
            self._queue.appendleft(Message(1, 0))

    def get_watermark_offsets(self, place: TopicPartition, timeout: float) -> tuple[int, int]:
        return 0, 0 if place.partition else len(self._records)

    def poll(self, timeout: float) -> Message | None:
        if self._on_assign is not None:
            on_assign, self._on_assign = self._on_assign, None
            on_assign(self, [TopicPartition(REPORTS, 0), TopicPartition(REPORTS, 1)])
            return None
        if self._pauses:
            self._pauses -= 1
            return None
        return self._queue.popleft() if self._queue else None

    def consume(self, count: int, timeout: float) -> list[Message]:
        return [self._queue.popleft() for _ in range(min(count, len(self._queue)))]

    def commit(self, offsets: list[TopicPartition], asynchronous: bool) -> None:
        """For lag only."""

    def close(self) -> None:
        """Nothing is open."""


class KafkaStandIn:
    """A journal that is read as Kafka is and written as SQLite is."""

    def __init__(self, journal: SqliteJournal, pauses: int = 0) -> None:
        self._journal = journal
        self._pauses = pauses

    def reader(self, group: str, topics: Sequence[str], start_from: StartFrom) -> KafkaReader:
        return KafkaReader(lambda _: Client(self._journal, self._pauses), topics, start_from, lambda: True)  # type: ignore[arg-type, return-value]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)
