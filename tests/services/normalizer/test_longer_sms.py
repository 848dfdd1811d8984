"""Longer SMS that a gateway hands over part by part: joined in SQL, each part settled, nothing of them lost."""

from collections.abc import Sequence
from itertools import permutations
from typing import Any

import pytest
from kanal_normalizer.handler import PartsExpired

from kanal.errors import InvalidEvent
from kanal.events import MessageReceived, MessageSettled, Part, ReplyRequested, ReportAppended, ReportRegistered, StatusAsked
from kanal.testing import ADI, BUNGA, jakarta, later, message, number

from .driver import Normalizer

TEXTS = ("Lampu jalan mati di Kel", "urahan Cideng sejak ", "minggu lalu")
WHOLE = "".join(TEXTS)


def part(n: int, *, total: int = 3, text: str = "", name: str = "", reference: str = "7", **changes: Any) -> MessageReceived:
    """The n-th part of an SMS, a message of its own."""
    return message(name or f"part {n}", text=text or TEXTS[n - 1], part=Part(reference, n, total), **changes)


def settlements(normalizer: Normalizer) -> dict[str, list[str]]:
    """Message id → the outcomes it got."""
    found: dict[str, list[str]] = {}
    for emit in normalizer.emitted:
        if isinstance(emit.event, MessageSettled):
            found.setdefault(emit.event.message_id, []).append(emit.event.outcome)
    return found


def settled_once(normalizer: Normalizer, messages: Sequence[MessageReceived]) -> bool:
    return {each: len(outcomes) for each, outcomes in settlements(normalizer).items()} == {each.message_id: 1 for each in messages}


@pytest.mark.parametrize("order", list(permutations((1, 2, 3))), ids=str)
@pytest.mark.parametrize("batches", ["one", "each"])
def test_parts_in_any_order_become_one_report(normalizer: Normalizer, order: tuple[int, ...], batches: str) -> None:
    """Networks deliver parts in any order: the text is whole, the number is the first part's, the others are joined to it."""
    parts = [part(n) for n in order]
    said = normalizer.take(*parts) if batches == "one" else normalizer.take_singly(*parts)
    report = said.only(ReportRegistered)

    assert (report.text, report.number, report.incomplete) == (WHOLE, number("part 1"), False)
    assert report.area == "31.71.01.1002"
    assert {each.message_id: (each.outcome, each.number) for each in said.of(MessageSettled)} == {
        part(1).message_id: ("registered", number("part 1")),
        part(2).message_id: ("joined", number("part 1")),
        part(3).message_id: ("joined", number("part 1")),
    }
    assert said.only(ReplyRequested).kind == "received"
    assert normalizer.rows()["normalizer_parts"] == []


def test_a_part_waits_without_a_word(normalizer: Normalizer) -> None:
    """Nothing is said of half a message while the rest may still come."""
    assert normalizer.take(part(1), part(3)) == []
    assert normalizer.outcomes == ["part-waiting", "part-waiting"]
    assert normalizer.timers(later(10)) == []


def test_the_report_has_the_time_of_the_part_that_came_first(normalizer: Normalizer) -> None:
    """The citizen sent it when the first part was sent, whichever that is."""
    said = normalizer.take_singly(part(3), part(1, received_at=later(2)), part(2, received_at=later(3)))

    assert said.only(ReportRegistered).received_at == later(0)


def test_the_numbers_of_further_parts_are_other_names_of_the_report(normalizer: Normalizer) -> None:
    """The webhook has promised a number for every part."""
    normalizer.take(part(1), part(2), part(3))
    asked = normalizer.take(message("later", text=f"CEK {number('part 3')}", received_at=later(60)))

    assert asked.only(StatusAsked).number == number("part 1")


def test_the_same_record_again_is_dropped(normalizer: Normalizer) -> None:
    """A part that the journal gives twice is one part."""
    said = normalizer.take_singly(part(1), part(1), part(2), part(1), part(3), part(2))

    assert said.only(ReportRegistered).text == WHOLE
    assert settled_once(normalizer, [part(1), part(2), part(3)])


@pytest.mark.parametrize("batches", ["one", "each"])
def test_a_part_that_the_gateway_repeats_under_a_new_id_is_settled_too(normalizer: Normalizer, batches: str) -> None:
    """Every acknowledged message is settled exactly once, also the part that came twice; the text has it once."""
    parts = [part(1), part(1, name="part 1 again"), part(2), part(3)]
    said = normalizer.take(*parts) if batches == "one" else normalizer.take_singly(*parts)

    assert said.only(ReportRegistered).text == WHOLE
    assert settled_once(normalizer, parts)


def test_a_text_that_takes_the_place_of_a_waiting_part_does_not_erase_it(normalizer: Normalizer) -> None:
    """A phone that counts badly uses a reference again within minutes: what it sent before must not vanish."""
    first = part(1, total=2, text="Lampu mati. ")
    second = part(1, total=2, text="Got mampet. ", name="another", received_at=later(1))
    rest = part(2, total=2, text="RT 3", received_at=later(2))
    normalizer.take_singly(first, second, rest)
    normalizer.timers(later(15))
    texts = " ".join(e.event.text for e in normalizer.emitted if isinstance(e.event, ReportRegistered | ReportAppended))

    assert "Lampu mati" in texts
    assert "Got mampet" in texts


def test_two_citizens_with_the_same_reference_are_never_mixed(normalizer: Normalizer) -> None:
    """References are small numbers counted by each phone: the sender tells them apart."""
    hers = [part(n, sender=BUNGA, name=f"hers {n}", text=text) for n, text in enumerate(("Got ", "mampet di ", "Serdang"), start=1)]
    his = [part(n, sender=ADI) for n in (1, 2, 3)]
    said = normalizer.take_singly(hers[0], his[0], his[1], hers[1], hers[2], his[2])

    assert {(each.text, each.sender_key) for each in said.of(ReportRegistered)} == {
        ("Got mampet di Serdang", hers[0].sender_key),
        (WHOLE, his[0].sender_key),
    }


@pytest.mark.parametrize("batches", ["one", "each"])
def test_a_reference_used_again_at_once_begins_a_new_message(normalizer: Normalizer, batches: str) -> None:
    """What was joined is forgotten: a phone that always counts from 0 is understood."""
    first = [part(1, total=2, text="Lampu "), part(2, total=2, text="mati")]
    second = [part(n, total=2, name=f"again {n}", text=text, received_at=later(1)) for n, text in ((1, "LAPOR got "), (2, "mampet"))]
    said = normalizer.take(*first, *second) if batches == "one" else normalizer.take_singly(*first, *second)

    assert [each.text for each in said.of(ReportRegistered)] == ["Lampu mati", "LAPOR got mampet"]


@pytest.mark.parametrize("changes", [{"reference": "8"}, {"account": "second"}, {"total": 4}], ids=["reference", "account", "total"])
def test_parts_of_different_messages_do_not_complete_each_other(normalizer: Normalizer, changes: dict[str, Any]) -> None:
    """Reference, gateway and count must agree."""
    normalizer.take(part(1), part(2))

    assert normalizer.take(part(3, **changes)) == []


# Parts that do not come.


def test_after_ten_minutes_what_is_there_becomes_an_incomplete_report(normalizer: Normalizer) -> None:
    """A lost part must not hold the rest for ever: the citizen is told that something is missing."""
    normalizer.take(part(1), part(2))
    said = normalizer.timers(later(10.1))
    report = said.only(ReportRegistered)

    assert (report.text, report.number, report.incomplete) == ("".join(TEXTS[:2]).strip(), number("part 1"), True)
    assert said.only(ReplyRequested).values["incomplete"] == "yes"
    assert settled_once(normalizer, [part(1), part(2)])
    assert normalizer.rows()["normalizer_parts"] == []


def test_time_runs_from_the_oldest_part(normalizer: Normalizer) -> None:
    """Part after part must not push the end away."""
    normalizer.take(part(1), part(2, received_at=later(9)))

    assert normalizer.timers(later(10.1)).only(ReportRegistered).incomplete


def test_a_timer_that_fires_twice_says_it_once(normalizer: Normalizer) -> None:
    """Its id is derived from what it is about: asked again before it was committed, it is dropped."""
    normalizer.take(part(1))
    with normalizer.database.read() as connection:
        due = list(normalizer.handler.due(connection, {normalizer_place(normalizer)}, later(11)))
    normalizer.handle(due)

    assert len(due) == 1
    assert isinstance(due[0].event, PartsExpired)
    assert normalizer.handle(due) == []
    assert normalizer.timers(later(20)) == []


def test_a_timer_for_parts_that_were_joined_meanwhile_says_nothing(normalizer: Normalizer) -> None:
    """The last part may come in the moment between asking and deciding."""
    normalizer.take(part(1), part(2))
    with normalizer.database.read() as connection:
        due = normalizer.handler.due(connection, {normalizer_place(normalizer)}, later(11))
    normalizer.take(part(3, received_at=later(11)))

    assert normalizer.handle(due) == []
    assert normalizer.outcomes[-1] == "nothing-left"


def test_only_the_owner_of_a_partition_runs_its_timers(normalizer: Normalizer) -> None:
    """Two members must not register the same half message."""
    normalizer.take(part(1))
    place = normalizer_place(normalizer)
    with normalizer.database.read() as connection:
        foreign = normalizer.handler.due(connection, {place._replace(partition=place.partition + 1)}, later(11))

    assert foreign == []


def test_without_its_first_part_a_message_is_registered_under_its_lowest(normalizer: Normalizer) -> None:
    """Part 1 may be the one that is lost: the number of a part that came is used."""
    normalizer.take(part(3), part(2))
    report = normalizer.timers(later(11)).only(ReportRegistered)

    assert (report.number, report.message_id, report.text) == (number("part 2"), part(2).message_id, "".join(TEXTS[1:]))


def test_a_late_part_is_added_to_the_report(normalizer: Normalizer) -> None:
    """It belongs to what was registered without it, however late in the day it comes."""
    normalizer.take(part(1), part(2))
    report = normalizer.timers(later(11)).only(ReportRegistered)
    late = part(3, received_at=later(180))
    said = normalizer.take(late)

    assert (said.only(ReportAppended).number, said.only(ReportAppended).text) == (report.number, TEXTS[2])
    assert (said.only(MessageSettled).outcome, said.only(MessageSettled).rule) == ("appended", "late-part")
    assert settled_once(normalizer, [part(1), part(2), late])


def test_a_late_first_part_is_added_too(normalizer: Normalizer) -> None:
    """The number given out stays; the text comes behind."""
    normalizer.take(part(2), part(3))
    normalizer.timers(later(11))
    said = normalizer.take(part(1, received_at=later(12)))

    assert said.only(ReportAppended).number == number("part 2")


def test_a_reference_used_again_long_after_is_a_new_message(normalizer: Normalizer) -> None:
    """Phones count to 255 and begin again: a month later the same reference is another message, not a late part."""
    normalizer.take(part(1), part(2))
    normalizer.timers(later(11))
    month = 30 * 24 * 60
    parts = [
        part(n, name=f"new {n}", text=text, received_at=later(month)) for n, text in enumerate(("Got ", "mampet di ", "Serdang"), start=1)
    ]
    said = normalizer.take_singly(*parts)

    assert said.only(ReportRegistered).text == "Got mampet di Serdang"
    assert said.of(ReportAppended) == []


# The rules see the whole.


def test_a_joined_question_is_answered_once(normalizer: Normalizer) -> None:
    """A number that is cut in two by the network is read whole."""
    normalizer.take(message("first", received_at=later(-60)))
    typed = f"CEK {number('first')}"
    said = normalizer.take_singly(part(1, total=2, text=typed[:10]), part(2, total=2, text=typed[10:]))

    assert said.only(StatusAsked).number == number("first")
    assert sorted(said.outcomes()) == ["joined", "status-asked"]


@pytest.mark.parametrize("batches", ["one", "each"])
def test_an_own_number_in_an_earlier_part_makes_a_follow_up(normalizer: Normalizer, batches: str) -> None:
    """What a rule needs to know is loaded for the whole text, not only for the part that came last."""
    normalizer.take(message("first", received_at=later(-60)))
    parts = [part(1, total=2, text=f"Tambahan untuk {number('first')}: "), part(2, total=2, text="RT 3 RW 4")]
    said = normalizer.take(*parts) if batches == "one" else normalizer.take_singly(*parts)

    assert said.only(ReportAppended).number == number("first")


def test_a_repeated_longer_sms_is_a_repeat(normalizer: Normalizer) -> None:
    """Joined, it has the words that were sent before."""
    normalizer.take(part(1), part(2), part(3))
    said = normalizer.take(*(part(n, name=f"again {n}", reference="8", received_at=later(2)) for n in (1, 2, 3)))

    assert sorted(said.outcomes()) == ["duplicate", "joined", "joined"]
    assert said.of(ReportRegistered) == []


# Privacy of what waits.


@pytest.mark.parametrize(
    "typed",
    [
        "081200000001",
        "+62 812-0000-0001",
        "a@warga.example",
        "3171010101900001",
        pytest.param("０８１２００００００１１", id="wide-digits"),
    ],
)
def test_a_part_waits_masked(normalizer: Normalizer, typed: str) -> None:
    """A part may lie in SQL for ten minutes: no table holds a personal number or a mail address."""
    normalizer.take(part(1, text=f"Hubungi {typed} segera"))

    assert typed not in str(normalizer.rows())


def normalizer_place(normalizer: Normalizer) -> Any:
    """The partition that the parts came from."""
    return next(iter(normalizer.places))


@pytest.mark.parametrize(("n", "total"), [(1, 10**40), (1, 256), (0, 2), (-1, 2), (3, 2)])
def test_an_impossible_part_is_a_dead_letter_and_no_timer_waits_for_the_rest(normalizer: Normalizer, n: int, total: int) -> None:
    """Counting out what is missing of 10^40 parts would never end."""
    with pytest.raises(InvalidEvent, match="no SMS has such a part"):
        normalizer.take(part(n, total=total, text="Lampu jalan mati"))


def test_a_flood_of_first_parts_meets_the_limit_of_a_sender(normalizer: Normalizer) -> None:
    """Parts whose rest never comes are no way round it: so many become reports when their time is over, the others are refused."""
    limit = jakarta().messages_per_hour
    for index in range(limit + 3):
        normalizer.take(part(1, total=2, text=f"LAPOR jalan rusak nomor {index}, ", name=f"flood {index}", reference=str(index)))
    said = normalizer.timers(later(11))
    assert len(said.of(ReportRegistered)) == limit
    assert [settled.outcome for settled in said.of(MessageSettled)].count("refused") == 3
    assert normalizer.rows()["normalizer_parts"] == []
