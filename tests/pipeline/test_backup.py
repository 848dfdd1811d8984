"""Backup under load, SIGKILL, restore into a new directory: nothing acknowledged before it is lost, nothing happens twice."""

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from kanal_all_in_one import backup as backup_module
from kanal_all_in_one.backup import MANIFEST, back_up, restore

from kanal.database import copy_sqlite
from kanal.errors import SetupError
from kanal.events import ReplySettled
from kanal.journal.sqlite import SqliteJournal
from kanal.keys import make_keys
from kanal.records import open_record
from kanal.settings import Settings
from kanal.topics import REPLY_SETTLED, REPORTS
from tests.faults.checker import Ledger, Sent, check, outgoing_since
from tests.faults.observer import Observer
from tests.faults.traffic import Habits, Traffic
from tests.pipeline.town import SECRET, TOKEN, Town
from tests.servers.gateway import SmsGateway
from tests.servers.kanal import Embedded
from tests.servers.mailbox import Mailbox
from tests.servers.processes import wait_until
from tests.servers.root import need_root, small_disk

HABITS = Habits(pause_seconds=0.3, at_most=30)
TEXT = "LAPOR lampu jalan mati di kelurahan Cawang, tiang nomor hilang"


def test_what_was_acknowledged_before_a_backup_under_load_is_all_there_after_a_restore(tmp_path: Path) -> None:
    """Backup while 10 people write, SIGKILL, restore elsewhere, start: what was acknowledged before the backup began, and after the start,
    is settled once and has one report, its number and its answer. What came in between is there whole or not at all, and has its old
    number when it is sent again. Answers that were out before the backup never go out again."""
    with Mailbox() as mailbox, SmsGateway(SECRET) as gateway, ExitStack() as stack:
        town = Town(stack.enter_context(_installation(tmp_path / "first", mailbox, gateway)), mailbox, gateway)
        traffic = Traffic(town, 1, HABITS)
        ledger = traffic.ledger
        traffic.start()
        wait_until(lambda: len(_answered(town)) >= 10, 60, "settlement of the first answers")
        gateway.answer_next(503, 15)  # so that some wait for their answer, whatever the moment
        traffic.wait_for(60)
        told, before = _answered(town), len(ledger.sent)
        made = town.command("backup", str(tmp_path / "backup"))
        assert made.returncode == 0, made.stderr
        traffic.join()
        later = Traffic(town, 2, replace(HABITS, reports_only=True))
        later.ledger = ledger
        later.start()
        later.wait_for(len(ledger.sent) + 30)
        forgotten = town.sms_citizen()
        lost = forgotten.send(TEXT, sms_id="sent-after-the-backup")
        town.kanal.process_of("kanal").kill()

        first, town.kanal = town.kanal, _installation(tmp_path / "second", mailbox, gateway)
        _copy_keys(first.data, town.kanal.data)
        restored = town.command("restore", str(tmp_path / "backup"))
        assert restored.returncode == 0, restored.stderr
        killed, early = len(ledger.sent), outgoing_since(town, 0, 0)
        counts = len(gateway.sent), len(mailbox.messages)
        stack.enter_context(town.kanal)
        later.wait_for(killed + 20)
        later.join()
        observer = Observer(town)
        stack.callback(observer.close)
        wait_until(observer.at_rest, 60, "rest")
        old, new = ({sent.about for sent in part} for part in (ledger.sent[:killed], ledger.sent[killed:]))
        assert len(new) == len(ledger.sent) - killed
        assert not new & {*old, lost["number"]}
        assert town.report(lost["number"]).status_code == 404
        assert forgotten.send(TEXT, sms_id="sent-after-the-backup") == lost
        wait_until(observer.at_rest, 60, "rest")

        kept = {stored.headers["ce_id"] for stored in observer.records}
        gone = [sent for sent in ledger.sent[before:killed] if sent.message_id not in kept]
        again = Sent(forgotten.phone, "sms", "report", lost["message_id"], lost["number"])
        wanted = Ledger([*(sent for sent in ledger.sent if sent not in gone), again])
        late, known = outgoing_since(town, *counts), _answered(town)
        outgoing = {reply_id: answer for reply_id, answer in early.items() if reply_id in known} | late
        assert not check(town, wanted, observer.records, outgoing).breaches()
        assert not observer.regressed
        assert not told & late.keys()
        counted = f"{before} acknowledged before: 0 lost; {killed - before} after: {len(gone)} lost"
        print(f"{counted}; {len(early.keys() & late.keys())} answers repeated; {restored.stdout}")  # noqa: T201


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """A Kanal that has a report with an attachment, and goes on running."""
    with Mailbox() as mailbox, SmsGateway(SECRET) as gateway:
        town = Town(_installation(tmp_path_factory.mktemp("running"), mailbox, gateway), mailbox, gateway)
        with town.kanal:
            citizen = town.mail_citizen()
            citizen.send("Pohon tumbang di kelurahan Menteng", "Pohon")
            citizen.wait_for("Laporan diterima")
            yield town


@pytest.fixture
def backup(running: Town, tmp_path: Path) -> Path:
    back_up(Settings(data=running.kanal.data), tmp_path / "backup")
    return tmp_path / "backup"


def test_what_happens_between_the_copies_of_state_and_journal_is_handled_again(
    running: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state is copied first, so it is never ahead of the journal: a whole report made in between is there after the restore."""
    citizen, promised = running.sms_citizen(), []

    def copy_and_let_a_report_come_in(source: Path, target: Path) -> None:
        copy_sqlite(source, target)
        if not promised:
            promised.append(citizen.send(f"{TEXT} di antara")["number"])
            citizen.wait_for("diterima")

    monkeypatch.setattr(backup_module, "copy_sqlite", copy_and_let_a_report_come_in)
    back_up(Settings(data=running.kanal.data), tmp_path / "backup")
    second = _installation(tmp_path / "second", running.mailbox, running.gateway)
    _copy_keys(running.kanal.data, second.data)
    restore(Settings(data=second.data), tmp_path / "backup")
    with second:
        Town(second, running.mailbox, running.gateway).wait_for_report(promised[0], lambda _report: True)
        citizen.wait_for("diterima", count=2)


def test_a_restored_journal_is_another_one_for_readers_outside(running: Town, backup: Path, tmp_path: Path) -> None:
    """Offsets after its end are given out anew: who stored some beside the old identity sees that they mean nothing any more."""
    _copy_keys(running.kanal.data, tmp_path / "data")
    restored = restore(Settings(data=tmp_path / "data"), backup)
    journals = SqliteJournal(running.kanal.data / "journal.db"), SqliteJournal(tmp_path / "data" / "journal.db")
    assert journals[0].identity(REPORTS) != journals[1].identity(REPORTS)
    assert journals[0].bounds(REPORTS) == journals[1].bounds(REPORTS)
    assert restored.replies_waiting == 0
    assert _tree(tmp_path / "data" / "attachments") == _tree(running.kanal.data / "attachments") != {}
    for journal in journals:
        journal.close()


def test_a_backup_with_keys_needs_nothing_else_and_shows_them_to_nobody(running: Town, tmp_path: Path) -> None:
    """Asked for only: by default the keys are not in it."""
    back_up(Settings(data=running.kanal.data), tmp_path / "backup", with_keys=True)
    (tmp_path / "data" / "keys").mkdir(parents=True)  # empty: as good as none
    restore(Settings(data=tmp_path / "data"), tmp_path / "backup")
    assert _tree(tmp_path / "data" / "keys") == _tree(running.kanal.data / "keys")
    copies = [*(tmp_path / "backup" / "keys").iterdir(), *(tmp_path / "data" / "keys").iterdir()]
    assert {path.stat().st_mode & 0o777 for path in copies} == {0o600}


def test_nobody_else_can_read_what_is_made_and_the_process_keeps_its_umask(running: Town, tmp_path: Path) -> None:
    """Whoever calls these from a program of his own goes on as before."""
    before = os.umask(0o022)
    try:
        back_up(Settings(data=running.kanal.data), tmp_path / "backup", with_keys=True)
        restore(Settings(data=tmp_path / "data"), tmp_path / "backup")
    finally:
        after = os.umask(before)
    assert after == 0o022
    assert {path.stat().st_mode & 0o077 for name in ("backup", "data") for path in (tmp_path / name).rglob("*")} == {0}


def test_a_restore_without_the_right_keys_is_refused(running: Town, backup: Path, tmp_path: Path) -> None:
    """Other keys would give other numbers and could open no address; it is told which are wrong and what to do."""
    settings = Settings(data=tmp_path / "data")
    with pytest.raises(SetupError, match=f"put those of its installation into {settings.keys_directory}"):
        restore(settings, backup)
    make_keys(settings.keys_directory)
    shutil.copy(running.kanal.data / "keys" / "token.key", settings.keys_directory)
    with pytest.raises(SetupError, match=r"not those .*: contacts_private, contacts_public, number, sender$"):
        restore(settings, backup)


def test_a_restore_onto_a_running_kanal_or_onto_data_is_refused(running: Town, backup: Path, tmp_path: Path) -> None:
    """Nothing that is there is written over."""
    with pytest.raises(SetupError, match="another Kanal is using"):
        restore(Settings(data=running.kanal.data), backup)
    _copy_keys(running.kanal.data, tmp_path / "data")
    (tmp_path / "data" / "journal.db").write_bytes(b"somebody's")
    with pytest.raises(SetupError, match=r"not empty \(journal.db\)"):
        restore(Settings(data=tmp_path / "data"), backup)
    assert (tmp_path / "data" / "journal.db").read_bytes() == b"somebody's"


def _flip(path: Path, at: int = -100) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 0xFF
    path.write_bytes(content)


def _replace_in_manifest(backup: Path, old: str, new: str) -> None:
    text = (backup / MANIFEST).read_text()
    assert old in text
    (backup / MANIFEST).write_text(text.replace(old, new))


def _damage_with_fitting_checksum(backup: Path) -> None:
    """As a machine with bad memory writes it: checksum and content agree, and no SQLite can read it."""
    old = hashlib.sha256((backup / "journal.db").read_bytes()).hexdigest()
    for page in range(1, 8):
        _flip(backup / "journal.db", 4096 * page + 3)
    _replace_in_manifest(backup, old, hashlib.sha256((backup / "journal.db").read_bytes()).hexdigest())


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a byte of the journal": (lambda backup: _flip(backup / "journal.db"), "journal.db is not what was written"),
    "the state cut short": (lambda backup: os.truncate(backup / "state.db", 4096), "state.db is not what was written"),
    "an attachment gone": (lambda backup: next((backup / "attachments").rglob("raw")).unlink(), "raw is not there"),
    "unsound": (_damage_with_fitting_checksum, "journal.db is no sound SQLite file"),
    "no manifest": (lambda backup: (backup / MANIFEST).unlink(), "is no backup"),
    "half a manifest": (lambda backup: os.truncate(backup / MANIFEST, 100), "damaged: manifest.json"),
    "a newer format": (lambda backup: _replace_in_manifest(backup, '"format": 1', '"format": 2'), "has format 2"),
    "a way out": (lambda backup: _replace_in_manifest(backup, '"journal.db"', '"../journal.db"'), "leads out of it"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_or_unknown_backup_is_refused_and_leaves_nothing(running: Town, backup: Path, tmp_path: Path, damage: str) -> None:
    """It is told what is wrong; the data directory can be used for the next try."""
    do_it, told = DAMAGES[damage]
    do_it(backup)
    _copy_keys(running.kanal.data, tmp_path / "data")
    with pytest.raises(SetupError, match=re.escape(told)):
        restore(Settings(data=tmp_path / "data"), backup)
    assert {path.name for path in (tmp_path / "data").iterdir()} <= {"keys", "lock"}


def test_a_backup_never_writes_over_another_and_a_full_disk_leaves_nothing(running: Town, backup: Path, tmp_path: Path) -> None:
    """What looks like a backup is one."""
    settings = Settings(data=running.kanal.data)
    before = _tree(backup)
    with pytest.raises(SetupError, match="no empty directory"):
        back_up(settings, backup)
    assert _tree(backup) == before
    need_root("a small disk")
    with small_disk(tmp_path / "small", "64k") as small:
        with pytest.raises(SetupError, match=r"SQLITE_FULL|No space left"):
            back_up(settings, small / "backup")
        assert list(small.iterdir()) == []


def _tree(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def _installation(directory: Path, mailbox: Mailbox, gateway: SmsGateway) -> Embedded:
    environment = {
        "KANAL_SMTP_RELAY": f"127.0.0.1:{mailbox.port}", "KANAL_SMS_MAIN_SECRET": SECRET, "KANAL_SMS_MAIN_SEND_URL": gateway.url,
        "KANAL_STAFF_TOKEN": TOKEN,
    }  # fmt: skip
    return Embedded(directory, environment)


def _answered(town: Town) -> set[str]:
    """Ids of the answers that Kanal knows to be sent."""
    with town.journal() as journal:
        events = [open_record(stored).event for stored in journal.scan(REPLY_SETTLED)]
    return {event.reply_id for event in events if isinstance(event, ReplySettled) and event.outcome == "sent"}


def _copy_keys(source: Path, target: Path) -> None:
    shutil.copytree(source / "keys", target / "keys")
