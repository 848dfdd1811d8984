"""Builders for the stories of reports, and drivers: events into the tracker, tables and replies out."""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from kanal_tracker import tables
from kanal_tracker.handler import TrackerHandler
from kanal_tracker.machine import Report

from kanal import stage_tables, topics
from kanal.database import Database, dump
from kanal.events import Event, ReplyRequested, ReportAppended, ReporterTold, ReportRouted, ReportUpdated, StatusAsked, UpdateRequested
from kanal.ids import derive_id
from kanal.journal import BatchLimit, Place, Record
from kanal.journal.sqlite import SqliteJournal
from kanal.records import open_record, record_of
from kanal.stage import Emit, Input, StageLoop
from kanal.testing import ADI, NOON, jakarta, later, message, number, registered

HERE = Place(topics.REPORTS, 0)


def routed(name: str = "1", agency: str = "bina-marga", **changes: Any) -> ReportRouted:
    """The rules place the report."""
    values: dict[str, Any] = {"number": number(name), "agency": agency, "category": "street-light", "row": "R03", "routed_at": later(1)}
    return ReportRouted(**values | changes)


def appended(name: str = "1", by: str = "follow-up", *, sender: str = ADI, **changes: Any) -> ReportAppended:
    """The message called `by` belongs to the report called `name`; its own number stays an alias."""
    further = message(by, sender=sender, received_at=later(5), text="masih gelap")
    same = ("message_id", "channel", "sender_key", "conversation", "received_at", "text")
    values: dict[str, Any] = {field: getattr(further, field) for field in same} | {"number": number(name), "alias": number(by)}
    return ReportAppended(**values | changes)


def belum(name: str = "1", by: str = "belum", *, sender: str = ADI, **changes: Any) -> ReportAppended:
    """The reporter says that it is not fixed."""
    return appended(name, by, sender=sender, **{"not_fixed": True, "text": "BELUM"} | changes)


def asked(name: str = "1", *others: str, mine: bool = False, sender: str = ADI, **changes: Any) -> StatusAsked:
    """CEK."""
    question = message("cek", sender=sender)
    values: dict[str, Any] = {
        "number": number(name), "message_id": question.message_id, "channel": question.channel, "conversation": question.conversation,
        "asked_at": later(9), "others": tuple(map(number, others)), "mine": mine,
    }  # fmt: skip
    return StatusAsked(**values | changes)


ROLE = {"accept": "agency", "refuse": "agency", "delegate": "agency", "ask": "agency", "progress": "agency", "finish": "agency",
        "answer": "reporter", "reopen": "reporter"}  # fmt: skip
FIELDS: dict[str, dict[str, str]] = {
    "refuse": {"reason": "not-ours"},
    "assign": {"agency": "pertamanan"},
    "delegate": {"agency": "bina-marga-peralatan"},
    "ask": {"note": "Di mana tepatnya?"},
    "progress": {"note": "Tim di lokasi"},
    "finish": {"note": "Lampu diganti", "reason": "photo follows"},
    "return": {"reason": "still dark"},
    "reject": {"reason": "not in the city"},
}


def requested(action: str, name: str = "1", **changes: Any) -> UpdateRequested:
    """Somebody asks for an action, with all that it needs and by who may."""
    role = ROLE.get(action, "dispatcher")
    values: dict[str, Any] = {
        "number": number(name), "action": action, "by_role": role, "by": f"staff:{role}", "requested_at": later(10),
    } | FIELDS.get(action, {})  # fmt: skip
    if action == "merge":
        values["other"] = number("2")
    values |= changes
    values.setdefault("action_id", derive_id("test", *map(str, values.values())))
    return UpdateRequested(**values)


def moment_of(event: Event) -> datetime:
    """When an event of a story was said."""
    names = ("received_at", "routed_at", "asked_at", "requested_at")
    return next((getattr(event, name) for name in names if hasattr(event, name)), NOON)


def an_id(event: Event) -> str:
    """The id of its record: the same event, the same id."""
    return derive_id("test", repr(event))


class Told:
    """What the tracker said, sorted."""

    def __init__(self, events: Iterable[Event]) -> None:
        self.all = list(events)

    @property
    def replies(self) -> list[ReplyRequested]:
        return [event for event in self.all if isinstance(event, ReplyRequested)]

    @property
    def kinds(self) -> list[str]:
        return [reply.kind for reply in self.replies]

    @property
    def to_normalizer(self) -> list[ReporterTold]:
        return [event for event in self.all if isinstance(event, ReporterTold)]

    @property
    def updates(self) -> list[ReportUpdated]:
        return [event for event in self.all if isinstance(event, ReportUpdated)]


class Folding:
    """The tracker's handler over a real database, batch by batch, without journal and clocks."""

    def __init__(self, directory: Path, name: str = "state") -> None:
        self.database = Database(f"sqlite:///{directory}/{name}.db")
        self.database.create_tables(stage_tables.metadata, tables.metadata)
        self.handler = TrackerHandler(jakarta())
        self.offset = 0

    def fold(self, *events: Event) -> Told:
        """One batch."""
        return self.fold_inputs([self.as_input(event) for event in events])

    def as_input(self, event: Event, event_id: str = "") -> Input:
        self.offset += 1
        return Input(event=event, event_id=event_id or an_id(event), at=moment_of(event), place=HERE, offset=self.offset)

    def fold_inputs(self, inputs: Sequence[Input]) -> Told:
        emitted: list[Emit] = []
        changes: list[Any] = []
        with self.database.begin() as connection:
            state = self.handler.load(connection, inputs)
            for each in inputs:
                decision = self.handler.decide(each, state)
                for change in decision.changes:
                    self.handler.apply(change, state)
                emitted += decision.events
                changes += decision.changes
            self.handler.save(connection, changes)
        self.emitted = emitted
        return Told(emit.event for emit in emitted)

    def one_by_one(self, *events: Event) -> Told:
        """Each in a batch of its own."""
        return Told([said for event in events for said in self.fold(event).all])

    def report(self, name: str = "1") -> Report:
        with self.database.read() as connection:
            report = tables.find(connection, number(name))
        assert report is not None
        return report

    def timeline(self, name: str = "1") -> list[str]:
        with self.database.read() as connection:
            return [entry.action for entry in tables.timeline_of(connection, number(name))]

    def view(self) -> dict[str, list[tuple[Any, ...]]]:
        with self.database.read() as connection:
            return dump(connection, tables.VIEW)

    def answer(self, action_id: str) -> tables.Answer | None:
        with self.database.read() as connection:
            return tables.answer_to(connection, action_id)

    def close(self) -> None:
        self.database.close()


class Untimed(TrackerHandler):
    """Without clocks: events of fixed dates must not be overdue by the wall clock."""

    def due(self, connection: Any, places: Any, now: datetime) -> Sequence[Input]:
        return ()


class City:
    """Journal, database and stage loop, as in a process."""

    def __init__(self, directory: Path, handler: TrackerHandler | None = None, records: int = 100) -> None:
        self.journal = SqliteJournal(directory / "journal.db")
        self.database = Database(f"sqlite:///{directory}/state.db")
        self.database.create_tables(stage_tables.metadata, tables.metadata)
        self.handler = handler or Untimed(jakarta())
        self.loop = StageLoop(self.handler, self.journal, self.database, BatchLimit(records=records))

    def say(self, *events: Event) -> None:
        self.journal.append([story_record(event) for event in events])

    def run(self) -> None:
        """Until nothing is left, with the clocks asked."""
        empty = 0
        for _ in range(500):
            empty = 0 if self.loop.turn(0) else empty + 1
            if empty == 4:
                return
        raise AssertionError("the tracker does not come to rest")

    def told(self, topic: str) -> list[Event]:
        opened = {stored.headers["ce_id"]: open_record(stored).event for stored in self.journal.scan(topic)}
        return list(opened.values())

    def report(self, name: str = "1") -> Report | None:
        with self.database.read() as connection:
            return tables.find(connection, number(name))

    def view(self) -> dict[str, list[tuple[Any, ...]]]:
        with self.database.read() as connection:
            return dump(connection, tables.VIEW)

    def close(self) -> None:
        self.journal.close()
        self.database.close()


def story_record(event: Event) -> Record:
    """As its writer appends it."""
    key: str = event.number  # type: ignore[attr-defined]
    return record_of(topics.REPORTS, key, event, event_id=an_id(event), source="test", at=moment_of(event))


def public(name: str = "1", **changes: Any) -> Any:
    """A report that everybody may read."""
    return registered(name, **{"visibility": "public"} | changes)


class Http:
    """Requests to an application in this process; answers come as they would over a socket, errors as 500."""

    def __init__(self, app: FastAPI) -> None:
        self._transport = httpx.ASGITransport(app, raise_app_exceptions=False)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return asyncio.run(self._request("GET", path, options))

    def post(self, path: str, **options: Any) -> httpx.Response:
        return asyncio.run(self._request("POST", path, options))

    async def _request(self, method: str, path: str, options: dict[str, Any]) -> httpx.Response:
        async with httpx.AsyncClient(transport=self._transport, base_url="http://kanal.example") as client:
            return await client.request(method, path, **options)
