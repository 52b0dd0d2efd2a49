"""What the SSH transport is told: whom to log in to, as whom, and whom to trust."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from attrs import field, frozen

from consoled.transports.ssh.host_keys import SSH_PORT, HostKeys

if TYPE_CHECKING:
    from twisted.conch.ssh.keys import Key

__all__ = ["SSH_PORT", "HostKeys", "Keys", "Login", "Method", "ProxyNode", "Route", "Terminal"]


class Method(Enum):
    """How a server is asked for a stream to another host (``[ssh_proxy] method``).

    ``AUTO`` is ``DIRECT``, and ``NC`` where the server forbids that.
    """

    AUTO = "auto"
    DIRECT = "direct"
    NC = "nc"


class Keys(Protocol):
    """Where private keys come from; hashable, and its ``repr`` shows no secret."""

    def load(self) -> Sequence[Key]:
        """The decrypted keys, in the order in which to try them. Called in a worker's thread.

        :raises consoled.errors.ConfigError: a key cannot be read; the text shows nothing of it.
        """


@frozen
class NoKeys:
    """Nothing but the agent's keys."""

    def load(self) -> Sequence[Key]:
        """None."""
        return ()


@frozen
class Login:
    """How to log in at one SSH server.

    :ivar user: the user's name there.
    :ivar keys: the private keys to show.
    :ivar host_keys: the host keys that are accepted; none accepts nobody.
    :ivar agent: the path of an agent's socket (``SSH_AUTH_SOCK``) whose keys are tried after
        those of ``keys``, or empty.
    """

    user: str
    keys: Keys
    host_keys: HostKeys
    agent: str = ""


@frozen
class ProxyNode:
    """One SSH server on the way.

    :ivar host: its name or address, as the hop before it (or this machine) knows it.
    :ivar method: how it is asked for streams.
    :ivar command: what to run to reach it, instead of TCP: the arguments, filled in; its
        standard input and output are the connection. Only of the first node of a route.
    :ivar name: for logs and people; empty is host and port.
    """

    host: str
    port: int
    login: Login
    method: Method = Method.AUTO
    command: tuple[str, ...] | None = None
    name: str = field(default="", eq=False)

    @property
    def label(self) -> str:
        """What logs and people are told."""
        return self.name or place_of(self.host, self.port)


Route = tuple[ProxyNode, ...]
"""The way to a network: the node that is dialled first comes first; () is directly."""


@frozen
class Terminal:
    """What a shell is told of the terminal that it has.

    :ivar term: the value of ``TERM``.
    """

    columns: int = 80
    rows: int = 24
    term: str = "xterm-256color"


def place_of(host: str, port: int) -> str:
    """Host and port in one word."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
