"""The stage loop over a real SQLite journal and database, with toy handlers: dead letters, repeats, crashes, the fence."""

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from sqlalchemy import Column, Connection, MetaData, String, Table, select

from kanal import stage_tables, topics
from kanal.database import Database
from kanal.errors import DatabaseAway, InvalidEvent, JournalAway, NewerEvent, OffsetsRefused
from kanal.events import DeadLetter, MessageSettled, StatusAsked
from kanal.ids import derive_id
from kanal.journal import MAX_RECORD_BYTES, BatchLimit, Place, Record
from kanal.journal.sqlite import SqliteJournal
from kanal.records import FOR_STAGE, open_record, record_of, redriven
from kanal.stage import Decision, Emit, Handler, Input, StageLoop
from kanal.testing import NOON

metadata = MetaData()
seen = Table("toy_seen", metadata, Column("event_id", String, primary_key=True), Column("text", String, nullable=False))


class Killed(BaseException):
    """What SIGKILL would be: nothing in the loop may catch it."""


class Toy:
    """Writes each message's word and passes it on; some words do something else."""

    topics: Sequence[str] = (topics.REPORTS,)

    def __init__(self, name: str = "toy", on: dict[str, Callable[[], None]] | None = None) -> None:
        self.name = name
        self.on = on or {}
        self.decided: list[str] = []
        self.on_load: list[Exception] = []
        self.on_save: list[Exception] = []
        self.batches: list[int] = []
        self.timers: list[Input] = []

    def load(self, connection: Connection, inputs: Sequence[Input]) -> list[str]:
        if self.on_load:
            raise self.on_load.pop()
        self.batches.append(len(inputs))
        return []

    def decide(self, message: Input, state: list[str]) -> Decision:
        word = message.event.number  # type: ignore[attr-defined]
        self.decided.append(word)
        if word in self.on:
            self.on[word]()
        event = MessageSettled(
            message_id=message.event_id, channel="sms", outcome="registered", rule=",".join(state), settled_at=message.at
        )
        change = {"event_id": message.event_id, "text": word}
        return Decision([Emit(topics.MESSAGE_SETTLED, word, event, "settled")], [change])

    def apply(self, change: dict[str, str], state: list[str]) -> None:
        state.append(change["text"])

    def save(self, connection: Connection, changes: Sequence[dict[str, str]]) -> None:
        if changes:
            connection.execute(seen.insert(), changes)
        if self.on_save:
            raise self.on_save.pop()

    def due(self, connection: Connection, places: Iterable[Place], now: datetime) -> Sequence[Input]:
        due, self.timers = self.timers, []
        return due


def raises(error: BaseException) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


class Bench:
    """A journal and a database on disk, and what is in them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.journal = SqliteJournal(directory / "journal.db")
        self.database = Database(f"sqlite:///{directory}/state.db")
        self.database.create_tables(stage_tables.metadata, metadata)

    def send(self, *words: str, headers: dict[str, str] | None = None, ids: Sequence[str] = ()) -> None:
        records = []
        for index, word in enumerate(words):
            event_id = ids[index] if ids else derive_id("test", word)
            event = StatusAsked(number=word, message_id=event_id, channel="sms", conversation="c", asked_at=NOON)
            record = record_of(topics.REPORTS, word, event, event_id=event_id, source="test", at=NOON)
            records.append(Record(topic=record.topic, key=word, value=record.value, headers=record.headers | (headers or {})))
        self.journal.append(records)

    def loop(self, handler: Handler, records: int = 100) -> StageLoop:
        return StageLoop(handler, self.journal, self.database, BatchLimit(records=records))

    def saved(self) -> list[str]:
        with self.database.read() as connection:
            return sorted(connection.scalars(select(seen.c.text)))

    def outputs(self) -> list[str]:
        """Their keys, each id once: readers drop repeats."""
        return list({stored.headers["ce_id"]: stored.key for stored in self.journal.scan(topics.MESSAGE_SETTLED)}.values())

    def output_ids(self) -> list[str]:
        """All, repeats too."""
        return [stored.headers["ce_id"] for stored in self.journal.scan(topics.MESSAGE_SETTLED)]

    def dead(self) -> list[DeadLetter]:
        """Each once: a repeat after a crash has the id of its first."""
        opened = {stored.headers["ce_id"]: open_record(stored).event for stored in self.journal.scan(topics.DEAD_LETTER)}
        return list(opened.values())  # type: ignore[arg-type]

    def outbox_rows(self) -> int:
        with self.database.read() as connection:
            return len(connection.execute(select(stage_tables.outbox)).all())

    def close(self) -> None:
        self.journal.close()
        self.database.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.close()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back-off and housekeeping without their time."""
    monkeypatch.setattr("kanal.stage.RETRY_SECONDS", (0.0,) * 6)
    monkeypatch.setattr("kanal.stage.HOUSEKEEPING_SECONDS", -1.0)


def drain(loop: StageLoop, turns: int = 200) -> None:
    """Until nothing is left: two turns in a row without records."""
    empty = 0
    for _ in range(turns):
        empty = 0 if loop.turn(0) else empty + 1
        if empty == 8:
            return
    raise AssertionError("the loop does not come to rest")


def gauge(name: str, stage: str) -> float:
    return REGISTRY.get_sample_value(name, {"stage": stage}) or 0.0


# The ordinary way.


def test_each_message_is_decided_in_order_and_seen_by_the_next(bench: Bench) -> None:
    """State changes of a message are applied before the next of the same batch."""
    bench.send("a", "b", "c")
    drain(bench.loop(Toy()))
    rules = [open_record(stored).event.rule for stored in bench.journal.scan(topics.MESSAGE_SETTLED)]  # type: ignore[attr-defined]
    assert rules == ["", "a", "a,b"]
    assert bench.saved() == ["a", "b", "c"]


def test_output_ids_are_derived_from_stage_input_and_role(bench: Bench) -> None:
    """So that a repeat carries the id of its first; time and trace are those of the input."""
    bench.send("a")
    drain(bench.loop(Toy()))
    (stored,) = bench.journal.scan(topics.MESSAGE_SETTLED)
    opened = open_record(stored)
    assert opened.event_id == derive_id("toy", derive_id("test", "a"), "settled")
    assert (opened.at, opened.trace) == (NOON, derive_id("test", "a"))


@pytest.mark.parametrize("records", [1, 2, 100], ids=["one by one", "two by two", "in one batch"])
def test_repeats_are_dropped(bench: Bench, records: int) -> None:
    """In the same batch, in a later one and after a restart: one effect, one output."""
    bench.send("a", "b", "a", "b", "a")
    loop = bench.loop(Toy(), records)
    drain(loop)
    loop.stop()
    bench.send("a", "c")
    drain(bench.loop(Toy(), records))
    assert bench.saved() == ["a", "b", "c"]
    assert bench.outputs() == ["a", "b", "c"]


def test_after_a_clean_stop_nothing_is_repeated(bench: Bench) -> None:
    """The outbox is empty and the next start reads on."""
    bench.send("a")
    loop = bench.loop(Toy())
    drain(loop)
    loop.stop()
    assert bench.outbox_rows() == 0
    again = Toy()
    drain(bench.loop(again))
    assert again.decided == []
    assert len(bench.output_ids()) == 1


def test_two_stages_do_not_disturb_each_other(bench: Bench) -> None:
    """Ids applied and offsets are kept per stage."""
    bench.send("a")
    one, two = Toy("one"), Toy("two")
    two.save = lambda connection, changes: None  # type: ignore[method-assign]
    drain(bench.loop(one))
    drain(bench.loop(two))
    assert (one.decided, two.decided) == (["a"], ["a"])


# Poison and passing failures.


@pytest.mark.parametrize(
    ("error", "cause", "detail"),
    [
        pytest.param(InvalidEvent("not of this world", reason="otherworldly"), "otherworldly", "not of this world", id="invalid event"),
        pytest.param(ValueError("adi@warga.example"), "bug-ValueError", "", id="bug"),
    ],
)
def test_poison_is_one_dead_letter_and_its_neighbours_are_done(bench: Bench, error: Exception, cause: str, detail: str) -> None:
    """The letter holds the original whole; the text of a bug's exception, which may quote it, is not in it."""
    bench.send("a", "poison", "b")
    loop = bench.loop(Toy(on={"poison": raises(error)}))
    drain(loop)
    loop.stop()
    (letter,) = bench.dead()
    original = list(bench.journal.scan(topics.REPORTS))[1]
    assert (letter.stage, letter.topic, letter.offset, letter.key) == ("toy", topics.REPORTS, original.offset, "poison")
    assert (letter.cause, letter.detail) == (cause, detail)
    assert (letter.original(), letter.headers) == (original.value, original.headers)
    assert bench.saved() == bench.outputs() == ["a", "b"]


def test_a_record_that_cannot_be_read_is_a_dead_letter(bench: Bench) -> None:
    """Not JSON, no type, no id: none of them stops the stage."""
    bench.send("a", "b", "c", "d")
    broken = [Record(topic=topics.REPORTS, key="x", value=b"{", headers={"ce_id": "1", "ce_time": NOON.isoformat(), "ce_type": "kanal.status-asked.v1"}),
              Record(topic=topics.REPORTS, key="x", value=b"{}", headers={"ce_id": "2", "ce_time": NOON.isoformat(), "ce_type": "kanal.nothing.v1"}),
              Record(topic=topics.REPORTS, key="x", value=b"{}", headers={})]  # fmt: skip
    bench.journal.append(broken)
    bench.send("e")
    drain(bench.loop(Toy()))
    assert [letter.cause for letter in bench.dead()] == ["undecodable", "unknown-event", "no-event-id"]
    assert bench.saved() == ["a", "b", "c", "d", "e"]


def test_an_output_that_is_too_large_is_its_message_s_dead_letter(bench: Bench) -> None:
    """Nothing of it is written, its neighbours are done."""

    class Big(Toy):
        def decide(self, message: Input, state: list[str]) -> Decision:
            decision = super().decide(message, state)
            if message.event.number == "big":  # type: ignore[attr-defined]
                return Decision([Emit("message-settled", "k" * 2_000_000, decision.events[0].event, "settled")], decision.changes)
            return decision

    bench.send("a", "big", "b")
    drain(bench.loop(Big()))
    assert [letter.cause for letter in bench.dead()] == ["RecordTooLarge"]
    assert bench.saved() == bench.outputs() == ["a", "b"]


def test_the_largest_record_can_be_set_aside(bench: Bench) -> None:
    """In base64 it is a third larger; if that did not fit, the record would stop its stage for ever."""
    broken = Record(
        topic=topics.REPORTS, key="x", value=b"", headers={"ce_id": "1", "ce_time": NOON.isoformat(), "ce_type": "kanal.status-asked.v1"}
    )
    largest = msgspec.structs.replace(broken, value=b"{" * (MAX_RECORD_BYTES - broken.size()))
    bench.send("a")
    bench.journal.append([largest])
    bench.send("b")
    drain(bench.loop(Toy()))
    assert [letter.original() for letter in bench.dead()] == [largest.value]
    assert bench.saved() == ["a", "b"]


@pytest.mark.parametrize("where", ["on_load", "on_save"])
@pytest.mark.parametrize("error", [DatabaseAway("away"), RuntimeError("a bug")], ids=["away", "bug"])
def test_a_failure_to_load_or_save_is_tried_again_and_nothing_is_lost(bench: Bench, where: str, error: Exception) -> None:
    """The transaction is rolled back whole: no half batch, no dead letter."""
    toy = Toy()
    getattr(toy, where).extend([error] * 8)
    bench.send("a", "b")
    loop = bench.loop(toy)
    assert loop.turn(0) == 0
    assert bench.saved() == bench.outputs() == []
    drain(loop)
    assert bench.saved() == bench.outputs() == ["a", "b"]
    assert bench.dead() == []


class FailingJournal:
    """A journal whose appends fail so many times; what it refused may have landed."""

    def __init__(self, journal: SqliteJournal, failures: int, *, lands: bool) -> None:
        self._journal = journal
        self.failures = failures
        self._lands = lands

    def append(self, records: Sequence[Record], timeout_seconds: float = 10.0) -> None:
        if self.failures:
            self.failures -= 1
            if self._lands:
                self._journal.append(records)
            raise JournalAway("no answer")
        self._journal.append(records, timeout_seconds)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)


@pytest.mark.parametrize("lands", [True, False], ids=["answer lost", "refused"])
def test_outputs_are_appended_until_acknowledged(bench: Bench, lands: bool) -> None:
    """Repeats carry the same ids; nothing is decided twice because the journal was away."""
    toy = Toy(on={"poison": raises(InvalidEvent("x"))})
    bench.send("a", "poison", "b")
    journal = FailingJournal(bench.journal, 3, lands=lands)
    loop = StageLoop(toy, journal, bench.database)
    drain(loop)
    loop.stop()
    assert bench.outputs() == ["a", "b"]
    assert bench.saved() == ["a", "b"]
    assert toy.decided == ["a", "poison", "b"]


def test_a_passing_bug_in_decide_does_not_give_a_dead_letter_and_an_effect(bench: Bench) -> None:
    """What was set aside stays so until it is redriven, also when the append after the commit had to be repeated."""
    failures = [InvalidEvent("only the first time")]

    def first_time_only() -> None:
        if failures:
            raise failures.pop()

    bench.send("a")
    drain(StageLoop(Toy(on={"a": first_time_only}), FailingJournal(bench.journal, 1, lands=False), bench.database))
    assert (len(bench.dead()), bench.saved()) == (1, [])


# Redrive.


def test_a_redriven_record_is_handled_once_and_by_its_stage_only(bench: Bench) -> None:
    """Redriven three times it has one effect; the other stage skips it."""
    bench.send("a")
    first = bench.loop(Toy(on={"a": raises(InvalidEvent("x"))}))
    drain(first)
    first.stop()
    other = Toy("other")
    other.save = lambda connection, changes: None  # type: ignore[method-assign]
    drain(bench.loop(other))
    (letter,) = bench.dead()
    bench.journal.append([redriven(letter)] * 3)
    mended = Toy()
    drain(bench.loop(mended))
    drain(bench.loop(other))
    assert mended.decided == ["a"]
    assert other.decided == ["a"]
    assert bench.saved() == ["a"]


def test_a_record_for_another_stage_is_skipped(bench: Bench) -> None:
    """Even when this one could not read it."""
    bench.send("a", headers={FOR_STAGE: "other"})
    bench.journal.append([Record(topic=topics.REPORTS, key="x", value=b"{", headers={FOR_STAGE: "other"})])
    drain(bench.loop(Toy()))
    assert (bench.saved(), bench.dead()) == ([], [])


# Crashes.


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


def test_a_record_that_kills_the_process_three_times_is_set_aside(bench: Bench) -> None:
    """Found by handling one at a time; before it everything is done, after it everything goes on."""
    bench.send("a", "killer", "b")
    for _ in range(3):
        with pytest.raises(Killed):
            drain(bench.loop(Toy(on={"killer": raises(Killed())})))
    assert bench.dead() == []
    survivor = Toy(on={"killer": raises(Killed())})
    loop = bench.loop(survivor)
    drain(loop)
    loop.stop()
    (letter,) = bench.dead()
    assert (letter.key, letter.cause, letter.attempts) == ("killer", "deadly", 3)
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


# The fence.


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


# Offsets never lie.


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


# The alarm, timers.


def ringing(bench: Bench, words: Sequence[str], records: int = 100) -> float:
    name = f"alarm-{len(words)}-{records}-{bench.directory.name}"
    bench.send(*words)
    bad = {word: raises(InvalidEvent("x")) for word in words if word.startswith("bad")}
    drain(bench.loop(Toy(name, on=bad), records))
    return gauge("kanal_dead_letter_alarm", name)


@pytest.mark.parametrize("records", [1, 3, 100])
def test_ten_dead_letters_in_a_row_ring_the_alarm(bench: Bench, records: int) -> None:
    """Over any batches; and nothing stops: what comes after them is still handled by the same loop."""
    assert ringing(bench, [f"bad{i}" for i in range(10)], records) == 1
    assert len(bench.dead()) == 10


@pytest.mark.parametrize("records", [1, 3, 100])
def test_nine_in_a_row_do_not_ring(bench: Bench, records: int) -> None:
    """Nor nine, a good one and nine."""
    words = [f"bad{i}" for i in range(9)] + ["good"] + [f"bad{i}" for i in range(9, 18)]
    assert ringing(bench, words, records) == 0


@pytest.mark.parametrize("records", [1, 100])
def test_dead_letters_among_good_ones_do_not_ring(bench: Bench, records: int) -> None:
    """Every second one bad is not a row."""
    words = [f"{kind}{i}" for i in range(15) for kind in ("good", "bad")]
    assert ringing(bench, words, records) == 0


def test_the_alarm_ends_with_the_next_good_message(bench: Bench) -> None:
    """A gauge, not a counter: operators see that it is over."""
    toy = Toy("alarm-ends", on={f"bad{i}": raises(InvalidEvent("x")) for i in range(10)})
    bench.send(*toy.on)
    loop = bench.loop(toy)
    drain(loop)
    assert gauge("kanal_dead_letter_alarm", "alarm-ends") == 1
    bench.send("good")
    drain(loop)
    assert gauge("kanal_dead_letter_alarm", "alarm-ends") == 0


def a_timer(word: str) -> Input:
    event = StatusAsked(number=word, message_id="", channel="sms", conversation="c", asked_at=NOON)
    return Input(event=event, event_id=derive_id("timer", word), at=NOON, place=Place(topics.REPORTS, 0))


def test_timers_fire_only_when_caught_up_and_once(bench: Bench) -> None:
    """A clock must not run ahead of the story; the same id fired again is dropped."""
    toy = Toy()
    bench.send("a", "b")
    loop = bench.loop(toy, 1)
    toy.timers = [a_timer("t"), a_timer("t")]
    loop.turn(0)
    assert toy.decided == ["a"]
    drain(loop)
    assert toy.decided == ["a", "b", "t"]
    assert bench.outputs() == ["a", "b", "t"]


def test_timers_that_cannot_be_handled_are_told_apart(bench: Bench) -> None:
    """Two broken timers are two dead letters, not one under the same id."""
    toy = Toy(on={"t1": raises(InvalidEvent("x")), "t2": raises(InvalidEvent("x"))})
    toy.timers = [a_timer("t1"), a_timer("t2")]
    drain(bench.loop(toy))
    assert len({stored.headers["ce_id"] for stored in bench.journal.scan(topics.DEAD_LETTER)}) == 2


# Found by review.


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


def test_timers_fire_under_steady_traffic(bench: Bench) -> None:
    """A city that never sleeps must not keep half an SMS waiting for ever."""
    toy = Toy()
    loop = bench.loop(toy)
    for word in "abc":
        bench.send(word)
        toy.timers = [a_timer(f"t-{word}")]
        assert loop.turn(0) == 1
    assert [word for word in toy.decided if word.startswith("t-")] == ["t-a", "t-b", "t-c"]


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
