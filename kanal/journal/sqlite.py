"""The journal in one SQLite file, for one process. One partition; offsets are AUTOINCREMENT ids of one table.

One thread owns the only writing connection and commits once for all that wait (group commit): acknowledging ten webhooks
costs one fsync. Not here: several processes sharing partitions; that is what Kafka is for.
"""

import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from pysqlite3 import dbapi2 as sqlite

from kanal.errors import JournalAway, OffsetsRefused, SetupError
from kanal.journal import BatchLimit, Bounds, Place, Record, StartFrom, Stored, refuse_too_large, refuse_unknown_topics
from kanal.topics import TOPICS

SAFE_SQLITE = (3, 51, 3)
"""Older versions can corrupt a WAL file under two connections. Source: sqlite.org/wal.html#walresetbug."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS topics (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, expired_below INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS records (
    "offset" INTEGER PRIMARY KEY AUTOINCREMENT, topic INTEGER NOT NULL, at REAL NOT NULL, compacted INTEGER NOT NULL,
    "key" TEXT NOT NULL, headers BLOB NOT NULL, value BLOB);
CREATE INDEX IF NOT EXISTS records_by_topic ON records (topic, "offset");
CREATE INDEX IF NOT EXISTS records_by_key ON records (topic, "key") WHERE compacted = 1;
CREATE INDEX IF NOT EXISTS removals_by_topic ON records (topic, "offset") WHERE value IS NULL;
CREATE TABLE IF NOT EXISTS commits (name TEXT NOT NULL, topic TEXT NOT NULL, next INTEGER NOT NULL, PRIMARY KEY (name, topic));
"""
_INSERT = 'INSERT INTO records (topic, at, compacted, "key", headers, value) VALUES (?, ?, ?, ?, ?, ?)'
_COMPACT = """DELETE FROM records WHERE compacted = 1 AND topic = ? AND "key" = ?
    AND "offset" < (SELECT max("offset") FROM records WHERE compacted = 1 AND topic = ? AND "key" = ?)"""
_COMMIT = "INSERT OR REPLACE INTO commits (name, topic, next) VALUES (?, ?, ?)"
_SELECT = 'SELECT "offset", "key", headers, value FROM records WHERE topic = ? AND "offset" >= ? ORDER BY "offset" LIMIT ?'
_GROUP_COMMIT_RECORDS = 2_000
_TOMBSTONE_DAYS = 30
"""A sender that was down for so long still hears that it must forget somebody."""

_EXPIRE_EVERY_SECONDS = 60.0
_EXPIRED = """SELECT "offset" FROM (SELECT "offset", at FROM records WHERE topic = ? ORDER BY "offset" LIMIT ?) WHERE at < ?"""
_EXPIRED_REMOVALS = """SELECT "offset" FROM (SELECT "offset", at FROM records WHERE topic = ? AND value IS NULL ORDER BY "offset" LIMIT ?)
    WHERE at < ?"""
_EXPIRE_RECORDS = 1_000
_encode_headers = msgspec.json.Encoder().encode
_decode_headers = msgspec.json.Decoder(dict[str, str]).decode

Clock = Callable[[], float]


class _Work(NamedTuple):
    """What the writer thread is asked for: records to append, group commits to note."""

    records: Sequence[Record]
    commits: Sequence[tuple[str, str, int]]
    done: "Future[None]"


class SqliteJournal:
    """See `kanal.journal.Journal`. `clock` (seconds since 1970) is only for retention and is varied by tests."""

    def __init__(self, path: Path, clock: Clock = time.time) -> None:
        if sqlite.sqlite_version_info < SAFE_SQLITE:
            raise SetupError(f"SQLite {sqlite.sqlite_version} has the WAL-reset bug; 3.51.3 or newer is needed")
        self._path = path
        self._clock = clock
        self._appended = threading.Condition()
        self._appends_to = dict.fromkeys(TOPICS, 0)
        self._queue: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        connection = self._connect()
        connection.executescript(_SCHEMA)
        connection.execute("INSERT OR IGNORE INTO meta VALUES ('identity', ?)", (uuid.uuid4().hex,))
        connection.executemany("INSERT OR IGNORE INTO topics (name) VALUES (?)", [(name,) for name in TOPICS])
        self._topic_ids: dict[str, int] = dict(connection.execute("SELECT name, id FROM topics"))
        self._identity: str = connection.execute("SELECT value FROM meta WHERE name = 'identity'").fetchone()[0]
        self._connection = connection
        self._closed = False
        self._asking = threading.Lock()
        self._writer = threading.Thread(target=self._write_until_closed, name="journal-writer", daemon=True)
        self._writer.start()

    def submit(self, records: Sequence[Record]) -> "Future[None]":
        refuse_too_large(records)
        refuse_unknown_topics(records)
        return self._ask(_Work(records, (), Future()))

    def append(self, records: Sequence[Record], timeout_seconds: float = 10.0) -> None:
        try:
            self.submit(records).result(timeout_seconds)
        except TimeoutError as error:
            raise JournalAway("the journal's disk does not answer") from error

    def reader(self, group: str, topics: Sequence[str], start_from: StartFrom) -> "SqliteReader":
        return SqliteReader(self, group, topics, start_from)

    def bounds(self, topic: str) -> Mapping[int, Bounds]:
        connection = self._connect()
        try:
            return {0: self._bounds(connection, topic)}
        finally:
            connection.close()

    def identity(self, topic: str) -> str:
        return f"{self._identity}/{topic}"

    def scan(self, topic: str) -> Iterator[Stored]:
        connection = self._connect()
        try:
            first, end = self._bounds(connection, topic)
            while first < end:
                rows = connection.execute(_SELECT, (self._topic_ids[topic], first, 1_000)).fetchall()
                if not rows:
                    return
                yield from (_stored(topic, row) for row in rows if row[0] < end)
                first = rows[-1][0] + 1
        finally:
            connection.close()

    def mark(self) -> int:
        return sum(self._appends_to.values())

    def wait(self, mark: int, timeout_seconds: float) -> None:
        with self._appended:
            self._appended.wait_for(lambda: self.mark() != mark, timeout_seconds)

    def close(self) -> None:
        if not self._closed:
            with self._asking:  # so that nothing is asked for behind the end
                self._closed = True
                self._queue.put(None)
            self._writer.join()
            self._connection.close()

    def _ask(self, work: _Work) -> "Future[None]":
        with self._asking:
            if self._closed:
                work.done.set_exception(JournalAway("the journal is closed"))
            else:
                self._queue.put(work)
        return work.done

    def _connect(self) -> Any:
        try:
            connection = sqlite.connect(self._path, isolation_level=None, check_same_thread=False, timeout=10.0)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")  # NORMAL would lose acknowledged messages with the power
        except sqlite.Error as error:
            raise JournalAway(
                f"the journal's file cannot be opened ({self._path}, {type(error).__name__}): is KANAL_DATA right?"
            ) from error
        return connection

    def _bounds(self, connection: Any, topic: str) -> Bounds:
        row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'records'").fetchone()
        expired = connection.execute("SELECT expired_below FROM topics WHERE name = ?", (topic,)).fetchone()[0]
        return Bounds(max(1, expired), (row[0] if row else 0) + 1)

    # The writer thread. Everything below runs there, but for what the reader class does with its own connection.

    def _write_until_closed(self) -> None:
        expire_at = time.monotonic() + _EXPIRE_EVERY_SECONDS
        while True:
            try:
                first = self._queue.get(timeout=max(0.0, expire_at - time.monotonic()))
            except queue.Empty:
                full = self._expire()
                expire_at = time.monotonic() + (0.0 if full else _EXPIRE_EVERY_SECONDS)
                continue
            if first is None:
                return
            if self._commit_group(self._waiting(first)):
                return

    def _waiting(self, first: _Work) -> list[_Work | None]:
        group: list[_Work | None] = [first]
        count = len(first.records)
        while count < _GROUP_COMMIT_RECORDS:
            try:
                work = self._queue.get_nowait()
            except queue.Empty:
                break
            group.append(work)
            if work is None:
                break
            count += len(work.records)
        return group

    def _commit_group(self, group: list[_Work | None]) -> bool:
        """True when the journal is being closed: `None` is the last thing asked for."""
        waiting = [work for work in group if work is not None]
        try:
            self._write(waiting)
        except Exception as error:  # disk full, I/O error, a bug: nothing of the group is there, all are told, the writer lives
            failure = JournalAway(f"the journal cannot write ({type(error).__name__})")
            for work in waiting:
                if work.done.set_running_or_notify_cancel():
                    work.done.set_exception(failure)
        else:
            for work in waiting:
                if work.done.set_running_or_notify_cancel():
                    work.done.set_result(None)
            with self._appended:
                for topic in {record.topic for work in waiting for record in work.records}:
                    self._appends_to[topic] += 1
                self._appended.notify_all()
        return len(waiting) < len(group)

    def _write(self, group: Sequence[_Work]) -> None:
        records = [record for work in group for record in work.records]
        now = self._clock()
        rows = [(self._topic_ids[r.topic], now, TOPICS[r.topic].compacted, r.key, _encode_headers(r.headers), r.value) for r in records]
        replaced = {(self._topic_ids[r.topic], r.key) * 2 for r in records if TOPICS[r.topic].compacted}
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.executemany(_INSERT, rows)
            connection.executemany(_COMPACT, list(replaced))
            connection.executemany(_COMMIT, [commit for work in group for commit in work.commits])
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _expire(self) -> bool:
        """One bite of each topic; True when there is more to do."""
        full = False
        for topic in TOPICS.values():
            days = _TOMBSTONE_DAYS if topic.compacted else topic.kept_days
            if days is not None:
                before = self._clock() - days * 86_400
                full |= self._expire_topic(self._topic_ids[topic.name], before, topic.compacted) == _EXPIRE_RECORDS
        return full

    def _expire_topic(self, topic: int, before: float, only_removals: bool) -> int:
        """Small bites, so that a waiting webhook is never held up by housekeeping."""
        try:
            look = _EXPIRED_REMOVALS if only_removals else _EXPIRED
            rows = self._connection.execute(look, (topic, _EXPIRE_RECORDS, before)).fetchall()
            if not rows:
                return 0
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany('DELETE FROM records WHERE "offset" = ?', rows)
            if not only_removals:
                self._connection.execute("UPDATE topics SET expired_below = ? WHERE id = ?", (rows[-1][0] + 1, topic))
            self._connection.execute("COMMIT")
        except sqlite.Error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            return 0
        return len(rows)


class SqliteReader:
    """See `kanal.journal.Reader`. It owns every partition of its topics from the start, which is one each."""

    def __init__(self, journal: SqliteJournal, group: str, topics: Sequence[str], start_from: StartFrom) -> None:
        self._journal = journal
        self._group = group
        self._connection = journal._connect()
        self._positions: dict[Place, int] = {}
        self._looked: tuple[int, float] = (-1, 0.0)
        self._at_end = False
        self._noting: Future[None] | None = None
        for topic in topics:
            place = Place(topic, 0)
            self._positions[place] = self._start(place, start_from)

    def poll(self, limit: BatchLimit, timeout_seconds: float) -> Sequence[Stored]:
        mark = self._journal.mark()
        batch = self._look(limit)
        if not batch and timeout_seconds > 0:
            self._journal.wait(mark, timeout_seconds)
            batch = self._look(limit)
        return batch

    def assigned(self) -> frozenset[Place]:
        return frozenset(self._positions)

    def commit(self, positions: Mapping[Place, int]) -> None:
        commits = [(self._group, place.topic, offset) for place, offset in positions.items()]
        self._noting = self._journal._ask(_Work((), commits, Future()))

    def caught_up(self) -> frozenset[Place]:
        return self.assigned() if self._at_end else frozenset()

    def close(self) -> None:
        if self._noting is not None:
            wait([self._noting], 10.0)
        self._connection.close()

    def _start(self, place: Place, start_from: StartFrom) -> int:
        wanted = start_from(place, self._journal._bounds(self._connection, place.topic).first)
        first, end = self._journal._bounds(self._connection, place.topic)
        if wanted is None:
            row = self._connection.execute("SELECT next FROM commits WHERE name = ? AND topic = ?", (self._group, place.topic)).fetchone()
            wanted = row[0] if row else first
        if wanted > end:
            raise OffsetsRefused(f"{place.topic}: offset {wanted} is beyond the journal's end {end}: was it restored to an older state?")
        if wanted < first:
            raise OffsetsRefused(f"{place.topic}: records from offset {wanted} on have expired; the first left is {first}")
        return wanted

    def _look(self, limit: BatchLimit) -> list[Stored]:
        appends, now = sum(self._journal._appends_to[place.topic] for place in self._positions), time.monotonic()
        # Another process (`kanal redrive`) may append too, unseen by our counter: look anew twice a second anyway.
        if self._looked[0] == appends and now - self._looked[1] < 0.5:
            return []
        try:
            batch = self._select(limit)
        except sqlite.Error as error:
            raise JournalAway(f"the journal cannot be read ({type(error).__name__})") from error
        if not batch:
            self._looked = (appends, now)
        for stored in batch:
            self._positions[Place(stored.topic, 0)] = stored.offset + 1
        return batch

    def _select(self, limit: BatchLimit) -> list[Stored]:
        found: list[Stored] = []
        cut = False
        for place, position in self._positions.items():
            rows = self._connection.execute(_SELECT, (self._journal._topic_ids[place.topic], position, limit.records)).fetchall()
            cut |= len(rows) == limit.records
            found.extend(_stored(place.topic, row) for row in rows)
        found.sort(key=lambda stored: stored.offset)  # offsets are shared: this is the order of arrival over all topics
        batch: list[Stored] = []
        size = 0
        for stored in found[: limit.records]:
            size += stored.size()
            if batch and size > limit.bytes:
                break
            batch.append(stored)
        self._at_end = not cut and len(batch) == len(found)
        return batch


def renew_identity(path: Path) -> Mapping[str, str]:
    """Make a journal that went back in time another one: the offsets after its end are given out anew.

    Old identity of each topic → new one, for the owners of stored offsets that go back with it; everybody else's are refused.
    """
    connection = sqlite.connect(path, isolation_level=None)
    try:
        old = connection.execute("SELECT value FROM meta WHERE name = 'identity'").fetchone()[0]
        new = uuid.uuid4().hex
        connection.execute("UPDATE meta SET value = ? WHERE name = 'identity'", (new,))
    finally:
        connection.close()
    return {f"{old}/{topic}": f"{new}/{topic}" for topic in TOPICS}


def _stored(topic: str, row: tuple[int, str, bytes, bytes | None]) -> Stored:
    offset, key, headers, value = row
    return Stored(topic=topic, key=key, value=value, headers=_decode_headers(headers), partition=0, offset=offset)
