"""Reads that are one query over keys: the same for a thread and for the reactor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from types import CodeType
from typing import Any, TypeVar

from attrs import define
from sqlalchemy import Connection

from consoled.db.direct import Query, Row
from consoled.db.grouping import Batch

T = TypeVar("T")
Keys = Callable[[Sequence[Any]], Sequence[Sequence[Any]]]
Taken = Callable[[Sequence[Row], Sequence[Any]], list[T]]


@define(eq=False, slots=False)
class QueryBatch(Batch[T]):
    """A batch that is one query, whoever sends it.

    :ivar query: the SELECT of it.
    :ivar keys: the keys that some orders ask for; at least one.
    :ivar taken: the orders' results, of the rows of their keys.
    """

    query: Query
    keys: Keys
    taken: Taken[T]

    @property
    def __code__(self) -> CodeType:
        return self.taken.__code__


def one_query(query: Query, keys: Keys) -> Callable[[Taken[T]], QueryBatch[T]]:
    """Makes a batch of a function that finds the orders' results in the rows of a query.

    It goes by the name of that function.

    :param keys: the keys that some orders ask for; at least one.
    """

    def batch(taken: Taken[T]) -> QueryBatch[T]:
        @wraps(taken)
        def many(connection: Connection, orders: Sequence[Any]) -> list[T]:
            return taken(query.rows(connection, keys(orders)), orders)

        return QueryBatch(many, query, keys, taken)

    return batch
