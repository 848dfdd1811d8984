"""The tracker's tables: a view of `reports` that can be emptied and folded anew. Reading and writing a batch at a time."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import (
    BigInteger,
    BindParameter,
    Boolean,
    Column,
    Connection,
    Integer,
    MetaData,
    Select,
    String,
    Table,
    Text,
    bindparam,
    delete,
    or_,
    select,
)

from kanal.database import SMALL_ROWS, among, insert_new, listed, put
from kanal_tracker.machine import Report

metadata = MetaData()
reports = Table(
    "tracker_reports",
    metadata,
    Column("number", String, primary_key=True),
    Column("status", String, nullable=False, index=True),
    Column("agency", String, nullable=False, index=True),
    Column("merged_into", String, nullable=False, index=True),
    Column("asked_at", BigInteger, nullable=False, index=True),
    Column("partition", Integer, nullable=False),
    Column("state", Text, nullable=False),
)
"""`state` is the whole report as JSON; the other columns are for finding it. asked_at: seconds since 1970, 0 = no open question."""

aliases = Table("tracker_aliases", metadata, Column("alias", String, primary_key=True), Column("number", String, nullable=False))
timeline = Table(
    "tracker_timeline",
    metadata,
    Column("number", String, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("at", String, nullable=False),
    Column("action", String, nullable=False),
    Column("status", String, nullable=False),
    Column("by_role", String, nullable=False),
    Column("note", Text, nullable=False),
    Column("reason", Text, nullable=False),
    **SMALL_ROWS,
)
messages = Table(
    "tracker_messages",
    metadata,
    Column("number", String, primary_key=True),
    Column("message_id", String, primary_key=True),
    Column("at", String, nullable=False),
    Column("channel", String, nullable=False),
    Column("text", Text, nullable=False),
)
actions = Table(
    "tracker_actions",
    metadata,
    Column("action_id", String, primary_key=True),
    Column("number", String, nullable=False),
    Column("accepted", Boolean, nullable=False),
    Column("rule", String, nullable=False),
    Column("message", String, nullable=False),
    Column("version", Integer, nullable=False),
    **SMALL_ROWS,
)
parked = Table(
    "tracker_parked",
    metadata,
    Column("event_id", String, primary_key=True),
    Column("number", String, nullable=False, index=True),
    Column("parked_at", BigInteger, nullable=False, index=True),
    Column("event", Text, nullable=False),
)
VIEW = (reports, aliases, timeline, messages, actions, parked)
"""Every table of the view: what a rebuild empties."""


class Entry(NamedTuple):
    """A line of a report's timeline."""

    number: str
    position: int
    at: str
    action: str
    status: str
    by_role: str
    note: str
    """For the reporter too."""
    reason: str
    """For staff only; of a routing its row."""


class Alias(NamedTuple):
    """Another number of a report."""

    alias: str
    number: str


class Message(NamedTuple):
    """A message of a report, masked."""

    number: str
    message_id: str
    at: str
    channel: str
    text: str


class Answer(NamedTuple):
    """What became of an action that somebody asked for."""

    action_id: str
    number: str
    accepted: bool
    rule: str
    message: str
    version: int


class ParkedEvent(msgspec.Struct, frozen=True):
    """An event for a number that is not known yet, with all that folding it later needs."""

    event_id: str
    number: str
    parked_at: int
    at: datetime
    topic: str
    partition: int
    offset: int
    trace: str
    ce_type: str
    value: str


class Unparked(NamedTuple):
    """A parked event was folded, or given up."""

    event_id: str


Change = Report | Entry | Alias | Message | Answer | ParkedEvent | Unparked
_encode = msgspec.json.Encoder().encode
_decode_report = msgspec.json.Decoder(Report).decode
_decode_parked = msgspec.json.Decoder(ParkedEvent).decode


class State:
    """What is known for the events of one batch."""

    def __init__(self) -> None:
        self.reports: dict[str, Report] = {}
        self.merged: dict[str, set[str]] = {}
        """Main report → numbers of the reports merged into it."""
        self.answers: dict[str, Answer] = {}
        self.parked: dict[str, list[ParkedEvent]] = {}
        self.aliases: dict[str, str] = {}

    def copy(self) -> "State":
        """To try changes on without touching this one."""
        other = State()
        other.reports, other.answers, other.aliases = dict(self.reports), dict(self.answers), dict(self.aliases)
        other.merged = {number: set(merged) for number, merged in self.merged.items()}
        other.parked = {number: list(events) for number, events in self.parked.items()}
        return other

    def merged_into(self, number: str) -> set[str]:
        """The reports merged into this one, and into those."""
        found: set[str] = set()
        ahead = [number]
        while ahead:
            new = self.merged.get(ahead.pop(), set()) - found
            found |= new
            ahead.extend(new)
        return found

    def apply(self, change: Change) -> None:
        """One change of the batch."""
        match change:
            case Report():
                self._put(change)
            case Answer():
                self.answers[change.action_id] = change
            case Alias():
                self.aliases.setdefault(change.alias, change.number)
            case ParkedEvent():
                waiting = self.parked.setdefault(change.number, [])
                if all(event.event_id != change.event_id for event in waiting):  # repeated while it waits
                    waiting.append(change)
            case Unparked():
                for events in self.parked.values():
                    events[:] = [event for event in events if event.event_id != change.event_id]
            case _:
                pass  # nothing later in the batch asks for it

    def _put(self, report: Report) -> None:
        before = self.reports.get(report.number)
        if before is not None and before.merged_into:
            self.merged[before.merged_into].discard(report.number)
        self.reports[report.number] = report
        if report.merged_into:
            self.merged.setdefault(report.merged_into, set()).add(report.number)


# Built once: for a look-up or a small batch, building a statement takes longer than the database does.
_MAIN_NUMBERS = select(aliases).where(among(aliases.c.alias, "numbers"))
_PARKED = select(parked.c.event).where(among(parked.c.number, "numbers")).order_by(parked.c.parked_at, parked.c.event_id)
_ACTIONS = select(actions).where(among(actions.c.action_id, "action_ids"))
_STATES = select(reports.c.state).where(or_(among(reports.c.number, "numbers"), among(reports.c.merged_into, "numbers")))
_STATES_OF = select(reports.c.state).where(among(reports.c.number, "numbers"))
_KEY: BindParameter[str] = bindparam("key")
_MAIN_NUMBER = select(aliases.c.number).where(aliases.c.alias == _KEY)
_STATE = select(reports.c.state).where(reports.c.number == _KEY)
_TIMELINE = select(timeline).where(timeline.c.number == _KEY).order_by(timeline.c.position)
_MESSAGES = select(messages).where(among(messages.c.number, "numbers")).order_by(messages.c.at)
_ACTION = select(actions).where(actions.c.action_id == _KEY)


def load(connection: Connection, numbers: set[str], action_ids: set[str]) -> State:
    """A few queries a table, however many events; parked events bring in what they name."""
    state = State()
    for row in connection.execute(_MAIN_NUMBERS, {"numbers": listed(numbers)}):
        state.aliases[row.alias] = row.number
    waiting = [_decode_parked(event) for event in connection.scalars(_PARKED, {"numbers": listed(numbers)})]
    for event in waiting:
        state.apply(event)
    named = [_NamedByParked.read(event.value) for event in waiting]
    _load_reports(connection, state, numbers | set(state.aliases.values()) | {each.other for each in named if each.other})
    wanted_actions = action_ids | {each.action_id for each in named if each.action_id}
    if wanted_actions:
        for row in connection.execute(_ACTIONS, {"action_ids": listed(wanted_actions)}):
            state.answers[row.action_id] = Answer(*row)
    return state


class _NamedByParked(msgspec.Struct):
    """What a parked event names besides its own report."""

    other: str = ""
    action_id: str = ""

    @classmethod
    def read(cls, value: str) -> "_NamedByParked":
        return msgspec.json.decode(value, type=cls)


def _load_reports(connection: Connection, state: State, numbers: set[str]) -> None:
    """The reports of these numbers, all that are merged into them and all that they follow, over as many steps as people have merged."""
    ahead, asked = numbers, set[str]()
    while ahead:
        asked |= ahead
        ahead = {report.number for report in _found(connection, _STATES, ahead, state)} - asked
    ahead = {report.merged_into for report in state.reports.values() if report.merged_into} - set(state.reports)
    while ahead:  # without what else is merged into those: it may be much
        asked |= ahead
        ahead = {report.merged_into for report in _found(connection, _STATES_OF, ahead, state) if report.merged_into} - asked


def _found(connection: Connection, query: Select[Any], numbers: set[str], state: State) -> list[Report]:
    found = [_decode_report(each) for each in connection.scalars(query, {"numbers": listed(numbers)})]
    for report in found:
        state.apply(report)
    return found


def save(connection: Connection, changes: Sequence[Change]) -> None:
    """One statement a table; of several states of a report only the last is written."""
    newest = {change.number: change for change in changes if isinstance(change, Report)}
    put(connection, reports, [_report_row(report) for report in newest.values()])
    insert_new(connection, timeline, [change for change in changes if isinstance(change, Entry)])
    insert_new(connection, aliases, [change for change in changes if isinstance(change, Alias)])
    insert_new(connection, messages, [change for change in changes if isinstance(change, Message)])
    insert_new(connection, actions, [change for change in changes if isinstance(change, Answer)])
    insert_new(connection, parked, [_parked_row(change) for change in changes if isinstance(change, ParkedEvent)])
    for change in changes:
        if isinstance(change, Unparked):
            connection.execute(delete(parked).where(parked.c.event_id == change.event_id))


def find(connection: Connection, number: str) -> Report | None:
    """The report of a number or of an alias."""
    main = connection.scalar(_MAIN_NUMBER, {"key": number}) or number
    state = connection.scalar(_STATE, {"key": main})
    return _decode_report(state) if state else None


def reported_too(connection: Connection, number: str) -> list[str]:
    """The numbers of the reports that were merged into this one, and into those."""
    state = State()
    _load_reports(connection, state, {number})
    return sorted(state.merged_into(number))


def timeline_of(connection: Connection, number: str) -> list[Entry]:
    """The lines of a report, oldest first."""
    return [Entry(*row) for row in connection.execute(_TIMELINE, {"key": number})]


def messages_of(connection: Connection, numbers: Sequence[str]) -> dict[str, list[Message]]:
    """The messages of each report, oldest first."""
    found: dict[str, list[Message]] = {number: [] for number in numbers}
    for row in connection.execute(_MESSAGES, {"numbers": listed(found)}):
        found[row.number].append(Message(*row))
    return found


def answer_to(connection: Connection, action_id: str) -> Answer | None:
    """What became of an action, once it is decided."""
    row = connection.execute(_ACTION, {"key": action_id}).one_or_none()
    return Answer(*row) if row else None


def unanswered(connection: Connection, asked_before: datetime) -> list[Report]:
    """Reports whose question has waited since before then."""
    waiting = (reports.c.asked_at > 0) & (reports.c.asked_at < int(asked_before.timestamp()))
    return [_decode_report(row.state) for row in connection.execute(select(reports.c.state).where(waiting))]


def parked_before(connection: Connection, moment: datetime) -> list[ParkedEvent]:
    """Events that have waited for their report since before then."""
    old = parked.c.parked_at < int(moment.timestamp())
    return [_decode_parked(row.event) for row in connection.execute(select(parked.c.event).where(old))]


def empty(connection: Connection) -> None:
    """Forget the view, to fold it anew; also tables that an older version made otherwise."""
    metadata.drop_all(connection, VIEW)
    metadata.create_all(connection, VIEW)


def _report_row(report: Report) -> tuple[object, ...]:
    asked_at = int(report.asked_at.timestamp()) if report.asked_at else 0
    return report.number, report.status, report.agency, report.merged_into, asked_at, report.partition, _encode(report).decode()


def _parked_row(event: ParkedEvent) -> tuple[object, ...]:
    return event.event_id, event.number, event.parked_at, _encode(event).decode()
