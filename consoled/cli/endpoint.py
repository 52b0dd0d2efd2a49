"""Which API, and with which key: from options, the environment and the configuration.

An address that is given wins over one that follows from the configuration, and
what is typed wins over what the environment holds: ``--config`` on the command
line means the daemon of that file, also where CONSOLED_API and CONSOLED_KEY are
set for another. The configuration's key goes to the configuration's address only.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import click
from attrs import field, frozen

from consoled.cli.failure import Failure, warn
from consoled.cli.keyfile import admin_key
from consoled.errors import ConfigError
from consoled.settings import Settings

_WHICH_API = (
    "which API? Give --api URL and --key-file FILE (or CONSOLED_API and CONSOLED_KEY), or on the "
    "daemon's own host --config FILE."
)
_MAX_KEY = 64 * 1024


@frozen
class Given:
    """The options of one call.

    :ivar typed: the names of those that stood on the command line; the others come from
        the environment.
    """

    config: tuple[Path, ...] = ()
    api: str | None = None
    key: str | None = field(default=None, repr=False)
    key_file: Path | None = None
    cacert: Path | None = None
    typed: frozenset[str] = frozenset()

    @property
    def local(self) -> bool:
        """Whether the daemon of the configuration is meant."""
        typed_config = "config" in self.typed and "api" not in self.typed
        return bool(self.config) and (self.api is None or typed_config)

    def counts(self, name: str) -> bool:
        """Whether that option is given and not overruled by a typed ``--config``."""
        if getattr(self, name) is None:
            return False
        return name in self.typed or not (self.local and "config" in self.typed)


@frozen
class Trust:
    """Which certificate of the API is right.

    :ivar authorities: a file of certificate authorities, instead of the system's.
    :ivar exactly: a file whose first certificate it must be, whatever names it has.
    """

    authorities: Path | None = None
    exactly: Path | None = None


@frozen
class Endpoint:
    """Where requests go, and as whom.

    :ivar url: without a slash at its end.
    :ivar source: where the address comes from, for errors.
    :ivar key_source: where the key comes from, for errors.
    """

    url: str
    source: str
    key: str = field(repr=False)
    key_source: str
    trust: Trust = Trust()


def find_endpoint(given: Given, settings: Callable[[], Settings]) -> Endpoint:
    """The endpoint that the options lead to; it reads files.

    :param settings: reads the configuration.
    :raises click.UsageError: they lead to none.
    :raises consoled.cli.failure.Failure: a file that is needed cannot be used.
    """
    authorities = given.cacert if given.counts("cacert") else None
    if given.local:
        read = settings()
        files = ", ".join(map(str, given.config))
        exactly = read.api.cert if authorities is None else None
        url, source = local_url(read), f"[api] in {files}"
        key, key_source = _key(given, read.api.keys_file)
        return Endpoint(url, source, key, key_source, Trust(authorities, exactly))
    if given.api is None:
        raise click.UsageError(_WHICH_API)
    url, source = check_url(given.api), _source(given, "api", "CONSOLED_API")
    key, key_source = _key(given, None)
    return Endpoint(url, source, key, key_source, Trust(authorities))


def local_url(settings: Settings) -> str:
    """Where the daemon of these settings answers on its own host.

    :raises consoled.cli.failure.Failure: the settings alone do not say.
    """
    api = settings.api
    if api.port == 0:
        raise Failure("[api] port is 0, so any free port is taken; give --api with the one in use")
    address = ip_address(api.listen)
    if address.is_unspecified:
        address = ip_address("127.0.0.1" if address.version == 4 else "::1")
    host = f"[{address}]" if address.version == 6 else str(address)
    return f"{'http' if api.cert is None else 'https'}://{host}:{api.port}"


def check_url(text: str) -> str:
    """An API's address, without a slash at its end.

    :raises click.UsageError: it is not one; it is not repeated, a password may be in it.
    """
    example = "give one such as http://127.0.0.1:8774"
    try:
        parts = urlsplit(text.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or port == 0 or parts.scheme not in ("http", "https"):
        raise click.UsageError(f"--api is not an http:// or https:// URL; {example}.")
    if "@" in parts.netloc or parts.query or parts.fragment or not parts.geturl().isprintable():
        raise click.UsageError(
            f"--api holds more than scheme, host, port and path; {example}, and the key apart."
        )
    return parts.geturl().rstrip("/")


def _key(given: Given, keys_file: Path | None) -> tuple[str, str]:
    """The key, and where it comes from."""
    if "key" in given.typed and given.key_file is not None:
        raise click.UsageError("--key and --key-file exclude each other; give one of them.")
    if given.key_file is not None:
        return _checked(*_read(given.key_file))
    if given.key is not None and given.counts("key"):
        return _checked(given.key, _source(given, "key", "CONSOLED_KEY"))
    if keys_file is None:
        raise click.UsageError(
            "there is no key for this API; give --key-file FILE, or set CONSOLED_KEY."
        )
    try:
        return admin_key(keys_file), f"the keys file {keys_file}"
    except ConfigError as error:
        raise Failure(
            f"{error}; or give a key with --key-file, or run this as the daemon's user"
        ) from None


def _source(given: Given, name: str, variable: str) -> str:
    return f"--{name}" if name in given.typed else variable


def _read(path: Path) -> tuple[str, str]:
    source = f"--key-file {path}"
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_MAX_KEY)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise Failure(f"{source}: cannot read this file: {reason}") from None
    if stat.S_ISREG(mode) and mode & (stat.S_IRWXG | stat.S_IRWXO):
        warn(f"{source}: others than its owner have access to this file; run chmod 600 on it")
    return data.decode("utf-8", "replace"), source


def _checked(key: str, source: str) -> tuple[str, str]:
    """A key that a header can carry; it is in no error."""
    key = key.strip()
    if not key:
        raise Failure(f"the key from {source} is empty")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise Failure(
            f"the key from {source} is not one: it holds a space, a line break or a character "
            "that is not ASCII; write the key alone, not the daemon's keys file"
        )
    return key, source
