"""Listing, showing and redriving dead letters: masked, and without effect the second time."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from kanal_all_in_one.__main__ import main
from kanal_all_in_one.dead_letters import Letter, listed, read_letters, redrive, shown

from kanal import topics
from kanal.contacts import seal_bytes
from kanal.errors import InvalidEvent, SetupError
from kanal.events import DeadLetter, Event, ReplyRequested, UpdateRequested
from kanal.journal import FOR_STAGE, MAX_RECORD_BYTES, Record, Stored
from kanal.journal.sqlite import SqliteJournal
from kanal.records import dead_letter, message_records, record_of, rejected_input
from kanal.testing import NOON, keys, message, number

PHONE, MAIL = "081200000001", "adi@warga.example"
TEXT = f"Hubungi saya {PHONE} atau {MAIL}"


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqliteJournal]:
    journal = SqliteJournal(tmp_path / "journal.db")
    yield journal
    journal.close()


def letter_of(record: Record, offset: int = 7, cause: str = "unexpected-event", stage: str = "normalizer") -> Record:
    stored = Stored(topic=record.topic, key=record.key, value=record.value, headers=record.headers, partition=0, offset=offset)
    return dead_letter(stage, stored, InvalidEvent("does not belong here", reason=cause), NOON)


def received(name: str = "1") -> Record:
    return message_records(message(name, text=TEXT, subject=f"dari {MAIL}"), "test")


def event_record(event: Event) -> Record:
    return record_of(topics.REPORTS, number(), event, event_id="e1", source="test", at=NOON)


def raw(value: bytes) -> Record:
    return Record(topic=topics.REPORTS, key="k", value=value, headers={"ce_id": "e1"})


def only(journal: SqliteJournal) -> Letter:
    (letter,) = read_letters(journal)
    return letter


def test_the_list_says_id_time_stage_cause_and_place(journal: SqliteJournal) -> None:
    """One line a letter, oldest first, no text."""
    journal.append([letter_of(received("1"), 7), letter_of(received("2"), 9, "bug-KeyError")])
    one, two = listed(read_letters(journal))
    assert one.split() == [only_id(journal, 0), "2026-03-02", "05:00:00", "normalizer", "unexpected-event", "message-received-sms/0@7"]
    assert "bug-KeyError" in two
    assert PHONE not in one + two


def only_id(journal: SqliteJournal, index: int) -> str:
    return list(read_letters(journal))[index].letter_id[:12]


def test_letters_are_chosen_by_cause_or_by_the_beginning_of_their_id(journal: SqliteJournal) -> None:
    """What the list shows can be typed; a repeat of a letter in the topic is one letter."""
    journal.append([letter_of(received("1"), 7), letter_of(received("1"), 7), letter_of(received("2"), 9, "bug-KeyError")])
    assert [letter.letter.offset for letter in read_letters(journal)] == [7, 9]
    assert [letter.letter.offset for letter in read_letters(journal, cause="bug-KeyError")] == [9]
    assert [letter.letter.offset for letter in read_letters(journal, ids=[only_id(journal, 1)])] == [9]
    assert list(read_letters(journal, cause="bug-KeyError", ids=[only_id(journal, 0)])) == []


def test_a_record_in_the_topic_that_is_no_letter_is_passed_over(journal: SqliteJournal) -> None:
    """The tool for repairs must not break on rubbish."""
    journal.append([Record(topic=topics.DEAD_LETTER, key="x", value=b"{", headers={}), letter_of(received())])
    assert only(journal).letter.offset == 7


def reply() -> Record:
    event = ReplyRequested(reply_id="r", channel="sms", conversation="c", kind="question", values={"note": TEXT}, requested_at=NOON)
    return event_record(event)


def update() -> Record:
    return event_record(
        UpdateRequested(number=number(), action_id="a", action="ask", by_role="agency", note=TEXT, reason=TEXT, requested_at=NOON)
    )


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(received(), id="message with text and subject"),
        pytest.param(reply(), id="reply with a note"),
        pytest.param(update(), id="action with note and reason"),
        pytest.param(raw(json.dumps({"pesan": TEXT}).encode()), id="JSON with an unknown field"),
        pytest.param(raw(json.dumps({"text": {"isi": [TEXT]}}).encode()), id="text that is an object"),
        pytest.param(raw(json.dumps([TEXT]).encode()), id="JSON that is a list"),
        pytest.param(raw(json.dumps(TEXT).encode()), id="JSON that is a text"),
        pytest.param(raw(TEXT.encode()), id="no JSON"),
        pytest.param(raw(b"\xff" + TEXT.encode()), id="not UTF-8"),
    ],
)
def test_a_letter_is_shown_masked(journal: SqliteJournal, record: Record) -> None:
    """No phone, no mail address, whatever was in the record; an operator needs the cause."""
    journal.append([letter_of(record)])
    text = shown(only(journal))
    assert PHONE not in text
    assert "81200000001" not in text
    assert MAIL not in text
    assert json.loads(text)["cause"] == "unexpected-event"
    assert base64.b64encode(record.value or b"").decode() not in text


def test_a_shown_letter_still_tells_what_is_needed(journal: SqliteJournal) -> None:
    """Ids, number, channel and where it stood are as they were."""
    journal.append([letter_of(received())])
    fields = json.loads(shown(only(journal)))
    assert fields["original"]["message_id"] == message("1").message_id
    assert (fields["original"]["number"], fields["original"]["channel"]) == (number(), "sms")
    assert (fields["topic"], fields["partition"], fields["offset"], fields["stage"]) == ("message-received-sms", 0, 7, "normalizer")
    assert "[telp]" in fields["original"]["text"]


def test_input_refused_at_the_door_stays_sealed_and_cannot_be_redriven(journal: SqliteJournal) -> None:
    """Nobody has read what is in it; there is no stage to give it back to."""
    journal.append([rejected_input("ingest-sms", seal_bytes(keys(), TEXT.encode()), "no-text", "the text is missing", NOON, "in1")])
    letter = only(journal)
    assert json.loads(shown(letter))["original"].endswith("sealed bytes")
    assert "(refused at the door)" in next(listed([letter]))
    with pytest.raises(SetupError, match="refused at the door"):
        redrive(journal, [letter])


def test_redriving_appends_the_original_for_its_stage(journal: SqliteJournal) -> None:
    """Same topic, key, bytes and id: a second redrive is a repeat for the stage."""
    originals = [received(str(i)) for i in range(450)]
    journal.append([letter_of(original, offset) for offset, original in enumerate(originals)])
    for _ in range(2):
        assert redrive(journal, read_letters(journal)) == 450
    redriven = list(journal.scan(topics.message_received("sms")))
    assert len(redriven) == 900
    for original, again in zip(originals * 2, redriven, strict=True):
        assert (again.key, again.value, again.headers) == (original.key, original.value, original.headers | {FOR_STAGE: "normalizer"})


def test_a_record_that_dies_again_keeps_its_stage(journal: SqliteJournal) -> None:
    """Redriven twice by hand it is still for the first stage only."""
    journal.append([letter_of(received())])
    redrive(journal, read_letters(journal))
    (again,) = journal.scan(topics.message_received("sms"))
    second = msgspec.structs.replace(only(journal).letter, headers=again.headers)
    assert isinstance(second, DeadLetter)
    redrive(journal, [Letter("x", second)])
    assert [stored.headers[FOR_STAGE] for stored in journal.scan(topics.message_received("sms"))] == ["normalizer"] * 2


def test_a_record_as_large_as_may_be_can_be_redriven(journal: SqliteJournal) -> None:
    """The mark for its stage is not held against it."""
    small = received()
    full = msgspec.structs.replace(small, value=(small.value or b"") + b" " * (MAX_RECORD_BYTES - small.size()))
    journal.append([full])
    journal.append([letter_of(full)])

    assert redrive(journal, read_letters(journal)) == 1


@pytest.mark.parametrize("command", ["dead-letters", "redrive"])
def test_an_id_that_is_none_is_told(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mistyped one must not look like work done."""
    monkeypatch.setenv("KANAL_DATA", str(tmp_path))
    assert main([command, "zzzz"]) == 1
    assert "no dead letter has such an id" in capsys.readouterr().err
