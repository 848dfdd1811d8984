"""The rule book: a chain of small rules, the first that applies decides and gives its reason. Pure.

Order: part of a longer SMS · repeat · automatic mail · too many · courtesy · status question · not fixed · follow-up ·
same conversation · answer to a question · new report.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import NamedTuple

import msgspec

from kanal import topics
from kanal.events import MessageReceived, MessageSettled, ReplyRequested, ReportAppended, ReportRegistered, StatusAsked
from kanal.ids import derive_id
from kanal.journal import Place
from kanal.masking import mask
from kanal.pack import Pack
from kanal.stage import Emit
from kanal.status import CLOSED, TOLD
from kanal_normalizer.reading import Reading
from kanal_normalizer.tables import (
    Change,
    Conversation,
    CutShort,
    Joined,
    KeptPart,
    KnownNumber,
    Memory,
    SeenText,
    Told,
    minutes_before,
    seconds,
)
from kanal_normalizer.understanding import OTHER, Understanding

CONVERSATION_CHANNELS = frozenset({"sms"})
"""Channels without threads, where a further message within the set time goes on with the same report."""


LATE_SECONDS = 86_400
"""A part that comes later than this after its message was closed is none of it."""


class Book(NamedTuple):
    """Reference data of the rules."""

    pack: Pack
    understanding: Understanding


class Outcome(NamedTuple):
    """What a rule decided."""

    outcome: str
    rule: str
    reason: str = ""
    number: str = ""
    events: Sequence[Emit] = ()
    changes: Sequence[Change] = ()


Rule = Callable[[Reading, Memory, Book], Outcome | None]


def repeat(reading: Reading, memory: Memory, book: Book) -> Outcome | None:
    """The same sender sent the same text a short time ago: one report, and its number once more (but only once)."""
    message = reading.message
    seen = memory.texts.get((message.sender_key, reading.text_hash))
    if seen is None or message.always_new or message.automatic:
        return None
    if seen.seen_at < minutes_before(message.received_at, book.pack.repeat_minutes):
        return None
    if message.reply_to and _report_of(message.reply_to, memory) != seen.number:
        return None
    if _is_meant_anew(seen, reading, memory, book):
        return None
    changes: list[Change] = [KnownNumber(message.number, seen.number, message.sender_key, seconds(message.received_at))]
    changes.append(_counted(message, seen.number))
    reason = f"same text within {book.pack.repeat_minutes} minutes"
    if _said_within_an_hour(message, memory) >= book.pack.messages_per_hour:  # a machine: `reports` is kept for ever
        return Outcome("duplicate", "repeat", f"{reason}, too many", seen.number, changes=changes)
    # The id is derived from the first message: a machine that repeats itself for ever gets one answer.
    answer = _reply(message, "already-received", {"number": seen.number}, seen.number, answers=seen.message_id)
    again = _appended_event(message, seen.number, "", duplicate=True)
    events = [Emit(topics.REPORTS, seen.number, again, "duplicate"), answer]
    return Outcome("duplicate", "repeat", reason, seen.number, events, changes)


def automatic_mail(reading: Reading, memory: Memory, book: Book) -> Outcome | None:
    """Auto-replies, bounces, lists and our own mail open no report and get no answer."""
    automatic = reading.message.automatic
    return Outcome("ignored", "automatic-mail", automatic) if automatic else None


def status_question(reading: Reading, memory: Memory, book: Book) -> Outcome | None:
    """A text like "CEK <number>", a bare number, a reply that only asks, or "CEK" alone for one's own reports."""
    message = reading.message
    if not reading.asks or message.always_new:
        return None
    if reading.mentions or message.reply_to:
        named = reading.mentions[0] if reading.mentions else message.reply_to
        report = _report_of(named, memory)
        proven = _is_of_sender(named, message, memory) or (bool(message.reply_to) and _report_of(message.reply_to, memory) == report)
        return _asked(message, report, "number named" if reading.mentions else "reply that only asks", proven=proven)
    if typed := (reading.asked_for or "".join(reading.old_numbers[:1])):
        values = {"number": typed[:24]} | ({"mistyped": "yes"} if reading.asked_for else {})
        answer = _reply(message, "status-unknown", values, "")
        return _answered(message, "not a valid number", answer)
    mine = memory.reports_of.get(message.sender_key, [])
    if not mine:
        return _answered(message, "no reports of this sender", _reply(message, "no-reports", {}, ""))
    return _asked(message, mine[0], "own reports", others=tuple(mine[1:]), mine=True)


def too_many(reading: Reading, memory: Memory, book: Book) -> Outcome | None:
    """One sender floods the city: what goes beyond the limit is not taken up and he is told once an hour. Never so with danger."""
    message = reading.message
    recent = _said_within_an_hour(message, memory)
    if recent < book.pack.messages_per_hour or message.always_new or book.understanding.emergency(reading.words):
        return None
    hour = str(seconds(message.received_at) // 3_600)
    answer = _reply(message, "too-many", {}, "", answers=derive_id("too-many", message.sender_key, hour))
    return Outcome("refused", "too-many", f"{recent} messages of this sender within an hour", "", [answer])


def courtesy(reading: Reading, memory: Memory, book: Book) -> Outcome | None:
    """Thanks and greetings are no report and no answer to a question. Who greets, or has never reported, is told how to, once an hour."""
    message = reading.message
    if not reading.courtesy or message.always_new:
        return None
    known = bool(message.reply_to or memory.reports_of.get(message.sender_key))
    hour = str(seconds(message.received_at) // 3_600)
    once = "" if reading.courtesy == "new" else derive_id("how-to-report", message.sender_key, hour)
    answer = _reply(message, "how-to-report", {}, "", answers=once)
    answers = () if known and reading.courtesy == "thanks" else (answer,)
    changes: list[Change] = [_counted(message, "")]
    if reading.courtesy == "new":  # what comes next is the report that was announced
        changes.append(Conversation(message.conversation, "", seconds(message.received_at)))
    return Outcome("ignored", "courtesy", f"{reading.courtesy} and nothing else", "", answers, changes)


def not_fixed(reading: Reading, memory: Memory, book: Book) -> Outcome | None:
    """With "BELUM" the reporter says that a report is not fixed; the tracker reopens it where that is allowed."""
    message = reading.message
    still_so = _says_that_it_is_still_so(reading, memory, book)
    if not (reading.says_not_fixed or still_so) or message.always_new:
        return None
    mine = memory.reports_of.get(message.sender_key, [])
    named = next((number for number in reading.mentions if _is_of_sender(number, message, memory)), message.reply_to)
    names_another = bool(reading.mentions or reading.asked_for)
    new = bool(book.understanding.emergency(reading.words) or book.understanding.area(reading.words).code)
    if not named and not names_another and mine and not new and (len(reading.words) <= 3 or reading.still_broken or still_so):
        said = _said_last(message, memory)
        named = _may_be_not_fixed(message, memory, book) or (said.number if said else mine[0])
    if not named and not names_another and not mine and len(reading.words) <= 2 and not reading.has_files:
        return _answered(message, "no reports of this sender", _reply(message, "no-reports", {}, ""))
    if not named:
        return None
    return _appended(reading, _report_of(named, memory), "not-fixed", "BELUM", book, memory, is_not_fixed=True)


def follow_up(reading: Reading, memory: Memory, book: Book) -> Outcome | None:
    """A reply with our token, from whichever address, or the number of a report of the same sender."""
    message = reading.message
    if message.always_new or (reading.wants_new and not message.reply_to):
        return None
    if message.reply_to:
        return _appended(reading, _report_of(message.reply_to, memory), "follow-up", "reply to our message", book, memory)
    for number in reading.mentions:
        if _is_of_sender(number, message, memory):
            return _appended(reading, _report_of(number, memory), "follow-up", "number of the same sender", book, memory)
    return None


def same_conversation(reading: Reading, memory: Memory, book: Book) -> Outcome | None:
    """Where there are no threads, what comes within the set time goes on with the same report. Danger is a report of its own."""
    message = reading.message
    said, asked = _said_last(message, memory), _question_that_waits(message, memory)
    if said is None or not _is_recent(said.last_at, message, book) or (asked is not None and asked.told_at >= said.last_at):
        return None
    # A closed report is over: what it does not say by BELUM or the number would be read by nobody.
    if _opens_its_own(reading, memory, book) or _is_closed(said.number, memory):
        return None
    reason = f"same conversation within {book.pack.conversation_minutes} minutes"
    return _appended(reading, said.number, "same-conversation", reason, book, memory, by_conversation=True)


def answer_to_question(reading: Reading, memory: Memory, book: Book) -> Outcome | None:
    """Where there are no threads, an officer's question waits for what comes next, however late. Danger is a report of its own."""
    asked = _question_that_waits(reading.message, memory)
    if asked is None or _opens_its_own(reading, memory, book):
        return None
    if not _is_recent(asked.told_at, reading.message, book) and _is_a_whole_report(reading, book):
        return None
    return _appended(reading, asked.number, "answer-to-question", "a question waits for its answer", book, memory, by_conversation=True)


def new_report(reading: Reading, memory: Memory, book: Book) -> Outcome:
    """Everything else is a report of its own; numbers of strangers in it are only mentioned."""
    return register(reading, book, incomplete=False)


RULES: Sequence[Rule] = (
    repeat, automatic_mail, too_many, courtesy, status_question, not_fixed, follow_up, same_conversation, answer_to_question, new_report,
)  # fmt: skip


def settle(reading: Reading, memory: Memory, book: Book) -> Outcome:
    """The first rule that applies."""
    for rule in RULES:
        if (outcome := rule(reading, memory, book)) is not None:
            return outcome
    raise AssertionError("the last rule always applies")


def register(reading: Reading, book: Book, *, incomplete: bool) -> Outcome:
    """A new report under the number that the message carries, and its receipt in the same commit."""
    message = reading.message
    category, area = book.understanding.category(reading.words), book.understanding.area(reading.words)
    emergency = book.understanding.emergency(reading.words)
    event = ReportRegistered(
        number=message.number,
        message_id=message.message_id,
        channel=message.channel,
        sender_key=message.sender_key,
        conversation=message.conversation,
        received_at=message.received_at,
        text=reading.masked,
        category=category.code,
        category_reason=category.reason,
        due_at=message.received_at + timedelta(hours=_due_hours(category.code, book.pack)),
        area=area.code,
        area_reason=area.reason,
        language=message.language,
        visibility=message.visibility,
        emergency=emergency,
        mentions=(*reading.mentions, *reading.old_numbers),
        incomplete=incomplete,
        attachments=message.attachments,
    )
    values = {"number": message.number}
    values |= {"emergency": book.pack.emergency_number} if emergency else {"calm": "yes"}
    values |= {} if area.code else {"ask_place": "yes"}
    values |= {"incomplete": "yes"} if incomplete else {}
    receipt = _reply(message, "received", values, message.number)
    registered = Emit(topics.REPORTS, message.number, event, "registered")
    reason = f"category: {category.reason}; area: {area.reason}"
    changes = [*_talked_of(message, message.number), _seen(reading, message.number)]
    return Outcome("registered", "new-report", reason, message.number, [registered, receipt], changes)


def _due_hours(category: str, pack: Pack) -> int:
    return pack.categories[category].due_hours if category in pack.categories else pack.due_hours


def settled(message: MessageReceived, outcome: Outcome) -> Emit:
    """The event that says what became of `message`."""
    event = MessageSettled(
        message_id=message.message_id,
        channel=message.channel,
        outcome=outcome.outcome,
        rule=outcome.rule,
        reason=outcome.reason,
        number=outcome.number,
        settled_at=message.received_at,
    )
    return Emit(topics.MESSAGE_SETTLED, message.message_id, event, "settled", derive_id("normalizer", message.message_id, "settled"))


# Longer SMS, part by part.


def part_of_longer_sms(message: MessageReceived, part: KeptPart, memory: Memory) -> Outcome | None:
    """A part waits for the others; the last one lets the whole through (None). A part that comes too late is a follow-up."""
    if late_for(part, memory) is not None:
        return None
    present = set(memory.parts.get(part.long_message, {})) | {part.part}
    assert message.part is not None
    if len(present) < message.part.total:
        return Outcome("part-waiting", "part-of-longer-sms", f"{len(present)} of {message.part.total}", changes=[part])
    return None


def emergency_in_a_part(reading: Reading, part: KeptPart, book: Book) -> Sequence[Emit]:
    """Danger does not wait for the rest of an SMS: 112 at once, and once only however many parts tell of it."""
    if not book.understanding.emergency(reading.words):
        return ()
    values = {"emergency": book.pack.emergency_number}
    return [_reply(reading.message, "emergency", values, "", answers=part.long_message)]


def late_for(part: KeptPart, memory: Memory) -> CutShort | None:
    """The message that was registered without this part. Phones count references to 255: after a day it is another message."""
    cut = memory.cut_short.get(part.long_message)
    fresh = cut is not None and part.received_at <= cut.closed_at + LATE_SECONDS
    return cut if cut is not None and fresh and part.part in cut.missing else None


def joined_message(parts: Sequence[KeptPart]) -> MessageReceived:
    """The parts as one message: it has the id and the number of the lowest part and the time of the first to arrive."""
    ordered = sorted(parts, key=lambda part: part.part)
    text = "".join(part.message.text for part in ordered)
    first = min(ordered, key=lambda part: part.received_at).message.received_at
    return msgspec.structs.replace(ordered[0].message, text=text, part=None, received_at=first)


def long_message_key(message: MessageReceived) -> str:
    """Two citizens may use the same reference at the same time: sender and account are in the key."""
    assert message.part is not None
    return derive_id(message.channel, message.account, message.sender_key, message.part.reference, str(message.part.total))


def kept(message: MessageReceived, place: Place) -> KeptPart:
    """A part as it waits in SQL: its text masked, for it may lie there for minutes."""
    assert message.part is not None
    masked = msgspec.structs.replace(message, text=mask(message.text))
    return KeptPart(long_message_key(message), message.part.number, masked, seconds(message.received_at), place)


def cut_short_change(parts: Sequence[KeptPart], number: str, closed_at: int) -> Sequence[Change]:
    """The whole is registered without some parts: remember which, and drop the rest."""
    total = parts[0].message.part.total if parts[0].message.part else len(parts)
    missing = frozenset(range(1, total + 1)) - {part.part for part in parts}
    return [CutShort(parts[0].long_message, number, missing, closed_at), Joined(parts[0].long_message)]


def late_part(reading: Reading, number: str, book: Book, memory: Memory) -> Outcome:
    """A part that came after its message was registered without it."""
    return _appended(reading, number, "late-part", "part of an SMS that was registered without it", book, memory)


# Pieces of outcomes.


def _appended(
    reading: Reading,
    report: str,
    rule: str,
    reason: str,
    book: Book,
    memory: Memory,
    *,
    is_not_fixed: bool = False,
    by_conversation: bool = False,
) -> Outcome:
    message = reading.message
    event = _appended_event(message, report, reading.masked, not_fixed=is_not_fixed)
    events = [Emit(topics.REPORTS, report, event, "appended")]
    if not is_not_fixed:  # to BELUM the tracker answers, for it knows whether the report can be reopened
        values = {"number": report} | ({"conversation": "yes"} if by_conversation else {}) | _closed(report, message, memory, book)
        values |= {"emergency": book.pack.emergency_number} if book.understanding.emergency(reading.words) else {}
        events.append(_reply(message, "appended", values, report))
    elif book.understanding.emergency(reading.words):
        events.append(_reply(message, "emergency", {"emergency": book.pack.emergency_number}, report))
    # BELUM is said anew of every repair: its text is no repeat, and counts each time.
    said = _counted(message, report) if is_not_fixed else _seen(reading, report)
    return Outcome("appended", rule, reason, report, events, [*_talked_of(message, report), said])


def _appended_event(
    message: MessageReceived, report: str, text: str, *, not_fixed: bool = False, duplicate: bool = False
) -> ReportAppended:
    return ReportAppended(
        number=report,
        message_id=message.message_id,
        channel=message.channel,
        sender_key=message.sender_key,
        conversation=message.conversation,
        received_at=message.received_at,
        text=text,
        alias=message.number,
        not_fixed=not_fixed,
        duplicate=duplicate,
        language=message.language,
        attachments=() if duplicate else message.attachments,
    )


def _asked(
    message: MessageReceived, number: str, reason: str, others: tuple[str, ...] = (), *, mine: bool = False, proven: bool = False
) -> Outcome:
    event = StatusAsked(
        number=number,
        message_id=message.message_id,
        channel=message.channel,
        conversation=message.conversation,
        asked_at=message.received_at,
        others=others,
        mine=mine,
        proven=proven,
        language=message.language,
    )
    return _answered(message, reason, Emit(topics.REPORTS, number, event, "status-asked"), number)


def _answered(message: MessageReceived, reason: str, event: Emit, number: str = "") -> Outcome:
    """A question was answered."""
    return Outcome("status-asked", "status-question", reason, number, [event], [_counted(message, number)])


def _reply(message: MessageReceived, kind: str, values: dict[str, str], number: str, answers: str = "") -> Emit:
    reply_id = derive_id("normalizer", answers or message.message_id, "reply", kind)
    event = ReplyRequested(
        reply_id=reply_id,
        channel=message.channel,
        conversation=message.conversation,
        kind=kind,
        values=values,
        number=number,
        language=message.language,
        requested_at=message.received_at,
    )
    return Emit(topics.reply_requested(message.channel), message.conversation, event, kind, reply_id)


def _said_within_an_hour(message: MessageReceived, memory: Memory) -> int:
    since = minutes_before(message.received_at, 60)
    return sum(seen_at > since for seen_at in memory.seen.get(message.sender_key, {}).values())


def _talked_of(message: MessageReceived, report: str) -> list[Change]:
    now = seconds(message.received_at)
    return [KnownNumber(message.number, report, message.sender_key, now), Conversation(message.conversation, report, now)]


def _seen(reading: Reading, report: str) -> SeenText:
    """The same text again is a repeat."""
    message = reading.message
    return SeenText(message.sender_key, reading.text_hash, report, message.message_id, seconds(message.received_at))


def _counted(message: MessageReceived, report: str) -> SeenText:
    """Counts towards what one sender may say in an hour, each time anew: the text is not remembered."""
    once = derive_id("counted", message.message_id)
    return SeenText(message.sender_key, once, report, message.message_id, seconds(message.received_at))


def _report_of(number: str, memory: Memory) -> str:
    known = memory.numbers.get(number)
    return known.report if known else number


def _is_of_sender(number: str, message: MessageReceived, memory: Memory) -> bool:
    known = memory.numbers.get(number)
    return known is not None and known.sender_key == message.sender_key


def _said_last(message: MessageReceived, memory: Memory) -> Conversation | None:
    """What the citizen wrote of last; nothing, when that was "LAPOR" alone."""
    said = memory.conversations.get(message.conversation)
    return said if said is not None and said.number else None


def _announced(message: MessageReceived, memory: Memory, book: Book) -> Conversation | None:
    """He has just written "LAPOR" alone: a report comes."""
    said = memory.conversations.get(message.conversation)
    return said if said is not None and not said.number and _is_recent(said.last_at, message, book) else None


def _says_that_it_is_still_so(reading: Reading, memory: Memory, book: Book) -> bool:
    """In a few words without a place, to somebody who was told that it is done: "masih gelap pak"."""
    if not reading.still_so or reading.wants_new or book.understanding.area(reading.words).code:
        return False
    return any(_can_be_reopened(told, reading.message, book) for told in _told_before(reading.message, memory))


def _opens_its_own(reading: Reading, memory: Memory, book: Book) -> bool:
    """LAPOR, now or in the message before, and danger; and any message where there are threads."""
    announced = reading.wants_new or _announced(reading.message, memory, book) is not None
    danger = bool(book.understanding.emergency(reading.words))
    return announced or danger or reading.message.channel not in CONVERSATION_CHANNELS


def _is_recent(moment: int, message: MessageReceived, book: Book) -> bool:
    return moment >= minutes_before(message.received_at, book.pack.conversation_minutes)


def _is_a_whole_report(reading: Reading, book: Book) -> bool:
    """It says what and where: as an answer to an old question a new problem would go unnoticed."""
    category, area = book.understanding.category(reading.words), book.understanding.area(reading.words)
    return category.code != OTHER and bool(area.code)


def _question_that_waits(message: MessageReceived, memory: Memory) -> Told | None:
    """Asked in this conversation; of several the latest: the one that the citizen has read last."""
    here = (told for told in _told_before(message, memory) if told.conversation == message.conversation)
    return max((told for told in here if told.status == "unclear"), key=_when_told, default=None)


def _is_meant_anew(seen: SeenText, reading: Reading, memory: Memory, book: Book) -> bool:
    """The same words say something else by what was told, or announced by "LAPOR", since they came first."""
    announced = _announced(reading.message, memory, book)
    if announced is not None and announced.last_at >= seen.seen_at:
        return True
    return any(_makes_it_new(told, seen, reading, memory, book) for told in _told_before(reading.message, memory))


def _makes_it_new(told: Told, seen: SeenText, reading: Reading, memory: Memory, book: Book) -> bool:
    """Said once more, the same words answer a question ("sudah"), or the problem is there again. A phone's repeat does neither."""
    if told.told_at <= seen.seen_at:
        return False
    if told.status == "unclear":
        return not reading.wants_new and not _is_a_whole_report(reading, book)
    return told.number == seen.number and _is_closed(told.number, memory)


def _may_be_not_fixed(message: MessageReceived, memory: Memory, book: Book) -> str:
    """BELUM answers a question, or says of what is done that it is not: of a report in neither state it would say nothing."""
    fits = [told for told in _told_before(message, memory) if told.status == "unclear" or _can_be_reopened(told, message, book)]
    return max(fits, key=_when_told).number if fits else ""


def _told_before(message: MessageReceived, memory: Memory) -> Iterable[Told]:
    """What the sender may have been told of his own reports when he wrote."""
    told = (memory.told.get(number) for number in memory.reports_of.get(message.sender_key, ()))
    return [each for each in told if each is not None and each.told_at <= seconds(message.received_at)]


def _can_be_reopened(told: Told, message: MessageReceived, book: Book) -> bool:
    return told.status == "done" and told.told_at >= seconds(message.received_at) - book.pack.reopen_days * 86_400


def _when_told(told: Told) -> tuple[int, str]:
    return told.told_at, told.number


def _is_closed(report: str, memory: Memory) -> bool:
    """For its reporter: a merged one goes on with the report that it follows."""
    told = memory.told.get(report)
    return told is not None and told.status in CLOSED & TOLD


def _closed(report: str, message: MessageReceived, memory: Memory, book: Book) -> dict[str, str]:
    """What the answer says of a report that nobody works on any longer."""
    if not _is_closed(report, memory):
        return {}
    return {"closed": "yes"} | ({"done": "yes"} if _can_be_reopened(memory.told[report], message, book) else {})
