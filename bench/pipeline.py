"""How many reports a second the embedded pipeline drains, stage by stage in one thread, without the network outside."""

import tempfile
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import structlog
from kanal_normalizer import tables as normalizer_tables
from kanal_normalizer.handler import NormalizerHandler
from kanal_router.handler import RouterHandler
from kanal_tracker import tables as tracker_tables
from kanal_tracker.handler import TrackerHandler

from kanal import replies, stage_tables
from kanal.database import Database
from kanal.events import MessageReceived
from kanal.ids import derive_id
from kanal.journal.sqlite import SqliteJournal
from kanal.numbers import number_for
from kanal.pack import find_pack, load_pack
from kanal.records import message_records
from kanal.replies import ReplyHandler
from kanal.stage import Handler, StageLoop

MESSAGES = 5_000
TEXTS = (
    "Jalan berlubang besar di kelurahan Cikini dekat stasiun, sudah dua motor jatuh minggu ini",
    "Lampu jalan mati di RT 03 RW 05 kelurahan Kebagusan, gelap sekali kalau malam",
    "Sampah menumpuk di depan sekolah, kel Rawamangun, sudah seminggu tidak diangkut",
    "Pohon besar miring dan hampir tumbang di jalan depan taman, kelurahan Menteng",
)


class Measured(NamedTuple):
    """One row of the table."""

    what: str
    count: int
    seconds: float


def measure(messages: int = MESSAGES) -> list[Measured]:
    """Each stage alone over the same messages, then all of them one after the other."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    pack = load_pack(find_pack("jakarta"))
    handlers: list[Handler] = [NormalizerHandler(pack), RouterHandler(pack), TrackerHandler(pack), ReplyHandler("sms")]
    with tempfile.TemporaryDirectory() as directory:
        journal = SqliteJournal(Path(directory) / "journal.db")
        database = Database(f"sqlite:///{directory}/state.db")
        database.create_tables(stage_tables.metadata, normalizer_tables.metadata, tracker_tables.metadata, replies.metadata)
        rows = [_append(journal, messages, pack.prefix)]
        rows += [_drain(StageLoop(handler, journal, database)) for handler in handlers]
        rows.append(Measured("whole pipeline (sum of the stages)", messages, sum(row.seconds for row in rows[1:])))
        database.close()
        journal.close()
    return rows


def _append(journal: SqliteJournal, messages: int, prefix: str) -> Measured:
    records = [message_records(_message(index, prefix), "bench") for index in range(messages)]
    started = time.perf_counter()
    for start in range(0, messages, 100):
        journal.append(records[start : start + 100])
    return Measured("append, 100 at a time", messages, time.perf_counter() - started)


def _drain(loop: StageLoop) -> Measured:
    started, count = time.perf_counter(), 0
    while handled := loop.turn(0):
        count += handled
    seconds = time.perf_counter() - started
    loop.stop()
    return Measured(f"stage {loop.handler.name} (records)", count, seconds)


def _message(index: int, prefix: str) -> MessageReceived:
    message_id = derive_id("bench", uuid.uuid4().hex)
    return MessageReceived(
        message_id=message_id, channel="sms", account="main", sender_key=f"sender-{index % 2_000}", conversation=f"conversation-{index}",
        received_at=datetime.now(UTC), text=f"{TEXTS[index % len(TEXTS)]} nomor {index}", number=number_for(message_id, b"k" * 32, prefix),
    )  # fmt: skip
