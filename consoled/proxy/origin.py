"""Who may open a WebSocket from where: the rules of Host and Origin, without I/O.

The specification of the console object wants the origin protocol verified by
the console proxy against the token's access URL; nova's Host-relative rule is
the model for the host. Both are sharpened: host names come from an allow-list,
so that a rebound name (Host = Origin = evil) is not its own witness, and the
port counts.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from attrs import field, frozen

# Strictly host[:port]: a URL parser would find a host in "evil@host" and "host#evil", too.
_PLACE = re.compile(r"(?P<host>\[[0-9a-f:.]+\]|[0-9a-z._-]+)(?::(?P<port>[0-9]{1,5}))?")
_HTTP_SCHEME = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_DEFAULT_PORT = {"http": 80, "https": 443}


@frozen
class Place:
    """A host name (lower case, without brackets) and a port, or None for the scheme's own."""

    host: str
    port: int | None


@frozen
class Origin:
    """A web origin: scheme ``http`` or ``https``, host and port."""

    scheme: str
    host: str
    port: int


def parse_host(header: str) -> Place | None:
    """The Host header's place, or None where it is not one."""
    match = _PLACE.fullmatch(header.lower()) if header.isascii() else None
    if match is None:
        return None
    port = None if match["port"] is None else int(match["port"])
    if port is not None and not 0 < port < 65536:
        return None
    host = match["host"]
    if host.startswith("["):
        try:
            host = str(ipaddress.IPv6Address(host[1:-1]))
        except ValueError:
            return None
    return Place(host.removesuffix("."), port)


def parse_origin(text: str) -> Origin | None:
    """The origin of an Origin header (or of one with a ws scheme), or None where it is not one."""
    scheme, _, rest = text.partition("://")
    http = _HTTP_SCHEME.get(scheme.lower())
    place = parse_host(rest)
    if http is None or place is None:
        return None
    return Origin(http, place.host, place.port or _DEFAULT_PORT[http])


def origin_of(url: str) -> Origin | None:
    """The origin of a URL, whatever its path, or None where it has none."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return parse_origin(f"{parts.scheme}://{parts.netloc}")


def _names(entries: Iterable[str]) -> set[str]:
    """Host names and addresses in the form of :class:`Place`."""
    places = (parse_host(f"[{entry}]" if ":" in entry else entry) for entry in entries)
    return {place.host for place in places if place is not None}


@frozen
class OriginRules:
    """The operator's choice.

    :ivar base_url: ``[serial_console] base_url``; its host is always served.
    :ivar allowed_hosts: further Host names.
    :ivar allowed_origins: further origins, as host names (any port; nova's form) or in full.
    :ivar allow_missing: whether a client that sends no Origin (not a browser) may connect.
    """

    base_url: str
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    allow_missing: bool = True
    _hosts: frozenset[str] = field(init=False, repr=False, eq=False)

    @_hosts.default
    def _served(self) -> frozenset[str]:
        base = origin_of(self.base_url)
        own = () if base is None else (base.host,)
        return frozenset((*_names(self.allowed_hosts), *own))

    def host_refusal(self, host: str) -> str | None:
        """Why this Host is not served, or None where it is.

        :param host: the Host header, or what a trusted proxy says it was.
        """
        place = parse_host(host)
        if place is None or place.host not in self._hosts:
            return (
                "This console proxy is not known by the host name that was asked for. "
                "Its operator can add the name to [console] allowed_hosts."
            )
        return None

    def origin_refusal(self, origin: str | None, host: str, access_url: str) -> str | None:
        """Why a page of this Origin may not connect, or None where it may.

        :param origin: the Origin header, or None.
        :param host: the Host header, which :meth:`host_refusal` has accepted.
        :param access_url: the base URL that the token was handed out with.
        """
        if origin is None:
            return None if self.allow_missing else "A client without an Origin may not connect."
        parsed = parse_origin(origin)
        access = origin_of(access_url)
        if parsed is None or access is None:
            return "This page's origin may not connect to consoles."
        if parsed in self._full_origins():
            return None
        if parsed.scheme != access.scheme:
            return (
                "This page's protocol is not that of the console's URL. "
                "Open the URL as it was given."
            )
        if self._is_known(parsed, host, access):
            return None
        return (
            "This page's origin may not connect to consoles. "
            "The operator can add it to [console] allowed_origins."
        )

    def _is_known(self, origin: Origin, host: str, access: Origin) -> bool:
        place = parse_host(host)
        asked_for = place and Origin(
            access.scheme, place.host, place.port or _DEFAULT_PORT[access.scheme]
        )
        bare = (entry for entry in self.allowed_origins if "://" not in entry)
        return origin in (access, asked_for) or origin.host in _names(bare)

    def _full_origins(self) -> set[Origin | None]:
        return {parse_origin(entry) for entry in self.allowed_origins if "://" in entry}
