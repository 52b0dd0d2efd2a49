"""The cpio archive (newc) that a kernel unpacks as its first file system.

Written here rather than by cpio(1): everything belongs to root whoever builds
it, and the same input gives the same bytes. The format is the kernel's
``Documentation/driver-api/early-userspace/buffer-format.rst``.
"""

from __future__ import annotations

import stat

TRAILER = "TRAILER!!!"


class Cpio:
    """An archive under construction; parents are to be added before children."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._inode = 0

    def folder(self, name: str, mode: int = 0o755) -> None:
        """Adds a folder."""
        self._add(name, stat.S_IFDIR | mode)

    def file(self, name: str, content: bytes, mode: int = 0o644) -> None:
        """Adds a file."""
        self._add(name, stat.S_IFREG | mode, content)

    def link(self, name: str, target: str) -> None:
        """Adds a symbolic link."""
        self._add(name, stat.S_IFLNK | 0o777, target.encode())

    def device(self, name: str, major: int, minor: int, mode: int = 0o600) -> None:
        """Adds a character device."""
        self._add(name, stat.S_IFCHR | mode, device=(major, minor))

    def content(self) -> bytes:
        """The finished archive."""
        trailer = _entry(TRAILER, 0, 0, b"", (0, 0))
        return b"".join([*self._parts, trailer])

    def _add(
        self, name: str, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)
    ) -> None:
        self._inode += 1
        self._parts.append(_entry(name, self._inode, mode, content, device))


def _entry(name: str, inode: int, mode: int, content: bytes, device: tuple[int, int]) -> bytes:
    """One header, its name and its content, each padded to four bytes."""
    path = name.encode() + b"\0"
    owner, group, links, time, checksum = 0, 0, 1, 0, 0
    fields = (
        *(inode, mode, owner, group, links, time, len(content), 0, 0),
        *(*device, len(path), checksum),
    )
    header = b"070701" + b"".join(b"%08x" % field for field in fields)
    return _padded(header + path) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
