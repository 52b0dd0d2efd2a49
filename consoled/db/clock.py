"""The database's own clock, in one expression for all three databases."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class epoch_seconds(FunctionElement[int]):
    """Whole seconds since the epoch at the start of the statement.

    The statement's start, not the transaction's (a waiting transaction would judge by an
    old clock) and not the moment of evaluation (an index on ``expires`` could not serve).
    """

    type = BigInteger()
    inherit_cache = True


@compiles(epoch_seconds, "sqlite")
def _sqlite(element: epoch_seconds, compiler: SQLCompiler, **options: Any) -> str:
    return "CAST(strftime('%s', 'now') AS INTEGER)"


@compiles(epoch_seconds, "postgresql")
def _postgresql(element: epoch_seconds, compiler: SQLCompiler, **options: Any) -> str:
    return "CAST(floor(extract(epoch FROM statement_timestamp())) AS BIGINT)"


@compiles(epoch_seconds, "mysql", "mariadb")
def _mariadb(element: epoch_seconds, compiler: SQLCompiler, **options: Any) -> str:
    return "unix_timestamp()"
