"""The plain TCP transport: QEMU's socket chardev, a terminal server, an echo service."""

from __future__ import annotations

from attrs import frozen
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import IReactorTCP, IStreamClientEndpoint

from consoled.errors import BackendUnreachable
from consoled.model import Console, Instance
from consoled.reaching.behalf import NOBODY, Behalf


@frozen
class TCPTransport:
    """Dials (host, port).

    :ivar reactor: does the dialling.
    :ivar timeout: seconds until a dial is given up.
    """

    reactor: IReactorTCP
    timeout: float

    def endpoint(
        self, instance: Instance, console: Console, behalf: Behalf = NOBODY
    ) -> IStreamClientEndpoint:
        """The TCP endpoint of a console.

        :raises consoled.errors.BackendUnreachable: the console has no port.
        """
        if console.port is None:
            raise BackendUnreachable(f"Console {console.index} has no TCP port.")
        return self.to(console.host, console.port)

    def to(self, host: str, port: int) -> IStreamClientEndpoint:
        """The TCP endpoint of a place."""
        kind = TCP6ClientEndpoint if ":" in host else TCP4ClientEndpoint
        endpoint: IStreamClientEndpoint = kind(self.reactor, host, port, timeout=self.timeout)
        return endpoint
