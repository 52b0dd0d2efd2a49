"""What a port behind SSH servers says first, without the daemon.

python over_ssh.py KEY KNOWN_HOSTS USER@HOST:PORT[,USER@HOST:PORT...] HOST PORT
"""

import sys
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import react

from consoled.transports.ssh.errors import SSHError
from consoled.transports.ssh.host_keys import HostKeys
from consoled.transports.ssh.keys import KeyFiles
from consoled.transports.ssh.limits import PoolLimits
from consoled.transports.ssh.pool import SSHPool
from consoled.transports.ssh.values import Login, ProxyNode
from consoled.workers import ThreadWorker


class FirstWords(Protocol):
    """Waits for the first bytes."""

    def __init__(self) -> None:
        self.said: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        """They are all that is wanted."""
        if not self.said.called:
            self.said.callback(data)
            self.transport.loseConnection()

    def connectionLost(self, reason) -> None:
        """Or it ends without any."""
        if not self.said.called:
            self.said.errback(reason)


def route(way: str, key: str, known_hosts: str) -> tuple[ProxyNode, ...]:
    """The servers of ``USER@HOST:PORT,...``, with one key and one file of host keys for all."""
    known, keys = HostKeys.parse(Path(known_hosts).read_text()), KeyFiles((Path(key),))
    nodes = []
    for server in way.split(","):
        user, _, place = server.partition("@")
        host, _, port = place.rpartition(":")
        nodes.append(ProxyNode(host.strip("[]"), int(port), Login(user, keys, known)))
    return tuple(nodes)


async def main(reactor, way: tuple[ProxyNode, ...], host: str, port: int) -> None:
    """Connects over the way, and prints what is said there."""
    worker = ThreadWorker(reactor, "ssh-keys")
    worker.start()
    pool = SSHPool(reactor, worker, PoolLimits(connect_timeout=10.0))
    try:
        endpoint = pool.endpoint(way, host, port)
        connected = await endpoint.connect(Factory.forProtocol(FirstWords))
        print((await connected.said).decode("utf-8", "replace"))
    except SSHError as error:
        sys.exit(f"{error} ({error.detail})")
    finally:
        await pool.stop()
        worker.stop()


if __name__ == "__main__":
    key_file, hosts_file, servers, target, number = sys.argv[1:]
    nodes = route(servers, key_file, hosts_file)
    react(lambda reactor: Deferred.fromCoroutine(main(reactor, nodes, target, int(number))))
