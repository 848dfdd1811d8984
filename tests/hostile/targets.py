"""What must hold for any bytes, one function a target: `test_fuzz.py` feeds them by hypothesis, `fuzz.py` by atheris.

A target returns in silence, or it has found something.
"""

import tempfile
import unicodedata
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from kanal_ingest_email.html_text import without_tags
from kanal_ingest_email.mime import MAX_ATTACHMENTS, MAX_TEXT_CHARACTERS, Mail, parse_mail
from kanal_ingest_email.quotes import cut_quotes
from kanal_ingest_email.receive import mail_id
from kanal_ingest_sms.parsing import MAX_TEXT_CHARACTERS as MAX_SMS_CHARACTERS
from kanal_ingest_sms.parsing import parse_delivery, parse_inbound
from kanal_ingest_sms.splitting import GSM_BASIC, GSM_EXTENDED, sms_texts
from kanal_normalizer.cleaning import MAX_CHARACTERS, clean_text, words_of
from kanal_normalizer.reading import read
from kanal_normalizer.rules import Book, settle
from kanal_normalizer.tables import Memory
from kanal_normalizer.understanding import Understanding

from kanal.errors import InvalidEvent, InvalidInput, NewerEvent, SetupError
from kanal.events import EVENTS, Attachment, decode, encode, event_type
from kanal.journal import Record
from kanal.masking import mask
from kanal.numbers import find_numbers, read_number
from kanal.pack import find_pack, load_pack
from kanal.records import open_record
from kanal.replies import render
from kanal.testing import jakarta, message

OWN = "lapor@localhost"
PHONE = "081298765432"
FIELDS = (b"From", b"Subject", b"Date", b"Message-ID", b"References", b"Content-Type", b"Content-Transfer-Encoding", b"Auto-Submitted")
FILES = ("pack.toml", "texts.toml", "agencies.csv", "areas.csv", "categories.csv", "routing.csv")


def mail(raw: bytes) -> None:
    """A mail, or which limit it breaks; what is read of it can go into an event."""
    try:
        found = parse_mail(raw, OWN)
    except InvalidInput as error:
        _names(error, "mail", "text")
        return
    _is_clean(found)
    written = cut_quotes(found.text)
    assert cut_quotes(written) == written
    attachments = tuple(Attachment(path=each.name, media_type=each.media_type, size=1, sha256="") for each in found.attachments)
    arrived = message(text=written, subject=found.subject, channel="email", automatic=found.automatic, attachments=attachments)
    assert decode(event_type(type(arrived)), encode(arrived)) == arrived
    assert mail_id(found, found.sender)


def _is_clean(found: Mail) -> None:
    assert len(found.text) <= MAX_TEXT_CHARACTERS
    assert len(found.attachments) <= MAX_ATTACHMENTS
    for text in (found.sender, found.sender_name, found.subject, found.message_id, *found.references, found.text):
        text.encode()
        assert not any(unicodedata.category(character) == "Cc" and character not in "\n\t" for character in text)
    for attachment in found.attachments:
        assert attachment.content
        assert not set("/\\\n\r\x00") & set(attachment.name)
        assert attachment.name not in {".", ".."}


def _names(error: InvalidInput, *fields: str) -> None:
    assert error.field in fields


def html(raw: bytes) -> None:
    """Whatever the HTML, it becomes text."""
    mail(b"From: a@warga.example\r\nContent-Type: text/html; charset=utf-8\r\n\r\n" + raw)
    without_tags(raw.decode("utf-8", "replace"))


def header(raw: bytes) -> None:
    """Fields of every kind with anything in them."""
    for name in FIELDS:
        mail(name + b": " + raw.replace(b"\n", b"\n ") + b"\nX: y\n\ntext")


def sms(raw: bytes) -> None:
    """A webhook's body is an SMS that can go into an event, or names the field that is wrong."""
    for content_type in ("application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b", ""):
        try:
            found = parse_inbound(raw, content_type)
        except InvalidInput as error:
            _names(error, "id", "from", "to", "text", "part_reference", "part_number", "part_total", "body")
        else:
            assert 0 < len(found.text) <= MAX_SMS_CHARACTERS
            assert found.part is None or 1 <= found.part.number <= found.part.total
            arrived = message(text=found.text, part=found.part, account=found.sender)
            assert decode(event_type(type(arrived)), encode(arrived)) == arrived
        try:
            parse_delivery(raw, content_type).reply_id.encode()
        except InvalidInput as error:
            _names(error, "id", "status", "body")


def number(raw: bytes) -> None:
    """A number, or the rule that it breaks; what is found in a text is canonical and stands there."""
    text = raw.decode("utf-8", "replace")
    try:
        assert read_number(read_number(text, "JK"), "JK") == read_number(text, "JK")
    except InvalidInput as error:
        _names(error, "number")
    for mention in find_numbers(text, "JK"):
        assert read_number(text[mention.start : mention.end], "JK") == mention.number


def masking(raw: bytes) -> None:
    """Masking twice is masking once, and a telephone number on a line of its own never stays."""
    text = raw.decode("utf-8", "replace")
    masked = mask(text)
    assert mask(masked) == masked
    assert PHONE not in mask(f"{text}\n{PHONE}\n{text}")


def event(raw: bytes) -> None:
    """Any bytes under any type are an event that encodes to itself, or one of the two named errors."""
    for kind in (*map(event_type, EVENTS.values()), raw[:40].decode("latin-1")):
        try:
            found = decode(kind, raw)
        except (InvalidEvent, NewerEvent):
            continue
        assert decode(kind, encode(found)) == found


def record(raw: bytes) -> None:
    """Any headers of a record lead to an event, or to one of the two named errors."""
    names = ("ce_id", "ce_time", "ce_type", "traceparent")
    values = [value.decode("utf-8", "replace") for value in raw.split(b"\n")]
    for headers in (dict(zip(names, values, strict=False)), {"ce_id": "a", "ce_time": datetime.now(UTC).isoformat(), "ce_type": values[0]}):
        try:
            open_record(Record(topic="reports", key="k", value=raw, headers=headers))
        except (InvalidEvent, NewerEvent):
            continue


def normalizer(raw: bytes) -> None:
    """Any text is read and settled by a rule; what goes on is clean, masked, and fits into events."""
    text = raw.decode("utf-8", "replace")[:MAX_TEXT_CHARACTERS]
    cleaned = clean_text(text)
    assert len(cleaned) <= MAX_CHARACTERS
    assert clean_text(cleaned) == cleaned
    words_of(text)
    for arrived in (message(text=text), message(text="x", subject=text), message(sender="a@warga.example", text=text, subject=text)):
        reading = read(arrived, jakarta())
        assert mask(reading.masked) == reading.masked
        outcome = settle(reading, Memory(), _book())
        assert outcome.rule
        for each in outcome.events:
            assert decode(event_type(type(each.event)), encode(each.event)) == each.event


@cache
def _book() -> Book:
    return Book(jakarta(), Understanding(jakarta()))


def splitting(raw: bytes) -> None:
    """Every piece fits one SMS; no letter is lost."""
    text = raw.decode("utf-8", "replace")
    pieces = sms_texts(text)
    for piece in pieces:
        gsm = all(character in GSM_BASIC or character in GSM_EXTENDED for character in piece)
        if gsm:
            assert sum(2 if character in GSM_EXTENDED else 1 for character in piece) <= 160
        else:
            assert len(piece.encode("utf-16-be")) <= 140


def pack(raw: bytes) -> None:
    """Each file of the pack replaced by any bytes: a pack, or a mistake that is told."""
    for name in FILES:
        pack_with(name, raw)


def pack_with(name: str, content: bytes) -> None:
    """The pack that ships with one file changed loads and can answer a citizen, or the mistake is told."""
    shipped = find_pack("jakarta")
    with tempfile.TemporaryDirectory() as directory:
        for other in FILES:
            Path(directory, other).write_bytes(content if other == name else (shipped / other).read_bytes())
        try:
            loaded = load_pack(Path(directory))
        except SetupError:
            return
    Understanding(loaded).category(["lampu"])
    for kind in loaded.texts:
        for channel in loaded.channels.values():
            render(loaded, channel, kind, {"number": "JK-2222-2222-2222"}, loaded.languages[0], "http://localhost")


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    target.__name__: target for target in (mail, html, header, sms, number, masking, event, record, normalizer, splitting, pack)
}
