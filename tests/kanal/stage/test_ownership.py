"""The stage loop and its partitions: the fence, hand-over, offsets that never lie."""

import shutil

import pytest

from kanal import topics
from kanal.errors import Fenced, NewerEvent, OffsetsRefused
from kanal.journal import Place, Record
from kanal.journal.sqlite import SqliteJournal
from kanal.stage_tables import StageStore
from tests.kanal.stage.toy import Bench, Toy, drain


def test_a_loop_that_was_overtaken_commits_nothing(bench: Bench) -> None:
    """The second one moved on: nothing that the first decides is written, and it joins anew."""
    first, second = Toy(), Toy()
    one, two = bench.loop(first), bench.loop(second)
    bench.send("a")
    one.turn(0)
    bench.send("b")
    two.turn(0)
    bench.send("c")
    assert one.turn(0) == 0
    assert bench.saved() == ["a", "b"]
    drain(one)
    assert bench.saved() == bench.outputs() == ["a", "b", "c"]


def test_of_many_partitions_one_that_was_taken_over_holds_all_back(bench: Bench) -> None:
    """A batch is committed whole or not at all."""
    store, places = StageStore("toy"), [Place(topics.REPORTS, partition) for partition in range(3)]
    with bench.database.begin() as connection:
        for place in places:
            store.take(connection, place, "journal", 1)
    expected, new = dict.fromkeys(places, 1), dict.fromkeys(places, 9)
    with pytest.raises(Fenced, match="reports"), bench.database.begin() as connection:
        store.advance(connection, expected | {places[1]: 2}, new)
    with bench.database.begin() as connection:
        store.advance(connection, expected, new)
        assert [store.take(connection, place, "journal", 1).next for place in places] == [9, 9, 9]


def test_two_loops_in_turn_apply_nothing_twice(bench: Bench) -> None:
    """However often they take each other's partition."""
    loops = [bench.loop(Toy(), 2), bench.loop(Toy(), 2)]
    words = [f"w{i:02}" for i in range(30)]
    for start in range(0, 30, 3):
        bench.send(*words[start : start + 3])
        for loop in loops:
            loop.turn(0)
    for loop in loops:
        drain(loop)
    assert bench.saved() == words
    assert bench.outputs() == words


def test_offsets_of_another_journal_are_refused(bench: Bench) -> None:
    """A new file under an old state would skip its first records."""
    bench.send("a", "b")
    drain(bench.loop(Toy()))
    bench.journal.close()
    for path in bench.directory.glob("journal.db*"):
        path.unlink()
    bench.journal = SqliteJournal(bench.directory / "journal.db")
    bench.send("c")
    with pytest.raises(OffsetsRefused, match="another journal"):
        bench.loop(Toy()).turn(0)
    assert bench.saved() == ["a", "b"]


def test_an_offset_beyond_the_end_is_refused(bench: Bench) -> None:
    """The journal was restored to an older state than the database: the stage does not start."""
    bench.send("a")
    bench.journal.close()
    shutil.copy(bench.directory / "journal.db", bench.directory / "backup.db")
    bench.journal = SqliteJournal(bench.directory / "journal.db")
    bench.send("b", "c")
    drain(bench.loop(Toy()))
    bench.journal.close()
    for path in bench.directory.glob("journal.db*"):
        path.unlink()
    shutil.copy(bench.directory / "backup.db", bench.directory / "journal.db")
    bench.journal = SqliteJournal(bench.directory / "journal.db")
    with pytest.raises(OffsetsRefused, match="beyond"):
        bench.loop(Toy()).turn(0)


def test_an_event_of_a_newer_major_version_stops_the_stage(bench: Bench) -> None:
    """The order of deployment was wrong: nothing of the batch is committed, and nothing is a dead letter."""
    bench.send("a")
    (stored,) = bench.journal.scan(topics.REPORTS)
    newer = stored.headers | {"ce_type": "kanal.status-asked.v2", "ce_id": "newer"}
    bench.journal.append([Record(topic=topics.REPORTS, key="n", value=stored.value, headers=newer)])
    for _ in range(5):
        loop = bench.loop(Toy())
        with pytest.raises(NewerEvent):
            loop.turn(0)
        loop.stop()
    assert (bench.saved(), bench.dead()) == ([], [])


def test_what_an_owner_commits_while_another_takes_over_is_appended(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows come after the look into the outbox: the new owner's first commit is fenced, and he looks again."""
    bench.send("a")
    old, new = bench.loop(Toy()), bench.loop(Toy())
    look = new._outbox.flush_left_behind

    def look_while_the_old_owner_commits(place: Place) -> int:
        found = look(place)
        monkeypatch.setattr(new._outbox, "flush_left_behind", look)
        monkeypatch.setattr(old._outbox, "flush", lambda: None)  # it dies before it appends
        old.turn(0)
        return found

    monkeypatch.setattr(new._outbox, "flush_left_behind", look_while_the_old_owner_commits)
    drain(new)
    bench.send("b")
    drain(new)
    assert sorted(bench.outputs()) == ["a", "b"]
