"""The tracker's stage: folds `reports` into the view, in order, and fires the clocks."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection

from kanal import topics
from kanal.events import Event, ReportAppended, ReportRegistered, ReportRouted, StatusAsked, UpdateRequested
from kanal.ids import derive_id
from kanal.journal import Place
from kanal.pack import Pack
from kanal.stage import Decision, Input
from kanal_tracker import fold, tables
from kanal_tracker.machine import Report
from kanal_tracker.tables import Change, State


class AnswerOverdue(Event, frozen=True, kw_only=True):
    """A question has waited too long; internal, never in a topic."""

    report: Report


class ParkedTooLong(Event, frozen=True, kw_only=True):
    """Events have waited too long for this report; internal, never in a topic."""

    number: str


class TrackerHandler:
    """Stories in; the view, `report-updated` and replies out. A rebuild uses it too and drops the events."""

    name = "tracker"
    topics: Sequence[str] = (topics.REPORTS,)

    def __init__(self, pack: Pack) -> None:
        self._pack = pack

    def load(self, connection: Connection, inputs: Sequence[Input]) -> State:
        events = [each.event for each in inputs]
        numbers = {number for event in events for number in _numbers(event)}
        action_ids = {event.action_id for event in events if isinstance(event, UpdateRequested)}
        return tables.load(connection, numbers, action_ids)

    def decide(self, message: Input, state: State) -> Decision:
        match message.event:
            case AnswerOverdue() as overdue:
                return fold.clock_answers(overdue.report, message)
            case ParkedTooLong() as too_long:
                return fold.clock_gives_up(too_long.number, message)
        return fold.fold(message, state, self._pack)

    def apply(self, change: Change, state: State) -> None:
        state.apply(change)

    def save(self, connection: Connection, changes: Sequence[Change]) -> None:
        tables.save(connection, changes)

    def saved(self) -> None:
        return None

    def due(self, connection: Connection, places: Iterable[Place], now: datetime) -> Sequence[Input]:
        owned = {place.partition: place for place in places}
        overdue = tables.unanswered(connection, now - timedelta(days=self._pack.answer_days))
        too_long = tables.parked_before(connection, now - timedelta(hours=fold.PARKED_HOURS))
        timers: list[tuple[Event, str, int]] = [(AnswerOverdue(report=each), each.number, each.partition) for each in overdue]
        timers += [(ParkedTooLong(number=number), number, partition) for number, partition in {(p.number, p.partition) for p in too_long}]
        return [_timer(event, subject, now, owned[partition]) for event, subject, partition in timers if partition in owned]


def _timer(event: Event, subject: str, now: datetime, place: Place) -> Input:
    # The second is part of the id: a timer that fired but whose request got lost must be able to fire again.
    return Input(event=event, event_id=derive_id("tracker", "timer", subject, str(int(now.timestamp()))), at=now, place=place)


def _numbers(event: Event) -> Iterable[str]:
    match event:
        case StatusAsked():
            return (event.number, *event.others)
        case UpdateRequested():
            return (event.number, event.other) if event.other else (event.number,)
        case ReportRegistered() | ReportAppended() | ReportRouted():
            return (event.number,)
    return ()
