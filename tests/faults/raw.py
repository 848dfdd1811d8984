"""Putting records straight into topics, past Kanal: what a broken program, an old release or an operator could leave there."""

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import NamedTuple

import msgspec
from confluent_kafka import Producer
from pysqlite3 import dbapi2 as sqlite

from kanal.journal import partition_of
from kanal.topics import PARTITIONS
from tests.faults.harness import Run
from tests.servers.kanal import Cluster


class Raw(NamedTuple):
    """A record as bytes; headers of SQLite must be text."""

    topic: str
    key: str
    value: bytes | None
    headers: Mapping[str, str]


def put(run: Run, records: Sequence[Raw]) -> None:
    """Into the journal, in order, without any of Kanal's own checks."""
    if isinstance(run.town.kanal, Cluster):
        _put_into_kafka(run.town.kanal, records)
    else:
        _put_into_sqlite(run, records)


def _put_into_kafka(cluster: Cluster, records: Sequence[Raw]) -> None:
    producer = Producer({"bootstrap.servers": cluster.kafka.address, "message.max.bytes": 2 * 1024 * 1024})
    for topic, key, value, headers in records:
        place = partition_of(key, PARTITIONS)
        producer.produce(topic, value, key.encode(), partition=place, headers=[(name, text.encode()) for name, text in headers.items()])
    assert producer.flush(30) == 0, "Kafka did not take the records"


def _put_into_sqlite(run: Run, records: Sequence[Raw]) -> None:
    insert = """INSERT INTO records (topic, at, compacted, "key", headers, value) SELECT id, ?, ?, ?, ?, ? FROM topics WHERE name = ?"""
    rows = [
        (time.time(), topic.startswith("contacts-"), key, msgspec.json.encode(dict(headers)), value, topic)
        for topic, key, value, headers in records
    ]
    with closing(sqlite.connect(run.town.kanal.data / "journal.db", timeout=30)) as connection, connection:
        connection.executemany(insert, rows)
