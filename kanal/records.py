"""From events to journal records and back: CloudEvents headers (binary Kafka binding), redrive marks, dead letters.

Source of the header names: CloudEvents 1.0, Kafka protocol binding, section 3.2.
"""

import base64
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from kanal import topics
from kanal.errors import InvalidEvent, KanalError
from kanal.events import DeadLetter, Event, MessageReceived, decode, encode, event_type
from kanal.ids import derive_id
from kanal.journal import FOR_STAGE, MAX_DEAD_LETTER_BYTES, Place, Record, Stored

TOO_LARGE_TO_KEEP = "too large to be kept here: it stands at its place in its topic only"
"""In the detail of a dead letter without its original."""


class Removed(Event, frozen=True, kw_only=True):
    """An empty record of a compacted topic: what was said under `key` is forgotten. Has no JSON."""

    key: str


class Opened(NamedTuple):
    """What a record says: its event, id, time and trace."""

    event: Event
    event_id: str
    at: datetime
    trace: str


def record_of(topic: str, key: str, event: Event, *, event_id: str, source: str, at: datetime, trace: str = "") -> Record:
    """The record that carries `event`. `source` is the stage or adapter; `trace` 32 hex characters, by default the event's id."""
    headers = {
        "content-type": "application/json",
        "ce_specversion": "1.0",
        "ce_id": event_id,
        "ce_type": event_type(type(event)),
        "ce_source": f"/kanal/{source}",
        "ce_time": at.astimezone(UTC).isoformat(),
        "traceparent": f"00-{trace or event_id}-{event_id[:16]}-01",
    }
    return Record(topic=topic, key=key, value=encode(event), headers=headers)


def removal_of(topic: str, key: str, *, source: str, at: datetime) -> Record:
    """The empty record that makes a compacted topic forget `key`."""
    event_id = derive_id(source, "removal", topic, key, at.isoformat())
    headers = {"ce_id": event_id, "ce_source": f"/kanal/{source}", "ce_time": at.astimezone(UTC).isoformat()}
    return Record(topic=topic, key=key, value=None, headers=headers)


def message_records(message: MessageReceived, source: str) -> Record:
    """The record of a received message: keyed by its sender, its id is the message id."""
    topic = topics.message_received(message.channel)
    return record_of(topic, message.sender_key, message, event_id=message.message_id, source=source, at=message.received_at)


def open_record(record: Record) -> Opened:
    """*Raises:* InvalidEvent, NewerEvent."""
    headers = record.headers
    event_id = headers.get("ce_id", "")
    if not event_id:
        raise InvalidEvent("the record has no ce_id", reason="no-event-id")
    try:
        at = datetime.fromisoformat(headers["ce_time"]).astimezone(UTC)
    except (KeyError, ValueError, OverflowError):
        raise InvalidEvent("the record has no readable ce_time", reason="no-event-time") from None
    if record.value is None:
        return Opened(Removed(key=record.key), event_id, at, event_id)
    trace = headers.get("traceparent", "").split("-")
    event = decode(headers.get("ce_type", ""), record.value)
    return Opened(event, event_id, at, trace[1] if len(trace) == 4 else event_id)


def dead_letter(stage: str, stored: Stored, error: Exception, at: datetime, attempts: int = 1) -> Record:
    """The record for the dead-letter topic, with the original whole. The id is derived from where it stood."""
    kanal_error = isinstance(error, KanalError)
    letter = DeadLetter(
        stage=stage,
        topic=stored.topic,
        partition=stored.partition,
        offset=stored.offset,
        key=stored.key,
        value=base64.b64encode(stored.value or b"").decode(),
        headers=stored.headers,
        cause=cause_of(error),
        detail=str(error) if kanal_error else "",
        attempts=attempts,
        died_at=at,
    )
    place = (stored.topic, str(stored.partition), str(stored.offset), stored.headers.get("ce_id", ""))
    event_id = derive_id(stage, "dead-letter", *place)
    record = record_of(topics.DEAD_LETTER, stored.key, letter, event_id=event_id, source=stage, at=at)
    if record.size() <= MAX_DEAD_LETTER_BYTES:
        return record
    # A key or headers made to be large: in JSON and twice they do not fit, and what cannot be set aside would stop its stage for ever.
    empty = msgspec.structs.replace(letter, key="", value="", headers={}, detail=f"{TOO_LARGE_TO_KEEP}; {letter.detail}")
    return record_of(topics.DEAD_LETTER, event_id, empty, event_id=event_id, source=stage, at=at)


def cause_of(error: Exception) -> str:
    """A bounded code: the reason of an error of Kanal, or which kind of bug."""
    return error.reason if isinstance(error, KanalError) else f"bug-{type(error).__name__}"


def rejected_input(adapter: str, sealed: bytes, cause: str, detail: str, at: datetime, input_id: str) -> Record:
    """A dead letter for input that an adapter refused: sealed, for nobody has read what personal data is in it."""
    letter = DeadLetter(
        stage=adapter, topic="", key=input_id, value=base64.b64encode(sealed).decode(), headers={}, cause=cause, detail=detail,
        sealed=True, died_at=at,
    )  # fmt: skip
    return record_of(topics.DEAD_LETTER, input_id, letter, event_id=derive_id(adapter, "rejected", input_id), source=adapter, at=at)


def redriven(letter: DeadLetter) -> Record:
    """The original record again, for the stage that set it aside; ids stay the same, so a second redrive is dropped there."""
    headers = {**letter.headers, FOR_STAGE: letter.stage}
    return Record(topic=letter.topic, key=letter.key, value=letter.original() or None, headers=headers)


def place_of(stored: Stored) -> Place:
    """The partition that a record was read from."""
    return Place(stored.topic, stored.partition)
