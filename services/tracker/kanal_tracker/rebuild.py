"""Rebuilding the view: empty the tracker's tables and fold `reports` from its start, with replies and timers off."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice

from sqlalchemy import Connection, delete

from kanal.database import Database
from kanal.errors import InvalidEvent
from kanal.journal import Journal, Place, Stored
from kanal.pack import Pack
from kanal.records import FOR_STAGE, open_record, place_of
from kanal.stage import Input
from kanal.stage_tables import StageStore, applied_events, stage_offsets
from kanal_tracker import tables
from kanal_tracker.handler import TrackerHandler

BATCH = 500


def rebuild(database: Database, journal: Journal, pack: Pack) -> int:
    """How many events were folded. The tracker must be stopped.

    All in one transaction: killed half-way, the old view stands. Events that came after the start are left to the tracker.
    """
    handler = TrackerHandler(pack)
    folded = 0
    with database.begin() as connection:
        positions = _start_over(connection, journal, handler.name)
        records = (stored for topic in handler.topics for stored in journal.scan(topic))
        while batch := list(islice(records, BATCH)):
            folded += _fold(connection, handler, batch)
            positions.update({place_of(stored): stored.offset + 1 for stored in batch})
        _go_on_from(connection, handler.name, positions)
    return folded


def _start_over(connection: Connection, journal: Journal, stage: str) -> dict[Place, int]:
    tables.empty(connection)
    connection.execute(delete(applied_events).where(applied_events.c.stage == stage))
    store = StageStore(stage)
    positions = {}
    for topic in TrackerHandler.topics:
        for partition, bounds in journal.bounds(topic).items():
            place = Place(topic, partition)
            store.take(connection, place, journal.identity(topic), bounds.first)
            positions[place] = bounds.first
    return positions


def _go_on_from(connection: Connection, stage: str, positions: dict[Place, int]) -> None:
    for place, offset in positions.items():
        mine = (stage_offsets.c.stage == stage) & (stage_offsets.c.topic == place.topic) & (stage_offsets.c.partition == place.partition)
        connection.execute(stage_offsets.update().where(mine).values(next=offset, clean=True))


def _fold(connection: Connection, handler: TrackerHandler, batch: Sequence[Stored]) -> int:
    inputs = [message for stored in batch if (message := _readable(stored, handler.name)) is not None]
    store = StageStore(handler.name)
    known = store.applied(connection, [message.event_id for message in inputs])
    state = handler.load(connection, inputs)
    changes: list[tables.Change] = []
    applied = []
    for message in inputs:
        if message.event_id in known:
            continue
        try:
            decision = handler.decide(message, state)
        except Exception:  # noqa: S112 (it is a dead letter already)
            continue
        for change in decision.changes:
            handler.apply(change, state)
        changes.extend(decision.changes)
        known.add(message.event_id)
        applied.append(message.event_id)
    handler.save(connection, changes)
    store.mark_applied(connection, applied, datetime.now(UTC))
    return len(applied)


def _readable(stored: Stored, stage: str) -> Input | None:
    if stored.headers.get(FOR_STAGE, stage) != stage:
        return None
    try:
        event, event_id, at, trace = open_record(stored)
    except InvalidEvent:
        return None
    return Input(event=event, event_id=event_id, at=at, place=place_of(stored), offset=stored.offset, trace=trace)
