"""The host keys that a server shows, before anybody has decided to accept them."""

from __future__ import annotations

from typing import Any

from twisted.conch.ssh.service import SSHService
from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import TimeoutError

from consoled.transports.ssh import algorithms
from consoled.transports.ssh.dialling import OneProtocol, unreachable
from consoled.transports.ssh.errors import NodeFailed, SSHError
from consoled.transports.ssh.host_keys import KEY_TYPES, HostKeys, signature_algorithms
from consoled.transports.ssh.link import Link
from consoled.transports.ssh.values import Login, NoKeys, ProxyNode


class _Look(Link):
    """A connection that ends when it has seen the server's key of one type."""

    def __init__(self, node: ProxyNode, kind: str, clock: Any) -> None:
        self.shown: Deferred[bytes | None] = Deferred(lambda _: self.abort(_LATE))
        super().__init__(node, SSHService(), clock, self._ended_with)
        self.supportedPublicKeys = [name.encode() for name in signature_algorithms((kind,))]
        self._blob: bytes | None = None

    def verifyHostKey(self, hostKey: bytes, fingerprint: bytes) -> Deferred[bool]:
        """The key is what this is for."""
        self._blob = hostKey
        self.end(_SEEN)
        return fail(_SEEN)

    def _ended_with(self, error: SSHError) -> None:
        if self.shown.called:
            return
        if self._blob is not None:
            self.shown.callback(self._blob)
        elif self.has_heard and error is not _LATE:
            # It has no key of this type.
            self.shown.callback(None)
        else:
            self.shown.errback(error)


_SEEN = SSHError("the host key was seen")
_LATE = NodeFailed("the server did not answer in time")


async def scan(reactor: Any, host: str, port: int, seconds: float) -> list[bytes]:
    """The public host keys of a server, one of each type that it has, as they are on the wire.

    Nobody has vouched for them: compare their fingerprints with those on the server itself.

    :param seconds: for each type.
    :raises consoled.transports.ssh.errors.NodeFailed: it cannot be reached, or speaks no SSH.
    """
    node = ProxyNode(host, port, Login("", NoKeys(), HostKeys()))
    found = [await _look(reactor, node, kind, seconds) for kind in KEY_TYPES]
    keys = [blob for blob in found if blob is not None]
    if not keys:
        offered = ", ".join(name.decode() for name in algorithms.KEY_EXCHANGES)
        raise NodeFailed(
            f"The SSH server {node.label} showed no host key: it allows none of {offered}, or "
            f"has a host key of none of the types {', '.join(KEY_TYPES)}."
        )
    return keys


async def _look(reactor: Any, node: ProxyNode, kind: str, seconds: float) -> bytes | None:
    look = _Look(node, kind, reactor)
    endpoint = HostnameEndpoint(reactor, node.host, node.port, timeout=seconds)
    dial = endpoint.connect(OneProtocol(look))
    try:
        await dial
    except Exception as error:
        raise unreachable(node, error, seconds) from None
    timer = reactor.callLater(seconds, look.shown.cancel)
    try:
        return await look.shown
    except Exception as error:
        if isinstance(error, SSHError):
            raise
        raise unreachable(node, TimeoutError(), seconds) from None
    finally:
        if timer.active():
            timer.cancel()
