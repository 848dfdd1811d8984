"""A look from outside at what Kanal keeps: new records of the journal, how far each stage has come, what still waits.

Not through Kanal's own reader on Kafka: what that would lose nobody else would miss.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec
from pysqlite3 import dbapi2 as sqlite
from sqlalchemy import Row, create_engine, func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from kanal.journal import BatchLimit, Place, Stored
from kanal.journal.sqlite import SqliteJournal
from kanal.replies import replies
from kanal.stage_tables import outbox, stage_offsets
from kanal.topics import CHANNELS, PARTITIONS, REPORT_UPDATED, REPORTER_TOLD, REPORTS, TOPICS, contacts, message_received, reply_requested
from tests.pipeline.town import Town
from tests.servers.kanal import Cluster
from tests.servers.processes import ServerError

READ_SECONDS = 30
READ_BY = {
    "normalizer": {REPORTER_TOLD, *(message_received(channel) for channel in CHANNELS)},
    "router": {REPORTS, REPORT_UPDATED},
    "tracker": {REPORTS},
    **{f"{channel}-replies": {contacts(channel), reply_requested(channel)} for channel in CHANNELS},
}
"""Stage → the topics that it reads."""

Ends = Mapping[Place, int]


class Observer:
    """Watches one Town. `records` are those that came since `begin`."""

    def __init__(self, town: Town) -> None:
        self._town = town
        self._source = _KafkaSource(town.kanal) if isinstance(town.kanal, Cluster) else _SqliteSource(town)
        # No pool: a fault may put another file in the place of the one that a kept connection would go on reading.
        self._engine = create_engine(town.kanal.database_url, module=None if town.mode == "kafka" else sqlite, poolclass=NullPool)
        self._furthest: dict[tuple[str, Place], int] = {}
        self.records: list[Stored] = []
        self.regressed: list[str] = []
        """Stages whose stored offset went back: it never may."""

    def begin(self) -> None:
        """Forget what came so far."""
        self.read()
        self.records = []
        self.regressed = []

    def read(self) -> Ends:
        """Take up everything up to the end as of now; gives the ends."""
        return self._source.read(self.records)

    def at_rest(self) -> bool:
        """Nothing is on its way: every stage at the end, outboxes and spools empty, no reply waiting, and nothing came meanwhile."""
        try:
            ends = self.read()
            return not any(self.under_way(ends).values()) and self.read() == ends
        except (DBAPIError, KafkaException):  # a server that is just coming back
            return False

    def under_way(self, ends: Ends) -> dict[str, object]:
        """What is not done yet, by kind."""
        waiting = select(replies.c.state, replies.c.reason, func.count()).where(replies.c.state.in_(("waiting", "sending")))
        with self._engine.connect() as connection:
            lag = self._lag(connection.execute(select(stage_offsets)).all(), ends)
            left = connection.execute(select(outbox.c.owner, func.count()).group_by(outbox.c.owner)).all()
            unsent = connection.execute(waiting.group_by(replies.c.state, replies.c.reason)).all()
        return {
            "spooled": self._spooled(),
            "behind": lag,
            "outbox": [tuple(row) for row in left],
            "replies": [tuple(row) for row in unsent],
        }

    def _lag(self, rows: Sequence[Row[Any]], ends: Ends) -> list[str]:
        kept = {(row.stage, Place(row.topic, row.partition)): row.next for row in rows}
        for at, offset in kept.items():
            if offset < self._furthest.get(at, 0):
                self.regressed.append(f"{at[0]} {at[1]}")
            self._furthest[at] = offset
        read = [
            (stage, place, end) for stage, topics in READ_BY.items() for place, end in ends.items() if place.topic in topics and end > 0
        ]
        # A stage that never came so far as to keep an offset is behind. A broker that has just come back may tell an end from before it
        # was killed, so a stage may be ahead of it for a moment.
        return [f"{stage} {place} at {kept.get((stage, place))} of {end}" for stage, place, end in read if kept.get((stage, place)) != end]

    def _spooled(self) -> int:
        """Records in the spools."""
        return sum(_rows_in(path) for path in (self._town.kanal.data / "spool").glob("*.db"))

    def close(self) -> None:
        self._source.close()
        self._engine.dispose()


def _rows_in(path: object) -> int:
    with closing(sqlite.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        try:
            return int(connection.execute("SELECT count(*) FROM queue").fetchone()[0])
        except sqlite.OperationalError:  # just being made
            return 0


class _SqliteSource:
    """Offsets are shared by all topics, so the end of a place is behind its own last record."""

    def __init__(self, town: Town) -> None:
        self._path = town.kanal.data / "journal.db"
        self._ends: dict[Place, int] = {}

    def read(self, records: list[Stored]) -> Ends:
        with closing(SqliteJournal(self._path)) as journal, closing(journal.reader("observer", list(TOPICS), self._ends.get)) as reader:
            while batch := reader.poll(BatchLimit(records=1_000), 0):
                records.extend(batch)
                self._ends.update({Place(stored.topic, 0): stored.offset + 1 for stored in batch})
        return dict(self._ends)

    def close(self) -> None:
        """Nothing stays open."""


class _KafkaSource:
    """A consumer in no group that reads every partition."""

    def __init__(self, cluster: Cluster) -> None:
        self._server = {"bootstrap.servers": cluster.kafka.address, "log_level": 0, "reconnect.backoff.max.ms": 200}
        self._admin = AdminClient(dict(self._server))
        self._consumer = Consumer({**self._server, "group.id": "observer", "enable.auto.commit": False, "auto.offset.reset": "earliest"})
        self._next = {Place(topic, partition): 0 for topic in TOPICS for partition in range(PARTITIONS)}
        self._consumer.assign([TopicPartition(*place, 0) for place in self._next])

    def read(self, records: list[Stored]) -> Ends:
        ends = self._ends()
        deadline = time.monotonic() + READ_SECONDS
        while any(self._next[place] < end for place, end in ends.items()):
            if time.monotonic() > deadline:
                raise ServerError("Kafka does not give out what it says it has")
            for message in self._consumer.consume(1_000, 0.02):
                if message.error() is None:
                    stored = _stored(message)
                    self._next[Place(stored.topic, stored.partition)] = stored.offset + 1
                    records.append(stored)
        return ends

    def _ends(self) -> Ends:
        """A broker that hung for a moment leads its partitions again a moment later."""
        wanted = {TopicPartition(*place): OffsetSpec.latest() for place in self._next}
        deadline = time.monotonic() + READ_SECONDS
        while True:
            try:
                found = self._admin.list_offsets(wanted, request_timeout=5)
                return {Place(each.topic, each.partition): future.result().offset for each, future in found.items()}
            except KafkaException:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
                self._admin = AdminClient(dict(self._server))  # the old one keeps the leader epochs from before a restart for ever

    def close(self) -> None:
        self._consumer.close()


def _stored(message: Message) -> Stored:
    headers = {name: (text or b"").decode("utf-8", "replace") for name, text in message.headers() or []}
    key = (message.key() or b"").decode("utf-8", "replace")
    return Stored(
        topic=message.topic(), partition=message.partition(), offset=message.offset(), key=key, value=message.value(), headers=headers
    )
