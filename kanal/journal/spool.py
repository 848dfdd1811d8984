"""A bounded local queue in front of a journal that is away, so that a webhook can still be acknowledged.

While anything waits here, everything goes through here, in order. Not a journal: it has one writer, one relay and no groups.
"""

import asyncio
import fcntl
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

import msgspec
from pysqlite3 import dbapi2 as sqlite

from kanal import metrics
from kanal.errors import JournalAway, SetupError, SpoolFull
from kanal.journal import Journal, Record, refuse_too_large
from kanal.logs import logger

PATIENCE_SECONDS = 3.0
"""How long a webhook waits for the journal before it turns to the spool."""

RELAY_RECORDS = 500
_SCHEMA = """CREATE TABLE IF NOT EXISTS queue (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, size INTEGER NOT NULL,
    topic TEXT NOT NULL, "key" TEXT NOT NULL, headers BLOB NOT NULL, value BLOB)"""
_encode_headers = msgspec.json.Encoder().encode
_decode_headers = msgspec.json.Decoder(dict[str, str]).decode


class Spool:
    """Records on disk in the order of their arrival, at most `max_bytes` of them. Thread-safe."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._alone = path.with_suffix(".lock").open("w")
        try:
            fcntl.flock(self._alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._alone.close()
            raise SetupError(f"another process uses the spool {path}: give each its own KANAL_DATA") from None
        self._connection = sqlite.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute(_SCHEMA)
        self.count, self._bytes = self._connection.execute("SELECT count(*), coalesce(sum(size), 0) FROM queue").fetchone()

    def put(self, records: Sequence[Record]) -> None:
        """Durable when it returns. *Raises:* SpoolFull, also when the disk is."""
        size = sum(record.size() for record in records)
        rows = [(record.size(), record.topic, record.key, _encode_headers(record.headers), record.value) for record in records]
        with self._lock:
            if self._bytes + size > self._max_bytes:
                raise SpoolFull
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.executemany('INSERT INTO queue (size, topic, "key", headers, value) VALUES (?, ?, ?, ?, ?)', rows)
                self._connection.execute("COMMIT")
            except sqlite.Error as error:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise SpoolFull(f"the spool cannot write ({type(error).__name__})") from None
            self.count += len(rows)
            self._bytes += size

    def oldest(self) -> tuple[int, list[Record]]:
        """The last sequence number of, and, the oldest records."""
        with self._lock:
            query = f'SELECT seq, topic, "key", headers, value FROM queue ORDER BY seq LIMIT {RELAY_RECORDS}'  # noqa: S608 (a constant)
            rows = self._connection.execute(query).fetchall()
        records = [Record(topic=topic, key=key, headers=_decode_headers(headers), value=value) for _, topic, key, headers, value in rows]
        return (rows[-1][0] if rows else 0), records

    def drop(self, up_to: int) -> None:
        """Forget what the journal has acknowledged."""
        with self._lock:
            self._connection.execute("DELETE FROM queue WHERE seq <= ?", (up_to,))
            self.count, self._bytes = self._connection.execute("SELECT count(*), coalesce(sum(size), 0) FROM queue").fetchone()

    def close(self) -> None:
        """Release the file."""
        self._connection.close()
        self._alone.close()


class Intake:
    """Where adapters hand in records: acknowledged by the journal, or by the spool while the journal is away."""

    def __init__(self, service: str, journal: Journal, spool: Spool | None = None) -> None:
        self._journal = journal
        self._spool = spool
        self._service = service
        self._log = logger(service)
        self._stop = threading.Event()
        self._relay = threading.Thread(target=self._relay_until_stopped, name=f"{service}-spool", daemon=True)
        if spool is not None:
            self._relay.start()

    async def take(self, records: Sequence[Record], *, spool: bool = True, patience_seconds: float = PATIENCE_SECONDS) -> None:
        """Return when `records` are durable. Without `spool` the journal itself must have them (SMTP: the sender keeps the mail).

        *Raises:* RecordTooLarge; TemporaryFailure when nothing could be kept.
        """
        if self._spool is None or not spool:
            await _durable(self._journal.submit(records), patience_seconds)
            return
        refuse_too_large(records)
        if self._spool.count == 0:
            try:
                await _durable(self._journal.submit(records), patience_seconds)
            except JournalAway as error:
                self._log.warning("journal_away", error=error)
            else:
                return
        await asyncio.to_thread(self._spool.put, records)
        metrics.SPOOLED.labels(self._service).set(self._spool.count)

    def close(self) -> None:
        """Stop relaying; what is in the spool stays for the next start."""
        self._stop.set()
        if self._spool is not None:
            self._relay.join()
            self._spool.close()

    def _relay_until_stopped(self) -> None:
        assert self._spool is not None
        while not self._stop.wait(0.2 if self._spool.count == 0 else 0.0):
            try:
                up_to, records = self._spool.oldest()
                if records:
                    self._journal.append(records)
                    self._spool.drop(up_to)
            except Exception as error:  # journal away, disk full, a bug: what is here stays, and the relay lives
                self._log.warning("relay_retried", error=error)
                self._stop.wait(1.0)
            metrics.SPOOLED.labels(self._service).set(self._spool.count)


async def _durable(done: "Future[None]", patience_seconds: float) -> None:
    try:
        # Shielded: a client that hangs up must not take back what is already on its way to the disk.
        await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(done)), patience_seconds)
    except TimeoutError:
        raise JournalAway("the journal did not acknowledge in time") from None
