"""The stage loop when nothing goes wrong: order, derived ids, repeats, clean stops, timers."""

import pytest

from kanal import topics
from kanal.errors import InvalidEvent
from kanal.events import StatusAsked
from kanal.ids import derive_id
from kanal.journal import Place
from kanal.records import open_record
from kanal.stage import Input
from kanal.testing import NOON
from tests.kanal.stage.toy import Bench, Toy, drain, raises


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


def test_timers_wait_after_the_process_has_stood_still(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it knows of the journal is as old as its last look: it looks before a clock decides."""
    toy = Toy()
    toy.timers = [a_timer("t")]
    loop = bench.loop(toy)
    with monkeypatch.context() as frozen:
        frozen.setattr("kanal.stage.FROZEN_SECONDS", -1.0)
        loop.turn(0)
        assert toy.decided == []
    drain(loop)
    assert toy.decided == ["t"]


def test_timers_that_cannot_be_handled_are_told_apart(bench: Bench) -> None:
    """Two broken timers are two dead letters, not one under the same id."""
    toy = Toy(on={"t1": raises(InvalidEvent("x")), "t2": raises(InvalidEvent("x"))})
    toy.timers = [a_timer("t1"), a_timer("t2")]
    drain(bench.loop(toy))
    assert len({stored.headers["ce_id"] for stored in bench.journal.scan(topics.DEAD_LETTER)}) == 2


def test_timers_fire_under_steady_traffic(bench: Bench) -> None:
    """A city that never sleeps must not keep half an SMS waiting for ever."""
    toy = Toy()
    loop = bench.loop(toy)
    for word in "abc":
        bench.send(word)
        toy.timers = [a_timer(f"t-{word}")]
        assert loop.turn(0) == 1
    assert [word for word in toy.decided if word.startswith("t-")] == ["t-a", "t-b", "t-c"]
