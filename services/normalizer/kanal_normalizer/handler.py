"""The normalizer's stage: loads what a batch needs, lets the rules decide, keeps what they changed."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import Connection

from kanal import topics
from kanal.errors import InvalidEvent
from kanal.events import MAX_PARTS, Event, MessageReceived, ReporterTold, ReportRegistered
from kanal.ids import derive_id
from kanal.journal import Place
from kanal.pack import Pack
from kanal.stage import Decision, Input
from kanal_normalizer import rules, tables
from kanal_normalizer.reading import Reading, read
from kanal_normalizer.tables import Memory, Wanted
from kanal_normalizer.understanding import Understanding


class PartsExpired(Event, frozen=True, kw_only=True):
    """The parts of a longer SMS have waited long enough; internal, never in a topic."""

    long_message: str


class NormalizerHandler:
    """Messages in, and what their reporters were told meanwhile; reports, settlements, receipts out."""

    name = "normalizer"
    topics: Sequence[str] = (*(topics.message_received(channel) for channel in topics.CHANNELS), topics.REPORTER_TOLD)

    def __init__(self, pack: Pack) -> None:
        self._book = rules.Book(pack, Understanding(pack))

    def load(self, connection: Connection, inputs: Sequence[Input]) -> "_State":
        readings = {each.event_id: _readable(each.event, self._book.pack) for each in inputs}
        wanted = _wanted(inputs, readings)
        parts = tables.load_parts(connection, wanted.long_messages)
        wanted.senders.update(part.message.sender_key for part in parts)
        wanted.conversations.update(part.message.conversation for part in parts)
        wanted.numbers.update(_mentioned_in_the_whole(inputs, parts, self._book.pack))
        return _State(tables.load(connection, wanted, parts), readings)

    def decide(self, message: Input, state: "_State") -> Decision:
        if isinstance(message.event, PartsExpired):
            return self._expire(message.event.long_message, message, state.memory)
        if isinstance(message.event, ReporterTold):
            return _remember_told(message.event, state.memory)
        reading = state.readings.get(message.event_id) or _read_or_die(message.event, self._book.pack)
        if reading.message.part is not None:
            return self._part(message, reading, state.memory)
        return _decision([reading.message], rules.settle(reading, state.memory, self._book))

    def apply(self, change: tables.Change, state: "_State") -> None:
        state.memory.apply(change)

    def save(self, connection: Connection, changes: Sequence[tables.Change]) -> None:
        newest = max((change.seen_at for change in changes if isinstance(change, tables.SeenText)), default=0)
        tables.save(connection, changes, newest - 86_400)

    def saved(self) -> None:
        return None

    def due(self, connection: Connection, places: Iterable[Place], now: datetime) -> Sequence[Input]:
        before = now - timedelta(minutes=self._book.pack.sms_join_minutes)
        return [_expiry(part, now) for part in tables.unfinished(connection, places, before)]

    def _part(self, message: Input, reading: Reading, memory: Memory) -> Decision:
        _refuse_impossible_part(reading.message)
        part = rules.kept(reading.message, message.place)
        before = memory.parts.get(part.long_message, {}).get(part.part)
        if before is not None:  # under another id: the gateway repeats it, or the phone uses its reference again
            again = rules.Outcome("duplicate", "part-of-longer-sms", "the same part again")
            same = before.message.text == part.message.text
            return _decision([reading.message], again if same else rules.settle(reading, memory, self._book))
        waiting = rules.part_of_longer_sms(reading.message, part, memory)
        if waiting is not None:
            return Decision(rules.emergency_in_a_part(reading, part, self._book), waiting.changes, waiting.outcome)
        late_for = rules.late_for(part, memory)
        if late_for is not None:
            return _decision([reading.message], rules.late_part(reading, late_for.number, self._book, memory))
        parts = [*memory.parts.get(part.long_message, {}).values(), part]
        outcome = _with_aliases(rules.settle(read(rules.joined_message(parts), self._book.pack), memory, self._book), parts)
        whole = _decision([each.message for each in sorted(parts, key=lambda p: p.part)], outcome)
        return whole._replace(changes=[*whole.changes, tables.Joined(part.long_message)])

    def _expire(self, long_message: str, timer: Input, memory: Memory) -> Decision:
        parts = list(memory.parts.get(long_message, {}).values())
        if not parts:
            return Decision(outcome="nothing-left")
        reading = read(rules.joined_message(parts), self._book.pack)
        settled = (
            rules.too_many(reading, memory, self._book)
            or rules.answer_to_question(reading, memory, self._book)
            or rules.register(reading, self._book, incomplete=True)
        )
        outcome = _with_aliases(settled, parts)
        closing = (
            rules.cut_short_change(parts, outcome.number, tables.seconds(timer.at)) if outcome.number else [tables.Joined(long_message)]
        )
        whole = _decision([each.message for each in sorted(parts, key=lambda p: p.part)], outcome)
        return whole._replace(changes=[*whole.changes, *closing])


def _remember_told(event: ReporterTold, memory: Memory) -> Decision:
    """The later counts: of a merged report it is told by its own story and by that of the report that it follows."""
    before, at = memory.told.get(event.number), tables.seconds(event.told_at)
    if before is not None and before.told_at > at:
        return Decision(outcome="told-before")
    return Decision(changes=[tables.Told(event.number, event.conversation, event.status, at)], outcome="told")


class _State(msgspec.Struct):
    memory: Memory
    readings: Mapping[str, Reading | None]


def _decision(messages: Sequence[MessageReceived], outcome: rules.Outcome) -> Decision:
    """The outcome's events, and one settlement for each message: further parts of an SMS are `joined` to the first."""
    settlements = [rules.settled(messages[0], outcome)]
    changes: list[tables.Change] = list(outcome.changes)
    for message in messages[1:]:
        joined = rules.Outcome("joined", "part-of-longer-sms", outcome.rule, outcome.number)
        settlements.append(rules.settled(message, joined))
        if outcome.number:
            known_at = tables.seconds(message.received_at)
            changes.append(tables.KnownNumber(message.number, outcome.number, message.sender_key, known_at))
    registered = (emit.event for emit in outcome.events if isinstance(emit.event, ReportRegistered))
    emergency = any(event.emergency for event in registered)
    return Decision([*outcome.events, *settlements], changes, "registered-emergency" if emergency else outcome.outcome)


def _with_aliases(outcome: rules.Outcome, parts: Sequence[tables.KeptPart]) -> rules.Outcome:
    """Each part was promised a number: those of the further parts stay other names of the report."""
    aliases = tuple(part.message.number for part in parts if part.message.number != outcome.number)
    events = [
        emit._replace(event=msgspec.structs.replace(emit.event, aliases=aliases)) if isinstance(emit.event, ReportRegistered) else emit
        for emit in outcome.events
    ]
    return outcome._replace(events=events)


def _readable(event: Event, pack: Pack) -> Reading | None:
    """A reading, or None where reading fails: `decide` will fail on it again, alone."""
    try:
        return read(event, pack) if isinstance(event, MessageReceived) else None
    except Exception:
        return None


def _read_or_die(event: Event, pack: Pack) -> Reading:
    if not isinstance(event, MessageReceived):
        raise InvalidEvent("not a received message", reason="unexpected-event")
    return read(event, pack)


def _refuse_impossible_part(message: MessageReceived) -> None:
    """What is missing of a longer SMS is counted out one by one: a made-up total would never end. *Raises:* InvalidEvent."""
    assert message.part is not None
    if not 1 <= message.part.number <= message.part.total <= MAX_PARTS:
        raise InvalidEvent("no SMS has such a part", reason="impossible-part")


def _wanted(inputs: Sequence[Input], readings: Mapping[str, Reading | None]) -> Wanted:
    wanted = Wanted(set(), set(), set(), set())
    for reading in readings.values():
        if reading is None:
            continue
        message = reading.message
        wanted.numbers.update(reading.mentions, {message.reply_to} - {""})
        wanted.senders.add(message.sender_key)
        wanted.conversations.add(message.conversation)
        if message.part is not None:
            wanted.long_messages.add(rules.long_message_key(message))
    wanted.long_messages.update(each.event.long_message for each in inputs if isinstance(each.event, PartsExpired))
    wanted.numbers.update(each.event.number for each in inputs if isinstance(each.event, ReporterTold))
    return wanted


def _mentioned_in_the_whole(inputs: Sequence[Input], kept: Sequence[tables.KeptPart], pack: Pack) -> set[str]:
    """Numbers in longer SMS as they will be read: with the parts that came before, and where a number is cut in two."""
    arrived = [rules.kept(each.event, each.place) for each in inputs if isinstance(each.event, MessageReceived) and each.event.part]
    wholes: dict[str, dict[int, tables.KeptPart]] = {}
    for part in [*arrived, *kept]:
        wholes.setdefault(part.long_message, {})[part.part] = part
    return {number for parts in wholes.values() for number in read(rules.joined_message(list(parts.values())), pack).mentions}


def _expiry(part: tables.KeptPart, now: datetime) -> Input:
    event_id = derive_id("normalizer", "parts-expired", part.long_message, part.message.message_id)
    return Input(event=PartsExpired(long_message=part.long_message), event_id=event_id, at=now, place=part.place)
