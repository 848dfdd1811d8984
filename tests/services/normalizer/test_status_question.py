"""Questions about status: which texts ask, about which report, and whether the asker may speak for it. Pure: no database."""

import msgspec
import pytest
from kanal_normalizer.tables import SeenText

from kanal.events import ReplyRequested, StatusAsked
from kanal.testing import ADI, BUNGA, later, message, number

from .driver import Said
from .rulebook import FIRST, MAIL, WRONG, after, photo, settle


def test_a_question_about_a_number_goes_to_that_report() -> None:
    """Anybody may ask with a number; the tracker decides what he is told."""
    outcome = settle(message("second", sender=BUNGA, text=f"CEK {FIRST.number}", language="en"), after(FIRST))
    asked = Said(outcome.events).only(StatusAsked)

    assert (outcome.outcome, outcome.rule, outcome.reason) == ("status-asked", "status-question", "number named")
    assert (asked.number, asked.mine, asked.others, asked.language) == (FIRST.number, False, (), "en")
    assert outcome.events[0].key == FIRST.number
    assert [type(change) for change in outcome.changes] == [SeenText]


@pytest.mark.parametrize(
    ("sender", "reply_to", "proven"),
    [
        pytest.param(ADI, "", True, id="the-reporter"),
        pytest.param(BUNGA, FIRST.number, True, id="who-has-an-answer-of-ours"),
        pytest.param(BUNGA, number("another"), False, id="who-has-one-about-another-report"),
        pytest.param(BUNGA, "", False, id="a-stranger"),
    ],
)
def test_a_question_says_whether_the_asker_may_speak_for_the_report(sender: str, reply_to: str, proven: bool) -> None:
    """The number alone is no proof: it is on a public page."""
    outcome = settle(message("second", sender=sender, reply_to=reply_to, text=f"CEK {FIRST.number}"), after(FIRST))

    assert Said(outcome.events).only(StatusAsked).proven is proven


@pytest.mark.parametrize("text", ["Status {} dong", "Tolong cek {} terima kasih", "Bagaimana laporan saya {} sudah sampai mana?"])
@pytest.mark.parametrize("sender", [ADI, BUNGA])
def test_a_number_with_nothing_but_a_question_asks(text: str, sender: str) -> None:
    """It opened a report, or was added to another one."""
    outcome = settle(message("second", sender=sender, text=text.format(FIRST.number)), after(FIRST))

    assert (outcome.outcome, outcome.number) == ("status-asked", FIRST.number)


@pytest.mark.parametrize(
    "text",
    ["status laporan nomor {} bagaimana ya?", "Could you tell me the status of {}, please?", "CEK {0} {0}", "cek {} dong pak"],
)  # fmt: skip
def test_a_number_asked_for_in_more_words(text: str) -> None:
    """A question, not a report."""
    assert settle(message("second", sender=BUNGA, text=text.format(FIRST.number)), after(FIRST)).outcome == "status-asked"


@pytest.mark.parametrize(
    "text",
    ["CEK laporan saya", "check my report", "CEK nomor laporan saya dong", "Laporan saya sudah sampai mana?", "How is my report doing?"],
)
def test_a_question_about_my_report_needs_no_number(text: str) -> None:
    """As CEK alone; it opened a report."""
    asked = Said(settle(message("second", text=text, received_at=later(60)), after(FIRST)).events).only(StatusAsked)
    assert (asked.number, asked.mine) == (FIRST.number, True)


def test_a_question_about_a_number_that_is_not_known_yet_goes_to_the_tracker() -> None:
    """A number that was just given out may not be here yet: the tracker answers "not known yet"."""
    assert settle(message("second", text=f"CEK {number('unknown')}")).number == number("unknown")


MISTYPED = {"mistyped": "yes"}


@pytest.mark.parametrize(
    ("text", "told_back"),
    [
        pytest.param(f"CEK {WRONG}", {"number": WRONG, **MISTYPED}, id="one-symbol-wrong"),
        pytest.param("CEK 12345", {"number": "12345", **MISTYPED}, id="something"),
        pytest.param("CEK 2", {"number": "2", **MISTYPED}, id="one-digit"),
        pytest.param("CEK JK 12345", {"number": "JK 12345", **MISTYPED}, id="too-short"),
        pytest.param("CEK 0812 0000 0001", {"number": "[telp]", **MISTYPED}, id="a-phone-is-not-told-back"),
        pytest.param(WRONG, {"number": WRONG, **MISTYPED}, id="alone"),
        pytest.param(WRONG.replace("-", "").lower(), {"number": WRONG.replace("-", ""), **MISTYPED}, id="alone-without-hyphens"),
        pytest.param(f"Tolong cek {WRONG}", {"number": WRONG, **MISTYPED}, id="in-a-sentence"),
        pytest.param(f"Status {WRONG} dong", {"number": WRONG, **MISTYPED}, id="in-the-middle-of-a-sentence"),
        pytest.param(f"BELUM {WRONG}", {"number": WRONG, **MISTYPED}, id="not-fixed"),
        pytest.param(f"{WRONG} belum beres pak", {"number": WRONG, **MISTYPED}, id="not-fixed-behind-it"),
        pytest.param(FIRST.number[:-1], {"number": FIRST.number[:-1], **MISTYPED}, id="one-symbol-missing"),
        pytest.param(f"{FIRST.number}X", {"number": f"{FIRST.number}X", **MISTYPED}, id="one-symbol-too-many"),
        pytest.param(f"Bagaimana laporan {FIRST.number[:-1]}?", {"number": FIRST.number[:-1], **MISTYPED}, id="missing-in-a-sentence"),
        pytest.param("CEK JK2301010001", {"number": "JK2301010001"}, id="older-system"),
        pytest.param("JK2301010001", {"number": "JK2301010001"}, id="older-system-alone"),
        pytest.param("Status JK2301010001 dong", {"number": "JK2301010001"}, id="older-system-in-a-sentence"),
        pytest.param("CEK JK2301010001 JK2301010002", {"number": "JK2301010001"}, id="two-of-the-older-system"),
    ],
)
def test_a_wrong_number_is_told_back_and_opens_no_report(text: str, told_back: dict[str, str]) -> None:
    """Somebody who mistyped his number wants an answer, not a second report nor an addition to another one."""
    outcome = settle(message("second", text=text, received_at=later(1)), after(FIRST))
    answer = Said(outcome.events).only(ReplyRequested)

    assert (outcome.outcome, outcome.reason, outcome.number) == ("status-asked", "not a valid number", "")
    assert (answer.kind, answer.values) == ("status-unknown", {**told_back, "number": answer.values["number"]})
    assert answer.values["number"].casefold() == told_back["number"].casefold()


@pytest.mark.parametrize(
    "text",
    [
        "Info banjir2 RT05", "Info jalan2 rusak2", "info tiang12 roboh3", "Info kebakaran RT 05", "Info banjir RW 03", "Cek lampu mati RT 5", "Info jalan rusak KM 12", "check genangan 40cm",
        f"Lampu mati lagi, dulu {WRONG}, tiang 4",
    ],
)  # fmt: skip
def test_a_report_with_a_digit_in_it_is_no_mistyped_number(text: str) -> None:
    """Danger least of all."""
    assert settle(message("second", sender=BUNGA, text=text), after(FIRST)).outcome == "registered"


def test_belum_with_a_mistyped_number_reopens_nothing() -> None:
    """Which report is meant is not guessed from a number that is wrong."""
    said = message("second", text=f"BELUM beres {WRONG}, lampunya masih mati", received_at=later(60))
    assert settle(said, after(FIRST)).outcome == "registered"


@pytest.mark.parametrize("text", ["Sudah pak, tolong cek ya", "Sudah saya cek", "Please check", "Thank you, please check it"])
def test_an_answer_to_a_question_of_ours_is_no_question(text: str) -> None:
    """An officer asked and waits: the words must reach the report."""
    outcome = settle(message("second", sender=MAIL, text=text, reply_to=FIRST.number), after(FIRST))
    assert (outcome.outcome, outcome.number) == ("appended", FIRST.number)


def test_cek_alone_without_reports_says_so() -> None:
    """The question is answered at once; the number of somebody else's report is never given."""
    outcome = settle(message("second", sender=BUNGA, text="CEK"), after(FIRST))

    assert (outcome.outcome, outcome.reason, outcome.number) == ("status-asked", "no reports of this sender", "")
    assert Said(outcome.events).only(ReplyRequested).kind == "no-reports"


@pytest.mark.parametrize("count", [1, 5])
def test_cek_alone_asks_for_all_own_reports_newest_first(count: int) -> None:
    """ "CEK" alone = my reports; which of them are open, the tracker knows."""
    own = [message(f"own {n}", text=f"LAPOR lampu {n} mati", received_at=later(n)) for n in range(count)]
    memory = after(*own, message("other", sender=BUNGA))
    asked = Said(settle(message("last", text="CEK", received_at=later(60)), memory).events).only(StatusAsked)

    assert (asked.number, *asked.others) == tuple(each.number for each in reversed(own))
    assert asked.mine


def test_messages_that_were_appended_are_not_reports_of_their_own() -> None:
    """ "My reports" lists each report once, not its further messages."""
    memory = after(FIRST, message("second", text="RT 3 RW 4", received_at=later(1)))
    asked = Said(settle(message("third", text="CEK", received_at=later(2)), memory).events).only(StatusAsked)

    assert (asked.number, asked.others) == (FIRST.number, ())


def test_a_reply_that_only_asks_is_answered_about_its_report() -> None:
    """The thread says which report is meant."""
    outcome = settle(message("second", sender=MAIL, text="Sudah sampai mana?", reply_to=FIRST.number), after(FIRST))

    assert (outcome.outcome, outcome.number, outcome.reason) == ("status-asked", FIRST.number, "reply that only asks")


def test_a_number_named_goes_before_the_thread() -> None:
    """Who names a number in a reply means that number."""
    outcome = settle(message("second", text=f"CEK {number('other')}", reply_to=FIRST.number), after(FIRST))

    assert outcome.number == number("other")


def test_what_always_becomes_a_report_is_no_question() -> None:
    """A form's text "status" with a number that was shown registers."""
    assert settle(message("second", text="CEK", always_new=True), after(FIRST)).outcome == "registered"


def test_a_second_question_is_no_repeat() -> None:
    """Asking again a minute later is answered again: the state may have changed."""
    asked = message("second", text="CEK", received_at=later(1))
    again = message("third", text="CEK", received_at=later(2))

    assert settle(again, after(FIRST, asked)).outcome == "status-asked"


@pytest.mark.parametrize(("text", "rule"), [("CEK", "status-question"), ("Terima kasih", "courtesy")])
def test_the_sealed_original_of_a_mail_is_no_file_that_a_citizen_sent(text: str, rule: str) -> None:
    """Every mail has one: a command in it stays a command."""
    sealed = msgspec.structs.replace(photo("a"), sealed=True)
    assert settle(message("second", sender=MAIL, text=text, attachments=(sealed,)), after(FIRST)).rule == rule
