"""Rows in and out of PostgreSQL, where they travel as arrays: the same as with SQLite (`test_database.py`)."""

from collections.abc import Iterator

import pytest
from sqlalchemy import BigInteger, Boolean, Column, Integer, LargeBinary, MetaData, String, Table, Text, select

from kanal.database import Database, among, insert, insert_new, listed, put

metadata = MetaData()
things = Table(
    "things",
    metadata,
    Column("name", String, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("count", Integer, nullable=False),
    Column("good", Boolean, nullable=False),
    Column("note", Text, nullable=False),
    Column("content", LargeBinary),
)
AWKWARD = """ {"a", NULL} \\ 'x' % %s $1 ; é 😀 \n\t , () [] """
ROWS = [("a", 2**40, 1, True, AWKWARD, b"\x00\xff'"), (AWKWARD, -1, 2, False, "", None)]
pytestmark = pytest.mark.servers


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    database.create_tables(metadata)
    yield database
    database.close()


def content(database: Database) -> list[tuple[object, ...]]:
    with database.read() as connection:
        return [tuple(row) for row in connection.execute(select(things).order_by(things.c.count))]


def test_rows_come_back_as_they_went_in(database: Database) -> None:
    """Every type that Kanal's tables use, and texts that would break a literal."""
    with database.begin() as connection:
        insert(connection, things, ROWS)
        counts = select(things.c.count).where(among(things.c.name, "names"))
        assert set(connection.scalars(counts, {"names": listed(["a", AWKWARD, "other"])})) == {1, 2}
        assert connection.scalars(counts, {"names": listed([])}).all() == []
    assert content(database) == ROWS


def test_put_replaces_and_insert_new_leaves(database: Database) -> None:
    """Also within one call, where PostgreSQL itself would refuse to touch a row twice."""
    first, second = ROWS
    newer = (*first[:4], "newer", None)
    with database.begin() as connection:
        put(connection, things, [first, newer])
        insert_new(connection, things, [first, second, second])
        put(connection, things, [])
    assert content(database) == [newer, second]


def test_a_row_that_is_there_is_an_error_of_a_plain_insert(database: Database) -> None:
    """And the error quotes nothing of the row."""
    with pytest.raises(RuntimeError) as error, database.begin() as connection:
        insert(connection, things, [ROWS[0], ROWS[0]])
    assert "UniqueViolation" in str(error.value)
    assert content(database) == []
