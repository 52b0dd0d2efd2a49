"""memcached as oslo.cache uses it: keys, values and expiry of nova's retired consoleauth.

==========  ==========================================================================
key         SHA-1 of the word, in hex (oslo.cache's key mangler)
value       dogpile's ``CachedValue(text, {"v": ..., "ct": time of writing})``, pickled by
            python-memcached
expiry      judged by the reader: ``ct`` and the reader's ``expiration_time``
==========  ==========================================================================

A pickle from memcached is somebody else's bytes: whoever can write there could otherwise
run code in this process. Only that one class, a named tuple, is taken from it.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Sequence
from typing import Any

from attrs import frozen

from consoled.errors import ConfigError, Unavailable

BACKEND = "dogpile.cache.memcached"
DEAD_RETRY = 5
"""Seconds that a server which failed is left alone."""

SOCKET_TIMEOUT = 1.0
_LONGEST_RELATIVE = 30 * 24 * 3600  # memcached takes a longer time for a date

# A named tuple's pickle; python-memcached writes protocol 0, with the names of Python 2.
_TAKEN = frozenset(
    {
        ("dogpile.cache.api", "CachedValue"),
        ("copy_reg", "_reconstructor"),
        ("copyreg", "_reconstructor"),
        ("__builtin__", "tuple"),
        ("builtins", "tuple"),
    }
)


class ValueUnpickler(pickle.Unpickler):
    """Reads dogpile's cached values, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """The class of a cached value.

        :raises pickle.UnpicklingError: another class; python-memcached then finds no value.
        """
        if (module, name) not in _TAKEN:
            raise pickle.UnpicklingError("a value from memcached names another class")
        return super().find_class(module, name)


@frozen
class OsloRegion:
    """Implements :class:`consoled.tokens.memcached.Cache` over a configured cache region."""

    _region: Any

    @classmethod
    def open(cls, servers: Sequence[str], ttl: int) -> OsloRegion:
        """A region over memcached; nothing is connected yet.

        :param servers: ``host:port``, ``inet6:[address]:port`` or ``unix:path``, in the order
            of nova's own ``[cache] memcache_servers``: it decides which server has which key.
        :param ttl: seconds after which a value counts as gone.
        :raises consoled.errors.ConfigError: the packages for it are not installed.
        """
        try:
            from oslo_cache import core
            from oslo_config import cfg

            conf = cfg.ConfigOpts()
            core.configure(conf)
            conf([], default_config_files=[], default_config_dirs=[])
            for option, value in _options(servers, ttl).items():
                conf.set_override(option, value, "cache")
            region = core.create_region()
            core.configure_cache_region(conf, region)
        except ImportError as error:
            raise ConfigError(
                f"tokens in memcached need a package that is not installed ({error.name}); "
                "run: pip install 'consoled[memcached]'"
            ) from None
        return cls(region)

    def get(self, key: str) -> str | bytes | None:
        """The text under a key, unless it is older than the time to live.

        :raises consoled.errors.Unavailable: there is none, and a server is away that may
            hold it.
        """
        client = self._client()
        value = self._region.get(key)
        if isinstance(value, str | bytes):
            return value
        if any(server.deaduntil > time.time() for server in client.servers):
            raise Unavailable("memcached is not available now; try again in a moment.")
        return None

    def set(self, key: str, text: str) -> None:
        """Keeps a text; memcached may lose it at any time, and says nothing if it does."""
        self._client()
        self._region.set(key, text)

    def _client(self) -> Any:
        """python-memcached's client of this thread."""
        client = self._region.actual_backend.client
        client.unpickler = ValueUnpickler
        return client


def _options(servers: Sequence[str], ttl: int) -> dict[str, Any]:
    return {
        "enabled": True,
        "backend": BACKEND,
        "memcache_servers": list(servers),
        "expiration_time": ttl,
        "backend_expiration_time": ttl if ttl <= _LONGEST_RELATIVE else None,
        "memcache_dead_retry": DEAD_RETRY,
        "socket_timeout": SOCKET_TIMEOUT,
    }
