"""Which file or WebSocket a request path names, without I/O.

A path is taken apart before it is decoded, so that an encoded slash or a
dot-dot is seen for what it is; nothing here ever redirects (LP 1927677 was an
open redirect made of ``//host/..``).
"""

from __future__ import annotations

from urllib.parse import unquote_to_bytes, urlsplit

from attrs import frozen

PAGE = "serial.html"
_SOCKETS = ("/", "/websockify")
_FORBIDDEN = frozenset(b"/\\\x00")


class BadPath(Exception):
    """The path is malformed or hostile."""


def split_path(raw: bytes) -> tuple[str, ...]:
    """The decoded segments of a request path.

    :raises BadPath: empty, dot or dot-dot segments, encoded separators, controls, not UTF-8.
    """
    if raw == b"/":
        return ()
    segments = [unquote_to_bytes(part) for part in raw.removeprefix(b"/").split(b"/")]
    for segment in segments:
        if segment in (b"", b".", b"..") or _FORBIDDEN & set(segment) or min(segment) < 0x20:
            raise BadPath
    try:
        return tuple(segment.decode("utf-8") for segment in segments)
    except UnicodeDecodeError:
        raise BadPath from None


@frozen
class Layout:
    """Where the page and its WebSockets are.

    :ivar base_path: the path of ``[serial_console] base_url``.
    """

    base_path: str

    @classmethod
    def of(cls, base_url: str) -> Layout:
        """The layout that a base_url wants."""
        return cls(urlsplit(base_url).path or "/")

    def is_socket(self, segments: tuple[str, ...]) -> bool:
        """Whether WebSockets are taken there."""
        return "/" + "/".join(segments) in (*_SOCKETS, "/" + PAGE, self.base_path)

    def file(self, segments: tuple[str, ...]) -> tuple[str, ...] | None:
        """The file below the web folder that a path names, or None."""
        path = "/" + "/".join(segments)
        if path == self.base_path:
            return (PAGE,)
        folder = self.base_path.rpartition("/")[0] + "/"
        if folder != "/" and path.startswith(folder):
            return tuple(path.removeprefix(folder).split("/"))
        return segments or None
