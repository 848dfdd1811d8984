"""An independent checker: it knows what was sent and acknowledged outside, and reads topics, tables and outgoing mail and SMS."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from kanal_ingest_email.addresses import reply_id_of
from kanal_tracker.tables import reports
from sqlalchemy import select

from kanal import topics
from kanal.events import MessageSettled, ReplySettled, ReportRegistered
from kanal.journal import Journal
from kanal.records import open_record
from tests.pipeline.town import Town, body_of, number_in


@dataclass
class Ledger:
    """What the outside sent and got acknowledged, by sender in order."""

    acknowledged: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Sender → message ids in the order in which he sent them."""
    numbers: dict[str, str] = field(default_factory=dict)
    """Message id → the number promised."""

    def note(self, sender: str, message_id: str, number: str) -> None:
        self.acknowledged[sender].append(message_id)
        self.numbers[message_id] = number

    @property
    def message_ids(self) -> set[str]:
        return {message_id for ids in self.acknowledged.values() for message_id in ids}


@dataclass
class Findings:
    """What was found; empty lists are what a city wants."""

    unsettled: list[str] = field(default_factory=list)
    settled_twice: list[str] = field(default_factory=list)
    without_report: list[str] = field(default_factory=list)
    reports_twice: list[str] = field(default_factory=list)
    out_of_order: list[str] = field(default_factory=list)
    without_receipt: list[str] = field(default_factory=list)
    uncounted_repeats: int = 0
    receipts_repeated: int = 0
    dead_letters: int = 0

    def is_clean(self) -> bool:
        lists = (self.unsettled, self.settled_twice, self.without_report, self.reports_twice, self.out_of_order, self.without_receipt)
        return not any(lists) and not self.uncounted_repeats and not self.dead_letters


def settled_count(journal: Journal, message_ids: set[str]) -> int:
    """How many of these messages are settled so far."""
    return len(message_ids & set(_settlements(journal)))


def check(town: Town, ledger: Ledger) -> Findings:
    """Everything that was promised for the messages of the ledger."""
    findings = Findings()
    with town.journal() as journal:
        settled = _settlements(journal)
        findings.unsettled = sorted(ledger.message_ids - set(settled))
        findings.settled_twice = sorted(message_id for message_id in ledger.message_ids if len(settled.get(message_id, ())) > 1)
        _check_reports(town, journal, ledger, findings)
        _check_order(journal, ledger, findings)
        _check_receipts(town, journal, ledger, findings)
        findings.dead_letters = sum(1 for _ in journal.scan(topics.DEAD_LETTER))
    return findings


def receipts_of(town: Town) -> "Counter[str]":
    """Number → how often its receipt went out, by SMS or mail."""
    texts = [sms["text"] for sms in town.gateway.sent] + [body_of(mail.message) for mail in town.mailbox.messages]
    return Counter(number_in(text) for text in texts if "Laporan diterima" in text)


def _settlements(journal: Journal) -> dict[str, set[str]]:
    """Message id → ids of its different settlements; the same record twice has the same id and is one."""
    found: dict[str, set[str]] = defaultdict(set)
    for stored in journal.scan(topics.MESSAGE_SETTLED):
        opened = open_record(stored)
        assert isinstance(opened.event, MessageSettled)
        found[opened.event.message_id].add(opened.event_id)
    return found


def _check_reports(town: Town, journal: Journal, ledger: Ledger, findings: Findings) -> None:
    registered: dict[str, set[str]] = defaultdict(set)
    for stored in journal.scan(topics.REPORTS):
        event = open_record(stored).event
        if isinstance(event, ReportRegistered):
            registered[event.message_id].add(event.number)
    with town.database() as database, database.read() as connection:
        kept = set(connection.scalars(select(reports.c.number)))
    for message_id, number in ledger.numbers.items():
        if registered[message_id] != {number} or number not in kept:
            (findings.reports_twice if len(registered[message_id]) > 1 else findings.without_report).append(message_id)


def _check_order(journal: Journal, ledger: Ledger, findings: Findings) -> None:
    """First appearances of a sender's messages in their topic are in the order of sending."""
    appeared: dict[str, int] = {}
    for channel in topics.CHANNELS:
        for place, stored in enumerate(journal.scan(topics.message_received(channel))):
            appeared.setdefault(open_record(stored).event_id, place)
    for sender, message_ids in ledger.acknowledged.items():
        places = [appeared.get(message_id, -1) for message_id in message_ids]
        if places != sorted(places) or -1 in places:
            findings.out_of_order.append(sender)


def _check_receipts(town: Town, journal: Journal, ledger: Ledger, findings: Findings) -> None:
    told = receipts_of(town)
    for message_id, number in ledger.numbers.items():
        times = told[number]
        if times == 0:
            findings.without_receipt.append(message_id)
        findings.receipts_repeated += max(0, times - 1)
    counted = {}
    for stored in journal.scan(topics.REPLY_SETTLED):
        event = open_record(stored).event
        assert isinstance(event, ReplySettled)
        counted[event.reply_id] = event.repeats
    sent = Counter(sms["id"].partition("-")[0] for sms in town.gateway.sent)
    sent.update(reply_id_of(str(mail.message["Message-ID"]).strip("<>")) for mail in town.mailbox.messages)
    findings.uncounted_repeats = sum(max(0, times - 1 - counted.get(reply_id, 0)) for reply_id, times in sent.items())
