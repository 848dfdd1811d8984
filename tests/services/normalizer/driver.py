"""Drives the normalizer's handler over a real SQLite database as the stage loop does, without a journal. For tests only."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeVar

from kanal_normalizer import tables
from kanal_normalizer.handler import NormalizerHandler
from sqlalchemy import Connection

from kanal.database import Database, dump
from kanal.events import Event, MessageReceived, MessageSettled, encode
from kanal.ids import derive_id
from kanal.stage import Emit, Input
from kanal.testing import an_input, jakarta

E = TypeVar("E", bound=Event)


class Normalizer:
    """The stage with what it has said so far. Ids applied before are skipped, as the loop does."""

    def __init__(self, database: Database) -> None:
        self.handler = NormalizerHandler(jakarta())
        self.database = database
        self.emitted = Said()
        self.ids: list[str] = []
        self.outcomes: list[str] = []
        self._applied: set[str] = set()
        self.places: set[Any] = set()
        database.create_tables(tables.metadata)

    def take(self, *messages: MessageReceived) -> "Said":
        """One batch."""
        return self.handle([an_input(message) for message in messages])

    def take_singly(self, *messages: MessageReceived) -> "Said":
        """Each message in a batch of its own."""
        return Said([emit for message in messages for emit in self.take(message)])

    def timers(self, now: datetime) -> "Said":
        """What is due at `now`, as the loop asks for it when it has caught up."""
        with self.database.read() as connection:
            due = self.handler.due(connection, self.places, now)
        return self.handle(due)

    def handle(self, inputs: Sequence[Input]) -> "Said":
        """Load, decide one by one, save: one transaction."""
        with self.database.begin() as connection:
            said = self._decide(connection, inputs)
        self.emitted += said
        return said

    def rows(self) -> dict[str, list[tuple[Any, ...]]]:
        """Everything in the tables."""
        with self.database.read() as connection:
            return dump(connection, tables.metadata.sorted_tables)

    def _decide(self, connection: Connection, inputs: Sequence[Input]) -> "Said":
        fresh = [each for each in inputs if each.event_id not in self._applied]
        state = self.handler.load(connection, fresh)
        said = Said()
        changes: list[tables.Change] = []
        for each in fresh:
            if each.event_id in self._applied:
                continue
            decision = self.handler.decide(each, state)
            for change in decision.changes:
                self.handler.apply(change, state)
            said += decision.events
            changes += decision.changes
            self.ids += [emit.event_id or derive_id("normalizer", each.event_id, emit.role) for emit in decision.events]
            self.outcomes.append(decision.outcome)
            self._applied.add(each.event_id)
            self.places.add(each.place)
        self.handler.save(connection, changes)
        return said


class Said(list[Emit]):
    """What the stage said."""

    def of(self, kind: type[E]) -> list[E]:
        """The events of one kind."""
        return [emit.event for emit in self if isinstance(emit.event, kind)]

    def only(self, kind: type[E]) -> E:
        """The one event of that kind."""
        events = self.of(kind)
        assert len(events) == 1, f"{len(events)} events {kind.__name__}"
        return events[0]

    def outcomes(self) -> list[str]:
        """What became of the messages, in order."""
        return [settled.outcome for settled in self.of(MessageSettled)]

    def as_text(self) -> str:
        """Everything that goes into the journal, to search in."""
        return "\n".join(f"{emit.topic} {emit.key} {emit.event_id} {encode(emit.event).decode()}" for emit in self)
