"""The stage loop killed at each point: nothing lost, nothing twice, deadly records set aside."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, select

from kanal import stage_tables, topics
from kanal.errors import DatabaseAway
from kanal.ids import derive_id
from kanal.journal import BatchLimit
from kanal.stage import CAREFUL_RECORDS, DEADLY_ATTEMPTS, StageLoop
from tests.kanal.stage.kafka_stand_in import KafkaStandIn
from tests.kanal.stage.toy import Bench, Killed, Toy, drain, raises


def test_outputs_of_a_crash_after_the_commit_are_appended_at_the_next_start(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the ids that they have always had, and only once in effect."""

    def killed(name: str) -> None:
        if name == "toy.after-commit":
            raise Killed

    bench.send("a", "b")
    with monkeypatch.context() as patch:
        patch.setattr("kanal.stage.fail_point", killed)
        with pytest.raises(Killed):
            bench.loop(Toy()).turn(0)
    assert (bench.saved(), bench.outputs(), bench.outbox_rows()) == (["a", "b"], [], 2)
    again = Toy()
    loop = bench.loop(again)
    drain(loop)
    loop.stop()
    assert bench.output_ids() == [derive_id("toy", derive_id("test", word), "settled") for word in ("a", "b")]
    assert again.decided == []
    assert bench.outbox_rows() == 0


@pytest.mark.parametrize("point", ["after-poll", "after-commit", "after-append"])
def test_a_crash_at_each_point_loses_and_doubles_nothing(bench: Bench, point: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two crashes in a row under ten messages: each is saved once, each output carries one id."""
    words = [f"w{i}" for i in range(10)]
    bench.send(*words)
    for passes in (2, 1):
        left = [passes]

        def killed(name: str, left: list[int] = left) -> None:
            if name == f"toy.{point}":
                left[0] -= 1
                if not left[0]:
                    raise Killed

        with monkeypatch.context() as patch:
            patch.setattr("kanal.stage.fail_point", killed)
            with pytest.raises(Killed):
                drain(bench.loop(Toy(), 3))
    drain(bench.loop(Toy(), 3))
    assert bench.saved() == sorted(words)
    assert bench.outputs() == words


def test_after_an_unclean_start_records_are_handled_one_at_a_time(bench: Bench) -> None:
    """Until it has caught up; then in batches again."""
    bench.loop(Toy()).turn(0)  # owns the partition and is never stopped
    bench.send(*"abcd")
    careful = Toy()
    loop = bench.loop(careful)
    drain(loop)
    assert careful.batches == [1, 1, 1, 1]
    bench.send(*"efg")
    drain(loop)
    assert careful.batches[4:] == [3]


def test_care_is_taken_of_the_first_hundred_records_of_a_partition_only(bench: Bench) -> None:
    """However long its backlog, and though another partition has nothing to read at all."""
    loop = bench.loop(a_toy_of_two_topics())
    loop.turn(0)  # owns both and is never stopped
    bench.send(*(f"w{index}" for index in range(350)))
    toy = a_toy_of_two_topics()
    drain(bench.loop(toy), 400)
    assert toy.batches == [1] * CAREFUL_RECORDS + [100, 100, 50]


def a_toy_of_two_topics() -> Toy:
    toy = Toy()
    toy.topics = (topics.REPORTS, topics.REPORT_UPDATED)
    return toy


@pytest.mark.parametrize("pauses", [0, 1], ids=["in-the-poll-that-assigns", "after-an-empty-poll"])
def test_over_kafka_too_only_the_record_that_kills_is_set_aside(bench: Bench, pauses: int) -> None:
    """There records may come with the very poll that brings the partition, as many as fit into a batch; and an empty poll is no end."""
    words = [f"w{index}" for index in range(20)]
    bench.send(*words[:10], "killer", *words[10:])
    journal = KafkaStandIn(bench.journal, pauses)
    deaths = 0
    for _ in range(DEADLY_ATTEMPTS + 3):
        loop = StageLoop(Toy(on={"killer": raises(Killed())}), journal, bench.database)  # type: ignore[arg-type]
        try:
            drain(loop)
            break
        except Killed:
            deaths += 1
    assert [letter.cause for letter in bench.dead()] == ["deadly"]
    assert bench.saved() == sorted(words)
    assert deaths == DEADLY_ATTEMPTS


def test_no_care_is_needed_of_a_partition_that_comes_back_to_the_same_process(bench: Bench) -> None:
    """Kafka shares anew after each outage: nobody has died, and a backlog one by one would be slow."""
    toy = Toy()
    loop = StageLoop(toy, KafkaStandIn(bench.journal), bench.database)  # type: ignore[arg-type]
    bench.send("a", "b")
    drain(loop)
    bench.send("c", "d", "e")
    loop._leave()
    drain(loop)
    assert toy.batches == [2, 3]


def test_timers_wait_for_what_lies_unread_in_their_partition(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half an SMS was closed, and an update given up, while the rest lay in the journal: an empty poll is no end over Kafka."""
    asked: list[tuple[int, set[int]]] = []
    toy = Toy()
    monkeypatch.setattr(toy, "due", lambda _connection, places, _now: asked.append((len(toy.decided), {p.partition for p in places})) or ())
    bench.send("a", "b", "c")
    loop = StageLoop(toy, KafkaStandIn(bench.journal, pauses=2), bench.database, BatchLimit(records=1))  # type: ignore[arg-type]
    drain(loop)
    assert (3, {0, 1}) in asked
    assert all(decided == 3 or 0 not in places for decided, places in asked)


def test_a_record_that_kills_the_process_again_and_again_is_set_aside(bench: Bench) -> None:
    """Found by handling one at a time; before it everything is done, after it everything goes on."""
    bench.send("a", "killer", "b")
    for _ in range(DEADLY_ATTEMPTS):
        with pytest.raises(Killed):
            drain(bench.loop(Toy(on={"killer": raises(Killed())})))
    assert bench.dead() == []
    survivor = Toy(on={"killer": raises(Killed())})
    loop = bench.loop(survivor)
    drain(loop)
    loop.stop()
    (letter,) = bench.dead()
    assert (letter.key, letter.cause, letter.attempts) == ("killer", "deadly", DEADLY_ATTEMPTS)
    assert bench.saved() == ["a", "b"]
    assert survivor.decided == ["b"]


def test_a_record_after_the_deadly_one_is_not_blamed(bench: Bench) -> None:
    """Attempts are counted per record: two killers in a row are both found, and nothing else dies."""
    bench.send("killer1", "killer2", "a")
    deadly = {"killer1": raises(Killed()), "killer2": raises(Killed())}
    for _ in range(12):
        try:
            drain(bench.loop(Toy(on=deadly)))
            break
        except Killed:
            continue
    assert [letter.key for letter in bench.dead()] == ["killer1", "killer2"]
    assert bench.saved() == ["a"]


@settings(max_examples=25, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(st.lists(st.sampled_from(["stop", "kill-poll", "kill-commit", "kill-append", "send", "repeat"]), max_size=12), st.integers(1, 4))
def test_any_history_of_crashes_and_repeats_saves_each_word_once(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str], records: int
) -> None:
    """Whatever the order of crashes, clean stops, new words and repeats.

    After two crashes comes a clean run: a record that is in hand at three deaths is set aside by design (tested above).
    """
    bench = Bench(tmp_path_factory.mktemp("bench"))
    sent: list[str] = []
    crashes = 0
    try:
        for wanted in [*steps, "stop"]:
            step = "stop" if wanted.startswith("kill") and crashes == 2 else wanted
            crashes = 0 if step == "stop" else crashes + step.startswith("kill")
            if step == "send":
                sent += [f"w{len(sent)}", f"w{len(sent) + 1}"]
                bench.send(*sent[-2:])
            elif step == "repeat":
                bench.send(*sent[:3])
            else:
                _run_until(
                    bench, records, {"kill-poll": "after-poll", "kill-commit": "after-commit", "kill-append": "after-append"}.get(step)
                )
        assert bench.saved() == sorted(sent)
        assert bench.outputs() == sent
        assert bench.dead() == []
    finally:
        bench.close()


def _run_until(bench: Bench, records: int, point: str | None) -> None:
    def killed(name: str) -> None:
        if name == f"toy.{point}":
            raise Killed

    loop = bench.loop(Toy(), records)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kanal.stage.fail_point", killed)
        try:
            drain(loop)
            loop.stop()
        except Killed:
            pass


def test_a_commit_whose_answer_was_lost_loses_no_outputs(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database committed but the connection broke: nobody knows, so the outbox itself is asked, by the same process too."""
    sound, lost = bench.database.begin, [True]

    @contextmanager
    def begin() -> Iterator[Connection]:
        with sound() as connection:
            yield connection
            wrote = connection.execute(select(stage_tables.outbox)).all()
        if wrote and lost:
            lost.clear()
            raise DatabaseAway

    monkeypatch.setattr(bench.database, "begin", begin)
    bench.send("a")
    loop = bench.loop(Toy())
    drain(loop)
    bench.send("b")
    drain(loop)
    assert bench.saved() == ["a", "b"]
    assert sorted(bench.outputs()) == ["a", "b"]
