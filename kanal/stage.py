"""The stage loop: events in, decisions, one SQL commit, events out. Every consumer of the journal runs in it.

One transaction holds the handler's changes, the outputs (outbox), the ids applied and the fenced advance of `stage_offsets`;
only then are the outputs appended. Killed anywhere, it repeats little and loses nothing: repeats carry the same derived ids.
Not here: what a stage decides (the services) and where records lie (journal/).
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Any, NamedTuple, Protocol

import msgspec
from sqlalchemy import Connection

from kanal import metrics
from kanal.database import Database
from kanal.errors import Fenced, InvalidEvent, NewerEvent, OffsetsRefused, SetupError, TemporaryFailure
from kanal.events import Event
from kanal.faults import fail_point
from kanal.ids import derive_id
from kanal.journal import FOR_STAGE, BatchLimit, Journal, Place, Reader, Record, Stored, refuse_too_large
from kanal.logs import logger
from kanal.outbox import Outbox
from kanal.records import cause_of, dead_letter, open_record, place_of, record_of
from kanal.stage_tables import StageStore

ALARM_AFTER = 10
"""Dead letters in a row that ring the alarm. Nothing is lost, so nothing stops: a crafted message could stop the city otherwise."""

DEADLY_ATTEMPTS = 5
"""A record that is in hand for this many careful attempts is set aside: it killed the process each time."""

CAREFUL_RECORDS = 100
"""After an unclean start so many records of a partition are handled one at a time, unless the stage has caught up with it before."""

RETRY_SECONDS = (0.1, 0.3, 1.0, 3.0, 5.0, 10.0)
"""Back-off in place; after the last the stage leaves its group and joins anew."""

HOUSEKEEPING_SECONDS = 1.0
FROZEN_SECONDS = 10.0
"""After so long without it the process has stood still: it has yet to look whether it is caught up with anything."""

NOTE_SECONDS = 60.0
"""Group offsets are noted so often though nothing changed: whether the last time worked nobody knows."""
"""How often timers are asked and group offsets (for lag only) are noted."""

APPLIED_DAYS = 100
"""Ids applied are remembered longer than any topic but `reports` keeps its records."""


UNUSUAL = frozenset(
    """repeat parked refused duplicate ignored late-part person-decided repeated-action not-reopened nothing-parked gave-up
    registered-emergency to-dispatcher""".split()
)
"""Outcomes whose messages get a log line of their own; the others are counted in their batch's line."""


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """One event in a handler's hands."""

    event: Event
    event_id: str
    at: datetime
    """When it was said (UTC); a handler's only clock."""
    place: Place
    offset: int = -1
    """-1 = not from the journal (a timer)."""
    trace: str = ""


class Emit(NamedTuple):
    """An event to append. `role` tells the outputs of one input apart: their ids are derived from it."""

    topic: str
    key: str
    event: Event
    role: str
    event_id: str = ""
    """Given only where the id is derived from something else than this input."""


class Decision(NamedTuple):
    """What a handler makes of one input."""

    events: Sequence[Emit] = ()
    changes: Sequence[Any] = ()
    outcome: str = "done"
    """Bounded code for metrics."""
    applied: Sequence[str] | None = None
    """Ids that count as applied with this input; None = its own. An input that only waits is applied later, with what it waits for."""


class Handler(Protocol):
    """A stage's own part. `decide` is pure; an exception in it is that message's dead letter, its neighbours go on."""

    name: str
    topics: Sequence[str]

    def load(self, connection: Connection, inputs: Sequence[Input]) -> Any:
        """State for these inputs, with as few queries as there are tables. Exceptions are retried."""

    def decide(self, message: Input, state: Any) -> Decision:
        """The rule book: from one input and the state to events and changes. No I/O, no clock."""

    def apply(self, change: Any, state: Any) -> None:
        """Make `change` visible in `state` for the next message of the batch."""

    def save(self, connection: Connection, changes: Sequence[Any]) -> None:
        """Write all changes of a batch, in their order. Exceptions are retried."""

    def saved(self) -> None:
        """What was given to `save` is committed now."""

    def due(self, connection: Connection, places: Iterable[Place], now: datetime) -> Sequence[Input]:
        """Timers that have run out for what these partitions brought, with which the stage has caught up. Their ids are derived."""


class _Hand(NamedTuple):
    """A record of the batch and what it turned out to be: an input, a failure, or neither (another stage's redrive)."""

    stored: Stored
    input: Input | None
    failure: Exception | None


class _Outcome(NamedTuple):
    """What a batch came to."""

    outputs: list[tuple[Place, Record]]
    changes: list[Any]
    applied: list[str]
    counts: dict[str, int]
    deaths: list[bool]
    """For each input in order: was it set aside."""
    unusual: list[tuple[str, str]]
    """Event id and outcome of each message that went another than the normal way."""


class StageLoop:
    """Runs one handler. Used by one thread."""

    def __init__(self, handler: Handler, journal: Journal, database: Database, limit: BatchLimit | None = None) -> None:
        self.handler = handler
        self._journal = journal
        self._database = database
        self._store = StageStore(handler.name)
        self._outbox = Outbox(handler.name, database, journal)
        self._limit = limit or BatchLimit()
        self._log = logger(handler.name)
        self._reader: Reader | None = None
        self._positions: dict[Place, int] = {}
        self._careful: dict[Place, int] = {}
        self._in_hand: Sequence[Stored] = ()
        self._attempts = 1
        self._failures = 0
        self._resume_at = 0.0
        self._noted: Mapping[Place, int] = {}
        self._noted_at = 0.0
        self._kept_house_at = time.monotonic()
        self._forgot_at = 0.0
        self._dead_in_a_row = 0

    def turn(self, timeout_seconds: float) -> int:
        """Handle at most one batch; the number of records handled. Passing failures are noted and tried again in a later turn.

        *Raises:* OffsetsRefused, NewerEvent, SetupError: the stage must not run on.
        """
        if (pause := self._resume_at - time.monotonic()) > 0:
            time.sleep(min(pause, timeout_seconds))
            return 0
        try:
            handled = self._handle_next(timeout_seconds)
        except (OffsetsRefused, NewerEvent, SetupError):
            raise
        except Fenced as fenced:
            self._log.warning("partition_taken_over", error=fenced)
            self._leave()
        except Exception as error:  # whatever fails outside `decide` is tried again: nothing was committed
            self._retry_later(error)
        else:
            self._failures = 0
            return handled
        return 0

    def stop(self) -> None:
        """Leave cleanly: outbox rows that were appended go, so that a restart repeats nothing."""
        if self._reader is None:
            return
        try:
            self._outbox.flush()
            self._outbox.tidy()
            with self._database.begin() as connection:
                self._store.mark_clean(connection, self._owned(self._reader.assigned()))
            self._reader.commit(self._positions)
        except TemporaryFailure as error:
            self._log.warning("stopped_uncleanly", error=error)
        self._leave()

    # One batch.

    def _handle_next(self, timeout_seconds: float) -> int:
        self._outbox.flush()
        if self._reader is None:
            self._reader = self._journal.reader(self.handler.name, self.handler.topics, self._take_over)
        if not self._in_hand:
            self._in_hand = self._reader.poll(self._limit, timeout_seconds)
        if not self._in_hand:
            self._keep_house()
            return 0
        together = self._together()
        self._attempts = self._count_attempt(together[0])
        fail_point(f"{self.handler.name}.after-poll")
        return self._handle([self._open(stored) for stored in together])

    def _together(self) -> Sequence[Stored]:
        """What is handled in one transaction: all that is in hand, but one record alone where its partition needs care."""
        if not self._careful:
            return self._in_hand
        if place_of(self._in_hand[0]) in self._careful:
            return self._in_hand[:1]
        return list(takewhile(lambda stored: place_of(stored) not in self._careful, self._in_hand))

    def _handle(self, hands: Sequence[_Hand]) -> int:
        started = time.perf_counter()
        self._commit(hands, _new_positions(hand.stored for hand in hands))
        self._in_hand = self._in_hand[len(hands) :]  # decided for good: what fails from here on is only the way of the outputs
        fail_point(f"{self.handler.name}.after-commit")
        self._outbox.flush()
        fail_point(f"{self.handler.name}.after-append")
        metrics.STAGE_BATCH_SECONDS.labels(self.handler.name).observe(time.perf_counter() - started)
        self._be_less_careful(hands)
        self._keep_house()
        return len(hands)

    def _commit(self, hands: Sequence[_Hand], positions: Mapping[Place, int]) -> None:
        inputs = [hand.input for hand in hands if hand.input is not None]
        now = datetime.now(UTC)
        with self._database.read() as connection:  # deciding takes longest: with SQLite senders may write meanwhile
            known = self._store.applied(connection, [message.event_id for message in inputs])
            outcome = self._decide_all(hands, known, connection, now)
        with self._database.begin() as connection:
            self._store.advance(connection, self._positions, positions)  # first: what a zombie has decided is never written
            self.handler.save(connection, outcome.changes)
            self._store.mark_applied(connection, outcome.applied, now)
            if self._careful:
                self._store.forget_attempts(connection, positions)
            records = self._outbox.add(connection, outcome.outputs)
        self._outbox.committed(records)
        self._positions.update(positions)
        self.handler.saved()
        self._report(outcome, inputs, now)

    def _decide_all(self, hands: Sequence[_Hand], known: set[str], connection: Connection, now: datetime) -> _Outcome:
        outcome = _Outcome([], [], [], {}, [], [])
        fresh = [hand.input for hand in hands if hand.input is not None and hand.input.event_id not in known]
        state = self.handler.load(connection, fresh)
        for stored, message, failure in hands:
            if failure is not None:
                self._set_aside(stored, failure, outcome, now)
            elif message is None:
                _count(outcome, "for-another-stage")
            elif message.event_id in known:
                _count(outcome, "repeat")
                outcome.unusual.append((message.event_id, "repeat"))
            elif self._decide(stored, message, state, outcome, now):
                known.update(outcome.applied)
        return outcome

    def _decide(self, stored: Stored, message: Input, state: Any, outcome: _Outcome, now: datetime) -> bool:
        try:
            decision = self.handler.decide(message, state)
            records = [self._record(message, emit) for emit in decision.events]
            refuse_too_large(records)
            for change in decision.changes:
                self.handler.apply(change, state)
        except Exception as error:  # this message's own dead letter
            self._set_aside(stored, error, outcome, now)
            return False
        outcome.outputs.extend((message.place, record) for record in records)
        outcome.changes.extend(decision.changes)
        outcome.applied.extend((message.event_id,) if decision.applied is None else decision.applied)
        outcome.deaths.append(False)
        _count(outcome, decision.outcome)
        if decision.outcome in UNUSUAL:
            outcome.unusual.append((message.event_id, decision.outcome))
        return True

    def _record(self, message: Input, emit: Emit) -> Record:
        event_id = emit.event_id or derive_id(self.handler.name, message.event_id, emit.role)
        return record_of(emit.topic, emit.key, emit.event, event_id=event_id, source=self.handler.name, at=message.at, trace=message.trace)

    def _set_aside(self, stored: Stored, error: Exception, outcome: _Outcome, now: datetime) -> None:
        record = dead_letter(self.handler.name, stored, error, now, self._attempts)
        outcome.outputs.append((place_of(stored), record))
        outcome.deaths.append(True)
        _count(outcome, "dead-letter")
        self._log.error(
            "message_dead_lettered", topic=stored.topic, partition=stored.partition, offset=stored.offset,
            event_id=stored.headers.get("ce_id", ""), error=error,
        )  # fmt: skip
        metrics.DEAD_LETTERS.labels(self.handler.name, cause_of(error)).inc()

    def _open(self, stored: Stored) -> _Hand:
        if stored.headers.get(FOR_STAGE, self.handler.name) != self.handler.name:
            return _Hand(stored, None, None)
        if self._attempts >= DEADLY_ATTEMPTS:
            return _Hand(stored, None, InvalidEvent("the process died each time with this record in hand", reason="deadly"))
        try:
            event, event_id, at, trace = open_record(stored)
        except InvalidEvent as error:
            return _Hand(stored, None, error)
        return _Hand(stored, Input(event=event, event_id=event_id, at=at, place=place_of(stored), offset=stored.offset, trace=trace), None)

    # Owning partitions.

    def _take_over(self, place: Place, first: int) -> int | None:
        """A partition is assigned: read from the stored offset, after appending what its last owner left in the outbox."""
        with self._database.begin() as connection:
            stored = self._store.take(connection, place, self._journal.identity(place.topic), first)
        # Only now: if the last owner commits after this look, our first commit is fenced and we take over anew.
        self._outbox.flush_left_behind(place)
        if stored.clean:
            self._careful.pop(place, None)
        elif self._positions.get(place) != stored.next:  # else it comes back to us from where we left it, and we live
            self._careful[place] = CAREFUL_RECORDS
        self._positions[place] = stored.next
        return stored.next

    def _leave(self) -> None:
        if self._reader is not None:
            self._reader.close()
        self._reader = None
        self._in_hand = ()
        self._careful.clear()
        self._outbox.begin_again()

    def _retry_later(self, error: Exception) -> None:
        pause = RETRY_SECONDS[min(self._failures, len(RETRY_SECONDS) - 1)]
        self._failures += 1
        self._resume_at = time.monotonic() + pause
        reason = error.reason if isinstance(error, TemporaryFailure) else type(error).__name__
        self._take_attempt_back()
        metrics.STAGE_RETRIES.labels(self.handler.name, reason).inc()
        self._log.warning("batch_retried", error=error, reason=reason, attempt=self._failures)
        if self._failures % len(RETRY_SECONDS) == 0:
            self._leave()

    # Care after an unclean start.

    def _count_attempt(self, stored: Stored) -> int:
        """Written before the record is touched, so that a death leaves its mark."""
        if place_of(stored) not in self._careful:
            return 1
        with self._database.begin() as connection:
            return self._store.count_attempt(connection, place_of(stored), stored.offset)

    def _take_attempt_back(self) -> None:
        """An exception that was caught proves that the process lived: what it failed on is not deadly."""
        if self._careful and self._in_hand:
            stored = self._in_hand[0]
            with suppress(TemporaryFailure), self._database.begin() as connection:
                self._store.forget_attempts(connection, {place_of(stored): stored.offset + 1})

    def _be_less_careful(self, hands: Sequence[_Hand]) -> None:
        for hand in hands:
            place = place_of(hand.stored)
            if place in self._careful:
                self._careful[place] -= 1
                if self._careful[place] <= 0:
                    del self._careful[place]

    # When there is nothing to read.

    def _keep_house(self) -> None:
        """Once a second, under load too: timers and care of places that are caught up with, outbox, offsets for lag, old ids."""
        since = time.monotonic() - self._kept_house_at
        if since < HOUSEKEEPING_SECONDS:
            return
        assert self._reader is not None
        caught_up = self._reader.caught_up() - {place_of(stored) for stored in self._in_hand} if since < FROZEN_SECONDS else frozenset()
        for place in caught_up:
            self._careful.pop(place, None)
        self._run_timers(self._owned(caught_up))
        if not self._in_hand:
            self._outbox.tidy()
            self._forget_old_ids()
        self._note_offsets(self._owned(self._reader.assigned()))
        self._kept_house_at = time.monotonic()

    def _owned(self, places: Iterable[Place]) -> dict[Place, int]:
        return {place: self._positions[place] for place in places if place in self._positions}

    def _run_timers(self, places: Mapping[Place, int]) -> None:
        if not places:
            return
        now = datetime.now(UTC)
        with self._database.read() as connection:
            due = self.handler.due(connection, places, now)
        if due:
            self._commit([_Hand(_timer_record(timer), timer, None) for timer in due], places)
            self._outbox.flush()

    def _note_offsets(self, positions: Mapping[Place, int]) -> None:
        """When they have changed; and now and then anyway, for nobody waits to hear whether it was done."""
        if self._reader is not None and (positions != self._noted or time.monotonic() - self._noted_at > NOTE_SECONDS):
            self._reader.commit(positions)
            self._noted, self._noted_at = positions, time.monotonic()

    def _forget_old_ids(self) -> None:
        if time.monotonic() - self._forgot_at > 3_600:
            with self._database.begin() as connection:
                self._store.forget_applied(connection, datetime.now(UTC) - timedelta(days=APPLIED_DAYS))
            self._forgot_at = time.monotonic()

    # Telling operators.

    def _report(self, outcome: _Outcome, inputs: Sequence[Input], now: datetime) -> None:
        for name, count in outcome.counts.items():
            metrics.STAGE_MESSAGES.labels(self.handler.name, name).inc(count)
        metrics.STAGE_REPEATS.labels(self.handler.name).inc(outcome.counts.get("repeat", 0))
        if inputs:
            metrics.STAGE_BEHIND_SECONDS.labels(self.handler.name).set(max(0.0, (now - inputs[-1].at).total_seconds()))
        self._watch_dead_letters(outcome.deaths)
        for event_id, name in outcome.unusual:
            self._log.info("message_went_another_way", event_id=event_id, outcome=name)
        self._log.info("batch_committed", outputs=len(outcome.outputs), outcome=outcome.counts)

    def _watch_dead_letters(self, deaths: Sequence[bool]) -> None:
        for died in deaths:
            self._dead_in_a_row = self._dead_in_a_row + 1 if died else 0
            if self._dead_in_a_row == ALARM_AFTER:
                self._log.error("dead_letters_in_a_row", count=ALARM_AFTER)
        metrics.DEAD_LETTER_ALARM.labels(self.handler.name).set(self._dead_in_a_row >= ALARM_AFTER)


def _count(outcome: _Outcome, name: str) -> None:
    outcome.counts[name] = outcome.counts.get(name, 0) + 1


def _new_positions(batch: Iterable[Stored]) -> dict[Place, int]:
    return {place_of(stored): stored.offset + 1 for stored in batch}


def _timer_record(timer: Input) -> Stored:
    """A stand-in for the record that a timer never was; only a dead letter would show it."""
    return Stored(topic=timer.place.topic, partition=timer.place.partition, offset=-1, key="", value=b"", headers={"ce_id": timer.event_id})
