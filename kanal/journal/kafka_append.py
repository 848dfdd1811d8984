"""Appending to Apache Kafka: records go in, futures come out. A client that is stuck or has given up is replaced."""

import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from kanal import metrics
from kanal.errors import JournalAway
from kanal.journal import Record, partition_of
from kanal.journal.kafka_errors import failure_of
from kanal.logs import logger
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
QUEUE_SECONDS = 10.0
"""How long a record waits for room in the client's queue."""

PATIENCE_SECONDS = 60.0
"""A client that has left a record unacknowledged for so long is replaced, also while Kafka is away. It may be stuck for good: after a
broker hung, one was refused for ever as out of sequence, though Kafka answered everybody else (KAFKA-14359, librdkafka 3584)."""


class Appender:
    """`submit` of `kanal.journal.Journal`. `options` are librdkafka settings."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options
        self._submitting = threading.Lock()
        self._waiting: deque[_Countdown] = deque()
        self._closed = False
        self._ended = threading.Event()
        self._stuck = threading.Event()
        """Set until the client is replaced: nobody waits for it any more."""
        self._log = logger("journal")
        self._producer = self._new_producer()
        self._poller = threading.Thread(target=self._serve_until_closed, name="journal-acknowledgements", daemon=True)
        self._poller.start()

    def submit(self, records: Sequence[Record]) -> "Future[None]":
        """The future is done when all are durable; else it fails with JournalAway and the caller repeats the same records."""
        done: Future[None] = Future()
        if not records:
            done.set_result(None)
            return done
        acknowledged = _Countdown(len(records), done)
        with self._submitting:  # the records of one call stay together and in order
            if self._closed or self._stuck.is_set():
                acknowledged.fail(JournalAway("the journal is closed" if self._closed else "Kafka does not acknowledge"))
                return done
            for record in records:
                self._produce(record, acknowledged)
                if acknowledged.failed:  # what follows must not overtake it: the caller repeats all of them
                    break
            self._waiting.append(acknowledged)
        return done

    def close(self) -> None:
        """Wait for what is on its way, but not for ever; whoever still waits then is told."""
        self._closed = True
        with self._submitting:  # so that nothing is submitted behind the end
            with suppress(KafkaException):
                self._producer.flush(5.0)  # what stays unacknowledged is still in the caller's outbox or was never acknowledged outside
            self._abandon()
        self._ended.set()
        self._poller.join(2.0)

    def _new_producer(self) -> Producer:
        return Producer({**self._options, **_PRODUCER})

    def _produce(self, record: Record, acknowledged: "_Countdown") -> None:
        headers: list[tuple[str, str | bytes | None]] = [(name, text.encode()) for name, text in record.headers.items()]
        deadline = time.monotonic() + QUEUE_SECONDS
        while True:
            try:
                self._producer.produce(
                    record.topic, key=record.key.encode(), value=record.value, headers=headers,
                    partition=partition_of(record.key, PARTITIONS), on_delivery=acknowledged.one,
                )  # fmt: skip
                return
            except BufferError:
                if self._closed or self._stuck.is_set() or time.monotonic() > deadline:
                    acknowledged.fail(JournalAway("the queue to Kafka is full"))
                    return
                time.sleep(0.005)
            except KafkaException as error:
                acknowledged.fail(failure_of(error.args[0]))
                return

    # In a thread of its own.

    def _serve_until_closed(self) -> None:
        while not self._ended.is_set():
            try:
                if self._has_given_up() or self._is_left_waiting():
                    self._stuck.set()
                if self._stuck.is_set() and not self._replace():
                    self._ended.wait(1.0)
            except Exception as error:  # were this thread to end, nothing would ever be acknowledged again
                self._log.error("producer_failed", error=error)
                self._stuck.set()
                self._ended.wait(1.0)

    def _has_given_up(self) -> bool:
        """Serve the call-backs; here the library raises what a client cannot recover from."""
        try:
            self._producer.poll(0.1)
        except KafkaException as error:
            self._log.warning("producer_gave_up", error=failure_of(error.args[0]))
            return True
        return False

    def _is_left_waiting(self) -> bool:
        while self._waiting and self._waiting[0].over:
            self._waiting.popleft()
        return bool(self._waiting) and time.monotonic() - self._waiting[0].since > PATIENCE_SECONDS

    def _replace(self) -> bool:
        """False when there can be no new client just now: files of its settings may be unreadable for a moment."""
        with self._submitting:
            self._abandon()
            stuck = [self._producer]
            try:
                self._producer = self._new_producer()
            except KafkaException as error:
                self._log.warning("producer_not_replaced", error=failure_of(error.args[0]))
                return False
            self._stuck.clear()
        # It goes when nobody holds it any more, and then waits for its own threads: not here, and not while somebody submits.
        threading.Thread(target=stuck.clear, name="journal-producer-leaving", daemon=True).start()
        metrics.PRODUCERS_REPLACED.inc()
        self._log.warning("producer_replaced")
        return True

    def _abandon(self) -> None:
        """Whoever still waits is told, and repeats; what lands all the same is a repeat with a known id."""
        with suppress(KafkaException):
            self._producer.purge()
            self._producer.flush(1.0)
        for each in list(self._waiting):  # without trust in the client: one who is never told would wait for ever
            each.fail(JournalAway("Kafka did not acknowledge"))


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
            self.fail(failure_of(error))
            return
        self._left -= 1
        if self._left == 0:
            with suppress(InvalidStateError):  # failed already, perhaps at this moment in another thread
                self._done.set_result(None)

    def fail(self, error: Exception) -> None:
        self.failed = True
        with suppress(InvalidStateError):
            self._done.set_exception(error)
