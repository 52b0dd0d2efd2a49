"""consoled.db.direct: statements that leave SQLAlchemy's way to the driver away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Connection,
    Integer,
    MetaData,
    Select,
    String,
    Table,
    and_,
    bindparam,
    func,
    insert,
    or_,
    select,
)
from sqlalchemy.exc import IntegrityError, OperationalError

from consoled.db.direct import Query, Rows, key_names, run
from consoled.db.engine import make_engine

words = Table(
    "words",
    MetaData(),
    Column("word", String(32), primary_key=True),
    Column("length", Integer, nullable=False),
    Column("facts", JSON, nullable=False),
    Column("short", Boolean, nullable=False),
)


def by_word(size: int) -> Select[Any]:
    names: list[Any] = [bindparam(name) for n in range(size) for name in key_names(n)]
    return select(words).where(words.c.word.in_(names)).order_by(words.c.word)


def by_both(size: int) -> Select[Any]:
    pairs = [key_names(number, 2) for number in range(size)]
    return select(words.c.word).where(
        or_(
            *(
                and_(words.c.word == bindparam(word), words.c.length == bindparam(length))
                for word, length in pairs
            )
        )
    )


ADD = Rows(insert(words), ("word", "length", "facts", "short"))


def row(word: str) -> dict[str, Any]:
    return {"word": word, "length": len(word), "facts": {"of": [word]}, "short": len(word) < 4}


@pytest.fixture
def connection() -> Iterator[Connection]:
    """A database with four words."""
    engine = make_engine("sqlite://")
    words.create(engine)
    with engine.connect() as made, made.begin():
        ADD.add(made, [row(word) for word in ("one", "two", "three", "four")])
        yield made
    engine.dispose()


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8])
def test_rows_are_those_of_sqlalchemy(connection: Connection, count: int) -> None:
    """Whatever the number of keys, types and values are as SQLAlchemy reads them."""
    wanted = ["four", "one", "three", "two", "five", "six", "seven", "eight"][:count]
    expected = connection.execute(
        select(words).where(words.c.word.in_(wanted)).order_by(words.c.word)
    )
    found = Query(by_word).rows(connection, [(word,) for word in wanted])
    assert found == [tuple(each) for each in expected]
    assert all(type(each[3]) is bool for each in found)


def test_keys_of_two_parts(connection: Connection) -> None:
    """The parts of a key belong together."""
    keys = [("one", 3), ("two", 5), ("three", 3), ("four", 4), ("one", 3)]
    found = Query(by_both, 2).rows(connection, keys)
    assert sorted(found) == [("four",), ("one",)]


def test_a_query_without_keys(connection: Connection) -> None:
    """It may ask for something that is not by a key."""
    count = Query(lambda _: select(func.count()).select_from(words), 0)
    assert count.rows(connection) == [(4,)]


def test_errors_are_those_of_sqlalchemy(connection: Connection) -> None:
    """A driver's error has the class that the rest of the code knows, and no parameter in it."""
    with pytest.raises(IntegrityError) as caught:
        ADD.add(connection, [row("s3cret"), row("s3cret")])
    assert "s3cret" not in str(caught.value)
    assert caught.value.orig is not None
    with pytest.raises(OperationalError):
        run(connection, "BEGIN IMMEDIATE")


def test_it_is_in_the_connections_transaction() -> None:
    """What is written so is taken back with the rest."""
    engine = make_engine("sqlite://")
    words.create(engine)
    with engine.connect() as connection:
        with connection.begin() as transaction:
            ADD.add(connection, [row("one")])
            transaction.rollback()
        assert Query(by_word).rows(connection, [("one",)]) == []
    engine.dispose()


def test_few_texts_serve_all_numbers() -> None:
    """A database meets the same statements again, so that it can keep its plan of them."""
    engine = make_engine("sqlite://")
    words.create(engine)
    sizes: list[int] = []

    def worded(size: int) -> Select[Any]:
        sizes.append(size)
        return by_word(size)

    query = Query(worded)
    with engine.connect() as connection:
        for count in range(1, 33):
            query.rows(connection, [("one",)] * count)
    assert sizes == [1, 2, 4, 8, 16, 32]
    engine.dispose()
