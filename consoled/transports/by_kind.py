"""Each kind of console by a transport of its own."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen
from twisted.internet.interfaces import IStreamClientEndpoint

from consoled.errors import BackendUnreachable
from consoled.interfaces import Transport
from consoled.model import Console, Instance
from consoled.reaching.behalf import NOBODY, Behalf


@frozen
class KindTransport:
    """Implements :class:`consoled.interfaces.Transport` over several.

    :ivar transports: by the consoles' kind (:attr:`consoled.model.Console.kind`).
    """

    transports: Mapping[str, Transport]

    def endpoint(
        self, instance: Instance, console: Console, behalf: Behalf = NOBODY
    ) -> IStreamClientEndpoint:
        """As the transport of the console's kind has it.

        :raises consoled.errors.BackendUnreachable: there is none, or it cannot.
        """
        transport = self.transports.get(console.kind)
        if transport is None:
            raise BackendUnreachable(
                f"Console {console.index} is of the kind {console.kind}, which this server does "
                "not reach."
            )
        return transport.endpoint(instance, console, behalf)
