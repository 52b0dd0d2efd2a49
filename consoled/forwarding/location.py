"""Where an instance's redirect leads, seen from the client. Pure.

A client that follows it sends its key along: to whatever host is named, and to whatever
path of consoled's own. So a redirect stays within the route of the instance, or is none.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import quote, urljoin, urlsplit

from attrs import frozen

_DOTS = re.compile(r"%2e", re.IGNORECASE)
_KEPT = "".join(map(chr, range(0x21, 0x7F))).replace("\\", "").replace('"', "").replace("<", "")
_DEFAULT = {"http": 80, "https": 443}


@frozen
class Place:
    """Where a forwarded request has gone.

    :ivar address: of the instance, without brackets.
    :ivar port: of the instance.
    :ivar public: the Host that the client asked for.
    :ivar route: makes the path of the route to a port, without a slash at its end.
    :ivar lets: whether a port may be reached by that route.
    """

    address: str
    port: int
    public: str
    route: Callable[[int], str]
    lets: Callable[[int], bool]

    @property
    def authority(self) -> str:
        """``host`` or ``host:port``, as the Host header and URLs have it."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return host if self.port == _DEFAULT["http"] else f"{host}:{self.port}"


def rewrite(place: Place, target: str, location: bytes) -> bytes | None:
    """The Location for the client: a path below the instance's route.

    :param target: the request's own path and query at the instance.
    :param location: as the instance sent it.
    :returns: None where it leads elsewhere.
    """
    sent = quote(location.decode("latin-1").strip(), safe=_KEPT, encoding="latin-1")
    try:
        parts = urlsplit(urljoin(f"http://{place.authority}{target}", sent))
        port = parts.port or _DEFAULT.get(parts.scheme, 0)
    except ValueError:
        return None
    if parts.netloc.lower() == place.public.lower():
        # It believes X-Forwarded-Host.
        port = place.port
    elif parts.scheme != "http" or parts.hostname != place.address or not place.lets(port):
        return None
    if "@" in parts.netloc:
        return None
    route = place.route(port)
    path = _plain(parts.path)
    if path == route or path.startswith(route + "/"):
        # It believes X-Forwarded-Prefix, too.
        path = path.removeprefix(route)
    query = f"?{parts.query}" if parts.query else ""
    fragment = f"#{parts.fragment}" if parts.fragment else ""
    return f"{route}{path or '/'}{query}{fragment}".encode("ascii")


def _plain(path: str) -> str:
    """The path without segments of dots, however they are written."""
    kept: list[str] = []
    segments = path.removeprefix("/").split("/")
    for place, segment in enumerate(segments):
        word = _DOTS.sub(".", segment)
        if word not in (".", ".."):
            kept.append(segment)
            continue
        if word == ".." and kept:
            kept.pop()
        if place == len(segments) - 1:
            kept.append("")
    return "/" + "/".join(kept)
