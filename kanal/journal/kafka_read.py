"""Reading from Apache Kafka: a member of a group, which starts where the stage says, and what its client may do at any moment."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from kanal import metrics
from kanal.errors import OffsetsRefused
from kanal.journal import BatchLimit, Bounds, Place, StartFrom, Stored
from kanal.journal.kafka_errors import failure_of
from kanal.journal.kafka_group import Membership
from kanal.logs import logger

CONSUMER = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",  # an offset out of range must be seen, never skipped over
    "isolation.level": "read_committed",
    "partition.assignment.strategy": "roundrobin",
    "session.timeout.ms": 6_000,  # a dead member's partitions wait so long; heartbeats come from a thread of the client
    "heartbeat.interval.ms": 1_000,
    "max.poll.interval.ms": 120_000,  # above the worst batch with all its retries
    # A commit that a hung broker left unanswered is asked three times before a member can join again: 3 minutes with the default (seen).
    "socket.timeout.ms": 10_000,
    "queued.min.messages": 2_000,  # the defaults prefetch 64 MB a partition
    "queued.max.messages.kbytes": 8_192,
    "fetch.queue.backoff.ms": 10,  # the default waits a whole second when the queue was full
    "fetch.min.bytes": 65_536,  # or so much, or 50 ms: one record a fetch would keep the broker busier than all of Kanal
    "fetch.wait.max.ms": 50,
    "fetch.message.max.bytes": 2 * 1024 * 1024,
}
REQUEST_SECONDS = 10.0
LEAVE_SECONDS = 5.0
"""So long a member that stops waits to have left its group, or the others would wait for its session to end."""

_Answer = TypeVar("_Answer")


class KafkaReader:
    """See `kanal.journal.Reader`. Call-backs of the group run inside `poll`: they only note that partitions move, `poll` acts."""

    def __init__(
        self, join: Callable[[Membership], Consumer], topics: Sequence[str], start_from: StartFrom, answers: Callable[[], bool]
    ) -> None:
        """`join` makes a client; `answers` tells whether Kafka would answer another one."""
        self._join = join
        self._answers = answers
        self._topics = list(topics)
        self._start_from = start_from
        self._log = logger("journal")
        self._assigned: frozenset[Place] = frozenset()
        self._held: deque[Message] = deque()
        self._wanted: list[Place] | None = None
        """Assigned by the group, not yet taken over."""
        self._moved = False
        self._at_end: set[Place] = set()
        self._leaving: list[threading.Thread] = []
        """Each closes a client that was replaced."""
        self._subscribe(*self._new_client())

    def poll(self, limit: BatchLimit, timeout_seconds: float) -> Sequence[Stored]:
        batch: list[Stored] = []
        size = 0
        for message in self._messages(limit, timeout_seconds):
            stored = stored_of(message)
            size += stored.size()
            if batch and size > limit.bytes:
                self._held.appendleft(message)
                break
            batch.append(stored)
        return [] if self._moved else batch  # the next owner starts from what was committed, and so do we if we are it

    def assigned(self) -> frozenset[Place]:
        return self._assigned

    def caught_up(self) -> frozenset[Place]:
        return (self._assigned & self._at_end) - {_place(message) for message in self._held}

    def commit(self, positions: Mapping[Place, int]) -> None:
        offsets = [TopicPartition(place.topic, place.partition, offset) for place, offset in positions.items() if place in self._assigned]
        if offsets:  # without waiting: for a coordinator that was lost the client waits minutes, and its member cannot rejoin meanwhile
            self._consumer.commit(offsets=offsets, asynchronous=True)

    def close(self) -> None:
        self._leave(self._consumer)
        self._leaving[-1].join(LEAVE_SECONDS)

    def _new_client(self) -> tuple[Consumer, Membership]:
        membership = Membership()
        return self._join(membership), membership

    def _subscribe(self, consumer: Consumer, membership: Membership) -> None:
        self._consumer, self._membership = consumer, membership
        self._consumer.subscribe(self._topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke)

    def _leave(self, consumer: Consumer) -> None:
        """In the background: from a group that cannot be reached it may take minutes or never end (seen), and nobody waits for it."""
        leaving = threading.Thread(target=_close, args=(consumer,), name="journal-leaving", daemon=True)
        leaving.start()
        self._leaving.append(leaving)

    def _is_lost(self) -> bool:
        """Out of its group while Kafka answers: in an outage another client could do no better.

        With each client that has not left yet the next may be lost for twice as long, so that there are never many.
        """
        self._leaving = [thread for thread in self._leaving if thread.is_alive()]
        if not self._membership.is_lost(2 ** len(self._leaving)):
            return False
        if self._answers():
            return True
        self._membership.begin_again()
        return False

    def _join_anew(self) -> None:
        """With another client."""
        lost, told, client = self._consumer, self._membership.told, self._new_client()  # first: if none can be made, nothing has changed
        self._on_revoke(lost, [])
        self._subscribe(*client)
        self._leave(lost)
        metrics.CONSUMERS_REPLACED.inc()
        self._log.warning("consumer_replaced", told=told)

    def _messages(self, limit: BatchLimit, timeout_seconds: float) -> Iterator[Message]:
        first = self._next(timeout_seconds)
        self._moved = False
        if first is None:
            return
        yield first
        deadline, count = time.monotonic() + limit.age_seconds, 1
        while count < limit.records:
            if not self._held:
                wanted, seconds = limit.records - count, max(0.0, deadline - time.monotonic())
                more = self._ask(partial(self._consumer.consume, wanted, seconds))
                if not more or self._moved:
                    return
                self._held.extend(more)
            if self._is_end(self._held[0]):
                self._held.popleft()
                continue
            if self._held[0].error() is not None:  # for the next poll, or what is in hand would be lost
                return
            yield self._held.popleft()
            count += 1

    def _next(self, timeout_seconds: float) -> Message | None:
        deadline = time.monotonic() + timeout_seconds
        while True:
            if self._is_lost():
                self._join_anew()
            self._take_over()
            seconds = min(0.1, max(0.0, deadline - time.monotonic()))
            message = self._held.popleft() if self._held else self._ask(partial(self._consumer.poll, seconds))
            if message is None:
                if self._wanted is None and time.monotonic() >= deadline:
                    return None
            elif not self._is_end(message):
                if (error := message.error()) is not None:
                    raise failure_of(error)
                return message

    def _ask(self, call: Callable[[], _Answer]) -> _Answer:
        """Of the client. It raises also what our call-backs raise inside, and then drops the records that it was about to hand out.

        The places are taken over anew, from the offsets that the stage keeps: what was dropped would be passed over otherwise.
        """
        try:
            return call()
        except Exception:
            self._held.clear()
            if self._assigned and self._wanted is None:
                self._wanted = list(self._assigned)
            raise

    def _is_end(self, message: Message) -> bool:
        """Whether this is no record, but word that there is none left in its place."""
        error = message.error()
        if error is None:
            self._at_end.discard(_place(message))
        elif error.code() == KafkaError._PARTITION_EOF:
            self._at_end.add(_place(message))
            return True
        return False

    def _take_over(self) -> None:
        """Start reading what the group assigned. When that fails it stays wanted, and the next `poll` tries again."""
        if self._wanted is not None:
            starts = [self._start(self._consumer, place) for place in self._wanted]
            self._consumer.assign(starts)
            self._at_end.clear()
            self._assigned, self._wanted = frozenset(self._wanted), None

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._wanted = [Place(p.topic, p.partition) for p in partitions]
        consumer.assign([])  # else the library starts reading by itself

    def _on_revoke(self, consumer: Consumer, _partitions: list[TopicPartition]) -> None:
        if consumer is not self._consumer:  # one that was replaced, while it closes
            consumer.unassign()
            return
        self._held.clear()
        self._assigned, self._wanted, self._moved = frozenset(), None, True
        consumer.unassign()

    def _start(self, consumer: Consumer, place: Place) -> TopicPartition:
        wanted = self._start_from(place, watermarks(consumer, place).first)
        bounds = watermarks(consumer, place)  # anew: until just now another member may have appended and moved on
        if wanted is None:
            wanted = committed(consumer, place)
        if wanted is None:
            wanted = bounds.first
        if wanted > bounds.end:
            raise OffsetsRefused(f"{place.topic}/{place.partition}: offset {wanted} is beyond the end {bounds.end}")
        if wanted < bounds.first:
            raise OffsetsRefused(f"{place.topic}/{place.partition}: {wanted} has expired, {bounds.first} is the first left")
        return TopicPartition(place.topic, place.partition, wanted)


def _close(consumer: Consumer) -> None:
    with suppress(KafkaException):
        consumer.close()


def _place(message: Message) -> Place:
    return Place(message.topic() or "", message.partition() or 0)


def watermarks(consumer: Consumer, place: Place) -> Bounds:
    """As the brokers say now. *Raises:* TemporaryFailure."""
    try:
        first, end = consumer.get_watermark_offsets(TopicPartition(place.topic, place.partition), timeout=REQUEST_SECONDS)
    except KafkaException as error:
        raise failure_of(error.args[0]) from None
    return Bounds(first, end)


def committed(consumer: Consumer, place: Place) -> int | None:
    """The group's next offset, if it has noted one. *Raises:* TemporaryFailure."""
    try:
        offset = consumer.committed([TopicPartition(place.topic, place.partition)], timeout=REQUEST_SECONDS)[0].offset
    except KafkaException as error:
        raise failure_of(error.args[0]) from None
    return offset if offset >= 0 else None


def scan_partition(consumer: Consumer, place: Place, bounds: Bounds) -> Iterator[Stored]:
    """What is left of a partition within `bounds`, outside of any group. The consumer must tell ends. *Raises:* TemporaryFailure."""
    consumer.assign([TopicPartition(place.topic, place.partition, bounds.first)])
    position = bounds.first
    while position < bounds.end:
        message = consumer.poll(1.0)
        if message is None:
            continue
        if (error := message.error()) is not None:
            if error.code() == KafkaError._PARTITION_EOF:  # compaction may have left nothing up to the end
                return
            raise failure_of(error)
        position = _offset(message) + 1
        if position <= bounds.end:
            yield stored_of(message)


def stored_of(message: Message) -> Stored:
    """A message as the library gives it, as a record."""
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
