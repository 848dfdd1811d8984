"""Repair: what is set aside is kept whole and can be driven again, as often as one likes, without anything happening twice."""

import uuid
from datetime import UTC, datetime
from pathlib import Path

from kanal_tracker.tables import reports
from sqlalchemy import func, select

from kanal import topics
from kanal.events import MessageReceived, MessageSettled
from kanal.ids import derive_id
from kanal.journal import Journal
from kanal.keys import read_keys
from kanal.numbers import number_for
from kanal.records import message_records, open_record
from tests.pipeline.town import Town
from tests.servers.kanal import KanalProcess
from tests.servers.processes import wait_until

LETTERS = 1_000
BUG = """
import kanal_normalizer.rules as rules
sound = rules.settle
def settle(reading, memory, book):
    if "saluran mampet nomor" in reading.text:
        raise KeyError("a bug of this release")
    return sound(reading, memory, book)
rules.settle = settle
"""


def test_a_thousand_dead_letters_redriven_twice_are_a_thousand_reports(town: Town, tmp_path: Path) -> None:
    """A release with a bug sets a thousand messages aside; after the mend, driven twice, each is one report with its number."""
    (tmp_path / "sitecustomize.py").write_text(BUG)
    normalizer = town.kanal.process_of("normalizer")
    _restart(normalizer, PYTHONPATH=str(tmp_path))
    number_key = read_keys(town.kanal.data / "keys").number
    messages = [_message(index, number_key) for index in range(LETTERS)]
    wanted, numbers = {message.message_id for message in messages}, {message.number for message in messages}
    with town.journal() as journal:
        journal.append([message_records(message, "ingest-sms") for message in messages])
        wait_until(lambda: _dead(town) >= LETTERS, 60, "a thousand dead letters")
        neighbour = town.sms_citizen()
        neighbour.send("LAPOR pohon tumbang di kelurahan Menteng")
        neighbour.wait_for("Laporan diterima")
        assert settled_count(journal, wanted) == 0
        _restart(normalizer, PYTHONPATH="")
        for _ in range(2):
            driven = town.command("redrive", "--cause", "bug-KeyError")
            assert driven.returncode == 0, driven.stderr
            assert f"{LETTERS} records redriven" in driven.stdout
        wait_until(lambda: settled_count(journal, wanted) == LETTERS, 90, "a settlement for each")
    wait_until(lambda: _registered(town, numbers) == LETTERS, 90, "a report for each")
    assert _dead(town) == LETTERS


def _restart(process: KanalProcess, **environment: str) -> None:
    process.stop()
    process.environment |= environment
    process.start()


def _message(index: int, number_key: bytes) -> MessageReceived:
    message_id = derive_id("sms", "main", f"{uuid.uuid4().hex}-{index}")
    return MessageReceived(
        message_id=message_id,
        channel="sms",
        account="main",
        sender_key=f"sender-{index}-{message_id[:6]}",
        conversation=f"conversation-{index}-{message_id[:6]}",
        received_at=datetime.now(UTC),
        text=f"LAPOR saluran mampet nomor {index}",
        number=number_for(message_id, number_key, "JK"),
    )


def settled_count(journal: Journal, message_ids: set[str]) -> int:
    """How many of these messages are settled so far."""
    settlements = (open_record(stored).event for stored in journal.scan(topics.MESSAGE_SETTLED))
    return len(message_ids & {event.message_id for event in settlements if isinstance(event, MessageSettled)})


def _dead(town: Town) -> int:
    with town.journal() as journal:
        return sum(1 for _ in journal.scan(topics.DEAD_LETTER))


def _registered(town: Town, numbers: set[str]) -> int:
    with town.database() as database, database.read() as connection:
        return connection.scalar(select(func.count()).where(reports.c.number.in_(numbers))) or 0
