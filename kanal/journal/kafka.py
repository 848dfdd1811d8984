"""The journal on Apache Kafka, through confluent-kafka. Everything blocking stays blocking.

Appending is in kafka_append.py and reading in kafka_read.py, with their settings and reasons. No Kafka transactions: ids are derived and
readers drop repeats; measurements in docs/decisions/0003-no-kafka-transactions.md.
"""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from kanal.errors import JournalAway, SetupError
from kanal.journal import Bounds, Place, Record, StartFrom, Stored, refuse_too_large, refuse_unknown_topics
from kanal.journal.kafka_append import Appender
from kanal.journal.kafka_errors import Refusals, failure_of
from kanal.journal.kafka_group import STATISTICS_MILLISECONDS, Membership
from kanal.journal.kafka_read import CONSUMER, REQUEST_SECONDS, KafkaReader, scan_partition, watermarks
from kanal.settings import KAFKA_CLIENT
from kanal.topics import PARTITIONS

ANSWER_SECONDS = 3.0
"""So long Kafka has for an answer to a client that has just been made, when another has lost its group."""


def server_of(url: str) -> str:
    """`host:port[,host:port]` in a `kafka://` address."""
    return url.removeprefix("kafka://").rstrip("/")


def check_access(url: str, options: Mapping[str, Any]) -> None:
    """Ask the brokers once. *Raises:* SetupError that names the setting when they refuse us or we them; JournalAway."""
    refusals = Refusals()
    # Silent: librdkafka's own lines come from a thread of its own, also behind the sentence that is to be read.
    admin = _admin({"bootstrap.servers": server_of(url), "log_level": 0, "error_cb": refusals, **options})
    deadline = time.monotonic() + REQUEST_SECONDS
    while True:
        try:
            admin.list_topics(timeout=1.0)
            return
        except KafkaException as error:
            admin.poll(0)  # here the call-backs run
            if refusals.latest:
                raise SetupError(refusals.latest) from None
            if time.monotonic() > deadline:
                raise failure_of(error.args[0]) from None


class KafkaJournal:
    """See `kanal.journal.Journal`. `options` are librdkafka settings for every client (TLS, SASL)."""

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        reconnect = {"reconnect.backoff.max.ms": 1_000}  # a broker that is back is found at once; the default waits up to ten seconds
        always = {"bootstrap.servers": server_of(url), "client.id": "kanal", "error_cb": Refusals()}
        self._options: Mapping[str, Any] = {**always, **reconnect, **(options or {})}
        self._closing = threading.Event()
        self._admin = _admin(self._options)
        self._identities: dict[str, str] = {}
        self._appender = Appender(self._options)

    def submit(self, records: Sequence[Record]) -> "Future[None]":
        refuse_too_large(records)
        refuse_unknown_topics(records)
        return self._appender.submit(records)

    def append(self, records: Sequence[Record], timeout_seconds: float = REQUEST_SECONDS) -> None:
        try:
            self.submit(records).result(timeout_seconds)
        except TimeoutError as error:
            raise JournalAway("Kafka did not acknowledge in time") from error

    def reader(self, group: str, topics: Sequence[str], start_from: StartFrom) -> KafkaReader:
        def join(membership: Membership) -> Consumer:
            told = {"stats_cb": membership, "statistics.interval.ms": STATISTICS_MILLISECONDS, "enable.partition.eof": True}
            return Consumer({**self._options, **CONSUMER, **told, "group.id": f"kanal.{group}"})

        return KafkaReader(join, topics, start_from, self._answers)

    def bounds(self, topic: str) -> Mapping[int, Bounds]:
        consumer = self._browser()
        try:
            return {partition: watermarks(consumer, Place(topic, partition)) for partition in range(PARTITIONS)}
        finally:
            consumer.close()

    def identity(self, topic: str) -> str:
        if topic not in self._identities:
            try:
                future = self._admin.describe_topics(TopicCollection([topic]), request_timeout=REQUEST_SECONDS)[topic]
                description = future.result()
            except KafkaException as error:
                raise failure_of(error.args[0]) from None
            if len(description.partitions) != PARTITIONS:
                raise SetupError(f"{topic} has {len(description.partitions)} partitions, Kanal needs {PARTITIONS}")
            self._identities[topic] = str(description.topic_id)
        return self._identities[topic]

    def scan(self, topic: str) -> Iterator[Stored]:
        consumer = self._browser()
        try:
            places = [Place(topic, partition) for partition in range(PARTITIONS)]
            ends = {place: watermarks(consumer, place) for place in places}  # all at first: the end as of now
            for place, bounds in ends.items():
                yield from scan_partition(consumer, place, bounds)
        finally:
            consumer.close()

    def mark(self) -> int:
        return 0

    def wait(self, mark: int, timeout_seconds: float) -> None:
        self._closing.wait(min(timeout_seconds, 0.02))  # nobody tells us of appends elsewhere; a reader's poll does wait

    def close(self) -> None:
        self._closing.set()
        self._appender.close()

    def _answers(self) -> bool:
        """Whether a client that is made now gets an answer."""
        try:
            _admin({**self._options, "log_level": 0}).list_topics(timeout=ANSWER_SECONDS)
        except (KafkaException, SetupError):  # files of its settings may be unreadable for a moment
            return False
        return True

    def _browser(self) -> Consumer:
        return Consumer({**self._options, **CONSUMER, "group.id": "kanal.browser", "enable.partition.eof": True})


def _admin(options: Mapping[str, Any]) -> AdminClient:
    try:
        return AdminClient(dict(options))
    except KafkaException as error:
        text = error.args[0].str()
        for field, option in KAFKA_CLIENT.items():
            text = text.replace(option, f"KANAL_{field.upper()}")
        raise SetupError(f"KANAL_KAFKA_OPTIONS or another setting of Kafka is wrong: {text}") from None
