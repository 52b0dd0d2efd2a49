"""Who may open a WebSocket from where: the rules of Host and Origin, without I/O.

The specification of the console object wants the origin protocol verified by
the console proxy against the token's access URL; nova's Host-relative rule is
the model for the host. Both are sharpened: host names come from an allow-list,
so that a rebound name (Host = Origin = evil) is not its own witness, and the
port counts.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from attrs import frozen

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
    try:
        parts = urlsplit(f"//{header}")
        port = parts.port
    except ValueError:
        return None
    if parts.hostname is None or parts.username is not None or parts.path or parts.query:
        return None
    return Place(parts.hostname.rstrip("."), port)


def parse_origin(text: str) -> Origin | None:
    """The origin of an Origin header or of a URL with a ws scheme, or None where it is not one."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return None
    scheme = _HTTP_SCHEME.get(parts.scheme)
    if scheme is None or not parts.hostname or parts.username is not None:
        return None
    return Origin(scheme, parts.hostname.rstrip("."), port or _DEFAULT_PORT[scheme])


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

    def host_refusal(self, host: str) -> str | None:
        """Why this Host is not served, or None where it is.

        :param host: the Host header, or what a trusted proxy says it was.
        """
        place = parse_host(host)
        base = parse_origin(self.base_url)
        names = {name.lower().strip("[]").rstrip(".") for name in self.allowed_hosts}
        if base is not None:
            names.add(base.host)
        if place is None or place.host not in names:
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
        access = parse_origin(access_url)
        if parsed is None or access is None or urlsplit(origin).path not in ("", "/"):
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
        return origin in (access, asked_for) or origin.host in self._bare_hosts()

    def _full_origins(self) -> set[Origin | None]:
        return {parse_origin(entry) for entry in self.allowed_origins if "://" in entry}

    def _bare_hosts(self) -> set[str]:
        return {
            entry.lower().strip("[]").rstrip(".")
            for entry in self.allowed_origins
            if "://" not in entry
        }
