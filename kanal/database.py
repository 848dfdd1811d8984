"""State in SQL: one engine for SQLite and PostgreSQL, write transactions, and library errors turned into Kanal's.

Not here: any table. Each stage and service declares its own, next to the code that uses it.
"""

import json
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Self

from pysqlite3 import dbapi2 as sqlite
from sqlalchemy import (
    BigInteger,
    BindParameter,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    bindparam,
    create_engine,
    event,
    inspect,
    text,
)
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from kanal.errors import DatabaseAway, SetupError

Rows = Sequence[tuple[Any, ...]]
"""Rows of a table: their values in the order of its columns."""

SMALL_ROWS: Mapping[str, Any] = {"sqlite_with_rowid": False}
"""For tables of short rows: SQLite then keeps one tree, not two. Source: sqlite.org/withoutrowid.html, section 4."""


class Database:
    """The state of one or more services. Thread-safe.

    `url` is an SQLAlchemy address: `sqlite:///path` (one process) or `postgresql+psycopg://…` (any number).
    """

    def __init__(self, url: str) -> None:
        self.shared = not url.startswith("sqlite")
        """Other processes write here too (PostgreSQL); with SQLite this process is alone."""
        # SQLite has one writer at a time; a lock in front of it is fair, its own busy handler is not.
        self._writing = nullcontext() if self.shared else threading.Lock()
        try:
            self._engine = _postgres(url) if self.shared else _sqlite(url)
            self._writes = self._engine.execution_options(kanal_writes=True)
        except (ArgumentError, ModuleNotFoundError):
            raise SetupError("KANAL_DATABASE_URL is no address of a database") from None

    def create_tables(self, *tables: MetaData) -> None:
        """Create what is missing. *Raises:* DatabaseAway; SetupError for a table that another version made."""
        with self.begin() as connection:
            self.exclusive(connection, "create-tables")
            for metadata in tables:
                metadata.create_all(connection)
                _check_columns(connection, metadata)

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A write transaction: commits at the end, rolls back on an exception. *Raises:* DatabaseAway."""
        with _own_errors(), self._writing, self._writes.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads. *Raises:* DatabaseAway."""
        with _own_errors(), self._engine.connect() as connection, connection.begin():
            yield connection

    def exclusive(self, connection: Connection, name: str) -> None:
        """Hold others who ask for `name` until this transaction ends. With SQLite a writer is alone anyway."""
        if self.shared:
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": name})

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


def _check_columns(connection: Connection, metadata: MetaData) -> None:
    there = inspect(connection)
    for table in metadata.sorted_tables:
        other = sorted(set(table.columns.keys()) ^ {column["name"] for column in there.get_columns(table.name)})
        if other:  # each statement would fail, and be tried again for ever as if the database were away
            raise SetupError(
                f"the table {table.name} was made by another version: it differs in {', '.join(other)}. "
                "Those of the tracker are made anew by `kanal rebuild tracker`"
            )


def insert(connection: Connection, table: Table, rows: Rows) -> None:
    """Insert `rows`. *Raises:* RuntimeError when a primary key is there already."""
    _write(connection, table, rows, "")


def copy_sqlite(source: Path, target: Path) -> None:
    """A consistent copy of an SQLite file that may be in use; what was deleted from it is not in the copy.

    One snapshot is read from begin to end: writers go on, only their WAL grows meanwhile. SQLite's backup API in small steps
    would begin anew each time that somebody writes, and so never end under load. *Raises:* SetupError.
    """
    try:
        connection = sqlite.connect(f"{source.resolve().as_uri()}?mode=rw", uri=True, isolation_level=None)
        try:
            connection.execute("VACUUM INTO ?", (str(target),))
        finally:
            connection.close()
    except sqlite.Error as error:
        raise SetupError(f"{source} cannot be copied ({error.sqlite_errorname})") from None


def is_sound_sqlite(path: Path) -> bool:
    """Whether SQLite finds every page, row and index of the file as it must be."""
    connection = sqlite.connect(path)
    try:
        return bool(connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)])
    except sqlite.DatabaseError:
        return False
    finally:
        connection.close()


def insert_new(connection: Connection, table: Table, rows: Rows) -> None:
    """Insert `rows`; those whose primary key is there already are left as they are."""
    _write(connection, table, rows, " ON CONFLICT DO NOTHING")


def put(connection: Connection, table: Table, rows: Rows) -> None:
    """Insert `rows`, replacing all columns of those whose primary key is there. Of several with one key the last counts."""
    keys = [column.name for column in table.primary_key]
    assert keys == table.columns.keys()[: len(keys)], "primary keys are the first columns"
    changed = ", ".join(f'"{name}" = excluded."{name}"' for name in table.columns.keys()[len(keys) :])
    on_conflict = f" ON CONFLICT ({_names(keys)}) DO UPDATE SET {changed}" if changed else " ON CONFLICT DO NOTHING"
    _write(connection, table, list({row[: len(keys)]: row for row in rows}.values()), on_conflict)


def among(column: Column[Any], parameter: str) -> ColumnElement[bool]:
    """Condition: the column is one of the keys that are given as `{parameter: listed(keys)}` when the statement is executed.

    However many there are, it is one parameter (`in_` costs 20 µs a key), and the statement is built once.
    """
    keys: BindParameter[str] = bindparam(parameter)
    return _Among(column, keys)


def listed(keys: Iterable[str]) -> str:
    """Keys as the parameter of `among`."""
    return json.dumps(list(keys))


def dump(connection: Connection, tables: Iterable[Table]) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of `tables` in the order of their primary keys; to compare a rebuilt view with the one before."""
    return {table.name: [tuple(row) for row in connection.execute(table.select().order_by(*table.primary_key.columns))] for table in tables}


class _Among(FunctionElement[bool]):
    """See `among`."""

    type = Boolean()
    inherit_cache = True

    def self_group(self, against: Any = None) -> Self:
        """As it is: in `and_` SQLAlchemy would write `… = 1` behind it for SQLite, which then reads the whole table."""
        return self


@compiles(_Among, "sqlite")
def _among_in_sqlite(element: _Among, compiler: Any, **options: Any) -> str:
    column, keys = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({keys}))"  # noqa: S608 - compiled expressions


@compiles(_Among, "postgresql")
def _among_in_postgres(element: _Among, compiler: Any, **options: Any) -> str:
    column, keys = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{column} = ANY (ARRAY(SELECT jsonb_array_elements_text(CAST({keys} AS jsonb))))"


_ARRAYS = {BigInteger: "bigint", Boolean: "boolean", Integer: "integer", LargeBinary: "bytea", String: "text", Text: "text"}


def _write(connection: Connection, table: Table, rows: Rows, on_conflict: str) -> None:
    """One statement for all rows, past SQLAlchemy's compiler: it would take longer over a row than the database does."""
    if not rows:
        return
    names = _names(table.columns.keys())
    if connection.dialect.name == "postgresql":
        arrays = ", ".join(f"%s::{_ARRAYS[type(column.type)]}[]" for column in table.columns)
        values = tuple(list(column) for column in zip(*rows, strict=True))
        statement = f"INSERT INTO {table.name} ({names}) SELECT * FROM unnest({arrays}){on_conflict}"  # noqa: S608 - our own names
        connection.exec_driver_sql(statement, values)
    else:
        marks = ", ".join("?" * len(table.columns))
        statement = f"INSERT INTO {table.name} ({names}) VALUES ({marks}){on_conflict}"  # noqa: S608 - our own names
        connection.exec_driver_sql(statement, list(rows))


def _names(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _postgres(url: str) -> Any:
    return create_engine(url, pool_size=10, max_overflow=20, pool_pre_ping=True, connect_args={"connect_timeout": 5})


def _sqlite(url: str) -> Any:
    Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, module=sqlite, connect_args={"timeout": 10.0})

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the driver's guess
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")

    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:
        # A write transaction takes the lock at its start, so that it never fails half-way for having read before.
        writes = connection.get_execution_options().get("kanal_writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


@contextmanager
def _own_errors() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        raise DatabaseAway(f"the database fails ({type(error.orig).__name__})") from None
    except DBAPIError as error:
        if error.connection_invalidated:
            raise DatabaseAway("the connection to the database broke") from None
        raise _without_values(error) from None


def _without_values(error: SQLAlchemyError) -> Exception:
    """SQLAlchemy's messages quote parameters, which may be text of a citizen: keep the kind only."""
    return RuntimeError(f"a statement fails ({type(getattr(error, 'orig', error)).__name__})")
