"""The cell database with its threads, the book of the sessions, and the metrics over both."""

from __future__ import annotations

from typing import Any, Self

from attrs import frozen
from sqlalchemy import Engine
from twisted.logger import globalLogPublisher

from consoled.db import schema
from consoled.db.engine import make_engine
from consoled.db.threads import DatabaseThreads
from consoled.interfaces import Database
from consoled.metrics.meters import Meters
from consoled.metrics.reading import reader
from consoled.proxy.book import SessionBook
from consoled.service import Part
from consoled.settings import Settings


@frozen(eq=False)
class Store:
    """What nearly every other part asks.

    :ivar database: the cell's, its transactions timed.
    :ivar beats: the same for the heartbeat alone, which waits behind no other write.
    :ivar sessions: the open ones of this daemon.
    """

    engine: Engine
    database: Database
    beats: Database
    sessions: SessionBook
    meters: Meters
    _threads: DatabaseThreads

    @classmethod
    def of(cls, settings: Settings, reactor: Any) -> Self:
        """Nothing is opened, and no thread runs yet.

        :raises consoled.errors.ConfigError: ``[database] connection`` cannot be used.
        """
        engine = make_engine(settings.database.connection)
        threads = DatabaseThreads.of(engine, reactor)
        sessions = SessionBook()
        meters = Meters(reactor, reader(sessions.find), globalLogPublisher)
        return cls(
            engine,
            meters.timed(threads.database),
            meters.timed(threads.database.urgent),
            sessions,
            meters,
            threads,
        )

    def prepare(self) -> None:
        """Makes or upgrades the schema. No connection stays open: twistd may fork after it.

        :raises consoled.errors.ConfigError: why the database cannot be used.
        """
        schema.prepare(self.engine)
        self.engine.dispose()

    @property
    def part(self) -> Part:
        """The database's threads."""
        return Part(self._threads.start, self._threads.stop)
