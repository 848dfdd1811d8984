"""The independent checker: it knows what was sent and acknowledged outside, and reads topics, tables and outgoing mail and SMS.

It knows the words of answers and the shape of events, but none of the rules by which ids are derived.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from sqlalchemy import bindparam, text

from kanal.journal import Stored
from kanal.topics import CHANNELS, DEAD_LETTER, MESSAGE_SETTLED, REPLY_SETTLED, REPORTS, message_received, reply_requested
from tests.pipeline.town import Town, body_of


class Expected(NamedTuple):
    """What must become of a message of this kind."""

    outcome: str
    """As `message-settled` says it."""
    event: str
    """What it is in `reports`."""
    words: str
    """What the answer says about the number."""


KINDS = {
    "report": Expected("registered", "kanal.report-registered.v1", "Laporan diterima. Nomor: {}"),
    "follow-up": Expected("appended", "kanal.report-appended.v1", "ditambahkan ke laporan {}"),
    "question": Expected("status-asked", "kanal.status-asked.v1", "Laporan {}: "),
    "repeat": Expected("duplicate", "kanal.report-appended.v1", "Pesan yang sama sudah kami terima. Nomor: {}"),
}


class Sent(NamedTuple):
    """One message that was acknowledged."""

    sender: str
    """Telephone or mail address."""
    channel: str
    kind: str
    message_id: str
    about: str
    """The number that the answer must name; of a report the one that was promised."""


@dataclass
class Ledger:
    """What the outside sent and got acknowledged, by sender in order."""

    sent: list[Sent] = field(default_factory=list)
    dead: "Counter[tuple[str, str]]" = field(default_factory=Counter)
    """Dead letters that must be there: stage and key of the original."""
    allowed: set[str] = field(default_factory=set)
    """Ids of records that the fault itself put into topics."""
    unreachable: set[str] = field(default_factory=set)
    """Senders to whom no answer gets through, for ever."""

    def of_senders(self) -> Mapping[str, list[Sent]]:
        found: dict[str, list[Sent]] = defaultdict(list)
        for sent in self.sent:
            found[sent.sender].append(sent)
        return found


@dataclass
class Findings:
    """What was found; empty lists are what a city wants."""

    unsettled: list[str] = field(default_factory=list)
    settled_twice: list[str] = field(default_factory=list)
    settled_otherwise: list[str] = field(default_factory=list)
    not_in_reports: list[str] = field(default_factory=list)
    twice_in_reports: list[str] = field(default_factory=list)
    not_in_tracker: list[str] = field(default_factory=list)
    out_of_order: list[str] = field(default_factory=list)
    without_answer: list[str] = field(default_factory=list)
    answered_twice: list[str] = field(default_factory=list)
    """Two different answers to one message."""
    without_input: list[str] = field(default_factory=list)
    repeats_uncounted: list[str] = field(default_factory=list)
    """Answers that went out more often than `reply-settled` says."""
    dead_letters_wrong: list[str] = field(default_factory=list)
    offsets_back: list[str] = field(default_factory=list)
    answers_repeated: int = 0
    """Answers that went out again after a crash; counted by Kanal, so no breach."""

    def breaches(self) -> dict[str, list[str]]:
        """The promises that were not kept, each with what broke it."""
        lists = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: found for name, found in lists.items() if isinstance(found, list) and found}


class Outgoing(NamedTuple):
    """One answer as it reached somebody: an SMS in parts is one."""

    to: str
    text: str
    times: int


def check(town: Town, ledger: Ledger, records: Sequence[Stored], outgoing: Mapping[str, Outgoing]) -> Findings:
    """Everything that was promised for the messages of the ledger, from what came since the run began."""
    findings = Findings()
    _check_settlements(ledger, records, findings)
    _check_reports(ledger, records, findings)
    _check_tracker(town, ledger, findings)
    _check_order(ledger, records, findings)
    _check_answers(ledger, outgoing, findings)
    _check_repeats(records, outgoing, findings)
    _check_dead_letters(ledger, records, findings)
    _check_origins(ledger, records, findings)
    return findings


def outgoing_since(town: Town, sms: int, mail: int) -> dict[str, Outgoing]:
    """Reply id → the answer, of what went out after so many SMS and mails."""
    texts: dict[str, dict[str, str]] = defaultdict(dict)
    times: Counter[str] = Counter()
    to: dict[str, str] = {}
    for each in town.gateway.sent[sms:]:
        reply_id = each["id"].partition("-")[0]
        texts[reply_id][each["id"]] = re.sub(r"^\(\d+/\d+\) ", "", each["text"])
        times[each["id"]] += 1
        to[reply_id] = each["to"]
    for received in town.mailbox.messages[mail:]:
        reply_id = re.split("[.@]", str(received.message["Message-ID"]).strip("<>"))[0]
        texts[reply_id][reply_id] = body_of(received.message)
        times[reply_id] += 1
        to[reply_id] = received.recipients[0]
    return {
        reply_id: Outgoing(to[reply_id], " ".join(text for _, text in sorted(parts.items())), max(times[part] for part in parts))
        for reply_id, parts in texts.items()
    }


def _check_settlements(ledger: Ledger, records: Sequence[Stored], findings: Findings) -> None:
    settled: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for stored in _of(records, MESSAGE_SETTLED):
        said = _said(stored)
        settled[said["message_id"]][stored.headers["ce_id"]] = said
    for sent in ledger.sent:
        said_of = settled.get(sent.message_id, {})
        if not said_of:
            findings.unsettled.append(sent.message_id)
        elif len(said_of) > 1:
            findings.settled_twice.append(sent.message_id)
        for said in said_of.values():
            if (said["outcome"], said.get("number", "")) != (KINDS[sent.kind].outcome, sent.about):
                findings.settled_otherwise.append(f"{sent.message_id}: {sent.kind} became {said['outcome']}, {said.get('rule')}")


def _check_reports(ledger: Ledger, records: Sequence[Stored], findings: Findings) -> None:
    told: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for stored in _of(records, REPORTS):
        said = _said(stored)
        told[said.get("message_id", ""), stored.headers.get("ce_type", ""), said.get("number", "")].add(stored.headers["ce_id"])
    for sent in ledger.sent:
        ids = told.get((sent.message_id, KINDS[sent.kind].event, sent.about), set())
        if not ids:
            findings.not_in_reports.append(sent.message_id)
        of_message = set().union(*(found for (message_id, _, _), found in told.items() if message_id == sent.message_id))
        if len(of_message) > 1:
            findings.twice_in_reports.append(sent.message_id)


def _check_tracker(town: Town, ledger: Ledger, findings: Findings) -> None:
    shown = {(sent.about, sent.message_id) for sent in ledger.sent if sent.kind in ("report", "follow-up")}
    numbers = bindparam("numbers", [number for number, _ in shown], expanding=True)
    with town.database() as database, database.read() as connection:
        kept = connection.execute(text("SELECT number FROM tracker_reports WHERE number IN :numbers").bindparams(numbers)).scalars()
        there = set(kept)
        query = text("SELECT number, message_id FROM tracker_messages WHERE number IN :numbers").bindparams(numbers)
        messages = {(row.number, row.message_id) for row in connection.execute(query)}
    findings.not_in_tracker = sorted(f"{number} {message_id}" for number, message_id in shown - messages)
    findings.not_in_tracker += sorted({number for number, _ in shown} - there)
    unknown = {message_id for _, message_id in messages} - {sent.message_id for sent in ledger.sent} - ledger.allowed
    findings.without_input += sorted(f"tracker: {message_id}" for message_id in unknown)


def _check_order(ledger: Ledger, records: Sequence[Stored], findings: Findings) -> None:
    """First appearances are in the order of sending: of a sender's messages in their topic, of a report's events in `reports`."""
    arrived: dict[str, int] = {}
    told: dict[str, int] = {}
    for place, stored in enumerate(records):
        if stored.topic in map(message_received, CHANNELS):
            arrived.setdefault(stored.headers.get("ce_id", ""), place)
        elif stored.topic == REPORTS:
            told.setdefault(_said(stored).get("message_id", ""), place)
    of_report: dict[str, list[Sent]] = defaultdict(list)
    for sent in ledger.sent:
        of_report[sent.about].append(sent)
    for groups, appeared in ((ledger.of_senders(), arrived), (of_report, told)):
        for name, messages in groups.items():
            places = [appeared[sent.message_id] for sent in messages if sent.message_id in appeared]
            if places != sorted(places):
                findings.out_of_order.append(name)
    findings.unsettled += [f"{sent.message_id}: not in the journal" for sent in ledger.sent if sent.message_id not in arrived]


def _check_answers(ledger: Ledger, outgoing: Mapping[str, Outgoing], findings: Findings) -> None:
    wanted = Counter(
        (sent.sender, KINDS[sent.kind].words.format(sent.about)) for sent in ledger.sent if sent.sender not in ledger.unreachable
    )
    got: Counter[tuple[str, str]] = Counter()
    phrases: dict[str, set[str]] = defaultdict(set)
    for sender, phrase in wanted:
        phrases[sender].add(phrase)
    for answer in outgoing.values():
        said = [phrase for phrase in phrases.get(answer.to, ()) if phrase in answer.text]
        if not said:
            findings.without_input.append(f"to {answer.to}: {answer.text[:60]}")
        got.update((answer.to, phrase) for phrase in said)
    findings.without_answer = [" ".join(each) for each in (wanted - got).elements()]
    findings.answered_twice = [" ".join(each) for each in (got - wanted).elements()]


def _check_repeats(records: Sequence[Stored], outgoing: Mapping[str, Outgoing], findings: Findings) -> None:
    counted: dict[str, int] = {}
    for stored in _of(records, REPLY_SETTLED):
        said = _said(stored)
        counted[said["reply_id"]] = max(said.get("repeats", 0), counted.get(said["reply_id"], 0))
    for reply_id, answer in outgoing.items():
        findings.answers_repeated += answer.times - 1
        if reply_id not in counted:
            findings.repeats_uncounted.append(f"{reply_id}: sent, but not settled")
        elif answer.times - 1 > counted[reply_id]:
            findings.repeats_uncounted.append(f"{reply_id}: {answer.times} times, {counted[reply_id]} counted")


def _check_dead_letters(ledger: Ledger, records: Sequence[Stored], findings: Findings) -> None:
    letters = {stored.headers["ce_id"]: (_said(stored)["stage"], stored.key) for stored in _of(records, DEAD_LETTER)}
    found = Counter(letters.values())
    findings.dead_letters_wrong = [f"missing: {each}" for each in (ledger.dead - found).elements()]
    findings.dead_letters_wrong += [f"not wanted: {each}" for each in (found - ledger.dead).elements()]


def _check_origins(ledger: Ledger, records: Sequence[Stored], findings: Findings) -> None:
    """Each record says in its trace which message it comes from; that message must have been sent."""
    known = {sent.message_id for sent in ledger.sent} | ledger.allowed
    watched = {MESSAGE_SETTLED, REPORTS, *map(message_received, CHANNELS), *map(reply_requested, CHANNELS)}
    for stored in records:
        trace = stored.headers.get("traceparent", "--").split("-")[1]
        if stored.topic in watched and not {trace, stored.headers.get("ce_id", "")} & known:
            findings.without_input.append(f"{stored.topic}/{stored.partition}@{stored.offset}")


def _of(records: Iterable[Stored], topic: str) -> Iterable[Stored]:
    return (stored for stored in records if stored.topic == topic)


def _said(stored: Stored) -> dict[str, Any]:
    try:
        said = json.loads(stored.value or b"{}")
    except (ValueError, RecursionError):  # poison
        return {}
    return said if isinstance(said, dict) else {}
