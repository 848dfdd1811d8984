"""The outbox: events that a transaction decided and that still have to reach the journal.

Rows are written with the decision and appended after the commit; once acknowledged they go with the next transaction, after a
second of idling and on a clean stop. What a dead process left behind is appended by the next owner of the partition: a repeat carries
the id of its first.
"""

import time
import uuid
from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, and_, bindparam, delete, select

from kanal.database import Database, insert
from kanal.journal import Journal, Place, Record
from kanal.stage_tables import outbox

_encode_headers = msgspec.json.Encoder().encode
_decode_headers = msgspec.json.Decoder(dict[str, str]).decode
APPEND_SECONDS = 30.0
_DELETE_ACKNOWLEDGED = delete(outbox).where(
    outbox.c.owner == bindparam("mine"), outbox.c.run == bindparam("this_run"), outbox.c.seq <= bindparam("last")
)  # fmt: skip


class Outbox:
    """The rows of one owner (a stage or a sender) in this process. Used by one thread."""

    def __init__(self, owner: str, database: Database, journal: Journal) -> None:
        self._owner = owner
        self._database = database
        self._journal = journal
        self.begin_again()

    def begin_again(self) -> None:
        """Whatever is not surely appended counts as left behind from now on, also what this process added.

        After a commit whose answer was lost nobody knows whether its rows are there: `flush_left_behind` finds them if they are.
        """
        self._run = uuid.uuid4().hex
        self._seq = time.time_ns()  # grows from run to run, so that rows left behind keep their order
        self._waiting: list[Record] = []
        self._added = self._seq
        self._acknowledged = 0

    def add(self, connection: Connection, records: Sequence[tuple[Place, Record]]) -> list[Record]:
        """Write rows in the caller's transaction and drop those acknowledged before; give the result to `committed`."""
        self._delete_acknowledged(connection)
        first = self._seq + 1
        self._seq += len(records)
        rows = [
            (self._owner, self._run, seq, *place, each.topic, each.key, _encode_headers(each.headers), each.value)
            for seq, (place, each) in enumerate(records, first)
        ]
        insert(connection, outbox, rows)
        return [record for _, record in records]

    def committed(self, records: Sequence[Record]) -> None:
        """The transaction that added `records` is on disk: they must reach the journal now."""
        self._waiting.extend(records)
        self._added = self._seq

    def flush(self) -> None:
        """Append everything that waits. *Raises:* TemporaryFailure; what waits stays, call again."""
        if self._waiting:
            self._journal.append(self._waiting, APPEND_SECONDS)
            self._waiting = []
            self._acknowledged = self._added

    def flush_left_behind(self, place: Place) -> int:
        """Append and delete rows that other runs left for `place`; how many there were. *Raises:* TemporaryFailure."""
        left = and_(outbox.c.owner == self._owner, outbox.c.run != self._run, outbox.c.from_topic == place.topic,
                    outbox.c.from_partition == place.partition)  # fmt: skip
        with self._database.read() as connection:
            rows = connection.execute(select(outbox).where(left).order_by(outbox.c.seq)).all()
        if not rows:
            return 0
        records = [Record(topic=row.topic, key=row.key, value=row.value, headers=_decode_headers(row.headers)) for row in rows]
        self._journal.append(records, APPEND_SECONDS)
        with self._database.begin() as connection:
            connection.execute(delete(outbox).where(left, outbox.c.seq <= rows[-1].seq))
        return len(rows)

    def tidy(self) -> None:
        """Delete acknowledged rows now: a transaction of its own, for when none has come for a while, and on a clean stop."""
        if self._acknowledged:
            with self._database.begin() as connection:
                self._delete_acknowledged(connection)

    def _delete_acknowledged(self, connection: Connection) -> None:
        if self._acknowledged:
            connection.execute(_DELETE_ACKNOWLEDGED, {"mine": self._owner, "this_run": self._run, "last": self._acknowledged})
            self._acknowledged = 0
