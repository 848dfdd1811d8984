"""The rule book: what each rule decides, when it does not, and which goes first. Pure: no database."""

from datetime import datetime

import msgspec
import pytest
from kanal_normalizer import rules
from kanal_normalizer.rules import Outcome
from kanal_normalizer.tables import Memory

from kanal import topics
from kanal.events import MessageReceived, ReplyRequested, ReportAppended, ReportRegistered
from kanal.testing import ADI, BUNGA, NOON, jakarta, later, message, number

from .driver import Said
from .rulebook import FIRST, MAIL, after, photo, settle

# New report.


def test_a_plain_message_becomes_a_report_with_its_receipt() -> None:
    """What no other rule takes is registered under the number that the message carries, and the receipt goes with it."""
    outcome = settle(FIRST)
    report, receipt = Said(outcome.events).only(ReportRegistered), Said(outcome.events).only(ReplyRequested)

    assert (outcome.outcome, outcome.rule, outcome.number) == ("registered", "new-report", FIRST.number)
    assert outcome.reason == "category: lampu jalan, lampu = 6; area: kelurahan Cideng in the text"
    assert (report.number, report.message_id, report.received_at) == (FIRST.number, FIRST.message_id, NOON)
    assert (report.category, report.area, report.text) == ("street-light", "31.71.01.1002", FIRST.text)
    assert (receipt.kind, receipt.values, receipt.conversation) == ("received", {"number": FIRST.number, "calm": "yes"}, FIRST.conversation)
    assert [(emit.topic, emit.key) for emit in outcome.events] == [
        (topics.REPORTS, FIRST.number),
        (topics.reply_requested("sms"), FIRST.conversation),
    ]


def test_a_report_keeps_what_the_adapter_knew() -> None:
    """Language, visibility, sender and attachments pass through to those who work on the report."""
    arrived = message(text="Lamp is dark", language="en", visibility="public", attachments=(photo("a"),))
    said = Said(settle(arrived).events)
    report = said.only(ReportRegistered)

    assert (report.language, report.visibility, report.attachments) == ("en", "public", arrived.attachments)
    assert (report.sender_key, report.conversation, report.channel) == (arrived.sender_key, arrived.conversation, "sms")
    assert said.only(ReplyRequested).language == "en"


def test_a_receipt_asks_for_the_place_when_none_was_named() -> None:
    """Nobody can mend a lamp somewhere: the citizen is asked at once."""
    receipt = Said(settle(message(text="Lampu jalan mati")).events).only(ReplyRequested)

    assert receipt.values == {"number": number(), "ask_place": "yes", "calm": "yes"}


def test_an_emergency_is_told_to_call_112_in_the_receipt() -> None:
    """Danger to life goes before everything: 112 in the first answer, the word in the report for the dispatcher."""
    said = Said(settle(message(text="Ada kebakaran di Kelurahan Cideng")).events)

    assert said.only(ReportRegistered).emergency == "kebakaran"
    assert said.only(ReplyRequested).values["emergency"] == "112"


def test_a_report_is_masked() -> None:
    """From `reports` on there is no phone, identity number or mail address in the text."""
    text = "Hubungi 0812 0000 0001 atau a@warga.example, NIK 3171010101900001"
    report = Said(settle(message(text=text)).events).only(ReportRegistered)

    assert report.text == "Hubungi [telp] atau [email], NIK [NIK]"


@pytest.mark.parametrize(
    ("text", "mentions"),
    [
        pytest.param(f"Sama dengan {number('of a stranger')}, lampu mati", (number("of a stranger"),), id="stranger"),
        pytest.param("Menyusul JK2301010001, lampu mati", ("JK2301010001",), id="older-system"),
        pytest.param(f"Menyusul JK2301010001 dan {number('unknown')}", (number("unknown"), "JK2301010001"), id="both"),
    ],
)
def test_a_number_that_is_not_the_senders_is_only_mentioned(text: str, mentions: tuple[str, ...]) -> None:
    """Nobody writes into a stranger's report by knowing its number: it becomes a report of his own that mentions it."""
    memory = after(message("of a stranger", sender=BUNGA))
    outcome = settle(message("second", text=text), memory)

    assert (outcome.outcome, outcome.number) == ("registered", number("second"))
    assert Said(outcome.events).only(ReportRegistered).mentions == mentions


def test_a_message_without_text_is_a_report_too() -> None:
    """A photo alone is something that a citizen sent: it is kept and a person looks at it."""
    outcome = settle(message(sender=MAIL, text="", attachments=(photo("a"),)))

    assert outcome.outcome == "registered"
    assert Said(outcome.events).only(ReportRegistered).category == "other"


# Too many.


def flood(count: int, minutes: float = 1) -> list[MessageReceived]:
    return [message(f"flood-{n}", text=f"LAPOR Jalan rusak nomor {n}", received_at=later(minutes)) for n in range(count)]


def test_what_one_sender_says_beyond_the_limit_is_not_taken_up() -> None:
    """Settled as refused, without a report; the answer is the same one within the hour, so that he is told once."""
    memory = after(*flood(jakarta().messages_per_hour))
    outcomes = [settle(message(name, text=f"LAPOR {name}", received_at=later(2)), memory) for name in ("one", "two")]
    assert [(each.outcome, each.rule, each.number, each.changes) for each in outcomes] == [("refused", "too-many", "", ())] * 2
    first, second = (Said(each.events).only(ReplyRequested) for each in outcomes)
    assert (first.kind, first.reply_id) == ("too-many", second.reply_id)


def test_questions_count_towards_the_limit_each_time_anew() -> None:
    """Each is answered with an SMS that the city pays for, also the same question once more."""
    asked = [message(f"asked-{n}", text="CEK", received_at=later(1)) for n in range(jakarta().messages_per_hour)]
    memory = after(*asked)

    assert settle(message("one more", text="CEK", received_at=later(2)), memory).outcome == "refused"
    assert settle(message("an hour later", text="CEK", received_at=later(62)), memory).outcome == "status-asked"


@pytest.mark.parametrize("text", ["BELUM", "Belum bisa dibalas"])
def test_belum_counts_towards_the_limit_each_time_anew(text: str) -> None:
    """A phone that answers our SMS by itself with such words would never stop."""
    said = [message(f"said-{n}", text=text, received_at=later(1 + n / 60)) for n in range(jakarta().messages_per_hour)]
    memory = after(FIRST, *said)

    assert settle(message("one more", text=text, received_at=later(3)), memory).outcome == "refused"


def test_repeats_count_and_beyond_the_limit_reach_no_report() -> None:
    """The stories of reports are kept for ever: a machine that says the same without end must not fill them."""
    memory = after(*[message(f"again-{n}", text=FIRST.text, received_at=later(n / 60)) for n in range(jakarta().messages_per_hour)])
    outcome = settle(message("one more", text=FIRST.text, received_at=later(3)), memory)

    assert (outcome.outcome, outcome.number, outcome.events) == ("duplicate", number("again-0"), ())
    assert settle(message("other", text="LAPOR pohon tumbang", received_at=later(3)), memory).outcome == "refused"


@pytest.mark.parametrize(
    ("limit", "minutes", "text", "sender", "outcome"),
    [
        pytest.param(-1, 2, "LAPOR pohon tumbang", ADI, "registered", id="the last that may"),
        pytest.param(0, 62, "LAPOR pohon tumbang", ADI, "registered", id="an hour later"),
        pytest.param(0, 2, "LAPOR rumah terbakar", ADI, "registered", id="danger"),
        pytest.param(0, 2, "LAPOR pohon tumbang", BUNGA, "registered", id="somebody else"),
        pytest.param(-1, 2, "CEK", ADI, "status-asked", id="the last question that may"),
        pytest.param(0, 2, "CEK", ADI, "refused", id="a question too many"),
        pytest.param(0, 2, "LAPOR Jalan rusak nomor 3", ADI, "duplicate", id="what he said before"),
    ],
)
def test_the_limit_holds_for_new_things_of_one_sender_in_an_hour(limit: int, minutes: float, text: str, sender: str, outcome: str) -> None:
    """Others, later messages, danger and questions are settled as always."""
    arrived = message("last", text=text, sender=sender, received_at=later(minutes))
    assert settle(arrived, after(*flood(jakarta().messages_per_hour + limit))).outcome == outcome


def test_what_was_shown_a_number_is_taken_up_however_many() -> None:
    """A desk writes for many people."""
    arrived = msgspec.structs.replace(message("last", text="Pohon tumbang", received_at=later(2)), always_new=True)
    assert settle(arrived, after(*flood(jakarta().messages_per_hour))).outcome == "registered"


# Repeat.


@pytest.mark.parametrize(
    ("minutes", "text", "sender", "outcome"),
    [
        pytest.param(0, FIRST.text, ADI, "duplicate", id="at-once"),
        pytest.param(10, FIRST.text, ADI, "duplicate", id="just-in-time"),
        pytest.param(10.1, FIRST.text, ADI, "appended", id="too-late: goes on with the conversation"),
        pytest.param(1, FIRST.text.upper() + "!", ADI, "duplicate", id="same-words"),
        pytest.param(1, FIRST.text + " RT 3", ADI, "appended", id="other-words"),
        pytest.param(1, FIRST.text, BUNGA, "registered", id="other-sender"),
    ],
)
def test_a_repeat_is_the_same_text_of_the_same_sender_within_the_set_time(minutes: float, text: str, sender: str, outcome: str) -> None:
    """Gateways and thumbs send twice: one report. Another time, text or person is no repeat."""
    arrived = message("second", text=text, sender=sender, received_at=later(minutes))

    assert settle(arrived, after(FIRST)).outcome == outcome


def test_repeats_name_the_report_and_get_one_answer_only() -> None:
    """A machine that repeats itself for ever gets the number once: the answer's id comes from the first message."""
    memory = after(FIRST)
    outcomes = []
    for name in ("second", "third", "fourth"):
        outcomes.append(settle(message(name, text=FIRST.text, received_at=later(1)), memory))
        for change in outcomes[-1].changes:
            memory.apply(change)
    answers = {emit.event_id for outcome in outcomes for emit in outcome.events if isinstance(emit.event, ReplyRequested)}

    assert [(outcome.outcome, outcome.rule, outcome.number) for outcome in outcomes] == [("duplicate", "repeat", FIRST.number)] * 3
    assert outcomes[0].reason == "same text within 10 minutes"
    assert len(answers) == 1
    assert Said(outcomes[0].events).only(ReplyRequested).kind == "already-received"


def test_a_repeats_number_is_another_name_of_the_report() -> None:
    """The webhook has promised a number for every message: asked for, it leads to the report."""
    repeat = message("second", text=FIRST.text, received_at=later(1))
    memory = after(FIRST, repeat)
    asked = settle(message("third", text=f"CEK {repeat.number}", received_at=later(2)), memory)

    assert asked.number == FIRST.number


def test_what_always_becomes_a_report_is_no_repeat() -> None:
    """The number was shown to the citizen: it must register, though the text was sent before."""
    arrived = message("second", text=FIRST.text, always_new=True, received_at=later(1))

    assert (settle(arrived, after(FIRST)).outcome, settle(arrived, after(FIRST)).number) == ("registered", number("second"))


def test_the_same_words_with_another_photo_are_no_repeat() -> None:
    """A second mail without words but with another photo says something new: it must not be dropped."""
    first = message("first", sender=MAIL, text="", attachments=(photo("a"),))
    second = message("second", sender=MAIL, text="", attachments=(photo("b"),), received_at=later(1))
    events = settle(second, after(first)).events

    assert [emit.event.attachments for emit in events if isinstance(emit.event, ReportRegistered | ReportAppended)] == [second.attachments]


def test_the_same_words_about_another_report_are_no_repeat() -> None:
    """ "Belum beres" as reply to two reports is said of both."""
    reports = after(message("first", sender=MAIL, text="Lampu mati"), message("second", sender=MAIL, text="Got mampet"))
    to_first = message("third", sender=MAIL, text="Belum beres", reply_to=number("first"), received_at=later(1))
    to_second = message("fourth", sender=MAIL, text="Belum beres", reply_to=number("second"), received_at=later(2))
    outcome = settle(to_second, after(to_first, memory=reports))

    assert (outcome.outcome, outcome.number) == ("appended", number("second"))


# Automatic mail.


def test_automatic_mail_opens_no_report_and_gets_no_answer() -> None:
    """Two machines answering each other would never stop."""
    outcome = settle(message(sender=MAIL, text="I am out of the office", automatic="auto-reply"))

    assert outcome == Outcome("ignored", "automatic-mail", "auto-reply")


@pytest.mark.parametrize("text", ["CEK", "BELUM", "LAPOR lampu mati", FIRST.text])
def test_automatic_mail_is_ignored_whatever_it_says(text: str) -> None:
    """No later rule and no repeat answers a machine."""
    outcome = settle(message("second", text=text, automatic="no-reply-sender", reply_to=FIRST.number), after(FIRST))

    assert (outcome.outcome, outcome.events, outcome.changes) == ("ignored", (), ())


# Not fixed.


@pytest.mark.parametrize(
    ("text", "reply_to", "of"),
    [
        pytest.param(f"BELUM {number('first')}", "", "first", id="own-number"),
        pytest.param("BELUM", "", "second", id="alone: the report last talked of"),
        pytest.param("blm beres pak", "", "second", id="three-words"),
        pytest.param("Belum beres, lampunya masih mati sampai sekarang", number("first"), "first", id="reply"),
        pytest.param(f"BELUM {number('second')}", number("first"), "second", id="a number named goes before the thread"),
        pytest.param(f"BELUM {number('strange')}", number("first"), "first", id="a stranger's number in a thread"),
    ],
)
def test_belum_says_that_an_own_report_is_not_fixed(text: str, reply_to: str, of: str) -> None:
    """The reporter's word reaches the tracker, which reopens where that is allowed and answers itself."""
    memory = after(FIRST, message("second", text="LAPOR got mampet", received_at=later(1)))
    outcome = settle(message("third", text=text, reply_to=reply_to, received_at=later(60)), memory)
    appended = Said(outcome.events).only(ReportAppended)

    assert (outcome.outcome, outcome.rule, outcome.number) == ("appended", "not-fixed", number(of))
    assert (appended.not_fixed, appended.number, appended.alias) == (True, number(of), number("third"))
    assert Said(outcome.events).of(ReplyRequested) == []


@pytest.mark.parametrize("text", ["BELUM", f"BELUM {number('first')}"])
def test_belum_is_no_repeat(text: str) -> None:
    """Said again within minutes, after the agency has reported the work as done in between, it is about that."""
    memory = after(FIRST, message("second", text=text, received_at=later(60)))
    outcome = settle(message("third", text=text, received_at=later(62)), memory)

    assert (outcome.outcome, outcome.rule) == ("appended", "not-fixed")


def test_belum_alone_of_somebody_without_a_report_opens_none() -> None:
    """He is told how to report; another phone than the reporter's has sent it, perhaps."""
    outcome = settle(message("second", text="BELUM", sender=BUNGA), after(FIRST))

    assert (outcome.outcome, Said(outcome.events).only(ReplyRequested).kind) == ("status-asked", "no-reports")


@pytest.mark.parametrize(
    "text",
    ["Belom beres pak", f"{FIRST.number} belum beres", "Still not fixed", f"Balas BELUM {FIRST.number}", "notfixed", "Sorry, not yet fixed"],
)  # fmt: skip
def test_not_fixed_is_known_by_what_people_write(text: str) -> None:
    """Also behind the number, and as the notice's own words."""
    outcome = settle(message("second", text=text, received_at=later(60)), after(FIRST))
    assert (outcome.rule, outcome.number) == ("not-fixed", FIRST.number)


@pytest.mark.parametrize(
    ("text", "sender", "answer"),
    [
        pytest.param("Terima kasih pak", ADI, [], id="thanks-of-the-reporter"),
        pytest.param("Terima kasih pak", BUNGA, ["how-to-report"], id="thanks-of-a-stranger"),
        pytest.param("halo, selamat pagi", BUNGA, ["how-to-report"], id="greeting"),
        pytest.param("LAPOR", BUNGA, ["how-to-report"], id="lapor-alone"),
    ],
)
@pytest.mark.parametrize("minutes", [1, 60])
def test_thanks_and_greetings_are_no_report(text: str, sender: str, answer: list[str], minutes: int) -> None:
    """Nor an addition to one, which would end an officer's question."""
    outcome = settle(message("second", text=text, sender=sender, received_at=later(minutes)), after(FIRST))

    assert (outcome.outcome, outcome.rule) == ("ignored", "courtesy")
    assert [emit.event.kind for emit in outcome.events if isinstance(emit.event, ReplyRequested)] == answer


@pytest.mark.parametrize("text", ["Malam", "Banyak", "Update: sudah pak", "Status: sudah", "Info RT05 RW03"])
def test_what_may_answer_a_question_by_mail_reaches_the_report(text: str) -> None:
    """It is a reply: whatever it says besides thanks and a question is for the officer."""
    outcome = settle(message("second", sender=MAIL, text=text, reply_to=FIRST.number, received_at=later(600)), after(FIRST))
    assert (outcome.outcome, outcome.number) == ("appended", FIRST.number)


@pytest.mark.parametrize(
    ("text", "emergency"),
    [
        ("Belum ada petugas, kebakaran masih menyala di Tomang", True),
        ("Masih belum ada lampu jalan di gang Mawar Kelurahan Duri Pulo", False),
        ("Belum ada saluran air, banjir masih tinggi di Kelurahan Tomang", False),
    ],
)
def test_a_new_problem_that_begins_with_belum_does_not_disappear_in_an_old_report(text: str, emergency: bool) -> None:
    """Danger, or a place of its own, is more than word that the old one is not fixed."""
    outcome = settle(message("second", text=text, received_at=later(60)), after(FIRST))
    assert outcome.outcome == "registered"
    assert bool(Said(outcome.events).only(ReportRegistered).emergency) is emergency


def test_danger_in_word_that_an_own_report_is_not_fixed_is_answered_with_112() -> None:
    """The number names the report; the danger is answered all the same."""
    outcome = settle(message("second", text=f"BELUM {FIRST.number} sekarang kebakaran", received_at=later(60)), after(FIRST))
    assert (outcome.rule, Said(outcome.events).only(ReplyRequested).kind) == ("not-fixed", "emergency")


@pytest.mark.parametrize(
    ("subject", "body"),
    [
        ("Sampah menumpuk di Kelurahan Tomang", "Cek tolong"),
        ("Street lamp broken in Kelurahan Cideng", "Check please"),
        ("Lampu mati", "Belum beres"),
        ("Kebakaran di Tomang", "Cek"),
    ],
)
def test_a_report_in_the_subject_is_not_swallowed_by_a_short_body(subject: str, body: str) -> None:
    """The body only asks that somebody looks."""
    outcome = settle(message("second", sender=MAIL, channel="email", subject=subject, text=body))
    assert outcome.outcome == "registered"
    assert subject in Said(outcome.events).only(ReportRegistered).text


@pytest.mark.parametrize("text", ["Cek tolong", "Belum"])
def test_a_photo_with_a_command_is_a_report(text: str) -> None:
    """Of somebody who has none: he sent something to look at."""
    assert settle(message("second", sender=BUNGA, text=text, attachments=(photo("a"),)), after(FIRST)).outcome == "registered"


def test_a_greeting_is_answered_once_an_hour() -> None:
    """A machine that greets for ever is not answered for ever."""
    ids = {
        settle(message(name, text="halo", received_at=later(minutes))).events[0].event_id
        for name, minutes in (("a", 1), ("b", 2), ("c", 70))
    }
    assert len(ids) == 2


@pytest.mark.parametrize("text", ["Ya", "ok siap", "Terima kasih, lampunya masih mati", "Malam", "siang, malam", "Banyak"])
def test_what_may_answer_a_question_reaches_the_report(text: str) -> None:
    """An officer waits for it."""
    outcome = settle(message("second", text=text, received_at=later(1)), after(FIRST))
    assert (outcome.outcome, outcome.number) == ("appended", FIRST.number)


def test_a_report_that_begins_with_belum_is_one_report_however_often_it_comes() -> None:
    """Its copy under another id is a repeat, not word that it is not fixed."""
    first = message("first", text="Belum diperbaiki, lampu jalan mati di kelurahan Cideng")
    outcome = settle(message("second", text=first.text, received_at=later(1)), after(first))

    assert (outcome.outcome, outcome.number) == ("duplicate", first.number)


def test_belum_alone_means_the_newest_report_when_the_conversation_is_unknown() -> None:
    """From another channel account of the same phone the newest own report is meant."""
    memory = after(FIRST, message("second", text="LAPOR got mampet", received_at=later(1)))
    outcome = settle(message("third", text="BELUM", conversation="another", received_at=later(60)), memory)

    assert outcome.number == number("second")


@pytest.mark.parametrize(
    ("arrived", "memory"),
    [
        pytest.param(message("second", text=f"BELUM {FIRST.number}", sender=BUNGA), after(FIRST), id="number-of-a-stranger"),
        pytest.param(message("second", text="BELUM", always_new=True, received_at=later(60)), after(FIRST), id="always-new"),
        pytest.param(
            message("second", text="Belum ada lampu di gang kami", received_at=later(60)), after(FIRST), id="more-than-three-words"
        ),
    ],
)
def test_belum_that_names_no_own_report_is_a_report(arrived: MessageReceived, memory: Memory) -> None:
    """Nobody reopens a stranger's report, and "Belum ada …" begins many a new one."""
    assert settle(arrived, memory).outcome == "registered"


@pytest.mark.parametrize("text", ["Belum pak, lampunya masih mati", "BELUM masih mati pak", "belum beres juga"])
def test_belum_in_the_words_that_people_use_is_about_their_report(text: str) -> None:
    """Who answers "done" with a sentence must not be taken for somebody with a new problem."""
    outcome = settle(message("second", text=text, received_at=later(60)), after(FIRST))
    assert (outcome.outcome, outcome.rule, outcome.number) == ("appended", "not-fixed", FIRST.number)


def test_belum_with_an_alias_reopens_the_report_behind_it() -> None:
    """Every number that was given out for the report stands for it."""
    appended = message("second", text="RT 3", received_at=later(1))
    outcome = settle(message("third", text=f"BELUM {appended.number}", received_at=later(60)), after(FIRST, appended))

    assert outcome.number == FIRST.number


# Follow-up.


@pytest.mark.parametrize("sender", [MAIL, "bunga@warga.example"])
def test_a_reply_with_our_token_is_appended_from_any_address(sender: str) -> None:
    """Our own token proves that we wrote to that person; mail is often answered from another address."""
    outcome = settle(message("second", sender=sender, text="Lampu depan masjid", reply_to=FIRST.number), after(FIRST))

    assert (outcome.outcome, outcome.rule, outcome.reason, outcome.number) == (
        "appended", "follow-up", "reply to our message", FIRST.number,
    )  # fmt: skip


def test_a_number_of_the_same_sender_is_appended() -> None:
    """The reporter who names his number adds to his report, from any channel that shares his key."""
    arrived = message("second", text=f"Tambahan {FIRST.number}: RT 3", received_at=later(600))
    outcome = settle(arrived, after(FIRST))
    said = Said(outcome.events)

    assert (outcome.outcome, outcome.reason, outcome.number) == ("appended", "number of the same sender", FIRST.number)
    assert (said.only(ReportAppended).text, said.only(ReportAppended).alias) == (arrived.text, arrived.number)
    assert said.only(ReplyRequested).values == {"number": FIRST.number}


def test_the_first_own_number_is_taken_and_strangers_are_passed_over() -> None:
    """A text may compare with a neighbour's report before it names its own."""
    memory = after(FIRST, message("of a stranger", sender=BUNGA))
    outcome = settle(message("second", text=f"Seperti {number('of a stranger')}, lihat {FIRST.number}"), memory)

    assert outcome.number == FIRST.number


@pytest.mark.parametrize(
    ("minutes", "outcome"),
    [
        pytest.param(1, "appended", id="soon"),
        pytest.param(15, "appended", id="just-in-time"),
        pytest.param(15.1, "registered", id="too-late"),
    ],
)
def test_the_same_sms_conversation_goes_on_within_the_set_time(minutes: float, outcome: str) -> None:
    """SMS has no threads: what follows soon belongs to the same report, what follows later is a new one."""
    assert settle(message("second", text="RT 3 RW 4", received_at=later(minutes)), after(FIRST)).outcome == outcome


def test_each_message_of_a_conversation_starts_its_time_anew() -> None:
    """Somebody who types slowly is not cut off."""
    second = message("second", text="RT 3", received_at=later(14))
    third = message("third", text="RW 4", received_at=later(28))

    assert settle(third, after(FIRST, second)).number == FIRST.number


def test_an_append_by_conversation_says_how_to_report_something_else() -> None:
    """We guessed: the answer tells how to begin a new report (LAPOR)."""
    outcome = settle(message("second", text="RT 3 RW 4", received_at=later(1)), after(FIRST))

    assert Said(outcome.events).only(ReplyRequested).values == {"number": FIRST.number, "conversation": "yes"}
    assert outcome.reason == "same conversation within 15 minutes"


def test_danger_in_a_follow_up_is_told_to_call_112() -> None:
    """The answer to an emergency never waits for a person."""
    outcome = settle(message("second", text="Sekarang ada kebakaran", received_at=later(1)), after(FIRST))

    assert Said(outcome.events).only(ReplyRequested).values["emergency"] == "112"


def test_mail_in_a_conversation_without_our_token_is_a_new_report() -> None:
    """Mail has threads: without the thread it is something else."""
    first = message("first", sender=MAIL, text="Lampu mati")

    assert settle(message("second", sender=MAIL, text="Got mampet", received_at=later(1)), after(first)).outcome == "registered"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"text": "LAPOR got mampet"}, "LAPOR"),
        ({"text": f"LAPOR seperti {number('first')}"}, "LAPOR with an own number"),
        ({"text": "Got mampet", "always_new": True}, "number shown"),
        ({"text": "Got mampet", "conversation": "another"}, "another conversation"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_report_of_its_own_whatever_came_before(changes: dict[str, str], why: str) -> None:
    """The citizen's word LAPOR and a number that was shown go before our guesses."""
    assert settle(message("second", received_at=later(1), **changes), after(FIRST)).outcome == "registered"


def test_an_appended_message_is_masked_and_keeps_its_attachments() -> None:
    """The same care as with a new report."""
    arrived = message("second", text="Telp 081200000001", attachments=(photo("a"),), received_at=later(1))
    appended = Said(settle(arrived, after(FIRST)).events).only(ReportAppended)

    assert (appended.text, appended.attachments) == ("Telp [telp]", arrived.attachments)


def test_a_follow_up_of_a_follow_up_goes_to_the_report() -> None:
    """The alias of an appended message stands for the report, also in a reply token."""
    second = message("second", text="RT 3", received_at=later(1))
    third = message("third", sender=MAIL, text="RW 4", reply_to=second.number, received_at=later(2))

    assert settle(third, after(FIRST, second)).number == FIRST.number


# The chain.


def test_the_rules_stand_in_the_order_of_the_book() -> None:
    """Order is part of the promise: a repeat goes before a machine, a question before BELUM, BELUM before a follow-up."""
    assert [rule.__name__ for rule in rules.RULES] == [
        "repeat", "automatic_mail", "too_many", "courtesy", "status_question", "not_fixed", "follow_up", "same_conversation",
        "answer_to_question", "new_report",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        pytest.param({"text": FIRST.text, "reply_to": FIRST.number}, "repeat", id="repeat before follow-up"),
        pytest.param({"text": FIRST.text, "automatic": "bounce"}, "automatic-mail", id="a machine is never answered as repeat"),
        pytest.param({"text": "CEK", "automatic": "bounce"}, "automatic-mail", id="automatic mail before question"),
        pytest.param({"text": f"CEK {FIRST.number}"}, "status-question", id="question before own number"),
        pytest.param({"text": "CEK"}, "status-question", id="question before conversation"),
        pytest.param({"text": "BELUM", "reply_to": FIRST.number}, "not-fixed", id="belum before reply"),
        pytest.param({"text": f"BELUM {FIRST.number}"}, "not-fixed", id="belum before own number"),
        pytest.param({"text": "RT 3", "reply_to": FIRST.number}, "follow-up", id="reply before new report"),
        pytest.param({"text": "LAPOR RT 3"}, "new-report", id="LAPOR before conversation"),
    ],
)
def test_where_two_rules_would_apply_the_earlier_decides(changes: dict[str, str], rule: str) -> None:
    """One message, one decision, and always the same."""
    assert settle(message("second", received_at=later(1), **changes), after(FIRST)).rule == rule


@pytest.mark.parametrize("text", ["", "halo", "CEK", "BELUM", "LAPOR", FIRST.number, "CEK 12345", "🙂", "."])
@pytest.mark.parametrize("reply_to", ["", FIRST.number])
def test_every_message_gets_a_decision_with_its_rule(text: str, reply_to: str) -> None:
    """No message falls through the book."""
    outcome = settle(message("second", text=text, reply_to=reply_to), after(FIRST))

    assert outcome.outcome in {"registered", "appended", "duplicate", "status-asked", "ignored"}
    assert outcome.rule


def test_ids_of_answers_depend_on_the_message_and_its_kind_only() -> None:
    """A batch that is decided twice says the same: readers drop what they know."""
    first, again = settle(FIRST), settle(FIRST)

    assert [emit.event_id for emit in first.events] == [emit.event_id for emit in again.events]
    assert Said(first.events).only(ReplyRequested).reply_id == first.events[1].event_id


def test_times_come_from_the_message() -> None:
    """Rules have no clock: what is written today about yesterday's message carries yesterday's time."""
    yesterday = datetime(2026, 3, 1, 1, 2, 3, tzinfo=NOON.tzinfo)
    outcome = settle(message(received_at=yesterday))

    assert Said(outcome.events).only(ReportRegistered).received_at == yesterday
    assert Said(outcome.events).only(ReplyRequested).requested_at == yesterday
    assert rules.settled(message(received_at=yesterday), outcome).event.settled_at == yesterday  # type: ignore[attr-defined]
