"""What a citizen writes after Kanal has told him something: the answer to a question, a word about what is closed."""

import pytest
from kanal_normalizer.tables import Told, seconds

from kanal.events import Part, ReplyRequested, ReportAppended, ReporterTold, ReportRegistered
from kanal.testing import BUNGA, an_input, later, message, number

from .driver import Normalizer, Said
from .rulebook import FIRST, MAIL, after, settle, told

SECOND = message("second", text="LAPOR got mampet di kelurahan Cikini", received_at=later(2))
DAYS = 24 * 60


@pytest.mark.parametrize("text", ["Di depan warung Bu Tini", "Ya sudah pak", "RT 3 RW 4", "Sudah, tolong cek"])
@pytest.mark.parametrize("minutes", [20, 2 * DAYS])
def test_an_answer_by_sms_reaches_the_report_that_was_asked_about(text: str, minutes: float) -> None:
    """However late it comes, and whatever the citizen reported since."""
    memory = told(FIRST.number, "unclear", 10, after(FIRST, SECOND))
    outcome = settle(message("answer", text=text, received_at=later(minutes)), memory)
    assert (outcome.outcome, outcome.rule, outcome.number) == ("appended", "answer-to-question", FIRST.number)
    assert Said(outcome.events).only(ReplyRequested).values == {"number": FIRST.number, "conversation": "yes"}


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("LAPOR pohon tumbang di Cikini", "new-report"), ("Kebakaran di kelurahan Cikini", "new-report"), ("terima kasih", "courtesy"),
        ("halo", "courtesy"), ("CEK", "status-question"),
    ],
)  # fmt: skip
def test_what_is_no_answer_leaves_the_question_open(text: str, rule: str) -> None:
    """LAPOR and danger are reports of their own, a greeting is none, a question gets its answer."""
    memory = told(FIRST.number, "unclear", 10, after(FIRST))
    for minutes in (12, 2 * DAYS):
        assert settle(message("later", text=text, received_at=later(minutes)), memory).rule == rule


def test_what_follows_a_new_report_at_once_belongs_to_that_and_not_to_an_older_question() -> None:
    """The question is from yesterday; the citizen has just been asked for the place of another problem."""
    memory = told(FIRST.number, "unclear", 10, after(FIRST))
    memory = after(message("today", text="LAPOR got mampet", received_at=later(DAYS)), memory=memory)
    assert settle(message("place", text="Di Cikini", received_at=later(DAYS + 3)), memory).number == number("today")


def test_a_question_goes_before_what_was_closed_since() -> None:
    """ "Tiang 17" says nothing about the report that is done."""
    memory = told(SECOND.number, "done", 25, told(FIRST.number, "unclear", 20, after(FIRST, SECOND)))
    assert settle(message("answer", text="Tiang 17", received_at=later(27)), memory).number == FIRST.number


@pytest.mark.parametrize(("minutes", "outcome"), [(12, "appended"), (DAYS, "registered")])
def test_a_whole_report_long_after_the_question_is_a_report(minutes: float, outcome: str) -> None:
    """What and where: a new problem must not go unnoticed as the answer to an old question. At once it may be the answer."""
    memory = told(FIRST.number, "unclear", 10, after(FIRST))
    assert settle(message("other", text="Got mampet di kelurahan Cikini", received_at=later(minutes)), memory).outcome == outcome


@pytest.mark.parametrize("status", ["done", "rejected"])
@pytest.mark.parametrize("text", ["Got mampet di kelurahan Cikini", "Pohon tumbang", "Sampah menumpuk"])
@pytest.mark.parametrize("said_again", [True, False], ids=["just-written-of", "long-not-written-of"])
def test_what_comes_after_a_report_was_closed_is_a_new_one(text: str, status: str, said_again: bool) -> None:
    """It would disappear in a report that nobody works on; BELUM is how to say that it is not fixed."""
    memory = told(FIRST.number, status, DAYS, after(FIRST))
    if said_again:
        memory = after(message("note", text=f"Catatan {FIRST.number}", received_at=later(DAYS + 3)), memory=memory)
    assert settle(message("other", text=text, received_at=later(DAYS + 5)), memory).outcome == "registered"


@pytest.mark.parametrize(
    ("text", "outcome"),
    [("LAPOR got mampet", "duplicate"), ("Got mampet di kelurahan Cikini", "duplicate"), ("Sudah", "appended")],
)  # fmt: skip
def test_a_phone_s_repeat_of_a_report_does_not_answer_a_question(text: str, outcome: str) -> None:
    """A whole report that comes twice is one report, whatever was asked between; "sudah" may be said twice."""
    memory = after(message("second", text=text, received_at=later(2)), memory=after(FIRST))
    memory = told(FIRST.number, "unclear", 3, memory)
    assert settle(message("repeat", text=text, received_at=later(4)), memory).outcome == outcome


def test_a_question_in_the_second_of_his_last_message_goes_before_it() -> None:
    """Times are whole seconds; nobody answers a question in the second in which it is asked."""
    memory = told(FIRST.number, "unclear", 2, after(FIRST, SECOND))
    assert settle(message("answer", text="Tiang 17", received_at=later(3)), memory).number == FIRST.number


def test_of_two_questions_the_later_is_answered() -> None:
    """It is the one that the citizen has read last."""
    memory = told(SECOND.number, "unclear", 10, told(FIRST.number, "unclear", 20, after(FIRST, SECOND)))
    assert settle(message("answer", text="Sudah pak", received_at=later(DAYS)), memory).number == FIRST.number


def test_once_it_is_answered_or_given_up_nothing_waits() -> None:
    """What comes then is a report of its own again."""
    memory = told(FIRST.number, "in-progress", 30, told(FIRST.number, "unclear", 10, after(FIRST)))
    assert settle(message("later", text="Got mampet", received_at=later(2 * DAYS)), memory).outcome == "registered"


def test_a_question_to_somebody_else_is_not_answered() -> None:
    """Conversations are told apart."""
    memory = told(FIRST.number, "unclear", 10, after(FIRST))
    assert settle(message("other", sender=BUNGA, text="Got mampet", received_at=later(DAYS)), memory).outcome == "registered"


def test_the_same_short_answer_to_a_second_question_is_no_repeat() -> None:
    """ "Sudah", said once to each."""
    memory = told(FIRST.number, "unclear", 10, after(FIRST))
    memory = after(message("answer", text="Sudah", received_at=later(20)), memory=memory)
    memory = told(FIRST.number, "unclear", 30, memory)
    outcome = settle(message("again", text="Sudah", received_at=later(40)), memory)
    assert (outcome.outcome, outcome.number) == ("appended", FIRST.number)


def test_the_same_words_after_it_was_closed_are_no_repeat() -> None:
    """The lamp is dark again: "we have this message already" would be no answer."""
    again = message("again", text=FIRST.text, received_at=later(8))
    assert settle(again, told(FIRST.number, "done", 9, after(FIRST))).outcome == "duplicate"
    assert settle(again, told(FIRST.number, "done", 7, after(FIRST))).outcome == "registered"


@pytest.mark.parametrize(
    ("status", "days", "of"),
    [
        pytest.param("done", 3, "first", id="done"),
        pytest.param("unclear", 3, "first", id="asked"),
        pytest.param("done", 15, "second", id="too-late-to-reopen"),
        pytest.param("rejected", 3, "second", id="rejected"),
        pytest.param("waiting", 3, "second", id="nothing-waits"),
    ],
)
@pytest.mark.parametrize("told_before", [True, False], ids=["told-before-the-second-report", "told-after-it"])
def test_belum_is_about_the_report_in_which_it_says_something(status: str, days: int, of: str, told_before: bool) -> None:
    """Two reports: of the older he was told, the newer was talked of last and is neither done nor asked about."""
    memory = told(FIRST.number, status, 1 if told_before else 60, after(FIRST, SECOND))
    outcome = settle(message("belum", text="BELUM", received_at=later(days * DAYS)), memory)
    assert (outcome.rule, outcome.number) == ("not-fixed", number(of))


@pytest.mark.parametrize(
    ("status", "said"),
    [("done", {"closed": "yes", "done": "yes"}), ("rejected", {"closed": "yes"}), ("unclear", {}), ("waiting", {}), ("merged", {})],
)  # fmt: skip
def test_who_adds_to_a_closed_report_is_told_that_it_is_closed(status: str, said: dict[str, str]) -> None:
    """Else he would wait for somebody who does not come; of a done one he is told how to reopen it."""
    memory = told(FIRST.number, status, 5, after(FIRST))
    outcome = settle(message("more", text=f"Tiang nomor 17 {FIRST.number}", received_at=later(30)), memory)
    late = settle(message("late", text=f"Tiang nomor 17 {FIRST.number}", received_at=later(15 * DAYS)), memory)
    assert "done" not in Said(late.events).only(ReplyRequested).values
    assert Said(outcome.events).only(ReplyRequested).values == {"number": FIRST.number} | said


def test_what_was_written_before_it_was_told_is_not_about_it() -> None:
    """It lay in the journal meanwhile."""
    memory = told(FIRST.number, "unclear", 60, after(FIRST))
    assert settle(message("before", text="Got mampet", received_at=later(50)), memory).outcome == "registered"


def test_it_is_told_also_to_who_writes_from_elsewhere() -> None:
    """Each mail thread is a conversation of its own: here the number tells what it is about."""
    memory = told(FIRST.number, "done", 5, after(FIRST))
    arrived = message("more", text=f"Tiang nomor 17 {FIRST.number}", conversation="another", received_at=later(30))
    assert Said(settle(arrived, memory).events).only(ReplyRequested).values["closed"] == "yes"


@pytest.mark.parametrize("word", ["LAPOR", "Lapor ya", "laporan baru", "new report"])
@pytest.mark.parametrize("asked", [True, False], ids=["with-a-question", "without"])
def test_lapor_alone_is_no_report_but_the_next_message_is(word: str, asked: bool) -> None:
    """We say "begin with LAPOR": who sends that word first is told how, and the rest opens a report of its own."""
    memory = told(FIRST.number, "unclear", 1, after(FIRST)) if asked else after(FIRST)
    alone = message("word", text=word, received_at=later(3))
    outcome = settle(alone, memory)
    assert (outcome.rule, [emit.role for emit in outcome.events]) == ("courtesy", ["how-to-report"])
    memory = after(alone, memory=memory)
    assert settle(message("rest", text="Got mampet", received_at=later(4)), memory).outcome == "registered"


def test_a_text_said_again_after_lapor_is_the_report_that_was_announced() -> None:
    """It had been added to the report before; he was told to begin with LAPOR, and does."""
    memory = after(FIRST, message("wrong", text="Sampah menumpuk", received_at=later(2)))
    memory = after(message("word", text="LAPOR", received_at=later(3)), memory=memory)
    rest = message("again", text="Sampah menumpuk", received_at=later(4))
    assert settle(rest, memory).outcome == "registered"
    assert (
        settle(message("phone's repeat", text="Sampah menumpuk", received_at=later(5)), after(rest, memory=memory)).outcome == "duplicate"
    )
    assert [emit.role for emit in settle(message("word again", text="LAPOR", received_at=later(6)), memory).events] == ["how-to-report"]


@pytest.mark.parametrize(
    ("text", "status", "rule"),
    [
        ("masih mati pak", "done", "not-fixed"), ("lampunya belum menyala juga pak, tolong dicek", "done", "not-fixed"),
        ("still not working", "done", "not-fixed"), ("Terima kasih tapi masih gelap", "done", "not-fixed"),
        ("masih mati pak", "rejected", "new-report"), ("masih mati pak", "waiting", "new-report"),
        ("Lampu masih mati di kelurahan Cikini", "done", "new-report"), ("LAPOR masih gelap", "done", "new-report"),
        ("Sampah menumpuk di depan rumah", "done", "new-report"),
    ],
)  # fmt: skip
def test_that_it_is_still_so_reopens_what_is_done(text: str, status: str, rule: str) -> None:
    """Few know the word BELUM. With a place it may be another problem."""
    memory = told(FIRST.number, status, 60, after(FIRST))
    assert settle(message("still", text=text, received_at=later(DAYS)), memory).rule == rule


def test_belum_in_a_new_thread_is_about_the_report_that_is_done() -> None:
    """Each mail begins a conversation of its own; the sender is the same."""
    mails = [message(name, sender=MAIL, text=name, conversation=name) for name in ("lamp", "drain")]
    memory = after(*mails)
    memory.apply(Told(number("lamp"), "lamp", "done", seconds(later(60))))
    outcome = settle(message("belum", sender=MAIL, text="BELUM", conversation="new", received_at=later(DAYS)), memory)
    assert (outcome.rule, outcome.number) == ("not-fixed", number("lamp"))


# In the tables.


def reporter_told(status: str, minutes: float, of: str = "first") -> ReporterTold:
    return ReporterTold(number=number(of), conversation=FIRST.conversation, status=status, told_at=later(minutes))


def test_what_was_told_is_kept_until_it_is_over(normalizer: Normalizer) -> None:
    """In the same batch as a message or in one before; nothing is said of it."""
    normalizer.take(FIRST)
    assert normalizer.handle([an_input(reporter_told("unclear", 10))]) == []
    said = normalizer.take(message("answer", text="Depan warung", received_at=later(DAYS)))
    assert said.only(ReportAppended).number == FIRST.number
    normalizer.handle([an_input(reporter_told("waiting", DAYS + 1))])
    assert normalizer.take(message("later", text="Gelap", received_at=later(DAYS + 30))).outcomes() == ["registered"]
    both = [
        an_input(reporter_told("unclear", 2 * DAYS)),
        an_input(message("second answer", text="Samping masjid", received_at=later(3 * DAYS))),
    ]
    assert normalizer.handle(both).only(ReportAppended).number == FIRST.number


def test_of_what_is_told_in_one_batch_the_last_is_kept(normalizer: Normalizer) -> None:
    """A question that is answered at once, and one that is not."""
    events = [reporter_told("unclear", 1), reporter_told("waiting", 2), reporter_told("waiting", 1, "2"), reporter_told("done", 3, "2")]
    normalizer.handle([an_input(event) for event in events])
    normalizer.handle([an_input(reporter_told("waiting", 2, "2"))])
    assert {(row[0], row[2]) for row in normalizer.rows()["normalizer_told"]} == {(number("first"), "waiting"), (number("2"), "done")}


def test_a_report_is_known_to_be_closed_from_another_conversation_too(normalizer: Normalizer) -> None:
    """Looked up by the number that is named."""
    normalizer.take(FIRST)
    normalizer.handle([an_input(reporter_told("done", 10))])
    arrived = message("more", text=f"Tiang nomor 17 {FIRST.number}", conversation="another", received_at=later(30))
    assert normalizer.take(arrived).only(ReplyRequested).values == {"number": FIRST.number, "closed": "yes", "done": "yes"}


def test_a_report_of_which_a_part_got_lost_does_not_go_on_with_a_later_one(normalizer: Normalizer) -> None:
    """When its time is up the conversation has gone on to something else."""
    half = message("half", text="Got mampet di kelurahan Cikini, ", part=Part(reference="7", number=1, total=2))
    normalizer.take(half, message("tree", text="Pohon tumbang di kelurahan Gambir", received_at=later(2)))
    assert normalizer.timers(later(20)).only(ReportRegistered).incomplete


def test_an_answer_of_which_a_part_got_lost_reaches_the_report(normalizer: Normalizer) -> None:
    """It is not a report of its own because the telephone network lost a piece of it."""
    normalizer.take(FIRST)
    normalizer.handle([an_input(reporter_told("unclear", 10))])
    half = message("half", text="Tiang nomor 17, ", part=Part(reference="7", number=1, total=2), received_at=later(DAYS))
    normalizer.take(half)
    assert normalizer.timers(later(DAYS + 60)).only(ReportAppended).number == FIRST.number
