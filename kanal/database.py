"""State in SQL: one engine for SQLite and PostgreSQL, write transactions, and library errors turned into Kanal's.

Not here: any table. Each stage and service declares its own, next to the code that uses it.
"""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from pysqlite3 import dbapi2 as sqlite
from sqlalchemy import Connection, MetaData, Table, create_engine, event, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects import sqlite as sqlite_dialect
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError, SQLAlchemyError

from kanal.errors import DatabaseAway, SetupError

Rows = Sequence[Mapping[str, Any]]


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
        except (ArgumentError, ModuleNotFoundError):
            raise SetupError("KANAL_DATABASE_URL is no address of a database") from None

    def create_tables(self, *tables: MetaData) -> None:
        """Create what is missing. *Raises:* DatabaseAway."""
        with _own_errors(), self._writing, self._engine.connect().execution_options(kanal_writes=True) as connection, connection.begin():
            self.exclusive(connection, "create-tables")
            for metadata in tables:
                metadata.create_all(connection)

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A write transaction: commits at the end, rolls back on an exception. *Raises:* DatabaseAway."""
        with _own_errors(), self._writing, self._engine.connect().execution_options(kanal_writes=True) as connection, connection.begin():
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


def insert_new(connection: Connection, table: Table, rows: Rows) -> None:
    """Insert `rows`; those whose primary key is there already are left as they are."""
    if rows:
        connection.execute(_insert(connection, table).on_conflict_do_nothing(), rows)


def put(connection: Connection, table: Table, rows: Rows) -> None:
    """Insert `rows`, replacing all columns of those whose primary key is there. All rows have the same columns."""
    if not rows:
        return
    statement = _insert(connection, table)
    keys = [column.name for column in table.primary_key]
    changed = {name: statement.excluded[name] for name in rows[0] if name not in keys}
    if changed:
        connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=changed), rows)
    else:
        connection.execute(statement.on_conflict_do_nothing(), rows)


def dump(connection: Connection, tables: Iterable[Table]) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of `tables` in the order of their primary keys; to compare a rebuilt view with the one before."""
    return {table.name: [tuple(row) for row in connection.execute(table.select().order_by(*table.primary_key.columns))] for table in tables}


def _insert(connection: Connection, table: Table) -> Any:
    return (postgresql if connection.dialect.name == "postgresql" else sqlite_dialect).insert(table)


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
