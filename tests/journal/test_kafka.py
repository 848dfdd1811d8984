"""What only the journal on Kafka does: members share a group, and the broker dies under the writers."""

import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from kanal import metrics
from kanal.errors import DatabaseAway, JournalAway
from kanal.journal import BatchLimit, Place, Reader, Stored, kafka_group
from kanal.journal import kafka as journal_kafka
from kanal.journal.kafka import KafkaJournal
from kanal.journal.kafka_group import Membership
from kanal.journal.kafka_read import KafkaReader, committed
from kanal.topics import PARTITIONS, REPORTS
from tests.journal.back_ends import within_patience
from tests.journal.reading import PATIENCE_SECONDS, by_key, from_first, ids, positions, read, read_all, records
from tests.servers.kafka import KafkaServer
from tests.servers.processes import wait_until

KEYS = [f"key-{number}" for number in range(24)]
ALL = {Place(REPORTS, partition) for partition in range(PARTITIONS)}


@pytest.fixture
def journal(kafka_url: str) -> Iterator[KafkaJournal]:
    journal = KafkaJournal(kafka_url)
    yield journal
    journal.close()


class Members:
    """Members of one group in this process, each committing what it read; they are polled in turn."""

    def __init__(self, journal: KafkaJournal) -> None:
        self._journal = journal
        self.readers: list[Reader] = []
        self.found: list[Stored] = []

    def join(self) -> None:
        self.readers.append(self._journal.reader("members", [REPORTS], from_first))

    def leave(self) -> None:
        self.readers.pop(0).close()

    def turn(self) -> None:
        for reader in self.readers:
            batch = reader.poll(BatchLimit(records=10), 0.05)
            assert {stored.partition for stored in batch} <= {place.partition for place in reader.assigned()}
            reader.commit(positions(batch))
            self.found.extend(batch)
            self.assert_disjoint()

    def assert_disjoint(self) -> None:
        owned = [place for reader in self.readers for place in reader.assigned()]
        assert len(owned) == len(set(owned))

    def turn_until_shared(self) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        share = PARTITIONS // len(self.readers)
        while [len(reader.assigned()) for reader in self.readers] != [share] * len(self.readers):
            assert time.monotonic() < deadline
            self.turn()

    def turn_until_read(self, wanted: Sequence[str]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not set(wanted) <= set(ids(self.found)):
            assert time.monotonic() < deadline, f"{len(set(wanted) - set(ids(self.found)))} records did not come"
            self.turn()


@pytest.mark.servers
def test_members_share_the_partitions_and_hand_over_when_one_joins_and_one_leaves(journal: KafkaJournal) -> None:
    """Each record is read by one member, each partition belongs to one; nothing is lost or read twice when members come and go."""
    appended = records(KEYS, 60)
    members = Members(journal)
    members.join()
    journal.append(appended[:480])
    members.turn_until_shared()
    members.join()
    journal.append(appended[480:960])
    members.turn_until_shared()
    members.turn()
    members.leave()
    journal.append(appended[960:])
    members.turn_until_shared()
    members.turn_until_read(ids(appended))
    assert by_key(members.found) == by_key(appended)
    members.leave()


@pytest.mark.servers
def test_a_killed_members_partitions_are_taken_over_from_its_commit(journal: KafkaJournal, kafka_url: str) -> None:
    """What a member read but had not committed when it was killed is read again by the next; the rest is not."""
    appended = records(KEYS, 100)
    members = Members(journal)
    command = [sys.executable, "-m", "tests.journal.member", kafka_url, "members"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as victim:
        assert victim.stdout is not None
        journal.append(appended[:1200])
        lines = [victim.stdout.readline() for _ in range(random.Random(5).randint(100, 300))]
        members.join()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(members.readers[0].assigned()) != PARTITIONS // 2:
            assert time.monotonic() < deadline
            members.turn()
        journal.append(appended[1200:])
        members.turn()
        victim.kill()
        lines += victim.stdout.readlines()
    read_by_victim, committed = _told(lines)
    members.turn_until_read(sorted(set(ids(appended)) - set(read_by_victim)))
    members.turn()
    assert set(ids(members.found)) | set(read_by_victim) == set(ids(appended))
    for stored in members.found:
        if stored.headers["ce_id"] in read_by_victim:
            assert stored.offset >= committed.get(stored.partition, 0)
    assert members.readers[0].assigned() == ALL
    members.leave()


def _told(lines: list[str]) -> tuple[dict[str, int], dict[int, int]]:
    """Ids that the member read, and the positions that it knew to be committed."""
    read_ids: dict[str, int] = {}
    committed: dict[int, int] = {}
    for line in lines:
        match line.split():
            case ["read", _, offset, event_id]:
                read_ids[event_id] = int(offset)
            case ["committed", partition, offset]:
                committed[int(partition)] = int(offset)
    return read_ids, committed


@pytest.mark.servers
def test_a_killed_broker_loses_nothing_acknowledged_and_keeps_every_keys_order(journal: KafkaJournal, kafka: KafkaServer) -> None:
    """The broker is killed with appends on their way and started again: all land, once, in order, without the caller's help."""
    appended = records(KEYS, 400)
    futures = []
    kill_at = random.Random(7).randint(1_000, 3_000)
    for number in range(0, len(appended), 8):
        futures.append(journal.submit(appended[number : number + 8]))
        if number // 8 * 8 == kill_at // 8 * 8:
            futures[len(futures) // 2].result(30)
            acknowledged = sum(future.done() for future in futures)
            kafka.kill()
    kafka.start()
    for future in futures:
        future.result(60)
    assert 0 < acknowledged < len(futures)
    assert by_key(journal.scan(REPORTS)) == by_key(appended)


@pytest.mark.servers
def test_closing_while_kafka_is_away_tells_whoever_waits(journal: KafkaJournal, kafka: KafkaServer) -> None:
    """No future stays undone for ever: what was not acknowledged is reported as such, and is still the caller's to repeat."""
    journal.append(records(["a"], 1))
    kafka.pause()
    try:
        future = journal.submit(records(["b"], 3))
        journal.close()
    finally:
        kafka.resume()
        kafka.wait_ready()
    with pytest.raises(JournalAway):
        future.result(0)


@pytest.mark.servers
def test_noting_offsets_does_not_wait_for_a_broker_that_hangs(journal: KafkaJournal, kafka: KafkaServer) -> None:
    """A stage that waited here could not rejoin its group: it stood still for minutes after the broker went on."""
    journal.append(records(KEYS, 2))
    reader = journal.reader("noting", [REPORTS], from_first)
    found = read(reader, 48)
    kafka.pause()
    try:
        noting = threading.Thread(target=reader.commit, args=(positions(found),), daemon=True)
        noting.start()
        assert within_patience(noting)
    finally:
        kafka.resume()
        kafka.wait_ready()
    reader.close()
    journal.append(records(["after"], 1))
    assert ids(read_all(journal, "noting", 1)) == ["after/0"]


@pytest.mark.servers
def test_a_reader_that_loses_its_group_joins_anew(journal: KafkaJournal, kafka: KafkaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not while Kafka answers nobody; after that with a new client, which goes on where the old one had committed: nothing comes twice."""
    monkeypatch.setattr(kafka_group, "UNREACHABLE_SECONDS", 0.5)
    monkeypatch.setattr(journal_kafka, "STATISTICS_MILLISECONDS", 200)
    monkeypatch.setattr(journal_kafka, "ANSWER_SECONDS", 0.5)
    asked: list[bool] = []
    answers = journal._answers
    monkeypatch.setattr(journal, "_answers", lambda: asked.append(answers()) or asked[-1])
    journal.append(records(KEYS, 2))
    reader = journal.reader("lost", [REPORTS], from_first)
    assert isinstance(reader, KafkaReader)
    lost = reader._consumer
    noted = positions(read(reader, 48))
    reader.commit(noted)
    wait_until(lambda: all(committed(lost, place) == offset for place, offset in noted.items()), PATIENCE_SECONDS, "the commit")
    before = metrics.CONSUMERS_REPLACED._value.get()  # type: ignore[attr-defined]
    kafka.pause()
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not asked:
            assert time.monotonic() < deadline
            with suppress(JournalAway):
                assert not reader.poll(BatchLimit(), 0.2)
        assert (set(asked), reader._consumer) == ({False}, lost)
    finally:
        kafka.resume()
        kafka.wait_ready()
    monkeypatch.setattr(Membership, "is_lost", lambda self, _patience: reader._consumer is lost)
    journal.append(records(["after"], 3), PATIENCE_SECONDS)
    assert ids(read(reader, 3)) == ids(records(["after"], 3))
    assert (asked[-1], metrics.CONSUMERS_REPLACED._value.get()) == (True, before + 1)  # type: ignore[attr-defined]
    reader.close()


@pytest.mark.servers
def test_a_start_that_cannot_be_told_yet_is_asked_for_again(journal: KafkaJournal) -> None:
    """A database that is away when partitions are assigned costs a failed poll, not the partitions."""
    journal.append(records(KEYS, 2))
    failures = [DatabaseAway(), DatabaseAway()]

    def start(_place: Place, _first: int) -> None:
        if failures:
            raise failures.pop()

    reader = journal.reader("patient", [REPORTS], start)
    for _ in range(2):
        with pytest.raises(DatabaseAway):
            read(reader, 1)
        assert reader.assigned() == frozenset()
    assert sorted(ids(read(reader, 48))) == sorted(ids(records(KEYS, 2)))
    reader.close()


# Without a server: what the client library may do at any moment


class FakeMessage:
    """What the library hands out: a record of partition 0, or an error."""

    def __init__(self, offset: int = 0, error: int | None = None) -> None:
        self._offset = offset
        self._error = KafkaError(error) if error is not None else None

    def error(self) -> KafkaError | None:
        return self._error

    def topic(self) -> str:
        return REPORTS

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes:
        return b"a"

    def value(self) -> bytes:
        return b"x"

    def headers(self) -> list[tuple[str, bytes]]:
        return [("ce_id", f"{self._offset}".encode())]


class FakeConsumer:
    """Gives out batches as told; an exception to the rule is a call, made while the batch is fetched."""

    def __init__(self, *batches: Any) -> None:
        self.batches = list(batches)
        self.revoke: Any = None

    def subscribe(self, topics: list[str], on_assign: Any, on_revoke: Any, on_lost: Any) -> None:
        self.revoke = lambda: on_revoke(self, [])

    def unassign(self) -> None:
        """Nothing was assigned."""

    def poll(self, timeout: float) -> FakeMessage | None:
        return self.batches.pop(0)[0] if self.batches else None

    def consume(self, count: int, timeout: float) -> list[FakeMessage]:
        batch = self.batches.pop(0) if self.batches else []
        if isinstance(batch, Exception):
            raise batch
        if batch == "revoke":
            self.revoke()
            return []
        return batch


def _reader(*batches: Any) -> KafkaReader:
    return KafkaReader(lambda _membership: FakeConsumer(*batches), [REPORTS], from_first, lambda: True)  # type: ignore[arg-type, return-value]


def test_the_end_of_a_place_is_no_error_and_no_record() -> None:
    """It may stand anywhere among records, and tells that the place is caught up with until the next one."""
    end = FakeMessage(error=KafkaError._PARTITION_EOF)
    reader = _reader([end], [FakeMessage(1)], [end, FakeMessage(2), end], [], [FakeMessage(3)], [])
    reader._assigned = frozenset({Place(REPORTS, 0)})
    assert ids(reader.poll(BatchLimit(), 0)) == ["1", "2"]
    assert reader.caught_up() == {Place(REPORTS, 0)}
    assert ids(reader.poll(BatchLimit(), 0)) == ["3"]
    assert reader.caught_up() == frozenset()


def test_what_the_client_drops_with_an_exception_is_read_again() -> None:
    """It raises what a call-back raised inside, and forgets the records of that call: the fence would not see that they are missing."""
    reader = _reader([FakeMessage(1)], KafkaException(KafkaError(KafkaError._FATAL)))
    reader._assigned = frozenset({Place(REPORTS, 0)})
    with pytest.raises(KafkaException):
        reader.poll(BatchLimit(), 0)
    assert reader._wanted == [Place(REPORTS, 0)]


def test_an_error_behind_records_does_not_lose_them() -> None:
    """Records in hand are given out; the error is for the next poll, and what came after it for the one after that."""
    reader = _reader([FakeMessage(1)], [FakeMessage(2), FakeMessage(error=KafkaError._ALL_BROKERS_DOWN), FakeMessage(3)])
    assert ids(reader.poll(BatchLimit(), 0)) == ["1", "2"]
    with pytest.raises(JournalAway):
        reader.poll(BatchLimit(), 0)
    assert ids(reader.poll(BatchLimit(), 0)) == ["3"]


def test_records_of_partitions_that_move_away_while_a_batch_is_gathered_are_not_handed_out() -> None:
    """They belong to the next owner, who starts at the commit; from two members they would come twice."""
    reader = _reader([FakeMessage(1)], "revoke", [FakeMessage(1)])
    assert list(reader.poll(BatchLimit(), 0)) == []
    assert ids(reader.poll(BatchLimit(), 0)) == ["1"]
