"""Who callers are, put together as ``[api] auth_strategy`` says."""

from __future__ import annotations

import time
from typing import Any, Self

from attrs import frozen
from twisted.internet.defer import Deferred

from consoled.auth.keys import ensure_keys_file
from consoled.auth.keystone import KeystoneIdentity
from consoled.auth.static import StaticIdentity
from consoled.interfaces import Identity, Worker
from consoled.rechecking import Roles
from consoled.service import Part, Reload
from consoled.settings import Settings
from consoled.workers import InlineWorker, ThreadWorker

THREADS = 4
"""Questions to Keystone at a time."""

STATIC_CHALLENGE = 'X-Auth-Token realm="consoled"'


@frozen
class IdentityParts:
    """What knows callers.

    :ivar challenge: the ``WWW-Authenticate`` of a 401.
    :ivar roles: asks which roles a user has now; None where nobody can tell.
    :ivar keys_made: whether the keys file had to be made.
    """

    identity: Identity
    challenge: str
    parts: tuple[Part, ...] = ()
    reloads: tuple[Reload, ...] = ()
    keys_made: bool = False
    roles: Roles | None = None

    @classmethod
    def of(cls, settings: Settings, reactor: Any, files: Worker) -> Self:
        """For these settings; no thread runs yet.

        :param files: where files are read again.
        :raises consoled.errors.ConfigError: the keys file, or ``[keystone_authtoken]``, cannot be
            used.
        """
        if settings.api.auth_strategy == "keystone":
            return cls._keystone(settings, reactor)
        path = settings.api.keys_file
        made = ensure_keys_file(path)
        identity = StaticIdentity.open(path, files)
        reload = Reload("the keys file", identity.reload)
        return cls(identity, STATIC_CHALLENGE, reloads=(reload,), keys_made=made)

    @classmethod
    def _keystone(cls, settings: Settings, reactor: Any) -> Self:
        # Its libraries take a while to load, and few need them.
        from consoled.auth.rights import KeystoneRights
        from consoled.auth.validating import TokenValidator

        group = settings.keystone.conf.keystone_authtoken
        # With memcached the middleware remembers for all daemons; without, each for itself.
        remember = 0.0 if group.memcached_servers else max(0.0, float(group.token_cache_time))
        place = group.www_authenticate_uri or group.auth_url
        worker = ThreadWorker(reactor, "keystone", THREADS)
        validator = TokenValidator(settings.keystone.conf)
        identity = KeystoneIdentity(validator, worker, reactor, remember, time.time)
        part = Part(worker.start, worker.stop)
        rights = KeystoneRights(settings.keystone.conf)

        def roles(user_id: str, project_id: str | None) -> Deferred[frozenset[str]]:
            return worker.run(rights, user_id, project_id)

        return cls(identity, f'Keystone uri="{place}"', parts=(part,), roles=roles)


def check(settings: Settings) -> None:
    """Reads what :meth:`IdentityParts.of` reads, and writes nothing.

    :raises consoled.errors.ConfigError: what cannot be used. ``[keystone_authtoken]`` was
        looked at when the settings were read.
    """
    if settings.api.auth_strategy == "static" and settings.api.keys_file.exists():
        StaticIdentity.open(settings.api.keys_file, InlineWorker())
