"""Builders for tests: events that show only the fields that matter, the city pack, fixed keys. Invented people only.

Everything is fixed: two calls with the same arguments give the same event. Not here: servers, journals, drivers of one stage.
"""

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from nacl.public import PrivateKey

from kanal import topics
from kanal.contacts import conversation_key, sender_key
from kanal.events import Event, MessageReceived, ReportRegistered, ReportUpdated, encode
from kanal.ids import derive_id
from kanal.journal import Place
from kanal.keys import Keys
from kanal.numbers import number_for
from kanal.pack import Pack, find_pack, load_pack
from kanal.settings import DEFAULT_PACK
from kanal.stage import Input

NOON = datetime(2026, 3, 2, 5, 0, tzinfo=UTC)
"""When things happen unless a test says otherwise: a Monday, noon in Jakarta."""

ADI, BUNGA = "+6281200000001", "+6281200000002"
"""Two citizens who never lived."""


@cache
def jakarta() -> Pack:
    """The city pack that ships with Kanal, loaded once."""
    return load_pack(find_pack(DEFAULT_PACK))


@cache
def keys() -> Keys:
    """Keys with all their parts, the same in every run."""
    private = PrivateKey(b"c" * 32)
    return Keys(b"n" * 32, b"s" * 32, b"t" * 32, bytes(private.public_key), bytes(private))


def later(minutes: float) -> datetime:
    """So many minutes after `NOON`."""
    return NOON + timedelta(minutes=minutes)


def number(name: str = "1") -> str:
    """The tracking number that the message called `name` carries."""
    return number_for(message_id(name), keys().number, jakarta().prefix)


def message_id(name: str = "1") -> str:
    """The id of the message called `name`."""
    return derive_id("test", "message", name)


def message(name: str = "1", *, sender: str = ADI, **changes: Any) -> MessageReceived:
    """A message as an adapter hands it in; `name` tells messages apart, `changes` are fields of the event.

    `sender` is an address: sender key and conversation are derived from it, as adapters do (mail when it holds an @).
    """
    channel, kind = ("email", "mail") if "@" in sender else ("sms", "phone")
    values: dict[str, Any] = {
        "message_id": message_id(name),
        "channel": channel,
        "account": "lapor@localhost" if channel == "email" else "main",
        "sender_key": sender_key(keys(), kind, sender),
        "received_at": NOON,
        "text": "Lampu jalan mati di Kelurahan Cideng",
        "number": number(name),
    } | changes
    values.setdefault("conversation", conversation_key(keys(), values["channel"], values["account"], sender))
    return MessageReceived(**values)


def registered(name: str = "1", *, sender: str = ADI, **changes: Any) -> ReportRegistered:
    """The report that the message called `name` became."""
    arrived = message(name, sender=sender)
    same = ("number", "message_id", "channel", "sender_key", "conversation", "received_at", "text")
    values: dict[str, Any] = {field: getattr(arrived, field) for field in same}
    values |= {"category": "street-light", "category_reason": "lampu jalan = 4", "area": "31.71.01.1002", "area_reason": "in the text"}
    return ReportRegistered(**values | changes)


def updated(name: str = "1", **changes: Any) -> ReportUpdated:
    """A change of that report that the tracker let through: by default its agency took it up."""
    values: dict[str, Any] = {
        "number": number(name), "version": 2, "action": "accept", "accepted": True, "status": "in-progress", "agency": "bina-marga",
        "by_role": "agency", "category": "street-light", "area": "31.71.01.1002", "updated_at": NOON,
    }  # fmt: skip
    return ReportUpdated(**values | changes)


def an_input(event: Event, *, event_id: str = "", at: datetime | None = None, place: Place | None = None, offset: int = 1) -> Input:
    """`event` in a handler's hands, with the id, time and place that it has when it comes from the journal."""
    own_id = event.message_id if isinstance(event, MessageReceived) else derive_id("test", type(event).__name__, encode(event).decode())
    said_at = getattr(event, "received_at", None) or getattr(event, "updated_at", None) or NOON
    return Input(event=event, event_id=event_id or own_id, at=at or said_at, place=place or Place(_topic(event), 0), offset=offset)


def _topic(event: Event) -> str:
    if isinstance(event, MessageReceived):
        return topics.message_received(event.channel)
    return topics.REPORT_UPDATED if isinstance(event, ReportUpdated) else topics.REPORTS
