"""The normalizer's stage from end to end over a real SQLite database: one settlement each, repeats dropped, nothing personal told."""

import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kanal_normalizer import rules
from kanal_normalizer.reading import read
from kanal_normalizer.tables import Memory
from kanal_normalizer.understanding import Understanding

from kanal.database import Database
from kanal.errors import InvalidEvent
from kanal.events import (
    MessageReceived,
    MessageSettled,
    Part,
    ReplyRequested,
    ReportAppended,
    ReportRegistered,
    StatusAsked,
)
from kanal.testing import ADI, BUNGA, an_input, jakarta, later, message, number, updated

from .driver import Normalizer, Said

BOOK = rules.Book(jakarta(), Understanding(jakarta()))
PERSONAL = (
    "081200000001", "+6281200000001", "6281200000001", "0812-0000-0001", "0812 0000 0001", "812 0000 0001", "(0812) 00000001",
    "021 5550001", "3171010101900001", "31 7101 010190 0001", "adi@warga.example", "Adi.Putra+lapor@mail.warga.example",
    "628577778888", "8577 7788 8899", "B 1234 XYZ", "１２３４５６７８９０１２",
)  # fmt: skip
FRAMES = (
    "Lampu mati, hubungi {} segera",
    "{}",
    "WA {}",
    "wa:{}.",
    "Nama saya Adi ({}), got mampet di Kelurahan Cideng",
    "CEK {}",
    "BELUM {}",
    "LAPOR {}",
    "no hp saya\n{}\nterima kasih",
)


def story() -> list[MessageReceived]:
    """A day of messages that goes through every rule."""
    return [
        message("report", text="Lampu jalan mati di Kelurahan Cideng"),
        message("repeat", text="lampu jalan mati di kelurahan cideng", received_at=later(1)),
        message("more", text="RT 3 RW 4", received_at=later(2)),
        message("hers", sender=BUNGA, text=f"Sama dengan {number('report')}", received_at=later(3)),
        message("question", text=f"CEK {number('more')}", received_at=later(4)),
        message("mine", text="CEK", received_at=later(5)),
        message("new", text="LAPOR got mampet di Serdang", received_at=later(6)),
        message("machine", sender="robot@warga.example", text="Out of office", automatic="auto-reply", received_at=later(7)),
        message("belum", text=f"BELUM {number('report')}", received_at=later(8)),
        message("reply", sender="adi@warga.example", text="Depan masjid", reply_to=number("report"), received_at=later(9)),
        message("part 2", sender=BUNGA, text="mampet", part=Part("1", 2, 2), received_at=later(10)),
        message("part 1", sender=BUNGA, text="LAPOR got ", part=Part("1", 1, 2), received_at=later(11)),
    ]


OUTCOMES = {
    "report": ("registered", "report"),
    "repeat": ("duplicate", "report"),
    "more": ("appended", "report"),
    "hers": ("registered", "hers"),
    "question": ("status-asked", "report"),
    "mine": ("status-asked", "report"),
    "new": ("registered", "new"),
    "machine": ("ignored", ""),
    "belum": ("appended", "report"),
    "reply": ("appended", "report"),
    "part 1": ("registered", "part 1"),
    "part 2": ("joined", "part 1"),
}


def settled(said: Said) -> dict[str, tuple[str, str]]:
    return {each.message_id: (each.outcome, each.number) for each in said.of(MessageSettled)}


@pytest.mark.parametrize("batches", ["one", "each"])
def test_every_message_gets_exactly_one_settlement(normalizer: Normalizer, batches: str) -> None:
    """However the messages fall into batches, each is settled once and in the same way."""
    said = normalizer.take(*story()) if batches == "one" else normalizer.take_singly(*story())
    expected = {message(name).message_id: (outcome, number(of) if of else "") for name, (outcome, of) in OUTCOMES.items()}

    assert len(said.of(MessageSettled)) == len(story())
    assert settled(said) == expected


def test_batches_of_any_size_say_the_same(tmp_path: Path) -> None:
    """What a batch loaded once and changed in memory equals what single messages read from SQL."""
    heard = []
    for size in (1, 2, 5, len(story())):
        database = Database(f"sqlite:///{tmp_path / f'{size}.db'}")
        normalizer = Normalizer(database)
        for start in range(0, len(story()), size):
            normalizer.take(*story()[start : start + size])
        heard.append((sorted(normalizer.ids), normalizer.emitted.as_text(), normalizer.rows()))
        database.close()

    assert all(each == heard[0] for each in heard)


@pytest.mark.parametrize("seed", range(8))
def test_a_replay_shuffled_and_with_repeats_settles_each_message_once(normalizer: Normalizer, seed: int) -> None:
    """Ids applied before are skipped: whatever order and repetition, one settlement for each message."""
    play_shuffled(normalizer, random.Random(seed))

    assert sorted(each.message_id for each in normalizer.emitted.of(MessageSettled)) == sorted(each.message_id for each in story())


@pytest.mark.parametrize("seed", range(2))
def test_no_two_events_share_an_id(normalizer: Normalizer, seed: int) -> None:
    """Readers drop an id that they know: only an answer to a repeat may carry the id of the first answer."""
    play_shuffled(normalizer, random.Random(seed))
    said = zip(normalizer.ids, normalizer.emitted, strict=True)
    names = Counter(name for name, emit in said if getattr(emit.event, "kind", "") != "already-received")

    assert [name for name, count in names.items() if count > 1] == []


def play_shuffled(normalizer: Normalizer, chance: random.Random) -> None:
    """The story out of order, with repeats, in batches of any size, and the timers behind it."""
    messages = [*story(), *chance.choices(story(), k=10)]
    chance.shuffle(messages)
    while messages:
        size = chance.randint(1, 6)
        normalizer.take(*messages[:size])
        del messages[:size]
    normalizer.timers(later(60))


def test_two_different_messages_in_one_batch_see_each_other(normalizer: Normalizer) -> None:
    """The second message of a batch knows what the first changed."""
    said = normalizer.take(message("first", text="Lampu mati"), message("second", text="RT 3", received_at=later(1)))

    assert said.only(ReportAppended).number == said.only(ReportRegistered).number == number("first")


def test_cek_alone_after_five_reports_names_them_newest_first(normalizer: Normalizer) -> None:
    """Read back from SQL, the order is that of the reports."""
    for n in range(5):
        normalizer.take(message(f"own {n}", text=f"LAPOR lampu {n} mati", received_at=later(n)))
    asked = normalizer.take(message("last", text="CEK", received_at=later(60))).only(StatusAsked)

    assert (asked.number, *asked.others) == tuple(number(f"own {n}") for n in (4, 3, 2, 1, 0))


def test_an_event_that_is_no_message_is_refused(normalizer: Normalizer) -> None:
    """A foreign event on the topic is that record's dead letter; its neighbours go on."""
    with pytest.raises(InvalidEvent) as refused, normalizer.database.read() as connection:
        state = normalizer.handler.load(connection, [an_input(updated()), an_input(message())])
        normalizer.handler.decide(an_input(updated()), state)

    assert refused.value.reason == "unexpected-event"
    assert normalizer.take(message()).outcomes() == ["registered"]


def test_deciding_twice_from_the_same_state_says_the_same(normalizer: Normalizer) -> None:
    """`decide` is pure: a batch that was rolled back and repeated gives equal events."""
    with normalizer.database.read() as connection:
        state = normalizer.handler.load(connection, [an_input(message())])
        first, again = (normalizer.handler.decide(an_input(message()), state) for _ in range(2))

    assert first == again


def test_old_texts_are_forgotten_with_the_next_of_the_same_sender(normalizer: Normalizer) -> None:
    """Hashes of texts serve for minutes: they are not kept for years."""
    normalizer.take(message("first"), message("hers", sender=BUNGA))
    normalizer.take(message("second", text="LAPOR got mampet", received_at=later(25 * 60)))
    kept = {row[0] for row in normalizer.rows()["normalizer_texts"]}

    assert len(normalizer.rows()["normalizer_texts"]) == 2
    assert kept == {message().sender_key, message(sender=BUNGA).sender_key}


def test_english_is_answered_in_english(normalizer: Normalizer) -> None:
    """The language that the adapter noted goes with every answer."""
    said = normalizer.take(
        message("first", text="The street light is broken", language="en"),
        message("second", text="near the school", language="en", received_at=later(1)),
        message("third", text="CEK 12345", language="en", received_at=later(2)),
    )

    assert {each.language for each in said.of(ReplyRequested)} == {"en"}


@pytest.mark.parametrize("secret", PERSONAL)
def test_nothing_personal_leaves_the_normalizer(normalizer: Normalizer, secret: str) -> None:
    """No event and no table holds a phone, an identity number, a plate or a mail address that somebody wrote."""
    told = {}
    for n, frame in enumerate(FRAMES):
        first = message(f"first {n}", sender=f"+62812000001{n:02}", text=frame.format(secret))
        more = message(f"more {n}", sender=f"+62812000001{n:02}", text=f"lagi {first.text}", subject=secret, received_at=later(1))
        told[frame] = normalizer.take(first, more).as_text() + str(normalizer.rows())

    assert [frame for frame, text in told.items() if secret.casefold() in text.casefold()] == []


@pytest.mark.parametrize("secret", PERSONAL)
def test_nothing_personal_waits_in_the_tables(normalizer: Normalizer, secret: str) -> None:
    """A part of a longer SMS lies in SQL for minutes: masked."""
    for n, frame in enumerate(FRAMES):
        normalizer.take(message(f"part {n}", text=frame.format(secret), part=Part(str(n), 1, 2)))

    assert len(normalizer.rows()["normalizer_parts"]) == len(FRAMES)
    assert secret.casefold() not in str(normalizer.rows()).casefold()


@settings(max_examples=60, deadline=None)
@given(gap=st.sampled_from(["", " ", "-", "."]), prefix=st.sampled_from(["0", "+62", "62", "+62 "]), digits=st.from_regex(r"8[1-9][0-9]{7,9}", fullmatch=True),
       frame=st.sampled_from(FRAMES))  # fmt: skip
def test_no_mobile_number_is_told_in_any_spelling(gap: str, prefix: str, digits: str, frame: str) -> None:
    """Phones are written in groups with any gap, with or without country code, behind any word."""
    typed = prefix + gap.join([digits[:3], digits[3:7], digits[7:]])
    told = _told(frame.format(typed))

    assert typed not in told


def _told(text: str) -> str:
    """What the rules say of one message, without a database."""
    return Said(rules.settle(read(message(text=text), jakarta()), Memory(), BOOK).events).as_text()


def test_senders_are_told_apart_by_key_only(normalizer: Normalizer) -> None:
    """The address itself never reached the normalizer: what it keeps recognises and does not tell."""
    normalizer.take(*story())
    told = normalizer.emitted.as_text() + str(normalizer.rows())

    assert not [secret for secret in (ADI, BUNGA, ADI[1:], "adi@warga.example") if secret in told]
