"""The database helper on SQLite: transactions, upserts, errors without values."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, and_, select, text

from kanal.database import Database, among, dump, insert_new, listed, put
from kanal.errors import DatabaseAway, SetupError

metadata = MetaData()
things = Table("things", metadata, Column("name", String, primary_key=True), Column("size", Integer, nullable=False))
names = Table("names", metadata, Column("name", String, primary_key=True))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/deep/state.db")
    database.create_tables(metadata)
    yield database
    database.close()


def content(database: Database) -> list[tuple[str, int]]:
    with database.read() as connection:
        return [tuple(row) for row in connection.execute(select(things).order_by(things.c.name))]


def test_a_transaction_is_written_whole_or_not_at_all(database: Database) -> None:
    """An exception rolls back and comes out as it was."""
    with database.begin() as connection:
        put(connection, things, [("a", 1)])
    with pytest.raises(KeyError), database.begin() as connection:
        put(connection, things, [("b", 2)])
        raise KeyError
    assert content(database) == [("a", 1)]


def test_put_replaces_and_insert_new_leaves(database: Database) -> None:
    """Also within one call; nothing to write is nothing done."""
    with database.begin() as connection:
        put(connection, things, [("a", 1)])
        put(connection, things, [("a", 2), ("b", 3)])
        insert_new(connection, things, [("a", 9), ("c", 4), ("c", 5)])
        put(connection, things, [])
        insert_new(connection, things, [])
    assert content(database) == [("a", 2), ("b", 3), ("c", 4)]


def test_put_into_a_table_of_keys_only(database: Database) -> None:
    """There is nothing to replace, and that is no error."""
    with database.begin() as connection:
        put(connection, names, [("a",)])
        put(connection, names, [("a",)])
        assert connection.scalars(select(names.c.name)).all() == ["a"]


def test_any_number_of_keys_is_looked_up_by_the_index(database: Database) -> None:
    """Also among other conditions and in an update: a table is never read whole for some of its rows."""
    wanted = and_(among(things.c.name, "names"), things.c.size > 1)
    with database.begin() as connection:
        for statement in (select(things).where(wanted), things.update().where(wanted).values(size=0)):
            compiled = statement.compile(connection.engine)
            parameters = compiled.params | {"names": listed(["a", "b"])}
            values = tuple(parameters[name] for name in compiled.positiontup or ())
            plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}", values)]
            assert [step for step in plan if "things" in step] == ["SEARCH things USING INDEX sqlite_autoindex_things_1 (name=?)"]


def test_a_dump_holds_every_row_in_the_order_of_its_key(database: Database) -> None:
    """Whatever the order of writing: to compare a rebuilt view."""
    with database.begin() as connection:
        put(connection, things, [("b", 1), ("a", 2)])
        assert dump(connection, [things, names]) == {"things": [("a", 2), ("b", 1)], "names": []}


def test_the_error_of_a_statement_does_not_quote_values(database: Database) -> None:
    """They may be a citizen's text; the kind is enough to find it, and no cause is attached."""
    with pytest.raises(RuntimeError) as error, database.begin() as connection:
        connection.execute(things.insert(), [{"name": "adi@warga.example", "size": None}])
    assert "adi@warga" not in repr(error.value)
    assert "IntegrityError" in str(error.value)
    assert error.value.__cause__ is None
    assert error.value.__suppress_context__


def test_a_database_that_cannot_be_opened_is_away(tmp_path: Path) -> None:
    """To be tried again, without the path's content or SQL in its words."""
    (tmp_path / "state.db").mkdir()
    database = Database(f"sqlite:///{tmp_path}/state.db")
    with pytest.raises(DatabaseAway), database.begin():
        pass
    database.close()


def test_a_missing_table_is_away_not_a_crash_of_the_process(database: Database) -> None:
    """SQLite calls it an operational error; the loop tries again and says so."""
    with pytest.raises(DatabaseAway) as error, database.read() as connection:
        connection.execute(text("SELECT * FROM nowhere WHERE x = 'rahasia'"))
    assert "rahasia" not in str(error.value)


def test_a_table_that_another_version_made_is_refused_by_name(database: Database) -> None:
    """Else every statement fails, and is tried again as if the database were away."""
    newer = MetaData()
    Table("deeds", newer, Column("key", String, primary_key=True), Column("count", Integer), Column("reason", String), Column("by", String))
    older = MetaData()
    Table("deeds", older, Column("key", String, primary_key=True), Column("count", Integer))
    database.create_tables(older)
    database.create_tables(older)
    with pytest.raises(SetupError, match="deeds was made by another version: it differs in by, reason"):
        database.create_tables(newer)


def test_writers_take_turns_and_lose_nothing(database: Database) -> None:
    """Eight threads that read and then write: no busy error, no lost update."""
    with database.begin() as connection:
        put(connection, things, [("n", 0)])
    failures: list[BaseException] = []

    def count() -> None:
        try:
            for _ in range(20):
                with database.begin() as connection:
                    size = connection.scalar(select(things.c.size))
                    put(connection, things, [("n", size + 1)])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert content(database) == [("n", 160)]


def test_a_reader_sees_the_state_before_an_open_transaction(database: Database) -> None:
    """Pages are not held up by the stage."""
    with database.begin() as connection:
        put(connection, things, [("a", 1)])
        assert content(database) == []
    assert content(database) == [("a", 1)]


def test_commits_are_synced_to_disk(database: Database) -> None:
    """`synchronous = FULL` and a write-ahead log: what was committed survives a power cut."""
    with database.read() as connection:
        assert connection.scalar(text("PRAGMA synchronous")) == 2
        assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
