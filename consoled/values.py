"""The rules for single values: text in, the value that Settings holds out.

Each function raises :class:`ValueError` with a sentence that finishes
``[group] option = 'text': ...`` and says what to write instead. The text itself
is never repeated in it: the value may be a secret, and the caller shows it where
it is not. Nothing here reads a file.
"""

from __future__ import annotations

import ipaddress
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import SplitResult, urlsplit

from consoled.compute.port_range import PortRange
from consoled.compute.port_range import parse as parse_ports

T = TypeVar("T")

_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_COMPUTE_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}", re.ASCII)
_CELL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://?\S*", re.ASCII)
_DEFAULT_PORTS = {"http": 80, "https": 443}
_MAX_NAME = 253
_MAX_PORT = 65535
SELF = "'self'"


def text(value: str) -> str:
    """The value without surrounding space, on one line and not empty."""
    value = value.strip()
    if not value:
        raise ValueError("is empty; give a value, or remove the line to use the default")
    if "\n" in value:
        raise ValueError("runs over several lines: an indented line continues the one above it")
    if not value.isprintable():
        raise ValueError("holds a control character; remove it")
    return value


def optional(parse: Callable[[str], T]) -> Callable[[str], T | None]:
    """The same rule, where an empty value means that nothing is set."""

    def parse_optional(value: str) -> T | None:
        return parse(value) if value.strip() else None

    return parse_optional


def boolean(value: str) -> bool:
    """``true`` or ``false``, and the other words that oslo.config takes."""
    word = text(value).lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError("is neither true nor false")


def whole(lowest: int, highest: int, unit: str = "") -> Callable[[str], int]:
    """A rule for whole numbers between two bounds, both included."""
    kind = f"a whole number{' of ' + unit if unit else ''} from {lowest} to {highest}"

    def parse_whole(value: str) -> int:
        value = text(value)
        if not _WHOLE.fullmatch(value) or not lowest <= int(value) <= highest:
            raise ValueError(f"is not {kind}")
        return int(value)

    return parse_whole


def number(lowest: float, highest: float, unit: str) -> Callable[[str], float]:
    """A rule for numbers between two bounds, both included."""
    kind = f"a number of {unit} from {lowest:g} to {highest:g}"

    def parse_number(value: str) -> float:
        value = text(value)
        try:
            result = float(value)
        except ValueError:
            result = math.nan
        if not lowest <= result <= highest:
            raise ValueError(f"is not {kind}")
        return result

    return parse_number


def choice(*words: str) -> Callable[[str], str]:
    """A rule for one word of several."""

    def parse_choice(value: str) -> str:
        value = text(value)
        if value not in words:
            raise ValueError(f"is not one of {', '.join(words)}")
        return value

    return parse_choice


def items(parse: Callable[[str], str]) -> Callable[[str], tuple[str, ...]]:
    """A rule for a list: items between commas or on lines of their own, each once."""

    def parse_items(value: str) -> tuple[str, ...]:
        found: dict[str, None] = {}
        for item in re.split(r"[,\n]", value):
            if not item.strip():
                continue
            try:
                found[parse(item)] = None
            except ValueError as error:
                found_in = "" if item == value else f"holds {item.strip()!r}, which "
                raise ValueError(f"{found_in}{error}") from None
        return tuple(found)

    return parse_items


def path(value: str) -> Path:
    """An absolute path; a relative one is taken from the current directory."""
    return Path(os.path.abspath(text(value)))  # noqa: PTH100 - resolve() would follow links


def ip_address(value: str) -> str:
    """An IP address literal, without brackets."""
    value = text(value)
    bare = value[1:-1] if value.startswith("[") and value.endswith("]") else value
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        raise ValueError(
            "is not an IP address; give one such as 127.0.0.1, 0.0.0.0 or :: (no name, no port)"
        ) from None


def ip_network(value: str) -> str:
    """An IP address or network in CIDR form, as a network."""
    value = text(value)
    try:
        return str(ipaddress.ip_network(value))
    except ValueError:
        pass
    try:
        network = ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise ValueError(
            "is not an IP address or network; give one such as 10.0.0.1 or 10.0.0.0/8"
        ) from None
    raise ValueError(f"has host bits set; the network is {network}")


def host(value: str) -> str:
    """A host name or IP address in lower case, without brackets and without a port."""
    value = text(value).lower()
    bare = value[1:-1] if value.startswith("[") and value.endswith("]") else value
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        pass
    name = value.removesuffix(".")
    if "*" in name:
        raise ValueError("is a pattern; list each host by its full name")
    if len(name) > _MAX_NAME or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise ValueError(
            "is not a host; give a name or IP address alone, such as console.example.org"
            " (no scheme, no port, no path)"
        )
    return name


def _url(value: str, schemes: tuple[str, ...], sample: str) -> tuple[SplitResult, str]:
    """The parts of a URL that stays within ``schemes``, and its checked host[:port]."""
    example = f"; give one such as {sample}"
    try:
        parts = urlsplit(value)
        name, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(f"is not a URL with a valid host and port{example}") from None
    if parts.scheme not in schemes or not name:
        raise ValueError(f"does not start with {' or '.join(s + '://HOST' for s in schemes)}")
    if "@" in parts.netloc:
        raise ValueError(f"holds a user name or password{example}")
    try:
        name = host(f"[{name}]" if ":" in name else name)
    except ValueError:
        raise ValueError(f"does not hold a valid host{example}") from None
    if port == 0:
        raise ValueError(f"holds port 0, which nobody can open{example}")
    if ":" in name:
        name = f"[{name}]"
    if port is not None and port != _DEFAULT_PORTS.get(parts.scheme):
        name = f"{name}:{port}"
    return parts, name


def base_url(value: str) -> str:
    """The URL to which a token is appended as ``?token=``."""
    value = text(value)
    if " " in value:
        raise ValueError("holds a space; write it as %20")
    parts, _ = _url(value, ("http", "https", "ws", "wss"), "https://HOST:6083/serial.html")
    if "?" in value or "#" in value:
        raise ValueError("holds a ? or #; give it without, the token is added as ?token=...")
    return value if parts.path else value + "/"


def ws_base_url(value: str) -> str:
    """As :func:`base_url`, for clients that know nothing but WebSockets."""
    value = base_url(value)
    if not value.startswith(("ws://", "wss://")):
        raise ValueError("does not begin with ws:// or wss://; base_url is the page's")
    return value


def origin(value: str) -> str:
    """A web origin as browsers send it: lower case, without the scheme's own port."""
    value = text(value).lower()
    parts, place = _url(value, ("http", "https"), "https://dashboard.example.org")
    if parts.path or "?" in value or "#" in value:
        raise ValueError(f"has more than scheme, host and port; give {parts.scheme}://{place}")
    return f"{parts.scheme}://{place}"


def replica_url(value: str) -> str:
    """Scheme, host and port of a replica's proxy, as :func:`origin` writes it."""
    value = text(value).lower()
    parts, place = _url(value, ("http", "https"), "http://10.0.0.11:6083")
    if parts.path.strip("/") or "?" in value or "#" in value:
        raise ValueError(f"has more than scheme, host and port; give {parts.scheme}://{place}")
    return f"{parts.scheme}://{place}"


def api_url(value: str) -> str:
    """Where the API of another cell is: scheme, host, port, and the path below which it is."""
    value = text(value)
    parts, place = _url(value.lower(), ("http", "https"), "https://cell2.example.org:8774")
    if "?" in value or "#" in value or " " in value:
        raise ValueError("holds a space, ? or #; give scheme, host and port, and a path at most")
    path = urlsplit(value).path.rstrip("/")
    if not path.isascii():
        raise ValueError("has a path that is not ASCII text; write it as in a request")
    return f"{parts.scheme}://{place}{path}"


def cell(value: str) -> str:
    """The name of a cell, as ``--cell`` has it."""
    value = text(value)
    if not _CELL.fullmatch(value):
        raise ValueError(
            "is not a cell's name; use up to 64 of the characters A-Z a-z 0-9 . _ -, the first a "
            "letter or digit"
        )
    return value


def memcache_server(value: str) -> str:
    """A memcached server as python-memcached names it: ``host:port``, ``inet6:[address]:port``
    or ``unix:path``."""
    value = text(value)
    example = "; give one such as 10.0.0.5:11211, [::1]:11211 or unix:/run/memcached.sock"
    if value.startswith("unix:"):
        if not value.startswith("unix:/"):
            raise ValueError(f"does not name a socket by its whole path{example}")
        return value
    name, _, port = value.removeprefix("inet6:").removeprefix("inet:").rpartition(":")
    bracketed = name.startswith("[")
    if not re.fullmatch(r"[0-9]{1,5}", port, re.ASCII) or not 1 <= int(port) <= _MAX_PORT:
        raise ValueError(f"has no port from 1 to {_MAX_PORT}{example}")
    if ":" in name and not bracketed:
        raise ValueError(f"holds an IPv6 address without brackets{example}")
    try:
        name = host(name)
    except ValueError:
        raise ValueError(f"does not hold a valid host{example}") from None
    return f"inet6:[{name}]:{port}" if ":" in name else f"{name}:{port}"


def origin_or_host(value: str) -> str:
    """A full origin, or a host name alone (nova's form)."""
    return origin(value) if "://" in value else host(value)


def frame_ancestor(value: str) -> str:
    """An origin, or ``'self'``, in the form of a Content-Security-Policy."""
    if value.strip().strip("'\"").lower() == "self":
        return SELF
    if "*" in value:
        raise ValueError("is a pattern; list each dashboard's origin")
    return origin(value)


def port_range(value: str) -> PortRange:
    """``start:stop``, the stop exclusive (nova's form), or several of them between commas."""
    return parse_ports(text(value))


def compute_host(value: str) -> str:
    """The name of a compute host, as instances have it."""
    value = text(value)
    if not _COMPUTE_HOST.fullmatch(value):
        raise ValueError(
            "is not a compute host's name; use up to 200 of the characters A-Z a-z 0-9 . _ -, the "
            "first a letter or digit"
        )
    return value


def uri(value: str) -> str:
    """A libvirt connection URI, by its form only."""
    value = text(value)
    if not _URI.fullmatch(value):
        raise ValueError("is not a libvirt URI; give one such as qemu:///system")
    return value
