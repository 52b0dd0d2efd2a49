"""Which file or WebSocket a request path names, without I/O.

A path is taken apart before it is decoded, so that an encoded slash or a
dot-dot is seen for what it is; nothing here ever redirects (LP 1927677 was an
open redirect made of ``//host/..``).
"""

from __future__ import annotations

from urllib.parse import unquote_to_bytes, urlsplit

from attrs import frozen

from consoled.errors import ConfigError

PAGE = "serial.html"
REPLAY = "replay/content"
_SOCKETS = ("/", "/websockify")
_FORBIDDEN = frozenset(b"/\\\x00")


class BadPath(Exception):
    """The path is malformed or hostile."""


def split_path(raw: bytes) -> tuple[str, ...]:
    """The decoded segments of a request path; the last one is empty after a trailing slash.

    :raises BadPath: empty (but for the last), dot or dot-dot segments, encoded
        separators, controls, not UTF-8.
    """
    if raw == b"/":
        return ()
    first, *parts = raw.split(b"/")
    if first or not parts:
        raise BadPath
    segments = [unquote_to_bytes(part) for part in parts]
    if b"" in segments[:-1] or {b".", b".."} & set(segments):
        raise BadPath
    if any(byte in _FORBIDDEN or byte < 0x20 for segment in segments for byte in segment):
        raise BadPath
    try:
        return tuple(segment.decode("utf-8") for segment in segments)
    except UnicodeDecodeError:
        raise BadPath from None


def _join(segments: tuple[str, ...]) -> str:
    return "/" + "/".join(segments)


@frozen
class Layout:
    """Where the page and its WebSockets are.

    :ivar base_path: the path of ``[serial_console] base_url``, decoded.
    """

    base_path: str

    @classmethod
    def of(cls, base_url: str) -> Layout:
        """The layout that a base_url wants.

        :raises consoled.errors.ConfigError: no request for its path would be answered.
        """
        try:
            return cls(_join(split_path((urlsplit(base_url).path or "/").encode())))
        except BadPath:
            raise ConfigError(
                f"[serial_console] base_url: {base_url!r} has a path that is refused in requests;"
                " give one without //, /./, /../ and encoded slashes"
            ) from None

    def is_socket(self, segments: tuple[str, ...]) -> bool:
        """Whether WebSockets are taken there."""
        return _join(segments) in (*_SOCKETS, "/" + PAGE, self.base_path)

    def is_replay(self, segments: tuple[str, ...]) -> bool:
        """Whether the page that plays recordings asks for one there: beside the console's."""
        return _join(segments) == self._folder + REPLAY

    def files(self, segments: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        """The files below the web folder that a path may name, the best first.

        Files stand beside the page; base_url itself is the page where the
        folder has no file of that name.
        """
        path = _join(segments)
        folder = self._folder
        name = path.removeprefix(folder) if path.startswith(folder) else path.removeprefix("/")
        found = () if not name or name.endswith("/") else (tuple(name.split("/")),)
        return (*found, (PAGE,)) if path == self.base_path else found

    @property
    def _folder(self) -> str:
        return self.base_path.rpartition("/")[0] + "/"
