"""What the normalizer remembers in SQL, and reading and writing it a batch at a time. No text but masked parts of unfinished SMS."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import BigInteger, Column, Connection, Index, Integer, MetaData, Row, Select, String, Table, Text, bindparam, delete, select

from kanal.database import SMALL_ROWS, among, insert_new, listed, put
from kanal.events import MessageReceived
from kanal.journal import Place

metadata = MetaData()
numbers = Table(
    "normalizer_numbers",
    metadata,
    Column("number", String, primary_key=True),
    Column("report", String, nullable=False),
    Column("sender_key", String, nullable=False),
    Column("known_at", BigInteger, nullable=False),
    Index("normalizer_numbers_by_sender", "sender_key", "known_at"),
    **SMALL_ROWS,
)
conversations = Table(
    "normalizer_conversations",
    metadata,
    Column("conversation", String, primary_key=True),
    Column("number", String, nullable=False),
    Column("last_at", BigInteger, nullable=False),
    **SMALL_ROWS,
)
told = Table(
    "normalizer_told",
    metadata,
    Column("number", String, primary_key=True),
    Column("conversation", String, nullable=False),
    Column("status", String, nullable=False),
    Column("told_at", BigInteger, nullable=False),
    **SMALL_ROWS,
)
"""What the tracker said last of a report; nothing of most."""

texts = Table(
    "normalizer_texts",
    metadata,
    Column("sender_key", String, primary_key=True),
    Column("text_hash", String, primary_key=True),
    Column("number", String, nullable=False),
    Column("message_id", String, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
    **SMALL_ROWS,
)
parts = Table(
    "normalizer_parts",
    metadata,
    Column("long_message", String, primary_key=True),
    Column("part", Integer, primary_key=True),
    Column("message", Text, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("from_topic", String, nullable=False),
    Column("from_partition", Integer, nullable=False),
)
cut_short = Table(
    "normalizer_cut_short",
    metadata,
    Column("long_message", String, primary_key=True),
    Column("number", String, nullable=False),
    Column("missing", String, nullable=False),
    Column("closed_at", BigInteger, nullable=False),
)
"""Long messages that were registered without all their parts: what comes late belongs to `number`."""

REPORTS_OF_A_SENDER = 20
_encode = msgspec.json.Encoder().encode
_decode_message = msgspec.json.Decoder(MessageReceived).decode


class KnownNumber(NamedTuple):
    """A number that was given out and stands for `report` (itself, or the report it was appended to)."""

    number: str
    report: str
    sender_key: str
    known_at: int


class Conversation(NamedTuple):
    """The report that a conversation was last about."""

    conversation: str
    number: str
    last_at: int


class Told(NamedTuple):
    """What the reporter was told of a report; any status but those of `kanal.status.TOLD` = nothing any longer."""

    number: str
    conversation: str
    status: str
    told_at: int


class SeenText(NamedTuple):
    """A text that a sender has sent, by its hash."""

    sender_key: str
    text_hash: str
    number: str
    message_id: str
    seen_at: int


class KeptPart(NamedTuple):
    """A part of a longer SMS that waits for the others; its text is masked."""

    long_message: str
    part: int
    message: MessageReceived
    received_at: int
    place: Place


class CutShort(NamedTuple):
    """A longer SMS that was registered without `missing` parts."""

    long_message: str
    number: str
    missing: frozenset[int]
    closed_at: int


class Joined(NamedTuple):
    """The parts of a longer SMS are no longer needed."""

    long_message: str


Change = KnownNumber | Conversation | Told | SeenText | KeptPart | CutShort | Joined


class Memory:
    """What is known for the messages of one batch. `apply` makes a change visible for the next message."""

    def __init__(self) -> None:
        self.numbers: dict[str, KnownNumber] = {}
        self.reports_of: dict[str, list[str]] = {}
        self.conversations: dict[str, Conversation] = {}
        self.told: dict[str, Told] = {}
        """By number."""
        self.texts: dict[tuple[str, str], SeenText] = {}
        self.seen: dict[str, dict[str, int]] = {}
        """Sender → hash of each of his texts → when it came last."""
        self.parts: dict[str, dict[int, KeptPart]] = {}
        self.cut_short: dict[str, CutShort] = {}

    def apply(self, change: Change) -> None:
        """One change of the batch."""
        match change:
            case KnownNumber():
                self.numbers[change.number] = change
                if change.number == change.report:
                    self.reports_of.setdefault(change.sender_key, []).insert(0, change.number)
            case Conversation():
                self.conversations[change.conversation] = change
            case Told():
                self.told[change.number] = change
            case SeenText():
                self.texts[change.sender_key, change.text_hash] = change
                self.seen.setdefault(change.sender_key, {})[change.text_hash] = change.seen_at
            case KeptPart():
                self.parts.setdefault(change.long_message, {})[change.part] = change
            case CutShort():
                self.cut_short[change.long_message] = change
            case Joined():
                self.parts.pop(change.long_message, None)


class Wanted(NamedTuple):
    """The keys that a batch asks for."""

    numbers: set[str]
    senders: set[str]
    conversations: set[str]
    long_messages: set[str]


# Built once: for a small batch, building a statement takes longer than the database does.
_PARTS = select(parts).where(among(parts.c.long_message, "keys")).order_by(parts.c.part)
_NUMBERS = select(numbers).where(among(numbers.c.number, "keys"))
_NUMBERS_OF_SENDERS = (
    select(numbers.c.number, numbers.c.sender_key)
    .where(among(numbers.c.sender_key, "keys"), numbers.c.number == numbers.c.report)
    .order_by(numbers.c.known_at.desc(), numbers.c.number)
)
_CONVERSATIONS = select(conversations).where(among(conversations.c.conversation, "keys"))
_TOLD = select(told).where(among(told.c.number, "keys"))
_TEXTS = select(texts).where(among(texts.c.sender_key, "keys"))
_CUT_SHORT = select(cut_short).where(among(cut_short.c.long_message, "keys"))
_FORGET_TEXTS = delete(texts).where(among(texts.c.sender_key, "senders"), texts.c.seen_at < bindparam("before"))


def load_parts(connection: Connection, long_messages: set[str]) -> list[KeptPart]:
    """The parts that wait."""
    return [_kept_part(row) for row in _rows(connection, _PARTS, long_messages)]


def load(connection: Connection, wanted: Wanted, waiting: Sequence[KeptPart]) -> Memory:
    """At most one query a table."""
    memory = Memory()
    for row in _rows(connection, _NUMBERS, wanted.numbers):
        memory.numbers[row.number] = KnownNumber(*row)
    for row in _rows(connection, _NUMBERS_OF_SENDERS, wanted.senders):
        mine = memory.reports_of.setdefault(row.sender_key, [])
        if len(mine) < REPORTS_OF_A_SENDER:
            mine.append(row.number)
    for row in _rows(connection, _CONVERSATIONS, wanted.conversations):
        memory.conversations[row.conversation] = Conversation(*row)
    for row in _rows(connection, _TOLD, wanted.numbers | _reports_in(memory)):
        memory.apply(Told(*row))
    for row in _rows(connection, _TEXTS, wanted.senders):
        memory.apply(SeenText(*row))
    for part in waiting:
        memory.apply(part)
    for row in _rows(connection, _CUT_SHORT, wanted.long_messages):
        missing = frozenset(int(part) for part in row.missing.split())
        memory.cut_short[row.long_message] = CutShort(row.long_message, row.number, missing, row.closed_at)
    return memory


def _reports_in(memory: Memory) -> set[str]:
    """Those that the numbers stand for, and the senders' own."""
    return {known.report for known in memory.numbers.values()} | {number for mine in memory.reports_of.values() for number in mine}


def _rows(connection: Connection, query: Select[Any], keys: set[str]) -> Iterable[Any]:
    return connection.execute(query, {"keys": listed(keys)}) if keys else ()


def save(connection: Connection, changes: Sequence[Change], forget_texts_before: int) -> None:
    """One statement a table; the last change of a row wins."""
    insert_new(connection, numbers, [change for change in changes if isinstance(change, KnownNumber)])
    put(connection, conversations, [change for change in changes if isinstance(change, Conversation)])
    put(connection, told, [change for change in changes if isinstance(change, Told)])
    put(connection, texts, [change for change in changes if isinstance(change, SeenText)])
    put(connection, parts, [_part_row(change) for change in changes if isinstance(change, KeptPart)])
    put(connection, cut_short, [_cut_short_row(change) for change in changes if isinstance(change, CutShort)])
    for change in changes:
        if isinstance(change, Joined):
            connection.execute(delete(parts).where(parts.c.long_message == change.long_message))
    senders = {change.sender_key for change in changes if isinstance(change, SeenText)}
    if senders:  # old hashes go with the next text of the same sender
        connection.execute(_FORGET_TEXTS, {"senders": listed(senders), "before": forget_texts_before})


def unfinished(connection: Connection, places: Iterable[Place], before: datetime) -> list[KeptPart]:
    """The first kept part of every long message in `places` whose oldest part came before `before`."""
    rows = connection.execute(select(parts).where(parts.c.received_at < int(before.timestamp())).order_by(parts.c.part)).all()
    owned = set(places)
    first: dict[str, KeptPart] = {}
    for row in rows:
        if Place(row.from_topic, row.from_partition) in owned:
            first.setdefault(row.long_message, _kept_part(row))
    return list(first.values())


def seconds(moment: datetime) -> int:
    """Whole seconds since 1970."""
    return int(moment.timestamp())


def minutes_before(moment: datetime, minutes: int) -> int:
    """Seconds since 1970 of the moment `minutes` earlier."""
    return seconds(moment.astimezone(UTC) - timedelta(minutes=minutes))


def _kept_part(row: Row[Any]) -> KeptPart:
    values = row._mapping
    place = Place(values["from_topic"], values["from_partition"])
    return KeptPart(values["long_message"], values["part"], _decode_message(values["message"]), values["received_at"], place)


def _part_row(part: KeptPart) -> tuple[object, ...]:
    return part.long_message, part.part, _encode(part.message).decode(), part.received_at, *part.place


def _cut_short_row(cut: CutShort) -> tuple[object, ...]:
    return cut.long_message, cut.number, " ".join(str(part) for part in sorted(cut.missing)), cut.closed_at
