"""The outbox and the outbox folder."""

import errno
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import select

from kanal import stage_tables, topics
from kanal.database import Database
from kanal.errors import JournalAway, TemporaryFailure
from kanal.journal import Place, Record
from kanal.journal.sqlite import SqliteJournal
from kanal.outbox import Outbox
from kanal.outgoing import keep_file

HERE, THERE = Place(topics.REPORTS, 0), Place(topics.REPORTS, 1)


class FakeJournal:
    """Keeps what is appended, or refuses."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.away = False

    def append(self, records: Sequence[Record], timeout_seconds: float = 10.0) -> None:
        if self.away:
            raise JournalAway("away")
        self.records += records


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/state.db")
    database.create_tables(stage_tables.metadata)
    yield database
    database.close()


def record(key: str, value: bytes | None = b"{}") -> Record:
    return Record(topic=topics.REPORT_UPDATED, key=key, value=value, headers={"ce_id": key, "teks": "é"})


def add(outbox: Outbox, database: Database, *keys: str, place: Place = HERE) -> None:
    with database.begin() as connection:
        added = outbox.add(connection, [(place, record(key)) for key in keys])
    outbox.committed(added)


def rows(database: Database) -> list[str]:
    with database.read() as connection:
        return list(connection.scalars(select(stage_tables.outbox.c.key).order_by(stage_tables.outbox.c.seq)))


def test_rows_go_only_after_the_journal_has_acknowledged(database: Database) -> None:
    """Written with the decision; appended; deleted by the next transaction or when idle."""
    journal = FakeJournal()
    outbox = Outbox("o", database, journal)  # type: ignore[arg-type]
    add(outbox, database, "a", "b")
    outbox.tidy()
    assert (rows(database), journal.records) == (["a", "b"], [])
    journal.away = True
    with pytest.raises(JournalAway):
        outbox.flush()
    outbox.tidy()
    assert rows(database) == ["a", "b"]
    journal.away = False
    outbox.flush()
    add(outbox, database, "c")
    assert rows(database) == ["c"]
    outbox.flush()
    outbox.tidy()
    assert rows(database) == []
    assert [each.key for each in journal.records] == ["a", "b", "c"]


def test_a_transaction_that_is_rolled_back_appends_nothing(database: Database) -> None:
    """The decision did not happen."""
    journal = FakeJournal()
    outbox = Outbox("o", database, journal)  # type: ignore[arg-type]
    with pytest.raises(ZeroDivisionError), database.begin() as connection:
        outbox.add(connection, [(HERE, record("a"))])
        raise ZeroDivisionError
    outbox.flush()
    assert (rows(database), journal.records) == ([], [])


def test_a_rolled_back_deletion_is_made_up_for(database: Database) -> None:
    """Rows acknowledged before a transaction that failed are deleted by a later one, or appended again with their ids: never lost."""
    journal = FakeJournal()
    outbox = Outbox("o", database, journal)  # type: ignore[arg-type]
    add(outbox, database, "a")
    outbox.flush()
    with pytest.raises(ZeroDivisionError), database.begin() as connection:
        outbox.add(connection, [(HERE, record("b"))])
        raise ZeroDivisionError
    add(outbox, database, "c")
    outbox.flush()
    outbox.tidy()
    assert [each.key for each in journal.records] == ["a", "c"]
    assert set(rows(database)) <= {"a"}


def test_what_a_dead_run_left_is_appended_in_its_order_and_only_for_its_place(database: Database) -> None:
    """With key, value and headers as they were, empty values too; other owners and places are left alone."""
    dead = Outbox("o", database, FakeJournal())  # type: ignore[arg-type]
    add(dead, database, "a", "b")
    add(dead, database, "elsewhere", place=THERE)
    other = Outbox("other", database, FakeJournal())  # type: ignore[arg-type]
    add(other, database, "other")
    with database.begin() as connection:
        dead.add(connection, [(HERE, record("removal", None))])
    journal = FakeJournal()
    heir = Outbox("o", database, journal)  # type: ignore[arg-type]
    assert heir.flush_left_behind(HERE) == 3
    assert journal.records == [record("a"), record("b"), record("removal", None)]
    assert rows(database) == ["elsewhere", "other"]
    assert heir.flush_left_behind(HERE) == 0


def test_rows_left_behind_stay_while_the_journal_is_away(database: Database) -> None:
    """They are tried again."""
    add(Outbox("o", database, FakeJournal()), database, "a")  # type: ignore[arg-type]
    journal = FakeJournal()
    journal.away = True
    with pytest.raises(TemporaryFailure):
        Outbox("o", database, journal).flush_left_behind(HERE)  # type: ignore[arg-type]
    assert rows(database) == ["a"]


def test_a_real_journal_takes_them(database: Database, tmp_path: Path) -> None:
    """Through the same contract."""
    journal = SqliteJournal(tmp_path / "journal.db")
    try:
        outbox = Outbox("o", database, journal)
        add(outbox, database, "a", "b")
        outbox.flush()
        assert [stored.key for stored in journal.scan(topics.REPORT_UPDATED)] == ["a", "b"]
    finally:
        journal.close()


def test_a_kept_file_is_whole_and_the_same_name_replaces_it(tmp_path: Path) -> None:
    """No half-written file is seen beside it; the folder is private."""
    folder = tmp_path / "outbox"
    keep_file(folder, "r1.json", b"one")
    keep_file(folder, "r1.json", b"two")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"r1.json": b"two"}
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_full_disk_keeps_the_reply_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A temporary failure: the sender tries again."""

    def full(_path: Path, _content: bytes) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(TemporaryFailure):
        keep_file(tmp_path, "r1.json", b"one")
