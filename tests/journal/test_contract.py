"""The contract of `kanal.journal`, on both journals. What is declared to differ (groups of several members) is in test_kafka.py."""

import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from kanal.errors import JournalAway, OffsetsRefused, RecordTooLarge
from kanal.journal import HEADER_OVERHEAD_BYTES, MAX_RECORD_BYTES, BatchLimit, Journal, Place, Record, Stored, partition_of
from kanal.journal.sqlite import SqliteJournal
from kanal.records import place_of
from kanal.topics import REPORTS, contacts, message_received
from tests.journal.appender import open_journal
from tests.journal.back_ends import BackEnd, KafkaBackEnd, SqliteBackEnd, within_patience
from tests.journal.reading import by_key, from_first, ids, positions, read, read_all, read_until, record, records
from tests.servers.processes import wait_until

CONTACTS = contacts("sms")
MESSAGES = message_received("sms")
KEYS = [f"key-{number}" for number in range(24)]


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=pytest.mark.servers)])
def back_end(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BackEnd]:
    made: BackEnd = SqliteBackEnd(tmp_path) if request.param == "sqlite" else KafkaBackEnd(request.getfixturevalue("kafka"))
    yield made
    made.close()


@pytest.fixture
def journal(back_end: BackEnd) -> Journal:
    return back_end.open()


@contextmanager
def broken_down(back_end: BackEnd) -> Iterator[None]:
    back_end.break_down()
    try:
        yield
    finally:
        back_end.heal()


# Order


def test_records_of_one_key_keep_their_order_under_concurrent_submitters(journal: Journal) -> None:
    """What one submitter appends to a key is read in that order, whoever else appends to it; nothing is lost or doubled."""

    def submit(submitter: int) -> None:
        calls = [journal.submit([record(key, submitter * 1000 + n) for key in KEYS]) for n in range(30)]
        for call in calls:
            call.result(30)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(submit, range(4)))
    found = read_all(journal, "order", 4 * 30 * len(KEYS))
    for key in KEYS:
        numbers = [int(stored.value or b"") for stored in found if stored.key == key]
        for submitter in range(4):
            assert [n % 1000 for n in numbers if n // 1000 == submitter] == list(range(30))


def test_offsets_of_a_partition_rise(journal: Journal) -> None:
    """A later record of a partition has a higher offset, below its end."""
    journal.append(records(KEYS, 5))
    found = read_all(journal, "rising", 120)
    for place in {place_of(stored) for stored in found}:
        offsets = [stored.offset for stored in found if place_of(stored) == place]
        assert offsets == sorted(set(offsets))
        assert offsets[-1] < journal.bounds(REPORTS)[place.partition].end


@pytest.mark.parametrize(
    ("key", "partition"),
    [
        ("", 0),
        ("123456789", 0xCBF43926 % 12),  # the check value that every description of CRC32 gives
        ("a", 3),
        ("JK-7F3Q-9K2M-4XPT", 2),
        ("+6281200000001", 8),
        ("banjir di Kampung Melayu", 11),
        ("café", 5),
        ("cafe\u0301", 10),
        ("洪水", 6),
        ("🌊", 3),
    ],
)
def test_a_key_lives_in_a_partition_that_never_changes(key: str, partition: int) -> None:
    """The partition of a key is part of what is stored: another formula would break the order of every key."""
    assert partition_of(key, 12) == partition


def test_a_record_lands_in_the_partition_of_its_key(journal: Journal) -> None:
    """No client library decides where a key lives."""
    keys = [*KEYS, "", "café", "洪水"]
    journal.append(records(keys, 1))
    partitions = len(journal.bounds(REPORTS))
    for stored in read_all(journal, "partitions", len(keys)):
        assert stored.partition == partition_of(stored.key, partitions)


# Durability


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_was_acknowledged_is_there_after_the_process_is_killed(back_end: BackEnd, seed: int) -> None:
    """Killed with -9 at any moment, a process loses nothing that `append` returned for, and leaves no gap before it."""
    command = [sys.executable, "-m", "tests.journal.appender", back_end.address, str(seed)]
    enough = random.Random(seed).randint(50, 2_000)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as appender:
        assert appender.stdout is not None
        acknowledged = [appender.stdout.readline() for _ in range(enough)]
        appender.kill()
        acknowledged += [line for line in appender.stdout if line.endswith("\n")]
    promised: dict[str, int] = {}
    for key, number in map(str.split, acknowledged):
        promised[key] = max(promised.get(key, 0), int(number))
    kept: dict[str, list[int]] = {}
    for stored in back_end.open().scan(REPORTS):
        kept.setdefault(stored.key, []).append(int(stored.value or b""))
    assert len(acknowledged) >= enough
    for key, last in promised.items():
        assert kept[key] == list(range(len(kept[key])))
        assert kept[key][-1] >= last


def test_a_future_is_done_only_when_the_record_is_durable(back_end: BackEnd, journal: Journal) -> None:
    """As long as the record cannot be on disk, nobody is told that it is."""
    journal.append([record("before")])
    back_end.hold()
    try:
        future = journal.submit([record("held")])
        with pytest.raises(TimeoutError):
            future.result(0.5)
    finally:
        back_end.heal()
    future.result(20)
    assert ids(read_all(journal, "durable", 2, [REPORTS])).count("held/0") == 1


def test_what_is_acknowledged_can_be_read_at_once_by_another_opening(back_end: BackEnd, journal: Journal) -> None:
    """An acknowledgement is about the journal, not about this process's memory."""
    other = back_end.open()
    for number in range(5):
        journal.append([record("a", number)])
        assert ids(other.scan(REPORTS))[-1] == f"a/{number}"


def test_close_finishes_what_was_submitted(back_end: BackEnd, journal: Journal) -> None:
    """After `close` every future is done and every record is there."""
    submitted = [journal.submit([each]) for each in records(KEYS, 20)]
    journal.close()
    for future in submitted:
        future.result(0)
    assert sorted(ids(back_end.open().scan(REPORTS))) == sorted(ids(records(KEYS, 20)))


def test_nothing_submitted_is_left_in_the_dark_by_a_close(back_end: BackEnd, journal: Journal) -> None:
    """Whoever submits while another thread closes gets an answer: durable, or not."""
    submitted: list[Future[None]] = []

    def submit() -> None:
        while not submitted or not submitted[-1].done() or submitted[-1].exception(0) is None:
            submitted.append(journal.submit([record("a", len(submitted))]))

    submitter = threading.Thread(target=submit)
    submitter.start()
    wait_until(lambda: len(submitted) > 50, 10, "some records")
    journal.close()
    assert within_patience(submitter)
    for future in submitted:
        assert future.exception(10) is None or isinstance(future.exception(), JournalAway)


# Groups and positions


def test_a_group_resumes_where_it_committed(back_end: BackEnd, journal: Journal) -> None:
    """After a restart a group reads everything behind its commit, and nothing before it."""
    journal.append(records(KEYS, 10))
    reader = journal.reader("resume", [REPORTS], from_first)
    first = read_until(reader, lambda found: len(found) >= 100, BatchLimit(records=20))
    reader.commit(positions(first))
    reader.poll(BatchLimit(records=20), 0.2)  # read but not committed
    reader.close()
    journal.close()
    again = back_end.open()
    rest = read_all(again, "resume", 240 - len(first))
    assert sorted(ids(first) + ids(rest)) == sorted(ids(records(KEYS, 10)))


def test_each_group_sees_every_record(journal: Journal) -> None:
    """What one group read and committed is there for the others."""
    journal.append(records(KEYS, 5))
    for group in ("normalizer", "operators"):
        assert sorted(ids(read_all(journal, group, 120))) == sorted(ids(records(KEYS, 5)))


def test_a_reader_of_several_topics_sees_them_all(journal: Journal) -> None:
    """A stage reads all its topics through one reader, with the order of each key."""
    for number in range(20):
        journal.append([record("a", number), record("a", number, MESSAGES)])
    found = read_all(journal, "both", 40, [REPORTS, MESSAGES])
    for topic in (REPORTS, MESSAGES):
        assert ids(stored for stored in found if stored.topic == topic) == ids(records("a", 20))


def test_a_given_start_outranks_the_commit(journal: Journal) -> None:
    """A stage that keeps its offsets itself starts there, per partition, whatever the journal has noted."""
    journal.append(records(KEYS, 10))
    everything = read_all(journal, "given", 240)  # and commits the end
    starts = {place: (position + journal.bounds(REPORTS)[place.partition].first) // 2 for place, position in positions(everything).items()}
    reader = journal.reader("given", [REPORTS], lambda place, _first: starts.get(place))
    expected = [each for each in everything if each.offset >= starts[place_of(each)]]
    assert sorted(ids(read(reader, len(expected)))) == sorted(ids(expected))
    reader.close()


def test_a_reader_owns_the_places_it_reads(journal: Journal) -> None:
    """`assigned` names every partition of the topics of the only member."""
    journal.append(records(KEYS, 1))
    reader = journal.reader("owner", [REPORTS], from_first)
    found = read(reader, 24)
    assert reader.assigned() == {Place(REPORTS, partition) for partition in journal.bounds(REPORTS)}
    assert {place_of(stored) for stored in found} <= reader.assigned()
    reader.close()


def test_a_place_is_caught_up_with_when_all_of_it_has_been_handed_out(journal: Journal) -> None:
    """Not before: a timer that fired for what is half read would be wrong. What comes later is another look."""
    journal.append(records(["a"], 30))
    reader = journal.reader("end", [REPORTS], from_first)
    for _ in range(2):
        batch = reader.poll(BatchLimit(records=10, age_seconds=20), 20)
        assert place_of(batch[0]) not in reader.caught_up()
    read(reader, 10)
    read_until(reader, lambda _: reader.caught_up() == reader.assigned())
    journal.append(records(["a"], 20))
    batch = reader.poll(BatchLimit(records=10, age_seconds=20), 20)
    assert place_of(batch[0]) not in reader.caught_up()
    read(reader, 10)
    read_until(reader, lambda _: reader.caught_up() == reader.assigned())
    reader.close()


# Batches


def test_a_batch_ends_at_its_count(journal: Journal) -> None:
    """Never more records than asked for, and the next batch goes on behind them."""
    journal.append(records(["a"], 30))
    reader = journal.reader("count", [REPORTS], from_first)
    batches = [reader.poll(BatchLimit(records=10, age_seconds=20), 20) for _ in range(3)]
    assert [ids(batch) for batch in batches] == [ids(records(["a"], 30))[start : start + 10] for start in (0, 10, 20)]
    reader.close()


@pytest.mark.parametrize(("limit_bytes", "most"), [(3_500, 3), (1, 1)], ids=["three fit", "not even one fits"])
def test_a_batch_ends_at_its_bytes_but_has_at_least_one_record(journal: Journal, limit_bytes: int, most: int) -> None:
    """A batch of big records stays small, a record over the limit comes alone, and nothing is passed over."""
    appended = [record("a", number, size=1_000) for number in range(10)]
    journal.append(appended)
    reader = journal.reader("bytes", [REPORTS], from_first)
    found: list[Stored] = []
    sizes: list[int] = []
    while len(found) < 10:
        batch = reader.poll(BatchLimit(records=10, bytes=limit_bytes, age_seconds=1), 20)
        assert batch
        sizes.append(len(batch))
        found.extend(batch)
    assert ids(found) == ids(appended)
    assert max(sizes) == most
    reader.close()


def test_a_batch_that_is_not_full_ends_by_its_age(journal: Journal) -> None:
    """A few records are handed on soon, not when a hundred have come."""
    reader = journal.reader("age", [REPORTS], from_first)
    reader.poll(BatchLimit(), 1)
    journal.append(records(["a"], 3))
    found: list[Stored] = []
    poll = threading.Thread(target=lambda: found.extend(reader.poll(BatchLimit(records=1_000, age_seconds=0.05), 600)), daemon=True)
    poll.start()
    assert within_patience(poll)
    assert ids(found)[:1] == ["a/0"]
    reader.close()


def test_poll_gives_nothing_when_there_is_nothing(journal: Journal) -> None:
    """An empty batch, not an error and not a wait without end."""
    journal.append([record("a")])
    reader = journal.reader("idle", [REPORTS], from_first)
    read(reader, 1)
    assert list(reader.poll(BatchLimit(), 0.05)) == []
    reader.close()


def test_an_append_between_mark_and_wait_is_not_overslept(journal: Journal) -> None:
    """A stage that looked, found nothing and goes to sleep is woken by what came in between."""
    mark = journal.mark()
    journal.append([record("a")])
    sleeper = threading.Thread(target=journal.wait, args=(mark, 600), daemon=True)
    sleeper.start()
    assert within_patience(sleeper)


# What is refused


def _with_size(size: int) -> Record:
    empty = Record(topic=REPORTS, key="é", value=b"", headers={"ce_id": "big/0"})
    assert empty.size() == len("é".encode()) + len("ce_id") + len("big/0") + HEADER_OVERHEAD_BYTES
    return Record(topic=REPORTS, key="é", value=b"x" * (size - empty.size()), headers=empty.headers)


def test_a_record_over_a_mebibyte_is_refused_before_anything_is_written(journal: Journal) -> None:
    """The limit counts key, headers and value; the largest record allowed goes through, one more byte stops its whole call."""
    with pytest.raises(RecordTooLarge, match=str(MAX_RECORD_BYTES)):
        journal.submit([record("small"), _with_size(MAX_RECORD_BYTES + 1)])
    journal.append([_with_size(MAX_RECORD_BYTES), record("after")])
    found = read_all(journal, "large", 2)
    assert sorted(ids(found)) == ["after/0", "big/0"]
    assert max(len(stored.value or b"") for stored in found) > 1_000_000


def test_a_record_for_an_unknown_topic_is_the_callers_bug_and_nobody_elses(journal: Journal) -> None:
    """The caller is told at once; other callers' records are taken as before."""
    with pytest.raises(ValueError, match="no topic"):
        journal.submit([record("a"), record("a", topic="laporan")])
    journal.append([record("b")])
    assert ids(read_all(journal, "unknown", 1)) == ["b/0"]


def _poll_until_refused(journal: Journal, group: str, topic: str, start: Callable[[Place, int], int | None]) -> None:
    """On one journal the refusal comes with the reader, on the other with its first batch."""
    reader = journal.reader(group, [topic], start)
    try:
        read_until(reader, lambda _: False)
    finally:
        reader.close()


def test_an_offset_beyond_the_end_is_refused(journal: Journal) -> None:
    """A journal that ends before the stored offset was restored to an older state: going on would skip what comes next."""
    journal.append(records(KEYS, 2))
    ends = {Place(REPORTS, partition): bounds.end for partition, bounds in journal.bounds(REPORTS).items()}
    with pytest.raises(OffsetsRefused, match="beyond"):
        _poll_until_refused(journal, "beyond", REPORTS, lambda place, _first: ends[place] + (place.partition == 0))
    reader = journal.reader("at-the-end", [REPORTS], lambda place, _first: ends[place])
    assert list(reader.poll(BatchLimit(), 1)) == []
    journal.append(records(KEYS, 1))
    assert sorted(ids(read(reader, 24))) == sorted(ids(records(KEYS, 1)))
    reader.close()


def test_an_expired_offset_is_refused(back_end: BackEnd, journal: Journal) -> None:
    """Records that expired unread are not skipped in silence, wherever the start came from; a new group starts at what is left."""
    journal.append(records(["a"], 10, MESSAGES))
    reader = journal.reader("slow", [MESSAGES], from_first)
    half = read_until(reader, lambda found: len(found) >= 5, BatchLimit(records=5))
    reader.commit(positions(half))
    reader.close()
    place, first = place_of(half[0]), half[0].offset
    back_end.expire(MESSAGES)
    assert journal.bounds(MESSAGES)[place.partition].first == half[0].offset + 10
    journal.append([record("a", 10, MESSAGES)])
    with pytest.raises(OffsetsRefused, match="expired"):
        _poll_until_refused(journal, "slow", MESSAGES, from_first)
    with pytest.raises(OffsetsRefused, match="expired"):
        _poll_until_refused(journal, "given", MESSAGES, lambda asked, _first: first if asked == place else None)
    assert ids(read_all(journal, "new", 1, [MESSAGES])) == ["a/10"]


# Identity


def test_the_identity_stays_and_is_nobody_elses(back_end: BackEnd, journal: Journal) -> None:
    """Stored offsets are recognised after a restart, and refused for another topic or another journal in the same place."""
    first = journal.identity(REPORTS)
    assert first != journal.identity(MESSAGES)
    journal.append([record("a")])
    journal.close()
    assert back_end.open().identity(REPORTS) == first
    back_end.replace()
    assert back_end.open().identity(REPORTS) != first


# Content


@pytest.mark.parametrize(
    "kept",
    [
        Record(topic=REPORTS, key="", value=b"x", headers={"ce_id": "empty key"}),
        Record(topic=REPORTS, key="洪水 é", value=b"\x00\xff\n", headers={"ce_id": "bytes", "x": "banjir 🌊", "leer": ""}),
        Record(topic=REPORTS, key="a", value=None, headers={"ce_id": "no value"}),
        Record(topic=REPORTS, key="a", value=b"", headers={"ce_id": "empty value"}),
        Record(topic=REPORTS, key="a", value=b"x", headers={}),
    ],
    ids=["empty key", "any bytes and characters", "no value", "empty value", "no headers"],
)
def test_a_record_comes_back_as_it_was(journal: Journal, kept: Record) -> None:
    """Key, value and headers survive, and None is not an empty value; for readers and for scans."""
    journal.append([kept])
    for found in (read_all(journal, "content", 1)[0], *journal.scan(REPORTS)):
        assert Record(topic=found.topic, key=found.key, value=found.value, headers=found.headers) == kept


def test_a_scan_gives_everything_up_to_now_and_nothing_twice(journal: Journal) -> None:
    """Of a topic that is being appended to, a scan gives what was there when it began, in order, once, and comes to an end."""
    before = records(KEYS, 100)
    journal.append(before)
    scan = journal.scan(REPORTS)
    found = [next(scan)]
    journal.append(records(KEYS, 1))
    found.extend(scan)
    assert by_key(found) == by_key(before)
    assert len(found) == len(before)


def test_a_scan_of_an_empty_topic_is_empty(journal: Journal) -> None:
    """And joins no group: it leaves no trace for later readers."""
    assert list(journal.scan(REPORTS)) == []


# What is kept


def _contact(key: str, number: int) -> Record:
    return record(key, number, CONTACTS)


def _removal(key: str) -> Record:
    return Record(topic=CONTACTS, key=key, value=None, headers={"ce_id": f"{key}/removal"})


def test_compaction_keeps_the_newest_contact_and_honours_a_removal(back_end: BackEnd, journal: Journal) -> None:
    """Of each conversation only the newest contact stays; one that was removed leaves no address, and later no trace."""
    back_end.append_aged(3, [_contact("anna", 1), _contact("budi", 1), _contact("citra", 1)])
    back_end.append_aged(1.5, [_contact("anna", 2), _removal("budi")])
    others = [_contact(f"other-{number}", 0) for number in range(100)]
    journal.append(others)  # the broker compacts only what lies before the newest segment of a partition, which takes a day
    wait_until(lambda: _contacts_kept(journal) == {"anna/2", "budi/removal", "citra/1"}, 30, "compaction")
    journal.append([_removal("citra")])
    back_end.let_removals_age(CONTACTS)

    def removal_is_gone() -> bool:
        journal.append(others)
        back_end.keep_house()
        return not {"citra/1", "citra/removal"} & _contacts_kept(journal)

    wait_until(removal_is_gone, 30, "the end of the removal")
    assert "anna/2" in _contacts_kept(journal)


def _contacts_kept(journal: Journal) -> set[str]:
    return {each.headers["ce_id"] for each in journal.scan(CONTACTS) if each.key in {"anna", "budi", "citra"}}


def test_a_reader_sees_the_newest_contact_of_a_compacted_topic(journal: Journal) -> None:
    """Compacted or not yet, the last word on a conversation is the newest."""
    journal.append([_contact("anna", 1), _contact("budi", 1), _contact("anna", 2)])
    reader = journal.reader("sender", [CONTACTS], from_first)
    found = read_until(reader, lambda found: {"anna/2", "budi/1"} <= set(ids(found)))
    assert {stored.key: stored.headers["ce_id"] for stored in found} == {"anna": "anna/2", "budi": "budi/1"}
    reader.close()


def test_retention_deletes_only_what_is_old(back_end: BackEnd, journal: Journal) -> None:
    """Messages go after thirty days, not before; reports never, contacts only for newer ones."""
    for days in (40, 25):
        back_end.append_aged(days, [record("a", days, topic) for topic in (REPORTS, CONTACTS, MESSAGES)])
    journal.append([record("a", 0, topic) for topic in (REPORTS, CONTACTS, MESSAGES)])
    back_end.keep_house()
    wait_until(lambda: ids(journal.scan(MESSAGES)) == ["a/25", "a/0"], 30, "expiry")
    assert ids(journal.scan(REPORTS)) == ["a/40", "a/25", "a/0"]
    assert ids(journal.scan(CONTACTS))[-1] == "a/0"
    partition = partition_of("a", len(journal.bounds(MESSAGES)))
    assert journal.bounds(MESSAGES)[partition].first > journal.bounds(REPORTS)[partition].first


# When it is away


def test_appends_fail_while_the_journal_is_away_and_keep_order_when_it_is_back(back_end: BackEnd, journal: Journal) -> None:
    """A failed append may have landed; repeated, it is there once or twice under one id, before everything appended later."""
    journal.append([record("a", 0, size=100_000)])
    with broken_down(back_end), pytest.raises(JournalAway):
        journal.append([record("a", 1, size=100_000)], timeout_seconds=0.7)
    journal.append([record("a", 1, size=100_000)], timeout_seconds=30)
    journal.append([record("a", 2)], timeout_seconds=30)
    found = ids(journal.scan(REPORTS))
    assert list(dict.fromkeys(found)) == ["a/0", "a/1", "a/2"]
    assert found.count("a/1") <= 2
    assert found[-1] == "a/2"


def test_a_full_disk_leaves_nothing_of_the_group_behind(tmp_path: Path) -> None:
    """What is committed together is there together or not at all, and every submitter is told the same; reading goes on."""
    back_end = SqliteBackEnd(tmp_path)
    journal = back_end.open()
    assert isinstance(journal, SqliteJournal)
    journal.append([record("a", 0)])
    back_end.break_down()
    back_end.hold()  # so that all of these wait for one commit
    journal.submit([record("plug", 0, size=100_000)])
    wait_until(journal._queue.empty, 10, "the writer at work")
    group = [journal.submit([record("a", 1)]), journal.submit([record("b", 0, size=500_000)]), journal.submit([record("c", 0)])]
    back_end._lock.close()
    for future in group:
        with pytest.raises(JournalAway, match="cannot write"):
            future.result(20)
    assert ids(read_all_without_commit(journal)) == ["a/0"]
    back_end._lock = None
    back_end.heal()
    journal.append([record("a", 1)])
    assert ids(journal.scan(REPORTS)) == ["a/0", "a/1"]
    back_end.close()


def read_all_without_commit(journal: Journal) -> list[Stored]:
    reader = journal.reader("full", [REPORTS], from_first)
    found = list(reader.poll(BatchLimit(), 5))
    reader.close()
    return found


def test_a_journal_whose_file_cannot_be_opened_is_away(tmp_path: Path) -> None:
    """A folder in the place of the file, a disk that is gone: a named error, not the library's."""
    with pytest.raises(JournalAway, match="cannot be opened"):
        open_journal(str(tmp_path))
