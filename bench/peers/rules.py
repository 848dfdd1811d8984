"""What every peer does with a message: Kanal's own rules, without what the stage remembers, since no peer shares SQL state.

A message becomes three records (registered, receipt asked for, settled), with the ids that Kanal gives them.
"""

from collections.abc import Iterable, Sequence

from kanal_normalizer.reading import read
from kanal_normalizer.rules import Book, settle, settled
from kanal_normalizer.tables import Memory
from kanal_normalizer.understanding import Understanding

from kanal import topics
from kanal.events import MessageReceived
from kanal.ids import derive_id
from kanal.journal import Record
from kanal.pack import find_pack, load_pack
from kanal.records import Opened, open_record, record_of
from kanal.stage import Emit

SOURCE = topics.message_received("sms")
TARGETS = (topics.REPORTS, topics.reply_requested("sms"), topics.MESSAGE_SETTLED)
_PACK = load_pack(find_pack("jakarta"))
_BOOK = Book(_PACK, Understanding(_PACK))
_STAGE = "normalizer"

Headers = Iterable[tuple[str, bytes]]


def outputs(key: bytes, value: bytes, headers: Headers) -> Sequence[Record]:
    """The records that one message comes to."""
    record = Record(topic=SOURCE, key=key.decode(), value=value, headers={name: text.decode() for name, text in headers})
    opened = open_record(record)
    assert isinstance(opened.event, MessageReceived)
    outcome = settle(read(opened.event, _PACK), Memory(), _BOOK)
    return [_record(emit, opened) for emit in (*outcome.events, settled(opened.event, outcome))]


def _record(emit: Emit, opened: Opened) -> Record:
    event_id = emit.event_id or derive_id(_STAGE, opened.event_id, emit.role)
    return record_of(emit.topic, emit.key, emit.event, event_id=event_id, source=_STAGE, at=opened.at, trace=opened.trace)


def wire_headers(record: Record) -> list[tuple[str, bytes]]:
    """Headers as clients of Kafka want them."""
    return [(name, text.encode()) for name, text in record.headers.items()]
