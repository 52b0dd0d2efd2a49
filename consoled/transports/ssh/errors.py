"""What goes wrong on the way, in words for whoever waits for a connection.

::

    consoled.errors.BackendUnreachable
    └── SSHError
        ├── NodeFailed          a server on the way: another way may lead there
        │   ├── HostKeyRefused
        │   └── LoginRefused
        └── TargetFailed        the way is well, what it leads to is not
            ├── TargetRefused
            └── NoForwarding    the server neither forwards nor has nc

``str(error)`` is the plain sentence; ``detail`` is what the log says besides.
"""

from __future__ import annotations

import unicodedata

from consoled.errors import BackendUnreachable
from consoled.transports.ssh.host_keys import fingerprint, key_type

LONGEST_QUOTE = 200
"""Characters of a server's own words that are repeated."""


class SSHError(BackendUnreachable):
    """The root.

    :ivar detail: for the log: the place, the user, the server's own words.
    """

    def __init__(self, text: str, detail: str = "") -> None:
        super().__init__(text)
        self.detail = detail


class NodeFailed(SSHError):
    """A server on the way cannot be used."""


class HostKeyRefused(NodeFailed):
    """A server showed a host key that is not known: hard, without a question.

    :ivar fingerprint: of the key that it showed.
    """

    def __init__(self, text: str, detail: str, fingerprint: str) -> None:
        super().__init__(text, detail)
        self.fingerprint = fingerprint


class LoginRefused(NodeFailed):
    """A server does not know the user, or none of its keys."""


class TargetFailed(SSHError):
    """The last server on the way could not connect to what it was asked for."""


class TargetRefused(TargetFailed):
    """There is such a host, and nobody listens; or there is no such host."""


class NoForwarding(TargetFailed):
    """The server forbids forwarding, and offers no other way."""


def host_key_refused(label: str, place: str, blob: bytes, known: bool) -> HostKeyRefused:
    """The error for a host key that is not accepted.

    :param blob: the key that the server showed.
    :param known: whether other keys of that server are known.
    """
    shown = fingerprint(blob)
    if known:
        what = "which is not the one that is known of it: its key has changed, or somebody"
        what += " is in between. If the change is meant, replace the known host key by the new one"
    else:
        what = "and no host key is known of it. If it is the right one, make it known"
    return HostKeyRefused(
        f"The SSH server {label} showed the host key {shown}, {what} "
        f"(consolectl ssh scan {place} shows it).",
        f"{place}: {key_type(blob)} host key {shown} not accepted",
        shown,
    )


def quoted(words: bytes) -> str:
    """A server's own words, on one line and without what commands a terminal."""
    text = words.decode("utf-8", "replace")[:LONGEST_QUOTE]
    return "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in text).strip()
