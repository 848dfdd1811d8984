"""The stage loop and what fails: dead letters, passing failures, redrive, the alarm."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from kanal import topics
from kanal.errors import DatabaseAway, InvalidEvent, JournalAway
from kanal.journal import FOR_STAGE, MAX_RECORD_BYTES, Record
from kanal.journal.sqlite import SqliteJournal
from kanal.records import TOO_LARGE_TO_KEEP, redriven
from kanal.stage import Decision, Emit, Input, StageLoop
from kanal.testing import NOON
from tests.kanal.stage.toy import Bench, Toy, drain, gauge, raises


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


@pytest.mark.parametrize(("key", "header"), [("k" * 900_000, "x"), ("k", '"' * 900_000)], ids=["key", "header"])
def test_a_record_that_fits_into_no_dead_letter_is_set_aside_without_its_content(bench: Bench, key: str, header: str) -> None:
    """The letter says where it stands; nothing stops."""
    headers = {"ce_id": "1", "ce_time": NOON.isoformat(), "ce_type": "kanal.status-asked.v1", "extra": header}
    bench.send("a")
    bench.journal.append([Record(topic=topics.REPORTS, key=key, value=b"{", headers=headers)])
    bench.send("b")
    drain(bench.loop(Toy()))
    (letter,) = bench.dead()
    assert (letter.topic, letter.offset, letter.value, letter.cause) == (topics.REPORTS, 2, "", "undecodable")
    assert letter.detail.startswith(TOO_LARGE_TO_KEEP)
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
