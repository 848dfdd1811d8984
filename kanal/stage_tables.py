"""What the stage loop itself keeps in SQL: offsets with their fence, ids applied, attempts, outbox rows. No service's tables."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    and_,
    bindparam,
    delete,
    select,
    update,
)

from kanal.database import SMALL_ROWS, among, insert, insert_new, listed, put
from kanal.errors import Fenced, OffsetsRefused
from kanal.journal import Place

metadata = MetaData()

stage_offsets = Table(
    "stage_offsets",
    metadata,
    Column("stage", String, primary_key=True),
    Column("topic", String, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("next", BigInteger, nullable=False),
    Column("journal", String, nullable=False),
    Column("clean", Boolean, nullable=False),
)
applied_events = Table(
    "applied_events",
    metadata,
    Column("stage", String, primary_key=True),
    Column("event_id", String, primary_key=True),
    Column("applied_at", BigInteger, nullable=False, index=True),
    **SMALL_ROWS,
)
stage_attempts = Table(
    "stage_attempts",
    metadata,
    Column("stage", String, primary_key=True),
    Column("topic", String, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("offset", BigInteger, primary_key=True),
    Column("attempts", Integer, nullable=False),
)
outbox = Table(
    "outbox",
    metadata,
    Column("owner", String, primary_key=True),
    Column("run", String, primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("from_topic", String, nullable=False),
    Column("from_partition", Integer, nullable=False),
    Column("topic", String, nullable=False),
    Column("key", Text, nullable=False),
    Column("headers", LargeBinary, nullable=False),
    Column("value", LargeBinary),
    **SMALL_ROWS,
)


_ADVANCE = (
    update(stage_offsets)
    .where(
        stage_offsets.c.stage == bindparam("mine"), stage_offsets.c.topic == bindparam("in"),
        stage_offsets.c.partition == bindparam("at"), stage_offsets.c.next == bindparam("from"),
    )
    .values(next=bindparam("to"))
)  # fmt: skip
"""One round trip for all partitions of a batch: psycopg sends what is executed many times in a pipeline."""

_APPLIED = select(applied_events.c.event_id).where(
    applied_events.c.stage == bindparam("mine"), among(applied_events.c.event_id, "event_ids")
)  # fmt: skip


class StoredOffset(NamedTuple):
    """Where a stage goes on in one partition, and whether its last owner stopped cleanly."""

    next: int
    clean: bool


def follow_journal(connection: Connection, identities: Mapping[str, str]) -> None:
    """The journal has new identities (old → new) and the same records: the stages' offsets stay good."""
    for old, new in identities.items():
        connection.execute(update(stage_offsets).where(stage_offsets.c.journal == old).values(journal=new))


class StageStore:
    """The rows of one stage. Every method runs in the caller's transaction."""

    def __init__(self, stage: str) -> None:
        self._stage = stage

    def take(self, connection: Connection, place: Place, journal: str, first: int) -> StoredOffset:
        """Own `place` from now on; a place seen for the first time starts at `first`. *Raises:* OffsetsRefused."""
        mine = self._mine(stage_offsets, place)
        insert_new(connection, stage_offsets, [(self._stage, *place, first, journal, True)])
        row = connection.execute(select(stage_offsets).where(mine)).one()
        if row.journal != journal:
            raise OffsetsRefused(f"{self._stage}: the offsets kept for {place.topic} are another journal's")
        connection.execute(update(stage_offsets).where(mine).values(clean=False))
        return StoredOffset(row.next, row.clean)

    def advance(self, connection: Connection, expected: Mapping[Place, int], new: Mapping[Place, int]) -> None:
        """Move on to `new`, if every row is still where this owner left it. *Raises:* Fenced."""
        moves = [
            {"mine": self._stage, "in": topic, "at": at, "from": expected[Place(topic, at)], "to": to} for (topic, at), to in new.items()
        ]
        if moves and connection.execute(_ADVANCE, moves).rowcount != len(moves):
            raise Fenced(f"{self._stage} no longer owns all of {', '.join(sorted({place.topic for place in new}))}")

    def mark_clean(self, connection: Connection, positions: Mapping[Place, int]) -> None:
        """Nothing is in hand: the next owner need not be careful. Places that somebody else owns by now are left alone."""
        for place, position in positions.items():
            still_mine = and_(self._mine(stage_offsets, place), stage_offsets.c.next == position)
            connection.execute(update(stage_offsets).where(still_mine).values(clean=True))

    def applied(self, connection: Connection, event_ids: Sequence[str]) -> set[str]:
        """Which of these ids this stage has applied before."""
        return set(connection.scalars(_APPLIED, {"mine": self._stage, "event_ids": listed(event_ids)})) if event_ids else set()

    def mark_applied(self, connection: Connection, event_ids: Iterable[str], now: datetime) -> None:
        """Remember ids; one that is there already (another member was faster) is an error of the fence, not hidden."""
        seconds = int(now.timestamp())
        insert(connection, applied_events, [(self._stage, event_id, seconds) for event_id in event_ids])

    def forget_applied(self, connection: Connection, before: datetime) -> None:
        """Drop ids too old to come again: older than any topic but `reports` keeps its records."""
        old = and_(applied_events.c.stage == self._stage, applied_events.c.applied_at < int(before.timestamp()))
        connection.execute(delete(applied_events).where(old))

    def count_attempt(self, connection: Connection, place: Place, offset: int) -> int:
        """How often this record has been in hand after unclean starts, this time included."""
        mine = and_(self._mine(stage_attempts, place), stage_attempts.c.offset == offset)
        before = connection.scalar(select(stage_attempts.c.attempts).where(mine)) or 0
        put(connection, stage_attempts, [(self._stage, *place, offset, before + 1)])
        return before + 1

    def forget_attempts(self, connection: Connection, places: Mapping[Place, int]) -> None:
        """Records below the new offsets were settled."""
        for place, next_offset in places.items():
            connection.execute(delete(stage_attempts).where(self._mine(stage_attempts, place), stage_attempts.c.offset < next_offset))

    def _mine(self, table: Table, place: Place) -> ColumnElement[bool]:
        return and_(table.c.stage == self._stage, table.c.topic == place.topic, table.c.partition == place.partition)
