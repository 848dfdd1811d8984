"""What Kafka, SQLite and the rules give with nothing of Kanal's loop around them: no engine can be faster here."""

import threading
import time
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaException, Message, Producer
from pysqlite3 import dbapi2 as sqlite

from bench.broker import broker
from bench.measure import Figure
from bench.messages import load, messages
from bench.peers.rules import SOURCE, outputs
from kanal import topics
from kanal.events import MessageReceived, decode, encode, event_type
from kanal.journal import Record
from kanal.testing import keys

MESSAGES = 60_000
UNDERSTOOD = 10_000
"""Of these so many for the rules, which are slower than the rest."""

BATCHES = (100, 500, 2_000)
STAGES = 4
"""Of the bare embedded pipeline, as Kanal's own has; stage n reads topic n and writes topic n + 1."""

RULES = "the rules alone, one core"
LOOP = "bare Kafka loop, batch {batch:,}, {copies} out"
EMBEDDED = "bare SQLite, 4 stages as threads"


def measure(directory: Path, scale: float) -> list[Figure]:
    """Messages a second of each."""
    count = int(MESSAGES * scale)
    records = list(messages(count, keys()))
    return [_rules(records[:UNDERSTOOD]), _embedded(directory, records), *_kafka(directory, records)]


def _rules(records: list[Record]) -> Figure:
    wire = [
        (record.key.encode(), record.value or b"", [(name, text.encode()) for name, text in record.headers.items()]) for record in records
    ]
    started = time.perf_counter()
    for key, value, headers in wire:
        outputs(key, value, headers)
    return Figure(RULES, len(wire) / (time.perf_counter() - started), "messages/s", "decode, understand, three records encoded; no I/O")


# Kafka.


def _kafka(directory: Path, records: list[Record]) -> list[Figure]:
    with broker(directory) as kafka:
        load(kafka.address, records)
        copies = [_figure(kafka.address, len(records), batch, copies=1) for batch in BATCHES]
        return [*copies, _figure(kafka.address, len(records), BATCHES[0], copies=3)]


def _figure(address: str, count: int, batch: int, copies: int) -> Figure:
    what = LOOP.format(batch=batch, copies=copies)
    note = "at-least-once: idempotent producer, acks=all, flush, then offsets committed"
    return Figure(what, _copied_a_second(address, count, batch, copies), "messages/s", note, RULES)


def _copied_a_second(address: str, count: int, batch: int, copies: int) -> float:
    """Bytes as they are; the clock starts when the first batch has been copied."""
    consumer = Consumer(
        {"bootstrap.servers": address, "group.id": f"bench-{batch}-{copies}", "enable.auto.commit": False, "auto.offset.reset": "earliest",
         "queued.min.messages": 10_000, "fetch.queue.backoff.ms": 10, "fetch.wait.max.ms": 20}
    )  # fmt: skip
    producer = Producer({"bootstrap.servers": address, "enable.idempotence": True, "acks": "all", "linger.ms": 1, "log_level": 0})
    consumer.subscribe([SOURCE])
    first = done = _copy_batch(consumer, producer, batch, copies)
    started = time.perf_counter()
    while done < count:
        done += _copy_batch(consumer, producer, batch, copies)
    seconds = time.perf_counter() - started
    consumer.close()
    return (done - first) / seconds


def _copy_batch(consumer: Consumer, producer: Producer, batch: int, copies: int) -> int:
    """How many were copied, at least one."""
    while not (polled := consumer.consume(batch, 0.05)):
        pass
    for message in polled:
        _copy(message, producer, copies)
    producer.flush()
    consumer.commit(asynchronous=False)
    return len(polled)


def _copy(message: Message, producer: Producer, copies: int) -> None:
    if message.error():
        raise KafkaException(message.error())
    for _ in range(copies):
        producer.produce(topics.MESSAGE_SETTLED, message.value(), message.key(), message.partition() or 0, headers=message.headers())


# SQLite.

_TABLES = """
PRAGMA journal_mode = WAL;
CREATE TABLE records (position INTEGER PRIMARY KEY AUTOINCREMENT, topic INTEGER NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL);
CREATE INDEX by_topic ON records (topic, position);
CREATE TABLE state (stage INTEGER NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (stage, key));
CREATE TABLE offsets (stage INTEGER PRIMARY KEY, next INTEGER NOT NULL);
"""
_TYPE = event_type(MessageReceived)
_INSERT = "INSERT INTO records (topic, key, value) VALUES (?, ?, ?)"


def _embedded(directory: Path, records: list[Record]) -> Figure:
    """Each stage reads typed events, keeps a row for each, and writes them on; one transaction a batch, as Kanal's stages."""
    path = directory / "bare.db"
    connection = _connect(path)
    connection.executescript(_TABLES)
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(_INSERT, [(0, record.key, record.value) for record in records])
    connection.execute("COMMIT")
    writing = threading.Lock()
    stages = [threading.Thread(target=_drain, args=(path, stage, len(records), writing), daemon=True) for stage in range(STAGES)]
    started = time.perf_counter()
    for stage in stages:
        stage.start()
    for stage in stages:
        stage.join()
    seconds = time.perf_counter() - started
    connection.close()
    return Figure(
        EMBEDDED, len(records) / seconds, "reports/s", "synchronous=FULL, typed decode and encode, a state row each, no rules; batch 100"
    )


def _connect(path: Path) -> Any:
    connection = sqlite.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _drain(path: Path, stage: int, count: int, writing: threading.Lock) -> None:
    connection = _connect(path)
    following = done = 0
    while done < count:
        with writing:
            connection.execute("BEGIN IMMEDIATE")
            following, handled = _batch(connection, stage, following)
            connection.execute("COMMIT")
        done += handled
        if not handled:
            time.sleep(0.001)
    connection.close()


def _batch(connection: Any, stage: int, following: int) -> tuple[int, int]:
    """The next position to read, and how many records there were."""
    rows = connection.execute(
        "SELECT position, key, value FROM records WHERE topic = ? AND position >= ? ORDER BY position LIMIT ?",
        (stage, following, BATCHES[0]),
    ).fetchall()
    if not rows:
        return following, 0
    events = [(key, encode(decode(_TYPE, value))) for _, key, value in rows]
    connection.executemany("INSERT OR REPLACE INTO state VALUES (?, ?, ?)", [(stage, *event) for event in events])
    connection.executemany(_INSERT, [(stage + 1, *event) for event in events])
    following = rows[-1][0] + 1
    connection.execute("INSERT OR REPLACE INTO offsets VALUES (?, ?)", (stage, following))
    return following, len(rows)
