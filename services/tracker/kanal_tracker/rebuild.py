"""Rebuilding the view: empty the tracker's tables and fold `reports` from its start, with replies and timers off."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice

from sqlalchemy import Connection, delete

from kanal.database import Database
from kanal.errors import InvalidEvent
from kanal.journal import FOR_STAGE, Journal, Place, Stored
from kanal.pack import Pack
from kanal.records import open_record, place_of
from kanal.stage import Input
from kanal.stage_tables import StageStore, applied_events
from kanal_tracker import tables
from kanal_tracker.handler import TrackerHandler

BATCH = 500


def rebuild(database: Database, journal: Journal, pack: Pack) -> int:
    """How many events were folded. The tracker must be stopped.

    All in one transaction: killed half-way, the old view stands. What the stage has not handled yet is left to it, for nobody
    would hear of it otherwise.
    """
    handler = TrackerHandler(pack)
    folded = 0
    with database.begin() as connection:
        handled_up_to = _start_over(connection, journal, handler.name)
        records = (stored for topic in handler.topics for stored in journal.scan(topic))
        handled = (stored for stored in records if stored.offset < handled_up_to[place_of(stored)])
        while batch := list(islice(handled, BATCH)):
            folded += _fold(connection, handler, batch)
        StageStore(handler.name).mark_clean(connection, handled_up_to)
    return folded


def _start_over(connection: Connection, journal: Journal, stage: str) -> dict[Place, int]:
    """Empty the view; for each partition the offset that the stage has come to."""
    tables.empty(connection)
    connection.execute(delete(applied_events).where(applied_events.c.stage == stage))
    store = StageStore(stage)
    places = {
        Place(topic, partition): bounds.first for topic in TrackerHandler.topics for partition, bounds in journal.bounds(topic).items()
    }
    return {place: store.take(connection, place, journal.identity(place.topic), first).next for place, first in places.items()}


def _fold(connection: Connection, handler: TrackerHandler, batch: Sequence[Stored]) -> int:
    inputs = [message for stored in batch if (message := _readable(stored, handler.name)) is not None]
    store = StageStore(handler.name)
    known = store.applied(connection, [message.event_id for message in inputs])
    state = handler.load(connection, inputs)
    changes: list[tables.Change] = []
    applied: list[str] = []
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
        new = (message.event_id,) if decision.applied is None else decision.applied
        known.update(new)
        applied.extend(new)
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
