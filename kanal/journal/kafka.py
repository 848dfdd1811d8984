"""The journal on Apache Kafka, through confluent-kafka. Delivery call-backs only set a future; everything blocking stays blocking.

No Kafka transactions: ids are derived and readers drop repeats. Settings with reasons below; measurements in
docs/decisions/0003-no-kafka-transactions.md.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient

from kanal import metrics
from kanal.errors import JournalAway, OffsetsRefused, RecordTooLarge, SetupError
from kanal.journal import BatchLimit, Bounds, Place, Record, StartFrom, Stored, partition_of, refuse_too_large, refuse_unknown_topics
from kanal.logs import logger
from kanal.settings import KAFKA_CLIENT
from kanal.topics import PARTITIONS

_PRODUCER = {
    "enable.idempotence": True,  # a retry inside the client neither repeats nor reorders
    "acks": "all",
    "message.timeout.ms": 0,  # never give up inside the client: giving up one record would let the next overtake it
    "linger.ms": 5,  # the broker's work goes by requests, not records; 1 saves 4 ms of an answer's 300
    "compression.type": "lz4",
    "message.max.bytes": 2 * 1024 * 1024,  # Kanal's own limit is 1 MiB and is checked before
    "queue.buffering.max.messages": 100_000,
    "retry.backoff.ms": 50,
}
_CONSUMER = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",  # an offset out of range must be seen, never skipped over
    "isolation.level": "read_committed",
    "partition.assignment.strategy": "roundrobin",
    "session.timeout.ms": 6_000,  # a dead member's partitions wait so long; heartbeats come from a thread of the client
    "heartbeat.interval.ms": 1_000,
    "max.poll.interval.ms": 120_000,  # above the worst batch with all its retries
    "queued.min.messages": 2_000,  # the defaults prefetch 64 MB a partition
    "queued.max.messages.kbytes": 8_192,
    "fetch.queue.backoff.ms": 10,  # the default waits a whole second when the queue was full
    "fetch.min.bytes": 65_536,  # or so much, or 50 ms: one record a fetch would keep the broker busier than all of Kanal
    "fetch.wait.max.ms": 50,
    "fetch.message.max.bytes": 2 * 1024 * 1024,
}
_REQUEST_SECONDS = 10.0
_PATIENCE_SECONDS = 60.0
"""A producer that has left a record unacknowledged for so long is replaced. It may be stuck for good: after a broker hung, one was
refused for ever as out of sequence, though Kafka answered everybody else (KAFKA-14359, librdkafka 3584)."""


def server_of(url: str) -> str:
    """`host:port[,host:port]` in a `kafka://` address."""
    return url.removeprefix("kafka://").rstrip("/")


def check_access(url: str, options: Mapping[str, Any]) -> None:
    """Ask the brokers once. *Raises:* SetupError that names the setting when they refuse us or we them; JournalAway."""
    refusals = _Refusals()
    # Silent: librdkafka's own lines come from a thread of its own, also behind the sentence that is to be read.
    admin = _admin({"bootstrap.servers": server_of(url), "log_level": 0, "error_cb": refusals, **options})
    deadline = time.monotonic() + _REQUEST_SECONDS
    while True:
        try:
            admin.list_topics(timeout=1.0)
            return
        except KafkaException as error:
            admin.poll(0)  # here the call-backs run
            if refusals.latest:
                raise SetupError(refusals.latest) from None
            if time.monotonic() > deadline:
                raise _failure(error.args[0]) from None


class KafkaJournal:
    """See `kanal.journal.Journal`. `options` are librdkafka settings for every client (TLS, SASL)."""

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        self._options = {"bootstrap.servers": server_of(url), "client.id": "kanal", "error_cb": _Refusals(), **(options or {})}
        self._closing = threading.Event()
        self._closed = False
        self._admin = _admin(self._options)
        self._identities: dict[str, str] = {}
        self._submitting = threading.Lock()
        self._waiting: deque[_Countdown] = deque()
        self._log = logger("journal")
        self._producer = self._new_producer()
        self._poller = threading.Thread(target=self._serve_callbacks, name="journal-acknowledgements", daemon=True)
        self._poller.start()

    def submit(self, records: Sequence[Record]) -> "Future[None]":
        refuse_too_large(records)
        refuse_unknown_topics(records)
        done: Future[None] = Future()
        if not records:
            done.set_result(None)
            return done
        acknowledged = _Countdown(len(records), done)
        with self._submitting:  # the records of one call stay together and in order
            if self._closed:
                acknowledged.fail(JournalAway("the journal is closed"))
                return done
            for record in records:
                self._produce(record, acknowledged)
                if acknowledged.failed:  # what follows must not overtake it: the caller repeats all of them
                    break
            self._waiting.append(acknowledged)
        return done

    def append(self, records: Sequence[Record], timeout_seconds: float = _REQUEST_SECONDS) -> None:
        try:
            self.submit(records).result(timeout_seconds)
        except TimeoutError as error:
            raise JournalAway("Kafka did not acknowledge in time") from error

    def reader(self, group: str, topics: Sequence[str], start_from: StartFrom) -> "KafkaReader":
        return KafkaReader(Consumer({**self._options, **_CONSUMER, "group.id": f"kanal.{group}"}), topics, start_from)

    def bounds(self, topic: str) -> Mapping[int, Bounds]:
        consumer = self._browser()
        try:
            return {partition: _watermarks(consumer, Place(topic, partition)) for partition in range(PARTITIONS)}
        finally:
            consumer.close()

    def identity(self, topic: str) -> str:
        if topic not in self._identities:
            try:
                future = self._admin.describe_topics(TopicCollection([topic]), request_timeout=_REQUEST_SECONDS)[topic]
                description = future.result()
            except KafkaException as error:
                raise _failure(error.args[0]) from None
            if len(description.partitions) != PARTITIONS:
                raise SetupError(f"{topic} has {len(description.partitions)} partitions, Kanal needs {PARTITIONS}")
            self._identities[topic] = str(description.topic_id)
        return self._identities[topic]

    def scan(self, topic: str) -> Iterator[Stored]:
        consumer = self._browser()
        try:
            places = [Place(topic, partition) for partition in range(PARTITIONS)]
            ends = {place: _watermarks(consumer, place) for place in places}  # all at first: the end as of now
            for place, bounds in ends.items():
                yield from _scan_partition(consumer, place, bounds)
        finally:
            consumer.close()

    def mark(self) -> int:
        return 0

    def wait(self, mark: int, timeout_seconds: float) -> None:
        self._closing.wait(min(timeout_seconds, 0.02))  # nobody tells us of appends elsewhere; a reader's poll does wait

    def close(self) -> None:
        self._closed = True
        with self._submitting:  # so that nothing is submitted behind the end
            self._producer.flush(5.0)  # what stays unacknowledged is still in the caller's outbox or was never acknowledged outside
            self._producer.purge()
            self._producer.flush(1.0)  # whoever still waits is told
        self._closing.set()
        self._poller.join(2.0)

    def _new_producer(self) -> Producer:
        return Producer({**self._options, **_PRODUCER})

    def _browser(self) -> Consumer:
        return Consumer({**self._options, **_CONSUMER, "group.id": "kanal.browser", "enable.partition.eof": True})

    def _serve_callbacks(self) -> None:
        while not self._closing.is_set():
            self._producer.poll(0.1)
            if self._is_stuck() and self._submitting.acquire(blocking=False):  # who has it may need our polling to go on
                try:
                    self._replace_producer()
                finally:
                    self._submitting.release()

    def _is_stuck(self) -> bool:
        while self._waiting and self._waiting[0].over:
            self._waiting.popleft()
        return bool(self._waiting) and time.monotonic() - self._waiting[0].since > _PATIENCE_SECONDS

    def _replace_producer(self) -> None:
        """Whoever still waits is told, and repeats; what landed all the same is dropped by its id."""
        stuck, self._producer = self._producer, self._new_producer()
        metrics.PRODUCERS_REPLACED.inc()
        self._log.warning("producer_replaced", waiting=len(stuck))
        stuck.purge()
        stuck.flush(1.0)

    def _produce(self, record: Record, acknowledged: "_Countdown") -> None:
        headers: list[tuple[str, str | bytes | None]] = [(name, text.encode()) for name, text in record.headers.items()]
        deadline = time.monotonic() + _REQUEST_SECONDS
        while True:
            try:
                self._producer.produce(
                    record.topic, key=record.key.encode(), value=record.value, headers=headers,
                    partition=partition_of(record.key, PARTITIONS), on_delivery=acknowledged.one,
                )  # fmt: skip
                return
            except BufferError:
                if self._closed or time.monotonic() > deadline:
                    acknowledged.fail(JournalAway("the queue to Kafka is full"))
                    return
                time.sleep(0.005)
            except KafkaException as error:
                acknowledged.fail(_failure(error.args[0]))
                if error.args[0].fatal():
                    self._replace_producer()  # the old one refuses for ever
                return


def _admin(options: Mapping[str, Any]) -> AdminClient:
    try:
        return AdminClient(dict(options))
    except KafkaException as error:
        text = error.args[0].str()
        for field, option in KAFKA_CLIENT.items():
            text = text.replace(option, f"KANAL_{field.upper()}")
        raise SetupError(f"KANAL_KAFKA_OPTIONS or another setting of Kafka is wrong: {text}") from None


class _Refusals:
    """Call-back for errors of connections: names the setting that is to blame, which no answer to a request does.

    Once an hour, or when it is another: clients try again for ever.
    """

    def __init__(self) -> None:
        self.latest = ""
        self._logged_at = -math.inf
        self._log = logger("journal")

    def __call__(self, error: KafkaError) -> None:
        told = _setting_to_blame(error)
        if told and (told != self.latest or time.monotonic() > self._logged_at + 3_600):
            self.latest, self._logged_at = told, time.monotonic()
            self._log.error("kafka_refused", error=told)


def _setting_to_blame(error: KafkaError) -> str:
    text = error.str()
    if "alert" in text and "certificate" in text:
        return "the brokers refuse our certificate, or want one: KANAL_KAFKA_CERTIFICATE"
    if "certificate verify failed" in text:
        return "the brokers' certificate is not vouched for by KANAL_KAFKA_CA"
    if error.code() == KafkaError._SSL:
        return "TLS fails: is KANAL_KAFKA_SECURITY_PROTOCOL that of the brokers' port?"
    if error.code() == KafkaError._AUTHENTICATION:
        return "the brokers refuse the login: KANAL_KAFKA_USER, KANAL_KAFKA_PASSWORD or KANAL_KAFKA_SASL_MECHANISM"
    return ""


class _Countdown:
    """Sets a future when the last of `count` records is acknowledged, or when the first fails."""

    def __init__(self, count: int, done: "Future[None]") -> None:
        self._left = count
        self._done = done
        self.since = time.monotonic()
        self.failed = False

    @property
    def over(self) -> bool:
        """Whether nobody waits any more."""
        return self._done.done()

    def one(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self.fail(_failure(error))
            return
        self._left -= 1
        if self._left == 0 and not self._done.done():
            self._done.set_result(None)

    def fail(self, error: Exception) -> None:
        self.failed = True
        if not self._done.done():
            self._done.set_exception(error)


class KafkaReader:
    """See `kanal.journal.Reader`. Call-backs of the group run inside `poll`: they only note that partitions move, `poll` acts."""

    def __init__(self, consumer: Consumer, topics: Sequence[str], start_from: StartFrom) -> None:
        self._consumer = consumer
        self._start_from = start_from
        self._assigned: frozenset[Place] = frozenset()
        self._held: deque[Message] = deque()
        self._wanted: list[Place] | None = None
        """Assigned by the group, not yet taken over."""
        self._moved = False
        self._consumer.subscribe(list(topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke)

    def poll(self, limit: BatchLimit, timeout_seconds: float) -> Sequence[Stored]:
        batch: list[Stored] = []
        size = 0
        for message in self._messages(limit, timeout_seconds):
            stored = _stored(message)
            size += stored.size()
            if batch and size > limit.bytes:
                self._held.appendleft(message)
                break
            batch.append(stored)
        return [] if self._moved else batch  # the next owner starts from what was committed, and so do we if we are it

    def assigned(self) -> frozenset[Place]:
        return self._assigned

    def commit(self, positions: Mapping[Place, int]) -> None:
        offsets = [TopicPartition(place.topic, place.partition, offset) for place, offset in positions.items() if place in self._assigned]
        if not offsets:
            return
        try:
            self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            raise _failure(error.args[0]) from None

    def close(self) -> None:
        self._consumer.close()

    def _messages(self, limit: BatchLimit, timeout_seconds: float) -> Iterator[Message]:
        first = self._next(timeout_seconds)
        self._moved = False
        if first is None:
            return
        yield first
        deadline, count = time.monotonic() + limit.age_seconds, 1
        while count < limit.records:
            if not self._held:
                more = self._consumer.consume(limit.records - count, max(0.0, deadline - time.monotonic()))
                if not more or self._moved:
                    return
                self._held.extend(more)
            if self._held[0].error() is not None:  # for the next poll, or what is in hand would be lost
                return
            yield self._held.popleft()
            count += 1

    def _next(self, timeout_seconds: float) -> Message | None:
        deadline = time.monotonic() + timeout_seconds
        while True:
            self._take_over()
            message = self._held.popleft() if self._held else self._consumer.poll(min(0.1, max(0.0, deadline - time.monotonic())))
            if message is not None:
                if (error := message.error()) is not None:
                    raise _failure(error)
                return message
            if self._wanted is None and time.monotonic() >= deadline:
                return None

    def _take_over(self) -> None:
        """Start reading what the group assigned. When that fails it stays wanted, and the next `poll` tries again."""
        if self._wanted is not None:
            starts = [self._start(self._consumer, place) for place in self._wanted]
            self._consumer.assign(starts)
            self._assigned, self._wanted = frozenset(self._wanted), None

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._wanted = [Place(p.topic, p.partition) for p in partitions]
        consumer.assign([])  # else the library starts reading by itself

    def _on_revoke(self, consumer: Consumer, _partitions: list[TopicPartition]) -> None:
        self._held.clear()
        self._assigned, self._wanted, self._moved = frozenset(), None, True
        consumer.unassign()

    def _start(self, consumer: Consumer, place: Place) -> TopicPartition:
        wanted = self._start_from(place, _watermarks(consumer, place).first)
        bounds = _watermarks(consumer, place)  # anew: until just now another member may have appended and moved on
        if wanted is None:
            wanted = _committed(consumer, place)
        if wanted is None:
            wanted = bounds.first
        if wanted > bounds.end:
            raise OffsetsRefused(f"{place.topic}/{place.partition}: offset {wanted} is beyond the end {bounds.end}")
        if wanted < bounds.first:
            raise OffsetsRefused(f"{place.topic}/{place.partition}: {wanted} has expired, {bounds.first} is the first left")
        return TopicPartition(place.topic, place.partition, wanted)


def _watermarks(consumer: Consumer, place: Place) -> Bounds:
    try:
        first, end = consumer.get_watermark_offsets(TopicPartition(place.topic, place.partition), timeout=_REQUEST_SECONDS)
    except KafkaException as error:
        raise _failure(error.args[0]) from None
    return Bounds(first, end)


def _committed(consumer: Consumer, place: Place) -> int | None:
    try:
        offset = consumer.committed([TopicPartition(place.topic, place.partition)], timeout=_REQUEST_SECONDS)[0].offset
    except KafkaException as error:
        raise _failure(error.args[0]) from None
    return offset if offset >= 0 else None


def _scan_partition(consumer: Consumer, place: Place, bounds: Bounds) -> Iterator[Stored]:
    consumer.assign([TopicPartition(place.topic, place.partition, bounds.first)])
    position = bounds.first
    while position < bounds.end:
        message = consumer.poll(1.0)
        if message is None:
            continue
        if (error := message.error()) is not None:
            if error.code() == KafkaError._PARTITION_EOF:  # compaction may have left nothing up to the end
                return
            raise _failure(error)
        position = _offset(message) + 1
        if position <= bounds.end:
            yield _stored(message)


def _stored(message: Message) -> Stored:
    headers = {name: (text or b"").decode("utf-8", "replace") for name, text in _header_pairs(message)}
    key = (message.key() or b"").decode("utf-8", "replace")
    topic, partition = message.topic() or "", message.partition()
    return Stored(topic=topic, key=key, value=message.value(), headers=headers, partition=partition or 0, offset=_offset(message))


def _header_pairs(message: Message) -> list[tuple[str, Any]]:
    headers = message.headers() or []
    return list(headers.items()) if isinstance(headers, dict) else list(headers)


def _offset(message: Message) -> int:
    offset = message.offset()
    assert offset is not None  # every message that was read has one
    return offset


def _failure(error: KafkaError) -> Exception:
    if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
        return RecordTooLarge("Kafka refuses a record as too large")
    if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
        return OffsetsRefused("Kafka no longer has, or never had, the offset to start from")
    return JournalAway(f"Kafka: {error.name()}")
