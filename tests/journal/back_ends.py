"""The two journals as the contract suite sees them: opened, opened again, held up, filled, left to age."""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from kanal.journal import Journal, Record, partition_of
from kanal.journal.kafka import KafkaJournal
from kanal.journal.sqlite import SqliteJournal
from kanal.topics import PARTITIONS
from tests.conftest import fresh_topics
from tests.servers.kafka import KafkaServer

DAY_SECONDS = 86_400


class BackEnd(ABC):
    """One set of clean topics, and what a test may do to it."""

    def __init__(self, address: str) -> None:
        self.address = address
        """What the appender process takes."""
        self._opened: list[Journal] = []

    def open(self) -> Journal:
        """The journal; again and again the same data."""
        journal = self._open()
        self._opened.append(journal)
        return journal

    @abstractmethod
    def _open(self) -> Journal: ...

    @abstractmethod
    def replace(self) -> None:
        """Another journal in the place of this one, empty."""

    @abstractmethod
    def hold(self) -> None:
        """From now on nothing gets durable, but nothing fails at once either."""

    @abstractmethod
    def break_down(self) -> None:
        """From now on appends fail within a second of patience."""

    @abstractmethod
    def heal(self) -> None:
        """The end of `hold` and `break_down`."""

    @abstractmethod
    def append_aged(self, days: float, records: Sequence[Record]) -> None:
        """Append as if it had been `days` ago; before anything newer."""

    @abstractmethod
    def expire(self, topic: str) -> None:
        """Everything in the topic expires."""

    @abstractmethod
    def keep_house(self) -> None:
        """Expiry and compaction may work; on Kafka they do anyway."""

    @abstractmethod
    def let_removals_age(self, topic: str) -> None:
        """What was removed so far has been so for longer than any reader is away."""

    def close(self) -> None:
        """Everything that was opened."""
        for journal in self._opened:
            journal.close()


class SqliteBackEnd(BackEnd):
    """A file, with a clock that the test sets."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._offset_seconds = 0.0
        self._lock: Any = None
        super().__init__(str(directory / "journal.db"))

    def _open(self) -> SqliteJournal:
        return SqliteJournal(Path(self.address), lambda: time.time() + self._offset_seconds)

    def replace(self) -> None:
        self.close()
        for file in self._directory.glob("journal.db*"):
            file.unlink()

    def hold(self) -> None:
        self._lock = self._journal._connect()
        self._lock.execute("BEGIN IMMEDIATE")

    def break_down(self) -> None:
        """The disk is full."""
        pages = self._journal._connection.execute("PRAGMA page_count").fetchone()[0]
        self._journal._connection.execute(f"PRAGMA max_page_count = {pages}")

    def heal(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        self._journal._connection.execute("PRAGMA max_page_count = 1000000000")

    def append_aged(self, days: float, records: Sequence[Record]) -> None:
        self._offset_seconds = -days * DAY_SECONDS
        self._journal.append(records)
        self._offset_seconds = 0.0

    def expire(self, topic: str) -> None:
        self._offset_seconds = 200 * DAY_SECONDS
        self.keep_house()
        self._offset_seconds = 0.0

    def keep_house(self) -> None:
        self._journal._expire()

    def let_removals_age(self, topic: str) -> None:
        self._offset_seconds = 31 * DAY_SECONDS

    @property
    def _journal(self) -> SqliteJournal:
        journal = self._opened[-1]
        assert isinstance(journal, SqliteJournal)
        return journal


class KafkaBackEnd(BackEnd):
    """A broker with new topics."""

    def __init__(self, server: KafkaServer) -> None:
        self._server = server
        super().__init__(fresh_topics(server))
        self._admin = AdminClient({"bootstrap.servers": server.address})

    def _open(self) -> KafkaJournal:
        return KafkaJournal(self.address)

    def replace(self) -> None:
        fresh_topics(self._server)

    def hold(self) -> None:
        self._server.pause()

    def break_down(self) -> None:
        self._server.pause()

    def heal(self) -> None:
        self._server.resume()
        self._server.wait_ready()

    def append_aged(self, days: float, records: Sequence[Record]) -> None:
        producer = Producer({"bootstrap.servers": self._server.address, "enable.idempotence": True})
        for record in records:
            producer.produce(
                record.topic, record.value, record.key.encode(), partition_of(record.key, PARTITIONS),
                timestamp=int((time.time() - days * DAY_SECONDS) * 1000), headers=dict(record.headers),
            )  # fmt: skip
        assert producer.flush(20) == 0

    def expire(self, topic: str) -> None:
        everything = [TopicPartition(topic, partition, -1) for partition in range(PARTITIONS)]
        for deleted in self._admin.delete_records(everything).values():
            deleted.result(20)

    def keep_house(self) -> None:
        """The broker does it every few hundred milliseconds."""

    def let_removals_age(self, topic: str) -> None:
        changes = {"delete.retention.ms": "1", "segment.ms": "100", "min.cleanable.dirty.ratio": "0"}
        entries = [ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in changes.items()]
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
        self._admin.incremental_alter_configs([resource])[resource].result(20)

    def close(self) -> None:
        if not self._server.ready():
            self.heal()
        super().close()


def within_patience(work: threading.Thread) -> bool:
    """Whether a thread came to its end."""
    work.join(30)
    return not work.is_alive()
