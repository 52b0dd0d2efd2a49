"""What asks OpenStack's services, put together as ``[service_user]`` says."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Self

from attrs import frozen
from twisted.internet.defer import Deferred

from consoled.interfaces import Calls, Database
from consoled.openstack.keeping import TokenKeeper
from consoled.reaching.secrets import SecretBox
from consoled.service import Part
from consoled.settings import Settings
from consoled.workers import ThreadWorker

SHORT_THREADS = 4
"""Short questions to services at a time."""

LONG_THREADS = 2
"""Uploads at a time."""


@frozen
class OpenStackParts:
    """What asks OpenStack's services.

    :ivar calls: None where no Keystone is configured.
    :ivar keeper: None without ``[service_user] token_secret_file``.
    :ivar service_token: of consoled's own user, or of None while Keystone is away; None where
        it vouches for nobody.
    """

    calls: Calls | None
    keeper: TokenKeeper | None
    parts: tuple[Part, ...] = ()
    service_token: Callable[[], Deferred[str | None]] | None = None

    @classmethod
    def of(cls, settings: Settings, reactor: Any, database: Database) -> Self:
        """For these settings; no thread runs yet.

        :raises consoled.errors.ConfigError: ``token_secret_file`` cannot be used.
        """
        keeper = None if (box := _box(settings)) is None else TokenKeeper(database, box)
        if settings.keystone.conf is None and settings.service_user.conf is None:
            return cls(None, keeper)
        # Their libraries take a while to load, and few need them.
        from consoled.openstack.calls import ServiceCalls
        from consoled.openstack.service_user import ServiceUser

        own = ServiceUser.of(settings, time.monotonic)
        if own is None:
            return cls(None, keeper)
        vouch = settings.service_user.send_service_user_token
        calls = ServiceCalls(
            own,
            vouch,
            short=ThreadWorker(reactor, "openstack", SHORT_THREADS),
            long=ThreadWorker(reactor, "openstack-long", LONG_THREADS),
            clock=reactor,
        )
        part = Part(calls.start, calls.stop)
        return cls(calls, keeper, (part,), calls.service_token if vouch else None)


def check(settings: Settings) -> None:
    """Reads what :meth:`OpenStackParts.of` reads, and asks nobody.

    :raises consoled.errors.ConfigError: ``token_secret_file`` cannot be used. The rest of
        ``[service_user]`` was looked at when the settings were read.
    """
    _box(settings)


def _box(settings: Settings) -> SecretBox | None:
    path = settings.service_user.token_secret_file
    return None if path is None else SecretBox.open(path, "[service_user] token_secret_file")
