"""The spool and the intake: what adapters hand in is acknowledged, kept and passed on in order while the journal is away."""

import asyncio
import random
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path

import pytest
from pysqlite3 import dbapi2 as sqlite

from kanal.errors import JournalAway, RecordTooLarge, SetupError, SpoolFull
from kanal.journal import MAX_RECORD_BYTES, Record, refuse_too_large
from kanal.journal.spool import Intake, Spool
from tests.journal.reading import by_key, ids, record, records
from tests.servers.processes import wait_until

PLENTY = 10_000_000


class FakeJournal:
    """Keeps records in a list. `away`: refuses. `silent`: takes them but tells nobody until `speak`."""

    def __init__(self) -> None:
        self.kept: list[Record] = []
        self.away = False
        self.silent = False
        self.untold: list[Future[None]] = []

    def submit(self, records: Sequence[Record]) -> "Future[None]":
        refuse_too_large(records)
        done: Future[None] = Future()
        if self.away:
            done.set_exception(JournalAway())
            return done
        self.kept.extend(records)
        if self.silent:
            self.untold.append(done)
        else:
            done.set_result(None)
        return done

    def append(self, records: Sequence[Record], timeout_seconds: float = 10.0) -> None:
        self.submit(records).result(0)

    def speak(self) -> None:
        self.silent = False
        for done in self.untold:
            done.set_result(None)


@pytest.fixture
def journal() -> FakeJournal:
    return FakeJournal()


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = Spool(tmp_path / "spool.db", PLENTY)
    yield spool
    spool.close()


@pytest.fixture
def intake(journal: FakeJournal, spool: Spool) -> Iterator[Intake]:
    intake = Intake("ingest-sms", journal, spool)  # type: ignore[arg-type]
    yield intake
    intake.close()


def take(intake: Intake, *handed_in: Record, spool: bool = True, patience_seconds: float = 3.0) -> None:
    asyncio.run(intake.take(handed_in, spool=spool, patience_seconds=patience_seconds))


def wait_until_drained(spool: Spool) -> None:
    wait_until(lambda: spool.count == 0, 20, "an empty spool")


# The spool


def test_the_spool_gives_back_what_was_put_in_order_also_after_a_restart(tmp_path: Path) -> None:
    """What was put is on disk, whole, in order; what was dropped stays dropped."""
    path = tmp_path / "spool" / "ingest-sms.db"
    put = [Record(topic="t", key="洪水", value=None, headers={"x": "é"}), Record(topic="t", key="", value=b"\x00\xff", headers={})]
    spool = Spool(path, PLENTY)
    spool.put([record("gone")])
    spool.drop(spool.oldest()[0])
    spool.put(put[:1])
    spool.put(put[1:])
    spool.close()
    again = Spool(path, PLENTY)
    assert again.count == 2
    assert again.oldest()[1] == put
    again.close()


def test_numbers_of_the_spool_are_not_given_twice(spool: Spool) -> None:
    """Dropping up to a number that the journal acknowledged never drops what came later."""
    spool.put([record("a", 0)])
    up_to, _ = spool.oldest()
    spool.drop(up_to)
    spool.put([record("a", 1)])
    spool.drop(up_to)
    assert ids(spool.oldest()[1]) == ["a/1"]


def test_a_full_spool_refuses_all_of_a_call_and_takes_again_when_there_is_room(tmp_path: Path) -> None:
    """The bound counts bytes of records, holds after a restart, and a call is kept whole or not at all."""
    three = [record("a", number, size=1_000) for number in (2, 3, 4)]
    size = three[0].size()
    spool = Spool(tmp_path / "spool.db", 3 * size)
    spool.put(records(["a"], 1))
    for _ in range(2):
        with pytest.raises(SpoolFull):
            spool.put(three)
        assert spool.count == 1
        spool.close()
        spool = Spool(tmp_path / "spool.db", 3 * size)
    spool.drop(spool.oldest()[0])
    spool.put(three)
    assert spool.count == 3
    spool.close()


def test_a_second_process_on_the_same_spool_is_refused(tmp_path: Path, spool: Spool) -> None:
    """Two relays on one queue would pass records on twice and out of order; the message says what to do."""
    with pytest.raises(SetupError, match="KANAL_DATA"):
        Spool(tmp_path / "spool.db", PLENTY)
    spool.close()
    Spool(tmp_path / "spool.db", PLENTY).close()


def test_a_full_disk_is_a_full_spool(spool: Spool) -> None:
    """The webhook's sender is told to come again; nothing of the call is kept."""
    spool.put([record("a", 0)])
    pages = spool._connection.execute("PRAGMA page_count").fetchone()[0]
    spool._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(SpoolFull, match="cannot write"):
        spool.put([record("a", 1), record("a", 2, size=100_000)])
    spool._connection.execute("PRAGMA max_page_count = 1000000")
    spool.put([record("a", 3)])
    assert ids(spool.oldest()[1]) == ["a/0", "a/3"]


# The intake


def test_while_the_journal_answers_nothing_is_spooled(intake: Intake, journal: FakeJournal, spool: Spool) -> None:
    """The normal way costs no second disk write."""
    take(intake, record("a", 0), record("a", 1))
    assert ids(journal.kept) == ["a/0", "a/1"]
    assert spool.count == 0


def test_while_the_journal_is_away_records_are_acknowledged_and_passed_on_later(intake: Intake, journal: FakeJournal, spool: Spool) -> None:
    """Away is normal: the citizen's message is taken all the same, and reaches the journal when it is back."""
    journal.away = True
    take(intake, record("a", 0), record("b", 0))
    assert (spool.count, journal.kept) == (2, [])
    journal.away = False
    wait_until_drained(spool)
    assert ids(journal.kept) == ["a/0", "b/0"]


def test_a_journal_that_does_not_answer_in_time_is_away(intake: Intake, journal: FakeJournal, spool: Spool) -> None:
    """The record is spooled and so lands twice, under one id."""
    journal.silent = True
    take(intake, record("a"), patience_seconds=0.05)
    journal.speak()
    wait_until_drained(spool)
    assert ids(journal.kept) == ["a/0", "a/0"]


def test_while_something_is_spooled_everything_goes_through_the_spool(journal: FakeJournal, spool: Spool) -> None:
    """A message must not overtake the spooled one of the same sender, though the journal would take it."""
    spool.put([record("a", 0)])
    intake = Intake("ingest-sms", _Stuck(journal), spool)  # type: ignore[arg-type]
    take(intake, record("a", 1), record("b", 0))
    assert journal.kept == []
    assert ids(spool.oldest()[1]) == ["a/0", "a/1", "b/0"]
    intake.close()


class _Stuck:
    """The journal answers the intake but not yet the relay."""

    def __init__(self, journal: FakeJournal) -> None:
        self.submit = journal.submit

    def append(self, _records: Sequence[Record]) -> None:
        raise JournalAway


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_senders_order_is_kept_whenever_the_journal_goes_and_comes_back(
    intake: Intake, journal: FakeJournal, spool: Spool, seed: int
) -> None:
    """First appearances in the journal are in the order in which each sender was acknowledged; nothing is missing."""
    dice = random.Random(seed)
    handed_in: list[Record] = []

    async def send(sender: str) -> None:
        for number in range(40):
            journal.away = dice.random() < 0.3
            one = record(sender, number)
            await intake.take([one])
            handed_in.append(one)
            await asyncio.sleep(0)

    async def everybody() -> None:
        await asyncio.gather(*(send(f"sender-{number}") for number in range(5)))

    asyncio.run(everybody())
    journal.away = False
    wait_until_drained(spool)
    first_seen = {each.headers["ce_id"]: each for each in journal.kept}
    assert by_key(first_seen.values()) == by_key(handed_in)


def test_what_is_spooled_survives_a_restart_and_is_passed_on_then(tmp_path: Path, journal: FakeJournal) -> None:
    """Stopping does not wait for the journal; the next start passes on what the last one acknowledged."""
    journal.away = True
    first = Intake("ingest-sms", journal, Spool(tmp_path / "spool.db", PLENTY))  # type: ignore[arg-type]
    take(first, *records(["a", "b"], 600))
    first.close()
    journal.away = False
    spool = Spool(tmp_path / "spool.db", PLENTY)
    assert spool.count == 1200
    second = Intake("ingest-sms", journal, spool)  # type: ignore[arg-type]
    wait_until_drained(spool)
    assert journal.kept == records(["a", "b"], 600)
    second.close()


def test_when_the_spool_is_full_too_the_caller_is_told(tmp_path: Path, journal: FakeJournal) -> None:
    """Only then is a message refused, and it can be brought again."""
    journal.away = True
    intake = Intake("ingest-sms", journal, Spool(tmp_path / "spool.db", 100))  # type: ignore[arg-type]
    with pytest.raises(SpoolFull):
        take(intake, record("a", size=1_000))
    intake.close()


def test_without_leave_to_spool_the_journal_itself_must_have_the_record(intake: Intake, journal: FakeJournal, spool: Spool) -> None:
    """SMTP's sender keeps a mail that was not taken, so it is told the truth."""
    journal.away = True
    with pytest.raises(JournalAway):
        take(intake, record("a"), spool=False)
    assert spool.count == 0


def test_a_record_too_large_is_refused_and_never_spooled(journal: FakeJournal, spool: Spool) -> None:
    """It would block the spool for ever; also when everything goes through the spool."""
    spool.put([record("a", 0)])
    intake = Intake("ingest-sms", _Stuck(journal), spool)  # type: ignore[arg-type]
    with pytest.raises(RecordTooLarge):
        take(intake, record("a", 1), record("b", size=MAX_RECORD_BYTES))
    assert spool.count == 1
    intake.close()


def test_a_client_that_hangs_up_on_a_slow_journal_takes_back_nothing(intake: Intake, journal: FakeJournal, spool: Spool) -> None:
    """What was handed in goes its way though nobody waits for the answer, and the next client is served as ever."""
    journal.silent = True

    async def hang_up() -> None:
        taking = asyncio.create_task(intake.take([record("a", 0)]))
        await asyncio.to_thread(wait_until, lambda: bool(journal.kept), 20, "the record in the journal")
        taking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await taking

    asyncio.run(hang_up())
    assert [done.cancelled() for done in journal.untold] == [False]
    journal.speak()
    take(intake, record("a", 1))
    wait_until_drained(spool)
    assert ids(journal.kept) == ["a/0", "a/1"]


def test_a_client_that_hangs_up_on_a_slow_spool_takes_back_nothing(
    intake: Intake, journal: FakeJournal, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record on its way to the local disk gets there."""
    put, entered, release = spool.put, threading.Event(), threading.Event()

    def slow_put(records: Sequence[Record]) -> None:
        entered.set()
        release.wait(20)
        put(records)

    monkeypatch.setattr(spool, "put", slow_put)
    journal.away = True

    async def hang_up() -> None:
        taking = asyncio.create_task(intake.take([record("a", 0)]))
        await asyncio.to_thread(entered.wait, 20)
        taking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await taking
        release.set()

    asyncio.run(hang_up())
    assert spool.count == 1
    journal.away = False
    wait_until_drained(spool)
    assert ids(journal.kept) == ["a/0"]


def test_a_relay_that_cannot_write_to_its_disk_goes_on_when_it_can(
    intake: Intake, journal: FakeJournal, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full when passed-on records are to be dropped delays the spool, it does not stop it for good."""
    failures = [sqlite.OperationalError("disk I/O error")]
    drop = spool.drop

    def fail_once(up_to: int) -> None:
        if failures:
            raise failures.pop()
        drop(up_to)

    monkeypatch.setattr(spool, "drop", fail_once)
    journal.away = True
    take(intake, record("a"))
    journal.away = False
    wait_until_drained(spool)
    assert set(ids(journal.kept)) == {"a/0"}


def test_an_intake_without_a_spool_says_when_the_journal_is_away(journal: FakeJournal) -> None:
    """Embedded, journal and spool would be the same disk."""
    intake = Intake("all-in-one", journal)  # type: ignore[arg-type]
    take(intake, record("a", 0))
    journal.away = True
    with pytest.raises(JournalAway):
        take(intake, record("a", 1))
    intake.close()
    assert ids(journal.kept) == ["a/0"]
