"""A fresh Kafka with Kanal's topics for one measurement, and an independent reader that counts what others append."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from confluent_kafka import Consumer, Message, TopicPartition
from kanal_all_in_one.topic_setup import create_topics

from kanal.topics import PARTITIONS
from tests.servers.kafka import KafkaServer

SILENCE_SECONDS = 60.0


@contextmanager
def broker(directory: Path) -> Iterator[KafkaServer]:
    """One node with all of Kanal's topics."""
    with KafkaServer(directory / "kafka") as kafka:
        create_topics(f"kafka://{kafka.address}", {}, 1, 1)
        yield kafka


class Counted(NamedTuple):
    """What a reader saw: records with different ids, records whose id had been there, and when the first and last came."""

    records: int
    repeats: int
    first: int
    """How many came at once with the first: they were made while nobody looked."""
    seconds: float
    """From the first to the last."""

    @property
    def a_second(self) -> float:
        """Records a second, start-up left out."""
        return (self.records - self.first) / self.seconds if self.seconds else 0.0


class Counter:
    """Reads topics from their end as of now; whoever is measured starts afterwards."""

    def __init__(self, address: str, topics: Sequence[str]) -> None:
        self._consumer = Consumer(
            {"bootstrap.servers": address, "group.id": "bench-counter", "enable.auto.commit": False, "isolation.level": "read_committed",
             "fetch.wait.max.ms": 20, "auto.offset.reset": "error"}
        )  # fmt: skip
        places = [TopicPartition(topic, partition) for topic in topics for partition in range(PARTITIONS)]
        ends = [self._consumer.get_watermark_offsets(place, timeout=10)[1] for place in places]
        self._consumer.assign([TopicPartition(place.topic, place.partition, end) for place, end in zip(places, ends, strict=True)])

    def count(self, expected: int, at_first: Callable[[], None]) -> Counted:
        """Until `expected` different records have come, or nothing has for a minute; `at_first` is called when the first has."""
        seen: set[str] = set()
        records, first, started = 0, 0, 0.0
        came = time.monotonic()
        while len(seen) < expected and time.monotonic() - came < SILENCE_SECONDS:
            ids = [_id_of(message) for message in self._consumer.consume(2_000, 0.02) if not message.error()]
            if not ids:
                continue
            came = time.monotonic()
            records += len(ids)
            seen.update(ids)
            if not started:
                started, first = came, len(seen)
                at_first()
        self._consumer.close()
        return Counted(len(seen), records - len(seen), first, came - started if started else 0.0)


def _id_of(message: Message) -> str:
    headers = message.headers() or []
    text = headers["ce_id"] if isinstance(headers, dict) else next(text for name, text in headers if name == "ce_id")
    return text.decode() if isinstance(text, bytes) else str(text)
