"""How many people can look their report up, with few and with many reports kept, by as many connections as ask at once."""

import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from kanal_tracker import tables
from kanal_tracker.machine import Report
from sqlalchemy import Connection, Table, text

from bench.broker import broker
from bench.measure import Figure, percentile, processor_seconds
from bench.messages import TEXTS
from bench.outside import Lookups, ask
from kanal.database import Database
from kanal.ids import derive_id
from kanal.numbers import number_for
from kanal.testing import NOON, jakarta
from tests.servers.kanal import Embedded, KanalProcess
from tests.servers.postgres import PostgresServer

SIZES = (10_000, 1_000_000)
CONNECTIONS = (1, 8)
SECONDS = 5.0
SAMPLE = 20_000
"""So many different reports are asked for."""

STATUSES = ("waiting", "coordinating", "in-progress", "in-progress", "awaiting-validation", "done", "done", "rejected")
CHUNK = 10_000


def measure(directory: Path, scale: float) -> list[Figure]:
    """Look-ups a second, p50 and p99, on both databases."""
    return [*_on_sqlite(directory / "sqlite", scale), *_on_postgres(directory / "postgres", scale)]


def _on_sqlite(directory: Path, scale: float) -> list[Figure]:
    installation = Embedded(directory)
    installation.data.mkdir()
    return _sizes("SQLite", installation.database_url, installation.processes["kanal"], scale)


def _on_postgres(directory: Path, scale: float) -> list[Figure]:
    """The tracker alone, asked directly: nginx would be measured too."""
    with ExitStack() as stack:
        directory.mkdir(mode=0o755)
        kafka = stack.enter_context(broker(directory))
        postgres = stack.enter_context(PostgresServer(directory / "server"))
        postgres.create_database("kanal")
        environment = {"KANAL_DATA": str(directory / "data"), "KANAL_JOURNAL": f"kafka://{kafka.address}",
                       "KANAL_DATABASE_URL": postgres.url("kanal"), "KANAL_STAFF_TOKEN": "nobody asks as staff here"}  # fmt: skip
        return _sizes("PostgreSQL", postgres.url("kanal"), KanalProcess("tracker", directory, environment), scale)


def _sizes(name: str, url: str, process: KanalProcess, scale: float) -> list[Figure]:
    database = Database(url)
    database.create_tables(tables.metadata)
    figures: list[Figure] = []
    filled = 0
    for size in (int(size * scale) for size in SIZES):
        _fill(database, range(filled, size))
        filled = size
        with process:
            for connections in CONNECTIONS:
                figures += _looked_up(name, process, size, connections, scale)
    database.close()
    return figures


def _looked_up(name: str, process: KanalProcess, size: int, connections: int, scale: float) -> list[Figure]:
    chosen = random.sample(range(size), min(SAMPLE, size))
    paths = [f"/api/v1/reports/{_number(index)}" for index in chosen]
    computed = processor_seconds(process.pids)
    asked = ask(Lookups(process.port, paths, SECONDS * scale, connections))
    computed = processor_seconds(process.pids) - computed
    seconds = [each.seconds for each in asked]
    what = f"{name}, {size:,} reports, {connections} at once"
    base = f"SQLite, {size:,} reports, {connections} at once"
    return [
        Figure(what, len(asked) / (SECONDS * scale), "look-ups/s", "one process; keep-alive", base if base != what else ""),
        Figure(f"{what}, p50", percentile(seconds, 0.5) * 1_000, "ms"),
        Figure(f"{what}, p99", percentile(seconds, 0.99) * 1_000, "ms"),
        Figure(f"{what}, processor", computed / len(asked) * 1_000, "ms/look-up", "of Kanal's process"),
    ]


# Filling the tracker's tables.


class _Filled(NamedTuple):
    """Rows of one chunk by table."""

    table: Table
    rows: Sequence[tuple[Any, ...]]


def _fill(database: Database, indexes: range) -> None:
    for start in range(indexes.start, indexes.stop, CHUNK):
        with database.begin() as connection:
            for filled in _rows(range(start, min(start + CHUNK, indexes.stop))):
                _insert(connection, filled)
    with database.begin() as connection:
        connection.execute(text("ANALYZE"))


def _insert(connection: Connection, filled: _Filled) -> None:
    columns = [column.name for column in filled.table.columns]
    names = ", ".join(f'"{name}"' for name in columns)
    if connection.dialect.name == "postgresql":
        driver = connection.connection.driver_connection
        assert driver is not None
        with driver.cursor().copy(f"COPY {filled.table.name} ({names}) FROM STDIN") as copy:
            for row in filled.rows:
                copy.write_row(row)
    else:
        places = ", ".join("?" * len(columns))
        connection.exec_driver_sql(f"INSERT INTO {filled.table.name} ({names}) VALUES ({places})", list(filled.rows))


def _rows(indexes: range) -> Iterator[_Filled]:
    reports = [_report(index) for index in indexes]
    encode = msgspec.json.Encoder().encode
    yield _Filled(tables.reports, [(r.number, r.status, r.agency, "", 0, r.partition, encode(r).decode()) for r in reports])
    yield _Filled(tables.timeline, [tuple(entry) for report in reports for entry in _timeline(report)])
    yield _Filled(tables.messages, [(r.number, derive_id(r.number), r.received_at.isoformat(), r.channel, r.text) for r in reports])


def _number(index: int) -> str:
    return number_for(str(index), b"b" * 32, jakarta().prefix)


def _report(index: int) -> Report:
    number, received = _number(index), NOON + timedelta(seconds=index)
    return Report(
        number=number,
        channel="sms",
        conversation=derive_id("conversation", number),
        sender_key=derive_id("sender", number),
        language="id",
        visibility="private",
        received_at=received,
        text=f"{TEXTS[index % len(TEXTS)]} nomor {index}",
        category=_code("categories", index),
        area=_code("areas", index),
        agency=_code("agencies", index),
        status=STATUSES[index % len(STATUSES)],
        version=3,
        entries=4,
        due_at=received + timedelta(hours=72),
        partition=index % 12,
    )


def _code(table: str, index: int) -> str:
    codes = _codes(table)
    return codes[index % len(codes)]


@cache
def _codes(table: str) -> Sequence[str]:
    return sorted(getattr(jakarta(), table))


def _timeline(report: Report) -> Iterator[tables.Entry]:
    told = (("registered", "waiting", "rule", ""), ("route", "waiting", "rule", ""), ("accept", "in-progress", "agency", "Sedang ditinjau"),
            ("progress", report.status, "agency", "Tim sudah ke lokasi"))  # fmt: skip
    for position, (action, status, role, note) in enumerate(told, start=1):
        at = (report.received_at + timedelta(hours=position)).isoformat()
        yield tables.Entry(report.number, position, at, action, status, role, note)
