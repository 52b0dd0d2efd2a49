"""Consoles over SSH: serial ports behind proxy nodes, and shells on instances."""

from __future__ import annotations

from attrs import field, frozen
from twisted.internet.interfaces import IStreamClientEndpoint

from consoled.errors import BackendUnreachable
from consoled.model import Console, Instance
from consoled.reaching.behalf import NOBODY, Behalf
from consoled.reaching.reach import Reach
from consoled.transports.ssh.values import Terminal


@frozen
class SSHTransport:
    """Implements :class:`consoled.interfaces.Transport`: dials (host, port) over whatever leads
    to the console's compute host, proxy nodes or nothing.

    TLS to the console goes around it, so inside the SSH channel.
    """

    reach: Reach

    def endpoint(
        self, instance: Instance, console: Console, behalf: Behalf = NOBODY
    ) -> IStreamClientEndpoint:
        """The console's port, as its compute host's proxy nodes see it.

        :raises consoled.errors.BackendUnreachable: the console has no port.
        """
        if console.port is None:
            raise BackendUnreachable(f"Console {console.index} has no TCP port.")
        return self.reach.host_endpoint(instance, console.host, console.port, behalf)


@frozen
class ShellTransport:
    """Implements :class:`consoled.interfaces.Transport`: a shell on the instance.

    :ivar terminal: what the shell is told of its terminal; the viewer says its size later.
    """

    reach: Reach
    terminal: Terminal = field(factory=Terminal)

    def endpoint(
        self, instance: Instance, console: Console, behalf: Behalf = NOBODY
    ) -> IStreamClientEndpoint:
        """A new shell; the console only names it."""
        return self.reach.shell(instance, self.terminal, behalf)
