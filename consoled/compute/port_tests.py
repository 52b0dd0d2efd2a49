"""Whether somebody listens on a port already. Blocking: a worker asks.

Where consoled runs on the hypervisor, the port is bound for a moment, on IPv4 and on IPv6: a
listener on one of them is enough to keep QEMU out. For another machine a connection is tried,
which says less: a listener on an address that cannot be reached from here is not seen. There
libvirt's own error at the domain's start has the last word
(:mod:`consoled.compute.libvirt.bind_error`).
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable
from urllib.parse import urlsplit

from attrs import frozen

from consoled.errors import Unavailable

PortTest = Callable[[int], bool]
"""Whether the port is free.

:raises consoled.errors.Unavailable: that cannot be said now.
"""

CONNECT_TIMEOUT = 2.0
"""Seconds for another machine to accept or refuse a connection."""

_FAMILIES = ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::"))
_MISSING = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})
_TAKEN = frozenset({errno.EADDRINUSE, errno.EACCES})
_RESET = struct.pack("ii", 1, 0)


def is_local(uri: str) -> bool:
    """Whether a libvirt URI leads to this machine's own hypervisor.

    One that names a host leads to another machine, but for the names of this one.
    """
    return urlsplit(uri).hostname in (None, "localhost", "127.0.0.1", "::1")


def port_test(uri: str, address: str) -> PortTest:
    """The test for the ports of a hypervisor.

    :param uri: libvirt's URI of it.
    :param address: where its ports are dialled.
    """
    return bind_test if is_local(uri) else ConnectTest(address)


def bind_test(port: int) -> bool:
    """Whether the port can be bound here, on every address of IPv4 and IPv6.

    It never listens, so that nobody can connect in that moment.

    :raises consoled.errors.Unavailable: this process has no socket left, or may have none.
    """
    return all(_binds(family, address, port) for family, address in _FAMILIES)


@frozen
class ConnectTest:
    """Whether another machine refuses a connection to the port.

    A connection that comes about is reset at once, with nothing sent.

    :ivar address: a host name or IP address; all its addresses are tried.
    :ivar timeout: seconds for each.
    """

    address: str
    timeout: float = CONNECT_TIMEOUT

    def __call__(self, port: int) -> bool:
        """Whether nobody listens there, as far as can be seen from here.

        :raises consoled.errors.Unavailable: the machine answered on none of its addresses.
        """
        try:
            found = socket.getaddrinfo(self.address, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise self._unknown(port, error) from None
        refused, cause = False, OSError("it has no address")
        for family, kind, protocol, _, place in found:
            try:
                with socket.socket(family, kind, protocol) as tried:
                    tried.settimeout(self.timeout)
                    tried.connect(place)
                    tried.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                return False
            except ConnectionRefusedError:
                refused = True
            except OSError as error:
                cause = error
        if not refused:
            raise self._unknown(port, cause)
        return True

    def _unknown(self, port: int, error: OSError) -> Unavailable:
        cause = error.strerror or str(error)
        return Unavailable(
            f"Port {port} of {self.address} cannot be tested ({cause}); look whether the compute "
            "host runs and its firewall lets this machine reach the ports of its port_range."
        )


def _binds(family: socket.AddressFamily, address: str, port: int) -> bool:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as tried:
            # As QEMU does: connections that have ended are no hindrance.
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                tried.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            tried.bind((address, port))
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        # A machine without that family has nobody listening there.
        if error.errno not in _MISSING:
            raise Unavailable(f"Port {port} cannot be tested: {error.strerror}.") from None
    return True
