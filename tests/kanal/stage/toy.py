"""What the tests of the stage loop share: a toy handler, and a bench with a real SQLite journal and database."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path

from prometheus_client import REGISTRY
from sqlalchemy import Column, Connection, MetaData, String, Table, select

from kanal import stage_tables, topics
from kanal.database import Database
from kanal.events import DeadLetter, MessageSettled, StatusAsked
from kanal.ids import derive_id
from kanal.journal import BatchLimit, Place, Record
from kanal.journal.sqlite import SqliteJournal
from kanal.records import open_record, record_of
from kanal.stage import Decision, Emit, Handler, Input, StageLoop
from kanal.testing import NOON

metadata = MetaData()
seen = Table("toy_seen", metadata, Column("event_id", String, primary_key=True), Column("text", String, nullable=False))


class Killed(BaseException):
    """What SIGKILL would be: nothing in the loop may catch it."""


class Toy:
    """Writes each message's word and passes it on; some words do something else."""

    topics: Sequence[str] = (topics.REPORTS,)

    def __init__(self, name: str = "toy", on: dict[str, Callable[[], None]] | None = None) -> None:
        self.name = name
        self.on = on or {}
        self.decided: list[str] = []
        self.on_load: list[Exception] = []
        self.on_save: list[Exception] = []
        self.batches: list[int] = []
        self.timers: list[Input] = []

    def load(self, connection: Connection, inputs: Sequence[Input]) -> list[str]:
        if self.on_load:
            raise self.on_load.pop()
        self.batches.append(len(inputs))
        return []

    def decide(self, message: Input, state: list[str]) -> Decision:
        word = message.event.number  # type: ignore[attr-defined]
        self.decided.append(word)
        if word in self.on:
            self.on[word]()
        event = MessageSettled(
            message_id=message.event_id, channel="sms", outcome="registered", rule=",".join(state), settled_at=message.at
        )
        change = {"event_id": message.event_id, "text": word}
        return Decision([Emit(topics.MESSAGE_SETTLED, word, event, "settled")], [change])

    def apply(self, change: dict[str, str], state: list[str]) -> None:
        state.append(change["text"])

    def save(self, connection: Connection, changes: Sequence[dict[str, str]]) -> None:
        if changes:
            connection.execute(seen.insert(), changes)
        if self.on_save:
            raise self.on_save.pop()

    def saved(self) -> None:
        return None

    def due(self, connection: Connection, places: Iterable[Place], now: datetime) -> Sequence[Input]:
        due, self.timers = self.timers, []
        return due


def raises(error: BaseException) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


class Bench:
    """A journal and a database on disk, and what is in them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.journal = SqliteJournal(directory / "journal.db")
        self.database = Database(f"sqlite:///{directory}/state.db")
        self.database.create_tables(stage_tables.metadata, metadata)

    def send(self, *words: str, headers: dict[str, str] | None = None, ids: Sequence[str] = ()) -> None:
        records = []
        for index, word in enumerate(words):
            event_id = ids[index] if ids else derive_id("test", word)
            event = StatusAsked(number=word, message_id=event_id, channel="sms", conversation="c", asked_at=NOON)
            record = record_of(topics.REPORTS, word, event, event_id=event_id, source="test", at=NOON)
            records.append(Record(topic=record.topic, key=word, value=record.value, headers=record.headers | (headers or {})))
        self.journal.append(records)

    def loop(self, handler: Handler, records: int = 100) -> StageLoop:
        return StageLoop(handler, self.journal, self.database, BatchLimit(records=records))

    def saved(self) -> list[str]:
        with self.database.read() as connection:
            return sorted(connection.scalars(select(seen.c.text)))

    def outputs(self) -> list[str]:
        """Their keys, each id once: readers drop repeats."""
        return list({stored.headers["ce_id"]: stored.key for stored in self.journal.scan(topics.MESSAGE_SETTLED)}.values())

    def output_ids(self) -> list[str]:
        """All, repeats too."""
        return [stored.headers["ce_id"] for stored in self.journal.scan(topics.MESSAGE_SETTLED)]

    def dead(self) -> list[DeadLetter]:
        """Each once: a repeat after a crash has the id of its first."""
        opened = {stored.headers["ce_id"]: open_record(stored).event for stored in self.journal.scan(topics.DEAD_LETTER)}
        return list(opened.values())  # type: ignore[arg-type]

    def outbox_rows(self) -> int:
        with self.database.read() as connection:
            return len(connection.execute(select(stage_tables.outbox)).all())

    def close(self) -> None:
        self.journal.close()
        self.database.close()


def drain(loop: StageLoop, turns: int = 200) -> None:
    """Until nothing is left: two turns in a row without records."""
    empty = 0
    for _ in range(turns):
        empty = 0 if loop.turn(0) else empty + 1
        if empty == 8:
            return
    raise AssertionError("the loop does not come to rest")


def gauge(name: str, stage: str) -> float:
    return REGISTRY.get_sample_value(name, {"stage": stage}) or 0.0
