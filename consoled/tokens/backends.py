"""Where the tokens are kept: what ``[DEFAULT] console_tokens_backend`` comes to.

========= =================================== ==========================================
backend   issues and checks                   besides
========= =================================== ==========================================
database  the cell database
memcached the retired consoleauth's layout    a worker; one warning at start
nova      nova's own table                    a worker, a connection; nova's word counts
                                              for instances that the driver does not see
========= =================================== ==========================================

``[workarounds] enable_consoleauth`` lets the first and the last ask memcached too; SIGHUP
switches it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from attrs import define, field
from sqlalchemy import Engine
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from consoled.compute.nova_known import NovaKnownDriver
from consoled.db import nova_tables
from consoled.db.database import CellDatabase
from consoled.db.engine import make_engine
from consoled.interfaces import ConsoleDriver, TokenAuthority
from consoled.service import Part, Reload
from consoled.settings import Settings
from consoled.tokens.fallback import FallbackAuthority
from consoled.tokens.memcached import MemcachedAuthority
from consoled.tokens.nova import NovaAuthority
from consoled.tokens.oslo_region import OsloRegion
from consoled.workers import ThreadWorker

log = Logger()

NOVA_THREADS = 4
"""Connections to nova's database: each check of a token is one short look."""

DEPRECATED = (
    "[DEFAULT] console_tokens_backend = memcached is deprecated: what memcached evicts, and what "
    "it held before a restart, is lost. Use database"
)


def check_backend(settings: Settings) -> None:
    """Reads what a start reads for these settings, and writes nothing.

    :raises consoled.errors.ConfigError: what cannot be used.
    """
    if settings.default.console_tokens_backend == "nova":
        nova_tables.check(_nova_engine(settings))
    if _wants_memcached(settings):
        _region(settings)


@define(eq=False)
class TokenBackend:
    """The parts of one backend, made before anything is written, started with the cell.

    :ivar driver: the cell's driver; with nova's word behind it where nova is the backend.
    :ivar parts: what to start and stop, before anybody asks for a token.
    """

    settings: Settings
    driver: ConsoleDriver
    parts: list[Part]
    _memcached: ThreadWorker
    _nova: CellDatabase | None
    _region: OsloRegion | None
    _authority: FallbackAuthority | None = field(default=None, init=False)

    @classmethod
    def open(cls, settings: Settings, reactor: Any, driver: ConsoleDriver) -> Self:
        """The backend of these settings; no thread runs and no connection is open yet.

        :raises consoled.errors.ConfigError: nova's database is none or cannot be opened, or
            a package is not installed.
        """
        parts = []
        nova = None
        if settings.default.console_tokens_backend == "nova":
            engine = _nova_engine(settings)
            nova_tables.check(engine)
            worker = ThreadWorker(reactor, "nova", NOVA_THREADS)
            nova = CellDatabase(engine, worker)
            driver = NovaKnownDriver(driver, nova)
            parts = [Part(lambda: None, nova.stop), Part(worker.start, worker.stop)]
        region = _region(settings) if _wants_memcached(settings) else None
        memcached = ThreadWorker(reactor, "memcached", 1)
        parts.append(Part(memcached.start, memcached.stop))
        if settings.default.console_tokens_backend == "memcached":
            parts.append(Part(_warn, lambda: None))
        return cls(settings, driver, parts, memcached, nova, region)

    def authority(self, of_cell: TokenAuthority) -> TokenAuthority:
        """The authority that issues and checks the cell's tokens.

        :param of_cell: the cell database's own.
        """
        consoleauth = self._consoleauth(self._region) if self._region is not None else None
        if self.settings.default.console_tokens_backend == "memcached":
            assert consoleauth is not None
            return consoleauth
        primary = of_cell
        if self._nova is not None:
            primary = NovaAuthority(self._nova, self.driver, self.settings.consoleauth.token_ttl)
        self._authority = FallbackAuthority(primary, consoleauth)
        return self._authority

    def reloads(self, read_settings: Callable[[], Settings]) -> list[Reload]:
        """What SIGHUP switches.

        :param read_settings: reads the files again.
        """
        authority = self._authority
        if authority is None:
            return []

        async def switch() -> None:
            settings = read_settings()
            wanted = settings.workarounds.enable_consoleauth
            if wanted and authority.legacy is None:
                region = await self._memcached.run(_region, settings)
                authority.legacy = self._consoleauth(region)
                log.info("tokens of the old consoleauth service are taken from now on")
            elif not wanted and authority.legacy is not None:
                authority.legacy = None
                log.info("tokens of the old consoleauth service are refused from now on")

        return [
            Reload("[workarounds] enable_consoleauth", lambda: Deferred.fromCoroutine(switch()))
        ]

    def _consoleauth(self, region: OsloRegion) -> MemcachedAuthority:
        return MemcachedAuthority(
            region, self._memcached, self.driver, self.settings.consoleauth.token_ttl
        )


def _wants_memcached(settings: Settings) -> bool:
    return (
        settings.default.console_tokens_backend == "memcached"
        or settings.workarounds.enable_consoleauth
    )


def _region(settings: Settings) -> OsloRegion:
    return OsloRegion.open(settings.cache.memcache_servers, settings.consoleauth.token_ttl)


def _nova_engine(settings: Settings) -> Engine:
    assert settings.nova.connection is not None, "consoled.options.tokens sees to it"
    return make_engine(settings.nova.connection, option="[nova] connection")


def _warn() -> None:
    log.warn(DEPRECATED, event="deprecated")
