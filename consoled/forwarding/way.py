"""The way to a port of an instance: one address after the other, within one time-out."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any, NoReturn, Protocol

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.error import TimeoutError as DialTimedOut
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from consoled.errors import BackendTimeout, BackendUnreachable, ConsoledError
from consoled.model import Instance
from consoled.reaching.behalf import NOBODY, Behalf

log = Logger()

_DISCARD = 9


class Way(Protocol):
    """Leads to instances: directly, or over the proxy nodes that lead to their networks."""

    def endpoint(
        self, instance: Instance, host: str, port: int, behalf: Behalf = NOBODY
    ) -> IStreamClientEndpoint:
        """Where to dial; cancelling its connect Deferred aborts the dial.

        :param host: one of the instance's own addresses.
        :param behalf: who wants to connect.
        """


@frozen
class Reached:
    """A connection to an instance, and to which of its addresses."""

    protocol: Any
    address: str


@frozen
class Dialler:
    """Dials instances.

    :ivar timeout: seconds for all addresses of an instance together.
    """

    way: Way
    clock: Any
    timeout: float

    async def dial(
        self,
        instance: Instance,
        addresses: Sequence[str],
        port: int,
        factory: IProtocolFactory,
        behalf: Behalf = NOBODY,
    ) -> Reached:
        """A connection to the first address that takes one.

        :param behalf: who wants it.
        :raises consoled.errors.BackendUnreachable: none does.
        :raises consoled.errors.BackendTimeout: none does in time.
        """
        until = self.clock.seconds() + self.timeout
        place = f"Port {port} of instance {instance.uuid}"
        error: ConsoledError = BackendUnreachable(f"{place} cannot be reached.")
        for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            share = max(0.0, until - self.clock.seconds()) / left
            try:
                endpoint = self.way.endpoint(instance, address, port, behalf)
                dial: Deferred[Any] = endpoint.connect(factory)
                return Reached(await dial.addTimeout(share, self.clock, _timed_out), address)
            except CancelledError:
                raise
            except ConnectingCancelledError as found:
                # The endpoints' own word for it.
                raise CancelledError from found
            except (TimedOut, DialTimedOut) as found:
                cause: Exception = found
                error = BackendTimeout(f"{place} did not take a connection in time.")
            except Refused as found:
                cause = found
                error = BackendUnreachable(
                    f"{place} refuses connections; does a service listen there?"
                )
            except ConsoledError as found:
                cause = found
                error = found
            except Exception as found:
                cause = found
                error = BackendUnreachable(f"{place} cannot be reached.")
            log.info(
                "no connection to {address} port {port} of {instance_uuid}: {reason}",
                event="instance_unreachable",
                address=address,
                port=port,
                instance_uuid=instance.uuid,
                reason=str(cause) or type(cause).__name__,
            )
        raise error


def _timed_out(_outcome: object, timeout: float) -> NoReturn:
    raise TimedOut(timeout)


def quiet(protocol: Any) -> IProtocolFactory:
    """A factory of that one protocol."""
    factory = Factory.forProtocol(lambda: protocol)
    factory.noisy = False
    return factory


def own_address(text: str) -> bool:
    """Whether an address is one of this machine: whatever listens here is no guest's.

    Nothing is sent: to its own addresses a machine goes from the same ones.
    """
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((text, _DISCARD))
            return ip_address(probe.getsockname()[0]) == ip_address(text)
    except (OSError, ValueError):
        return False
