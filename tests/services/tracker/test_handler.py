"""The tracker in its loop over a real journal and database: repeats, dead letters, clocks, rebuilding."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from kanal_tracker import tables
from kanal_tracker.fold import PARKED_HOURS
from kanal_tracker.handler import TrackerHandler
from kanal_tracker.rebuild import rebuild
from sqlalchemy import select, text

from kanal import stage_tables, topics
from kanal.events import DeadLetter, Event, ReportRegistered, UpdateRequested
from kanal.journal import Place
from kanal.records import redriven
from kanal.testing import BUNGA, NOON, jakarta, later, number, registered, updated

from .story import HERE, City, Folding, appended, asked, belum, requested, routed, story_record

OLD = datetime(2020, 1, 1, tzinfo=UTC)
"""Before any wall clock: what was said then is overdue."""


@pytest.fixture
def clocked(tmp_path: Path) -> Iterator[City]:
    """With its clocks on."""
    city = City(tmp_path, TrackerHandler(jakarta()))
    yield city
    city.close()


def letters(city: City) -> list[DeadLetter]:
    return [event for event in city.told(topics.DEAD_LETTER) if isinstance(event, DeadLetter)]


def test_a_story_through_the_journal_gives_the_report_and_the_replies(city: City) -> None:
    """Each notice once in its topic, also when every record came twice."""
    story = [registered(), routed(), requested("accept"), requested("finish"), requested("validate"), belum(), asked()]
    city.say(*story)
    city.run()
    city.say(*story, *story)
    city.run()
    report = city.report()
    assert report is not None
    assert (report.status, report.version) == ("waiting", 7)
    assert [event.kind for event in city.told(topics.reply_requested("sms"))] == ["taken-up", "done", "reopened", "status"]  # type: ignore[attr-defined]
    assert [event.version for event in city.told(topics.REPORT_UPDATED)] == [1, 2, 3, 4, 5, 6, 7]  # type: ignore[attr-defined]


def test_a_collision_is_a_dead_letter_and_the_next_event_is_handled(city: City) -> None:
    """The first report and its neighbours are not touched."""
    city.say(registered(), registered("1", message_id="another"), routed(), updated(), registered("2"))  # type: ignore[arg-type]
    city.run()
    assert [letter.cause for letter in letters(city)] == ["number-collision", "unexpected-event"]
    report = city.report()
    assert report is not None
    assert report.agency == "bina-marga"
    assert city.report("2") is not None


# Clocks.


def due(folding: Folding, now: datetime, place: Place = HERE) -> list[str]:
    with folding.database.read() as connection:
        return [type(timer.event).__name__ for timer in folding.handler.due(connection, [place], now)]


@pytest.mark.parametrize(("waited", "fires"), [(timedelta(days=2, hours=23), False), (timedelta(days=3, seconds=2), True)])
def test_a_question_without_an_answer_is_due_after_three_days(folding: Folding, waited: timedelta, fires: bool) -> None:
    """Not before; and only for who owns the report's partition."""
    folding.fold(registered(), requested("ask", requested_at=later(10)))
    now = later(10) + waited
    assert due(folding, now) == (["AnswerOverdue"] if fires else [])
    assert due(folding, now, Place(topics.REPORTS, 5)) == []


def test_a_question_that_was_answered_is_not_due(folding: Folding) -> None:
    """However it ended."""
    folding.fold(registered("1"), registered("2"), requested("ask"), requested("ask", "2"))
    folding.fold(appended(by="answer", received_at=later(20)), requested("reject", "2"))
    assert due(folding, NOON + timedelta(days=30)) == []


def test_the_clock_asks_for_the_change_like_anybody(folding: Folding) -> None:
    """An `UpdateRequested` with a derived id in `reports`, so that a replay has it too; fired twice it is the same."""
    folding.fold(registered(), requested("ask", requested_at=later(10)))
    ids = []
    for days in (4, 5):
        now = later(10) + timedelta(days=days)
        with folding.database.read() as connection:
            (timer,) = folding.handler.due(connection, [HERE], now)
        (said,) = folding.fold_inputs([timer]).all
        assert isinstance(said, UpdateRequested)
        assert (said.action, said.by_role, said.number, said.version) == ("answer", "clock", number(), None)
        assert [emit.topic for emit in folding.emitted] == [topics.REPORTS]
        ids.append((said.action_id, folding.emitted[0].event_id))
    assert len(set(ids)) == 1


def test_an_unanswered_question_goes_back_by_itself(clocked: City) -> None:
    """Through the journal and the loop, once."""
    clocked.say(registered(received_at=OLD), requested("accept", requested_at=OLD), requested("ask", requested_at=OLD))
    clocked.run()
    report = clocked.report()
    assert report is not None
    assert (report.status, report.asked_at) == ("in-progress", None)
    asked_by_clock = [event for event in clocked.told(topics.REPORTS) if isinstance(event, UpdateRequested) and event.by_role == "clock"]
    assert len(asked_by_clock) == 1


@pytest.mark.parametrize(("hours", "fires"), [(PARKED_HOURS - 0.1, False), (PARKED_HOURS + 0.1, True)])
def test_a_parked_event_is_due_after_a_day(folding: Folding, hours: float, fires: bool) -> None:
    """Not before."""
    folding.fold(routed(routed_at=NOON))
    assert due(folding, NOON + timedelta(hours=hours)) == (["ParkedTooLong"] if fires else [])


def test_an_event_that_was_parked_too_long_dies_and_can_be_redriven(clocked: City) -> None:
    """A dead letter that names the cause; when the report is there at last, the redriven original is folded, once."""
    clocked.say(routed(routed_at=OLD))
    clocked.run()
    (letter,) = letters(clocked)
    assert (letter.stage, letter.cause, letter.key, letter.topic) == ("tracker", "number-unknown", number(), topics.REPORTS)
    assert letter.original() == story_record(routed(routed_at=OLD)).value
    assert not any(clocked.view().values())
    clocked.say(registered())
    clocked.run()
    clocked.journal.append([redriven(letter)] * 2)
    clocked.run()
    report = clocked.report()
    assert report is not None
    assert (report.agency, report.version) == ("bina-marga", 2)
    assert len(letters(clocked)) == 1


def test_redriven_too_early_it_waits_again_and_is_not_lost(clocked: City) -> None:
    """It dies once more under the same id and can be redriven again."""
    clocked.say(routed(routed_at=OLD))
    clocked.run()
    (letter,) = letters(clocked)
    clocked.journal.append([redriven(letter)])
    clocked.run()
    clocked.say(registered())
    clocked.run()
    clocked.journal.append([redriven(letter)])
    clocked.run()
    report = clocked.report()
    assert report is not None
    assert report.agency == "bina-marga"


# Rebuilding.


def rebuilt(city: City) -> dict[str, list[tuple[object, ...]]]:
    rebuild(city.database, city.journal, jakarta())
    return city.view()


def test_rebuilding_gives_the_same_tables_and_says_nothing(city: City) -> None:
    """No reply goes out a second time, and the stage goes on behind what was folded."""
    city.say(
        registered(),
        routed(),
        requested("accept"),
        appended(by="more"),
        requested("finish"),
        requested("validate"),
        belum(),
        asked(),
        routed("9"),
    )
    city.run()
    city.loop.stop()
    before, said = city.view(), city.told(topics.reply_requested("sms"))
    with city.database.begin() as connection:
        connection.execute(tables.timeline.delete())
        connection.execute(text("ALTER TABLE tracker_timeline DROP COLUMN reason"))  # as of an older version
        connection.execute(tables.reports.update().values(state="{}"))
    assert rebuilt(city) == before
    city.run()
    assert city.view() == before
    assert city.told(topics.reply_requested("sms")) == said
    city.say(requested("accept", requested_at=later(99)))
    city.run()
    report = city.report()
    assert report is not None
    assert report.status == "in-progress"


def test_what_came_while_the_tracker_was_stopped_is_left_to_it(city: City) -> None:
    """Rebuilding sends no replies, so it must not fold what the stage has not handled yet: its notices would never go out."""
    city.say(registered(), routed())
    city.run()
    city.loop.stop()
    city.say(requested("accept"))
    rebuild(city.database, city.journal, jakarta())
    city.run()
    report = city.report()
    assert report is not None
    assert report.status == "in-progress"
    assert [event.kind for event in city.told(topics.reply_requested("sms"))] == ["taken-up"]  # type: ignore[attr-defined]
    assert [event.action for event in city.told(topics.REPORT_UPDATED)] == ["register", "route", "accept"]  # type: ignore[attr-defined]


def test_after_a_rebuild_the_stage_goes_on_where_it_was(city: City) -> None:
    """Its stored offset is that of the journal's end here, also when the row had been lost; nothing is read again."""
    city.say(registered(), routed())
    city.run()
    city.loop.stop()
    with city.database.begin() as connection:
        before = connection.execute(select(stage_tables.stage_offsets)).all()
        connection.execute(stage_tables.stage_offsets.update().values(clean=False))
    rebuild(city.database, city.journal, jakarta())
    with city.database.read() as connection:
        assert connection.execute(select(stage_tables.stage_offsets)).all() == before


def test_a_rebuild_that_is_killed_leaves_the_old_view(city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    """All in one transaction."""
    city.say(registered(), routed())
    city.run()
    city.loop.stop()
    before = city.view()

    def killed(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kanal_tracker.rebuild.StageStore.mark_clean", killed)
    with pytest.raises(KeyboardInterrupt):
        rebuild(city.database, city.journal, jakarta())
    assert city.view() == before


@pytest.mark.parametrize("redrive", [False, True], ids=["not redriven", "redriven"])
def test_a_rebuild_knows_what_had_died_before_its_registration(clocked: City, redrive: bool) -> None:
    """An event that was given up after a day and (perhaps) redriven later has the same effect in a replay: design, guarantee 4."""
    clocked.say(routed(routed_at=OLD))
    clocked.run()
    clocked.say(registered(), requested("accept"))
    clocked.run()
    if redrive:
        clocked.journal.append([redriven(letter) for letter in letters(clocked)])
        clocked.run()
    clocked.loop.stop()
    before = clocked.view()
    assert rebuilt(clocked) == before


def test_a_rebuild_does_not_depend_on_how_events_were_batched(city: City) -> None:
    """Parked in two batches there, in one here."""
    for event in (routed(routed_at=later(8)), appended(by="more", received_at=later(2)), registered()):
        city.say(event)
        city.run()
    city.loop.stop()
    before = city.view()
    assert rebuilt(city) == before


NAMES = st.sampled_from(["1", "2", "3"])
ACTIONS = ["accept", "refuse", "assign", "delegate", "ask", "answer", "progress", "finish", "validate", "return", "reject", "merge",
           "unmerge", "reopen", "vanish"]  # fmt: skip
TIMES = st.integers(0, 400).map(later)
EVENTS: st.SearchStrategy[Event] = st.one_of(
    NAMES.map(registered),
    NAMES.map(registered),
    st.builds(registered, NAMES, message_id=st.just("another")),
    st.builds(routed, NAMES, st.sampled_from(["bina-marga", "pertamanan"]), routed_at=TIMES),
    st.builds(appended, NAMES, st.sampled_from(["a", "b", "c"]), received_at=TIMES),
    st.builds(belum, NAMES, st.sampled_from(["x", "y"]), sender=st.sampled_from(["+6281200000001", BUNGA]), received_at=TIMES),
    st.builds(asked, NAMES, mine=st.booleans()),
    st.builds(
        requested, st.sampled_from(ACTIONS), NAMES, version=st.sampled_from([None, None, None, 1, 2, 3]), requested_at=TIMES,
        other=NAMES.map(number), action_id=st.sampled_from([f"action-{i}" for i in range(12)]),
    ),
)  # fmt: skip


@settings(
    max_examples=30,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.lists(EVENTS, min_size=1, max_size=25), st.lists(st.integers(0, 24), max_size=8), st.integers(1, 9), st.booleans())
def test_replaying_a_history_with_repeats_gives_the_same_tables(
    tmp_path_factory: pytest.TempPathFactory, events: list[Event], repeats: list[int], records: int, registered_last: bool
) -> None:
    """Any history, in any batches: emptied and folded anew the tables are equal."""
    city = City(tmp_path_factory.mktemp("city"), records=records)
    if registered_last:
        events = sorted(events, key=lambda event: isinstance(event, ReportRegistered))
    try:
        city.say(*events, *(events[index % len(events)] for index in repeats))
        city.run()
        city.loop.stop()
        before = city.view()
        assert rebuilt(city) == before
    finally:
        city.close()
