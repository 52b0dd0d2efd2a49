"""Statements that go to the driver directly: the few that every issue and every check runs.

SQLAlchemy words them once for each kind of database, and knows how their types travel. To run
one through it costs ten times what SQLite takes for the answer (docs: decisions/0019); so its
text goes to the driver's own cursor, in whatever transaction the connection is in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from attrs import define, field, frozen
from sqlalchemy import Connection, Dialect, Insert, Select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.compiler import SQLCompiler

T = TypeVar("T")
Row = tuple[Any, ...]
Convert = Callable[[Any], Any]


@define(eq=False)
class Query:
    """A SELECT with as many keys as are asked for at a time.

    It is worded for 1, 2, 4, 8... keys, so that few texts serve all numbers of them; the last
    key stands in the places that are left.

    :ivar select: the SELECT for so many keys. Each is the parameters that :func:`key_names`
        gives for its number, and there are no others.
    :ivar width: values in a key.
    """

    select: Callable[[int], Select[Any]]
    width: int = 1
    _worded: dict[tuple[str, str, int], Wording] = field(factory=dict, init=False, repr=False)

    def rows(self, connection: Connection, keys: Sequence[Sequence[Any]] = ((),)) -> list[Row]:
        """The rows of all keys, as tuples.

        :raises sqlalchemy.exc.DBAPIError: as SQLAlchemy would.
        """
        wording, parameters = self.worded(connection.dialect, keys)
        return wording.rows(_fetched(connection, wording, parameters))

    def worded(self, dialect: Dialect, keys: Sequence[Sequence[Any]]) -> tuple[Wording, Any]:
        """The statement for those keys, and its parameters as the dialect's driver takes them."""
        size = 1 << (len(keys) - 1).bit_length()
        wording = self._wording(dialect, size)
        padded = [*keys, *[keys[-1]] * (size - len(keys))]
        values = {
            name: value
            for number, key in enumerate(padded)
            for name, value in zip(key_names(number, self.width), key, strict=True)
        }
        return wording, wording.given(values)

    def _wording(self, dialect: Dialect, size: int) -> Wording:
        kind = dialect.name, dialect.paramstyle, size
        known = self._worded.get(kind)
        if known is None:
            known = self._worded[kind] = _select(dialect, self.select(size))
        return known


def key_names(number: int, width: int = 1) -> tuple[str, ...]:
    """The names of a key's parameters in the SELECT of a :class:`Query`.

    :param number: of the key, from 0.
    """
    return tuple(f"key{number}_{part}" for part in range(width))


@define(eq=False)
class Rows:
    """An INSERT of rows, none of whose columns is left to the database but by default.

    :ivar columns: their names.
    """

    insert: Insert
    columns: Sequence[str]
    _worded: dict[str, Wording] = field(factory=dict, init=False, repr=False)

    def add(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Inserts them.

        :raises sqlalchemy.exc.DBAPIError: as SQLAlchemy would.
        """
        dialect = connection.dialect
        wording = self._worded.get(dialect.name)
        if wording is None:
            compiled = self.insert.inline().compile(dialect=dialect, column_keys=self.columns)
            wording = self._worded[dialect.name] = Wording.of(dialect, compiled, ())
        _sent(connection, wording, [wording.given(row) for row in rows])


def run(connection: Connection, text: str) -> None:
    """Carries out a statement that has no parameters and gives nothing.

    :raises sqlalchemy.exc.DBAPIError: as SQLAlchemy would.
    """
    _with_cursor(connection, text, lambda cursor: cursor.execute(text))


@frozen(eq=False)
class Wording:
    """A statement as one kind of database takes it. Each is only equal to itself.

    :ivar text: what the driver is given.
    :ivar order: the parameters, where they go by position.
    :ivar binds: what makes a parameter of a value, where it is not itself.
    :ivar results: the same for the columns of a result, by position.
    """

    text: str
    order: tuple[str, ...] | None
    binds: Mapping[str, Convert]
    results: tuple[tuple[int, Convert], ...]

    @classmethod
    def of(cls, dialect: Dialect, compiled: Any, columns: Sequence[Any]) -> Wording:
        assert isinstance(compiled, SQLCompiler)
        binds = {
            name: bind.type.dialect_impl(dialect).bind_processor(dialect)
            for name, bind in compiled.binds.items()
        }
        results = [
            (at, column.type.dialect_impl(dialect).result_processor(dialect, None))
            for at, column in enumerate(columns)
        ]
        return cls(
            compiled.string,
            tuple(compiled.positiontup or ()) if compiled.positional else None,
            {name: convert for name, convert in binds.items() if convert is not None},
            tuple((at, convert) for at, convert in results if convert is not None),
        )

    def given(self, values: Mapping[str, Any]) -> Any:
        """The parameters as the driver takes them."""
        if self.binds:
            values = dict(values)
            for name, convert in self.binds.items():
                values[name] = convert(values[name])
        return values if self.order is None else [values[name] for name in self.order]

    def rows(self, rows: list[Row]) -> list[Row]:
        """The driver's rows as SQLAlchemy would give them."""
        return [self._taken(row) for row in rows] if self.results else rows

    def _taken(self, row: Row) -> Row:
        values = list(row)
        for at, convert in self.results:
            values[at] = convert(values[at])
        return tuple(values)


def _select(dialect: Dialect, select: Select[Any]) -> Wording:
    return Wording.of(dialect, select.compile(dialect=dialect), tuple(select.selected_columns))


def _fetched(connection: Connection, wording: Wording, parameters: Any) -> list[Row]:
    def work(cursor: Any) -> list[Row]:
        cursor.execute(wording.text, parameters)
        return list(cursor.fetchall())

    return _with_cursor(connection, wording.text, work)


def _sent(connection: Connection, wording: Wording, parameters: list[Any]) -> None:
    def work(cursor: Any) -> None:
        if len(parameters) == 1:
            cursor.execute(wording.text, parameters[0])
        else:
            cursor.executemany(wording.text, parameters)

    _with_cursor(connection, wording.text, work)


def _with_cursor(connection: Connection, text: str, work: Callable[[Any], T]) -> T:
    """The work's result; its errors are those that SQLAlchemy makes of a driver's."""
    dialect, dbapi = connection.dialect, connection.dialect.loaded_dbapi
    cursor = connection.connection.cursor()
    try:
        return work(cursor)
    except dbapi.Error as error:
        lost = dialect.is_disconnect(error, connection.connection, cursor)
        if lost:
            connection.invalidate(error)
        raise DBAPIError.instance(
            text,
            None,
            error,
            dbapi.Error,
            hide_parameters=True,
            connection_invalidated=lost,
            dialect=dialect,
        ) from error
    finally:
        cursor.close()
