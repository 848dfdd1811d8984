"""Replies: putting a kind and its values into words that fit the channel, and the stage that queues them for the sender.

Pure but for the stage's save. Not here: sending (sending.py, and each adapter's send.py).
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from babel.dates import format_date
from sqlalchemy import BigInteger, Column, Connection, Index, Integer, MetaData, String, Table, Text, delete

from kanal import topics
from kanal.database import insert_new, put
from kanal.errors import InvalidEvent, InvalidInput
from kanal.events import ContactSealed, ReplyRequested
from kanal.journal import Place
from kanal.numbers import read_number
from kanal.pack import REPLY_VALUES, Channel, Pack, TextPart
from kanal.records import Removed
from kanal.stage import Decision, Input
from kanal.status import label

metadata = MetaData()
replies = Table(
    "replies",
    metadata,
    Column("reply_id", String, primary_key=True),
    Column("channel", String, nullable=False),
    Column("conversation", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("number", String, nullable=False),
    Column("language", String, nullable=False),
    Column("reply_values", Text, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("requested_at", BigInteger, nullable=False),
    Column("queued_at", BigInteger, nullable=False),
    Column("state", String, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("repeats", Integer, nullable=False),
    Column("next_at", BigInteger, nullable=False),
    Column("claimed_until", BigInteger, nullable=False),
    Column("reason", String, nullable=False),
    Index("replies_by_state", "channel", "state", "next_at", "position"),
    Index("replies_by_conversation", "channel", "conversation", "position"),
)
"""state: waiting → sending → sent | failed | undeliverable, and delivered when the network says so. Times in epoch seconds."""

contacts = Table(
    "contacts",
    metadata,
    Column("channel", String, primary_key=True),
    Column("conversation", String, primary_key=True),
    Column("sealed", Text, nullable=False),
)


class Rendered(NamedTuple):
    """A reply in words."""

    subject: str
    body: str


def render(pack: Pack, channel: Channel, kind: str, values: Mapping[str, str], language: str, page_url: str) -> Rendered:
    """The words of a reply in `language`, as the channel allows.

    Parts go in by rank until `max_characters` is reached, and are read in their own order; rank 1 is always there, even
    if that is longer (the channel then splits it). Links appear only where the channel allows them.
    *Raises:* InvalidEvent for a kind that the pack has no words for.
    """
    if kind not in pack.texts:
        raise InvalidEvent(f"the pack has no text {kind!r}", reason="unknown-reply-kind")
    language = language if language in pack.languages else pack.languages[0]
    words = _in_words(pack, values, language)
    if channel.links and _is_ours(values.get("number", ""), pack):
        words["link"] = f"{page_url}/r/{values['number']}"
    parts = [part for part in pack.texts[kind].parts if _fits_values(part, words, language)]
    texts = {id(part): part.texts[language].format_map(words) for part in parts}
    chosen = _choose(parts, texts, channel.max_characters)
    separator = " " if channel.max_characters else "\n\n"
    subject = f"{pack.texts[kind].subject[language]} [{values['number']}]" if values.get("number") else pack.texts[kind].subject[language]
    return Rendered(subject, separator.join(texts[id(part)] for part in parts if id(part) in chosen))


def _is_ours(number: str, pack: Pack) -> bool:
    """Told back as it was typed, it may be none: there is no page about it."""
    try:
        return bool(read_number(number, pack.prefix))
    except InvalidInput:
        return False


def _choose(parts: Sequence[TextPart], texts: Mapping[int, str], max_characters: int) -> set[int]:
    chosen: set[int] = set()
    length = -1
    for part in sorted(parts, key=lambda part: part.rank):
        longer = length + 1 + len(texts[id(part)])
        if part.rank == 1 or not max_characters or longer <= max_characters:
            chosen.add(id(part))
            length = longer
    return chosen


def _fits_values(part: TextPart, words: Mapping[str, str], language: str) -> bool:
    if part.when and not words.get(part.when):
        return False
    return all(words.get(name) for name in REPLY_VALUES if "{" + name + "}" in part.texts[language])


def _in_words(pack: Pack, values: Mapping[str, str], language: str) -> dict[str, str]:
    """Codes become words: status, agency, category; `due` (ISO date) a date as people write it."""
    words = dict(values)
    if status := values.get("status"):
        words["status"] = label(status, language)
    if (agency := values.get("agency")) and agency in pack.agencies:
        words["agency"] = pack.agencies[agency].name
    if (category := values.get("category")) and category in pack.categories:
        words["category"] = pack.categories[category].names[language]
    if due := values.get("due"):
        words["due"] = format_date(datetime.fromisoformat(due).astimezone(pack.zone), "d MMMM y", locale=language)
    if reports := values.get("reports"):
        words["reports"] = ", ".join(_report_in_words(each, language) for each in reports.split())
    return words


def _report_in_words(number_and_status: str, language: str) -> str:
    number, _, status = number_and_status.partition("=")
    return f"{number} ({label(status, language)})"


class _Contact(NamedTuple):
    conversation: str
    sealed: str
    """Empty = forget it."""


class _Queued(NamedTuple):
    request: ReplyRequested
    position: int


class ReplyHandler:
    """The reply stage of a channel: requests become rows for its sender, sealed contacts its address book."""

    def __init__(self, channel: str, queued: Callable[[], None] = lambda: None) -> None:
        """`queued` is called when there may be something to send."""
        self.name = f"{channel}-replies"
        self.topics: Sequence[str] = (topics.contacts(channel), topics.reply_requested(channel))
        self._channel = channel
        self._queued = queued
        self._has_queued = False

    def load(self, connection: Connection, inputs: Sequence[Input]) -> None:
        return None

    def decide(self, message: Input, state: Any) -> Decision:
        event = message.event
        if isinstance(event, ReplyRequested):
            return Decision(changes=[_Queued(event, message.offset)], outcome="queued")
        if isinstance(event, ContactSealed):
            return Decision(changes=[_Contact(event.conversation, event.sealed)], outcome="contact")
        if isinstance(event, Removed):
            return Decision(changes=[_Contact(event.key, "")], outcome="contact-forgotten")
        raise InvalidEvent("neither a reply nor a contact", reason="unexpected-event")

    def apply(self, change: Any, state: Any) -> None:
        return None

    def save(self, connection: Connection, changes: Sequence[Any]) -> None:
        now = int(time.time())  # ages count from here: a request may have lain in the journal through an outage
        # Due at once, whatever a clock says that is set back later; what has failed before comes after it.
        rows = [_row(change, now) for change in changes if isinstance(change, _Queued)]
        insert_new(connection, replies, rows)
        self._has_queued = bool(rows)
        newest = {change.conversation: change for change in changes if isinstance(change, _Contact)}
        put(connection, contacts, [(self._channel, *contact) for contact in newest.values() if contact.sealed])
        for forgotten in (c.conversation for c in newest.values() if not c.sealed):
            connection.execute(delete(contacts).where(contacts.c.channel == self._channel, contacts.c.conversation == forgotten))

    def saved(self) -> None:
        if self._has_queued:
            self._queued()

    def due(self, connection: Connection, places: Iterable[Place], now: datetime) -> Sequence[Input]:
        return ()


def _row(queued: _Queued, now: int) -> tuple[object, ...]:
    request, position = queued
    values = msgspec.json.encode(request.values).decode()
    return (
        request.reply_id, request.channel, request.conversation, request.kind, request.number, request.language, values,
        position, int(request.requested_at.timestamp()), now, "waiting", 0, 0, 0, 0, "",
    )  # fmt: skip
