"""The events of Kanal: what each says and how it is written. Not here: where they go (topics.py) and who decides (services).

On the wire an event is plain JSON; its name, id and time are CloudEvents headers (binary binding). Readers tolerate unknown
fields; fields are only added, always with a default. Text in every event but `MessageReceived` is masked; no event holds an
address, `ContactSealed` excepted, where only a sender can open it.
"""

import base64
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from kanal.errors import InvalidEvent, NewerEvent


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What all events share: immutable, JSON, unknown fields tolerated."""


MAX_PARTS = 255
"""Of a longer SMS: an 8-bit field in the user data header (3GPP TS 23.040, 9.2.3.24.1)."""


class Part(msgspec.Struct, frozen=True):
    """Which piece of a longer SMS a message is, where the gateway hands pieces over one by one."""

    reference: str
    """What the sender's phone numbered the long message with; two citizens may use the same one."""
    number: int
    """1 … total."""
    total: int
    """How many parts the long message has."""


class Attachment(msgspec.Struct, frozen=True):
    """A file that came with a message, kept under `<message id>/<n>` in the attachment store."""

    path: str
    """Within the attachment store."""
    media_type: str
    """As declared, never sniffed."""
    size: int
    """Bytes."""
    sha256: str
    """Hex, of the bytes as stored (sealed ones: sealed)."""
    sealed: bool = False
    """Only a sender's key opens it (raw mail)."""


class MessageReceived(Event, frozen=True, kw_only=True):
    """One thing that arrived on a channel, as it arrived. Holds no address; the text is as the citizen wrote it."""

    message_id: str
    """hash(channel, account, the vendor's id); for mail hash(Message-ID, From, Date, Subject, body)."""
    channel: str
    """One of `kanal.topics.CHANNELS`."""
    account: str
    """Which of the city's accounts it came to: a gateway, a mail address."""
    sender_key: str
    """Recognises the same person and says nothing: keyed hash of the kind and the normalized address."""
    conversation: str
    """Where an answer goes: the key of the sealed contact."""
    received_at: datetime
    """UTC, when the adapter took it."""
    text: str
    """Quoted text and signatures cut; the original is a sealed attachment where the channel has one."""
    number: str
    """The tracking number that it gets if it becomes a report; computed once, by the adapter."""
    subject: str = ""
    """One line, as it arrived; empty where the channel has none."""
    language: str = "id"
    """Language to answer in, as far as the adapter can tell."""
    visibility: str = "private"
    """`public` or `private`, by the channel's rule or the reporter's choice."""
    always_new: bool = False
    """The number was shown to the citizen: this always becomes a report."""
    reply_to: str = ""
    """Number of the report that this answers, proved by our own token in the address or the thread headers."""
    automatic: str = ""
    """Why it is taken for automatic mail (reason code); it then opens no report and gets no answer."""
    part: Part | None = None
    """None = a whole message."""
    attachments: tuple[Attachment, ...] = ()
    """In the order of the message; the sealed raw mail first."""


class ContactSealed(Event, frozen=True, kw_only=True):
    """The sealed address behind a conversation; only senders can open it. An empty record instead forgets it."""

    conversation: str
    """As in MessageReceived."""
    sealed: str
    """Base64 of a libsodium sealed box, the key's id in front (`kanal.contacts`)."""


class MessageSettled(Event, frozen=True, kw_only=True):
    """What became of a message."""

    message_id: str
    """The message that this came from."""
    channel: str
    """One of `kanal.topics.CHANNELS`."""
    outcome: str
    """registered, appended, duplicate, status-asked, joined (a part of a longer SMS), refused (too many of one sender) or ignored.
    A part that still waits for the others is not settled yet."""
    rule: str
    """Name of the normalizer's rule that decided."""
    reason: str = ""
    """What the rule found."""
    number: str = ""
    """The report it belongs to, if any."""
    settled_at: datetime
    """When the message was received: handlers take time from their input."""


class ReportRegistered(Event, frozen=True, kw_only=True):
    """A new report, understood as far as rules can."""

    number: str
    """The report's tracking number."""
    message_id: str
    """The message that this came from."""
    channel: str
    """One of `kanal.topics.CHANNELS`."""
    sender_key: str
    """As in MessageReceived."""
    conversation: str
    """As in MessageReceived."""
    received_at: datetime
    """When the message was received."""
    text: str
    """Cleaned and masked."""
    category: str
    """Code of the pack; `other` when no word pointed anywhere."""
    category_reason: str
    """Which words of which row decided."""
    area: str = ""
    """Code of the area (kelurahan); empty when none was recognised."""
    area_reason: str = ""
    """Which name in the text decided."""
    language: str = "id"
    """Language to answer in, a code of the pack."""
    visibility: str = "private"
    """`public` or `private`, as in the message."""
    emergency: str = ""
    """The word that made it an emergency; empty otherwise."""
    due_at: datetime | None = None
    """When it should be finished, by the category's hours at that time; None = by those of today."""
    mentions: tuple[str, ...] = ()
    """Other reports' numbers in the text, of strangers or in the city's older form."""
    incomplete: bool = False
    """Parts of a longer SMS are missing."""
    aliases: tuple[str, ...] = ()
    """Numbers that the other parts of a longer SMS would have got; they stay other names of the report."""
    attachments: tuple[Attachment, ...] = ()
    """In the order of the message; the sealed raw mail first."""


class ReportAppended(Event, frozen=True, kw_only=True):
    """A further message of the same reporter on a report that exists."""

    number: str
    """The report's tracking number."""
    message_id: str
    """The message that this came from."""
    channel: str
    """One of `kanal.topics.CHANNELS`."""
    sender_key: str
    """As in MessageReceived."""
    conversation: str
    """As in MessageReceived."""
    received_at: datetime
    """When the message was received."""
    text: str
    """Cleaned and masked."""
    alias: str = ""
    """The number that this message would have got; it stays another name of the report."""
    not_fixed: bool = False
    """The reporter says that it is not fixed ("BELUM")."""
    duplicate: bool = False
    """The same words again: only `alias` is new."""
    language: str = "id"
    """Language to answer in, a code of the pack."""
    attachments: tuple[Attachment, ...] = ()
    """In the order of the message; the sealed raw mail first."""


class StatusAsked(Event, frozen=True, kw_only=True):
    """Somebody asks what became of a report; keyed by `number`."""

    number: str
    """The report asked for; with `others`, the newest of the sender's."""
    message_id: str
    """The message that this came from."""
    channel: str
    """One of `kanal.topics.CHANNELS`."""
    conversation: str
    """As in MessageReceived."""
    asked_at: datetime
    """When the question was received."""
    others: tuple[str, ...] = ()
    """"CEK" alone: the sender's further reports, newest first; the answer names the open ones, at most three."""
    mine: bool = False
    """The question was "my open reports", not a number."""
    proven: bool = False
    """The asker is the reporter or has an answer of ours to him: only then our answer carries the proof that lets one add to the report."""
    language: str = "id"
    """Language to answer in, a code of the pack."""


class ReportRouted(Event, frozen=True, kw_only=True):
    """A report is assigned to an agency by rule."""

    number: str
    """The report's tracking number."""
    agency: str
    """Code of the agency that it is assigned to."""
    category: str
    """Code of the pack; `other` when no word pointed anywhere."""
    area: str = ""
    """Code of the area; empty = not known."""
    row: str
    """The row of the pack's routing table that decided, or the rule in brackets."""
    reason: str = ""
    """Which category and area fitted, or why no row was asked."""
    attempt: int = 0
    """How many agencies had refused before."""
    to_dispatcher: bool = False
    """The rules give up: a dispatcher must place it."""
    routed_at: datetime
    """The time of the event that caused it."""


class UpdateRequested(Event, frozen=True, kw_only=True):
    """A person or a clock asks for a change; the tracker decides. `action` is one of the status table's."""

    number: str
    """The report's tracking number."""
    action_id: str
    """Made by the form or derived by the clock; the same id gets the first answer."""
    action: str
    """A name of the status table."""
    by_role: str
    """agency, dispatcher, reporter or clock."""
    by: str = ""
    """Who, as an account name; never a name of a citizen."""
    version: int | None = None
    """The version that the person saw; None = whichever (clocks)."""
    agency: str = ""
    """The one to assign or delegate to, or suggested by a refusal."""
    note: str = ""
    """Masked; what the reporter or colleagues should read."""
    reason: str = ""
    """Masked. Why, as a code or a sentence."""
    other: str = ""
    """The other report's number (merge)."""
    finish_at: datetime | None = None
    """When the agency means to be done; None = by the rule."""
    requested_at: datetime
    """When it was asked for, UTC."""


class ReportUpdated(Event, frozen=True, kw_only=True):
    """A change of a report that took effect, or that was refused and why."""

    number: str
    """The report's tracking number."""
    version: int
    """After the change; unchanged when refused."""
    action: str
    """A name of the status table, or `register`, `route`, `append`."""
    accepted: bool
    """False = refused: `rule` says why and nothing changed."""
    rule: str = ""
    """Which rule refused."""
    status: str
    """After the change; a code of `kanal.status.LABELS`."""
    agency: str = ""
    """Who has it after the change."""
    by_role: str = ""
    """agency, dispatcher, reporter, rule or clock."""
    reason: str = ""
    """As given by who asked; for a routing its row."""
    action_id: str = ""
    """Of the request; empty when no request stood behind it."""
    category: str = ""
    """Code of the pack; `other` when no word pointed anywhere."""
    area: str = ""
    """Code of the area; empty = not known."""
    refused_by: tuple[str, ...] = ()
    """Agencies that refused so far, in order."""
    suggested: str = ""
    """The agency that the refusing one suggests."""
    decided_by_person: bool = False
    """A person placed it: rules leave it alone."""
    updated_at: datetime
    """The time of the event that caused it."""


class ReporterTold(Event, frozen=True, kw_only=True):
    """A report came into a status, or left one, in which its reporter's next message means something else.

    `unclear`: an officer's question waits, what comes may be its answer. `done`, `rejected`: it is closed. Whoever reported the same
    problem (a merged report) is told under his own number what became of the report that his one follows.
    """

    number: str
    """The report's tracking number."""
    conversation: str
    """As in MessageReceived: where the reporter was told."""
    status: str
    """After the change, of the report that is followed; a code of `kanal.status.LABELS`. Another than those = it is over."""
    told_at: datetime
    """The time of the change, UTC; the notice goes out a little later."""


class ReplyRequested(Event, frozen=True, kw_only=True):
    """Tell the citizen this: a kind and its values, not words. The channel's sender renders it."""

    reply_id: str
    """Derived; a sender sends each id once."""
    channel: str
    """The one that the answer goes out on."""
    conversation: str
    """As in MessageReceived."""
    kind: str
    """Name of a text in the pack (`texts.toml`)."""
    values: dict[str, str]
    """What the text's placeholders stand for; statuses and agencies as codes."""
    number: str = ""
    """Empty when it is about no report."""
    language: str = "id"
    """Language to answer in, a code of the pack."""
    requested_at: datetime
    """When it was asked for, UTC."""


class ReplySettled(Event, frozen=True, kw_only=True):
    """What became of a reply."""

    reply_id: str
    """Derived; a sender sends each id once."""
    channel: str
    """The one that the answer went out on."""
    kind: str
    """As requested."""
    number: str = ""
    """Empty when it was about no report."""
    outcome: str
    """sent, delivered, failed or undeliverable (on this channel)."""
    reason: str = ""
    """Bounded code; empty when sent."""
    repeats: int = 0
    """How often it may have reached the citizen more than once: sends whose answer was lost in a crash."""
    settled_at: datetime
    """When the sender knew, UTC."""


class DeadLetter(Event, frozen=True, kw_only=True):
    """A record that could not be handled, kept whole for repair. Not final: redrive appends the original again."""

    stage: str
    """Stage or adapter that set it aside."""
    topic: str
    """Where it was read; empty = it never reached a topic."""
    partition: int = -1
    """-1 = it never reached a topic (an adapter kept it)."""
    offset: int = -1
    """Within the partition; -1 as above."""
    key: str
    """Of the original; for an adapter its input id."""
    value: str
    """Base64 of the original bytes; sealed when an adapter kept input that it could not read. Empty, as key and headers, when the
    whole would not have fitted: it then stands at its place only."""
    headers: dict[str, str]
    """Of the original."""
    cause: str
    """Bounded reason code."""
    detail: str = ""
    """What was wrong, without any payload."""
    attempts: int = 1
    """How often it was in hand."""
    sealed: bool = False
    """`value` can only be opened with a sender's key."""
    died_at: datetime
    """When it was set aside, UTC."""

    def original(self) -> bytes:
        """The original bytes."""
        return base64.b64decode(self.value)


EVENTS: Mapping[str, type[Event]] = {
    "message-received": MessageReceived,
    "contact-sealed": ContactSealed,
    "message-settled": MessageSettled,
    "report-registered": ReportRegistered,
    "report-appended": ReportAppended,
    "status-asked": StatusAsked,
    "report-routed": ReportRouted,
    "update-requested": UpdateRequested,
    "report-updated": ReportUpdated,
    "reporter-told": ReporterTold,
    "reply-requested": ReplyRequested,
    "reply-settled": ReplySettled,
    "dead-letter": DeadLetter,
}
MAJOR_VERSION = 1
_NAMES = {kind: name for name, kind in EVENTS.items()}
_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {name: msgspec.json.Decoder(kind) for name, kind in EVENTS.items()}
_ENCODER = msgspec.json.Encoder()
_VERSION = re.compile("[1-9][0-9]{0,8}")
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
"""An escaped NUL, but not the six plain characters that a citizen may type."""


def event_type(kind: type[Event]) -> str:
    """The CloudEvents type of an event class, as `kanal.report-routed.v1`."""
    return f"kanal.{_NAMES[kind]}.v{MAJOR_VERSION}"


def encode(event: Event) -> bytes:
    """The JSON of an event; fields that have their default are left out."""
    return _ENCODER.encode(event)


def decode(ce_type: str, value: bytes) -> Event:
    """The event in a record's bytes.

    *Raises:* NewerEvent for a known event of a newer major version; InvalidEvent for everything else that cannot be read.
    """
    name, _, version = ce_type.removeprefix("kanal.").rpartition(".v")
    if name not in _DECODERS or not _VERSION.fullmatch(version):
        raise InvalidEvent("the record's ce_type names no event of Kanal", reason="unknown-event")
    if int(version) > MAJOR_VERSION:
        raise NewerEvent(f"{name} has major version {version}, this reader knows {MAJOR_VERSION}")
    if b"\\u0000" in value and _NUL.search(value):  # PostgreSQL cannot store it, and no writer of Kanal lets it through
        raise InvalidEvent("the event holds a NUL character", reason="nul-character")
    try:
        event: Event = _DECODERS[name].decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidEvent(f"{name} cannot be decoded", reason="undecodable") from _without_payload(error)
    return event


def utc(moment: datetime) -> datetime:
    """`moment` in UTC; a moment without a zone is refused, since nobody can tell when it was."""
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return moment.astimezone(UTC)


def _without_payload(error: Exception) -> Exception:
    """The same kind of error without its text, which may quote the record."""
    return ValueError(type(error).__name__)
