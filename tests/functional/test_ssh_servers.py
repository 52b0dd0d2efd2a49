"""The SSH transport against real OpenSSH servers of many settings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ssh_fixtures import Start, echo, key, lab, loop, plain, says_hello, start, wait_for
from ssh_loop import Client, Echo, Flood, Loop, Silent, node
from twisted.internet.defer import Deferred

from consoled.transports.ssh.errors import NoForwarding
from consoled.transports.ssh.keys import KeyFiles, KeyText
from consoled.transports.ssh.values import Method, NoKeys, Terminal
from tools.lab.sshd import Sshd, SshKey, certify, make_key, program

__all__ = ["echo", "key", "lab", "loop", "plain", "start"]

MIB = 2**20


def noise(count: int) -> bytes:
    """Bytes that no two places have in common."""
    return os.urandom(MIB) * (count // MIB)


def test_one_connection_carries_many_streams(
    loop: Loop, plain: Sshd, key: SshKey, echo: int
) -> None:
    """Streams that begin at the same time share one login, and each has its own bytes."""
    before = plain.count("Accepted publickey")
    with loop.pool() as pool:
        route = (node(plain, key),)
        dials = [
            loop.run(lambda: [pool.endpoint(route, "127.0.0.1", echo).connect(_clients(loop))])
            for _ in range(20)
        ]
        clients = [loop.run(lambda d=d: d[0]) for d in dials]
        for number, client in enumerate(clients):
            client.send(b"%04d" % number)
        for number, client in enumerate(clients):
            assert client.until_got(4) == b"%04d" % number
        assert pool.load(route) == 20
        [health] = pool.health()
        assert (health.connections, health.channels, health.dead) == (1, 20, False)
    assert plain.count("Accepted publickey") == before + 1


def _clients(loop: Loop) -> Any:
    from twisted.internet.protocol import Factory

    class Mine(Client):
        """Knows its loop."""

        def connectionMade(self) -> None:
            """Connected."""
            self.loop = loop

    return Factory.forProtocol(Mine)


def test_half_closes(loop: Loop, plain: Sshd, key: SshKey) -> None:
    """The end of what is written reaches the target, and what it still sends arrives."""

    class Answer(Silent):
        """Answers when its input has ended."""

        def connectionLost(self, reason: Any) -> None:
            """The client's end."""

    from twisted.internet.interfaces import IHalfCloseableProtocol
    from zope.interface import implementer

    @implementer(IHalfCloseableProtocol)
    class Polite(Answer):
        """Says how much it got when all has come."""

        def readConnectionLost(self) -> None:
            """All has come."""
            self.transport.write(b"%d bytes" % self.count)
            self.transport.loseConnection()

        def writeConnectionLost(self) -> None:
            """Nothing to do."""

    with loop.pool() as pool, loop.server(Polite) as (port, _):
        for method in (Method.DIRECT, Method.NC):
            client = loop.connect(
                pool.endpoint((node(plain, key, method=method),), "127.0.0.1", port)
            )
            client.send(b"x" * 300_000)
            client.call("loseWriteConnection")
            client.until_lost()
            assert bytes(client.got) == b"300000 bytes"


def test_nc_where_forwarding_is_forbidden(loop: Loop, start: Start, key: SshKey, echo: int) -> None:
    """Method auto asks for a forwarding once, then uses nc and remembers that."""
    sshd = start({"AllowTcpForwarding": "no"})
    with loop.pool() as pool:
        route = (node(sshd, key),)
        for _ in range(2):
            client = loop.connect(pool.endpoint(route, "127.0.0.1", echo))
            says_hello(client)
            client.call("loseConnection")
            client.until_lost()
        assert sshd.count("refused local port forward") == 1
        with pytest.raises(NoForwarding, match="does not allow a connection to port"):
            loop.connect(pool.endpoint((node(sshd, key, method=Method.DIRECT),), "127.0.0.1", echo))


def test_an_nc_that_knows_no_options(
    loop: Loop, start: Start, key: SshKey, echo: int, lab: Path
) -> None:
    """A plain ``nc HOST PORT``, as the specification has it, is enough."""
    tools = lab / "tools"
    tools.mkdir()
    (tools / "nc").write_text(
        f"#!{sys.executable} -IS\n"
        "import os, sys\n"
        "if sys.argv[1].startswith('-'):\n"
        "    sys.exit(\"nc: invalid option -- '%s'\" % sys.argv[1][1])\n"
        f"os.execv('{_nc()}', ['nc', *sys.argv[1:]])\n"
    )
    (tools / "nc").chmod(0o755)
    sshd = start({"AllowTcpForwarding": "no", "SetEnv": f"PATH={tools}"})
    with loop.pool() as pool:
        route = (node(sshd, key),)
        for _ in range(2):
            says_hello(loop.connect(pool.endpoint(route, "127.0.0.1", echo)))


def _nc() -> str:
    import shutil

    return shutil.which("nc") or "/bin/nc"


def test_neither_forwarding_nor_nc(
    loop: Loop, start: Start, key: SshKey, echo: int, lab: Path
) -> None:
    """A server that can do neither is said so, and is not taken for dead."""
    empty = lab / "empty"
    empty.mkdir()
    sshd = start({"AllowTcpForwarding": "no", "SetEnv": f"PATH={empty}"})
    with loop.pool() as pool:
        route = (node(sshd, key),)
        with pytest.raises(NoForwarding, match="has no nc"):
            loop.connect(pool.endpoint(route, "127.0.0.1", echo))
        assert not pool.is_dead(route)


def test_rekeying_under_load(loop: Loop, start: Start, key: SshKey, echo: int) -> None:
    """S3: keys change each MiB while bytes flow both ways; all arrive, after one login."""
    sshd = start({"RekeyLimit": "1M", "LogLevel": "DEBUG1"})
    data = noise(24 * MIB)
    with loop.pool() as pool:
        client = loop.connect(pool.endpoint((node(sshd, key),), "127.0.0.1", echo))
        client.send(data)
        assert client.until_got(len(data)) == data
    assert sshd.count("Accepted publickey") == 1
    assert sshd.count("rekey in after") + sshd.count("rekey out after") > 10


def test_sessions_that_a_server_limits(loop: Loop, start: Start, key: SshKey, echo: int) -> None:
    """S4: with MaxSessions 2 and nc, further streams get connections of their own."""
    sshd = start({"MaxSessions": "2", "AllowTcpForwarding": "no"})
    with loop.pool() as pool:
        route = (node(sshd, key),)
        dials = [
            loop.run(lambda: [pool.endpoint(route, "127.0.0.1", echo).connect(_clients(loop))])
            for _ in range(7)
        ]
        clients = [loop.run(lambda d=d: d[0]) for d in dials]
        for client in clients:
            says_hello(client)
        [health] = pool.health()
        assert health.channels == 7
        assert health.connections >= 4
        more = loop.connect(pool.endpoint(route, "127.0.0.1", echo))
        says_hello(more)
        for client in clients:
            says_hello(client)


def test_targets_that_a_server_limits(loop: Loop, start: Start, key: SshKey, echo: int) -> None:
    """S4: what PermitOpen forbids is refused, and what it allows goes on."""
    sshd = start({"PermitOpen": f"127.0.0.1:{echo}"})
    with loop.pool() as pool, loop.server(Silent) as (other, _):
        route = (node(sshd, key, method=Method.DIRECT),)
        client = loop.connect(pool.endpoint(route, "127.0.0.1", echo))
        with pytest.raises(NoForwarding):
            loop.connect(pool.endpoint(route, "127.0.0.1", other))
        says_hello(client)


@pytest.mark.parametrize(
    ("ciphers", "macs"),
    [
        ("aes256-gcm@openssh.com", "hmac-sha2-256"),
        ("aes192-ctr", "hmac-sha2-512"),
        ("aes128-ctr", "hmac-sha2-256-etm@openssh.com"),
        ("aes256-ctr", "hmac-sha2-512-etm@openssh.com"),
    ],
)
def test_ciphers(loop: Loop, start: Start, key: SshKey, echo: int, ciphers: str, macs: str) -> None:
    """What a server allows of ciphers and MACs is enough, with new keys in between."""
    sshd = start({"Ciphers": ciphers, "MACs": macs, "RekeyLimit": "1M"})
    data = noise(3 * MIB)
    with loop.pool() as pool:
        client = loop.connect(pool.endpoint((node(sshd, key),), "127.0.0.1", echo))
        client.send(data)
        assert client.until_got(len(data)) == data


def test_strict_exchanges(loop: Loop, start: Start, key: SshKey, echo: int) -> None:
    """Both sides agree that nothing may come in between (CVE-2023-48795)."""
    sshd = start({"LogLevel": "DEBUG3", "RekeyLimit": "1M"})
    with loop.pool() as pool:
        client = loop.connect(pool.endpoint((node(sshd, key),), "127.0.0.1", echo))
        data = noise(2 * MIB)
        client.send(data)
        assert client.until_got(len(data)) == data
    assert sshd.count("will use strict KEX ordering") >= 1


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_host_key_types(loop: Loop, start: Start, key: SshKey, echo: int, kind: str) -> None:
    """Of a server with several host keys the known one is asked for, whichever it is."""
    kinds = ("ecdsa", "ed25519", "rsa") if kind != "ed25519" else ("ed25519",)
    sshd = start(host_keys=kinds)
    known = next(each.public for each in sshd.host_keys if f"host_{kind}" in str(each.path))
    with loop.pool() as pool:
        route = (node(sshd, key, known=f"[127.0.0.1]:{sshd.port} {known}"),)
        says_hello(loop.connect(pool.endpoint(route, "127.0.0.1", echo)))


def test_user_keys(loop: Loop, start: Start, echo: int, lab: Path) -> None:
    """RSA with SHA-2, ECDSA, an encrypted key, several files: each logs in."""
    rsa = make_key(lab, "rsa", "rsa", bits=3072)
    ecdsa = make_key(lab, "ecdsa", "ecdsa", bits=384)
    locked = make_key(lab, "locked", passphrase="open sesame")
    sshd = start(None, rsa.public, ecdsa.public, locked.public)
    stranger = make_key(lab, "stranger")
    with loop.pool() as pool:
        for keys in (
            KeyText(rsa.text),
            KeyText(ecdsa.text),
            KeyText(locked.text, "open sesame"),
            KeyFiles((stranger.path, rsa.path)),
        ):
            route = (node(sshd, keys),)
            says_hello(loop.connect(pool.endpoint(route, "127.0.0.1", echo)))
            assert "sesame" not in repr(route)
    assert sshd.count("RSA SHA256:") >= 1
    assert sshd.count("ssh-rsa [preauth]") == 0


def test_certificates(loop: Loop, start: Start, echo: int, lab: Path) -> None:
    """A key that the server does not know logs in with a certificate of its authority."""
    authority = make_key(lab, "authority")
    (lab / "authorities").write_text(authority.public + "\n")
    sshd = start({"TrustedUserCAKeys": str(lab / "authorities")})
    with loop.pool() as pool:
        for kind in ("ed25519", "rsa"):
            own = make_key(lab, f"certified-{kind}", kind)
            line = certify(authority, own, sshd.user)
            for keys in (KeyText(own.text, certificate=line), KeyFiles((own.path,))):
                says_hello(loop.connect(pool.endpoint((node(sshd, keys),), "127.0.0.1", echo)))
    assert sshd.count("Accepted publickey") == 4


def test_the_agent(loop: Loop, start: Start, echo: int, lab: Path, short_folder: Path) -> None:
    """The keys of an agent log in; an RSA one signs with SHA-2."""
    rsa = make_key(lab, "in-the-agent", "rsa", bits=2048)
    sshd = start(None, rsa.public)
    socket = short_folder / "agent"
    from tools.lab.kept import KeptProcess

    with KeptProcess([program("ssh-agent"), "-D", "-a", socket], lab / "agent.log") as agent:
        wait_for(socket.exists)
        env = {**os.environ, "SSH_AUTH_SOCK": str(socket)}
        subprocess.run([program("ssh-add"), "-q", str(rsa.path)], env=env, check=True)
        with loop.pool() as pool:
            route = (node(sshd, NoKeys(), agent=str(socket)),)
            says_hello(loop.connect(pool.endpoint(route, "127.0.0.1", echo)))
        assert agent.poll() is None


@pytest.mark.parametrize("length", [2, 3])
@pytest.mark.parametrize("method", [Method.DIRECT, Method.NC])
def test_chains(
    loop: Loop, start: Start, key: SshKey, echo: int, length: int, method: Method
) -> None:
    """A server behind a server behind a server; megabytes pass, each way."""
    servers = [start() for _ in range(length)]
    data = noise(2 * MIB)
    with loop.pool() as pool:
        route = tuple(node(sshd, key, method=method) for sshd in servers)
        client = loop.connect(pool.endpoint(route, "127.0.0.1", echo))
        client.send(data)
        assert client.until_got(len(data)) == data
        assert [each.channels for each in pool.health()] == [1] * length
        again = loop.connect(pool.endpoint(route, "127.0.0.1", echo))
        says_hello(again)
    assert [sshd.count("Accepted publickey") for sshd in servers] == [1] * length


def test_ipv6(loop: Loop, start: Start, key: SshKey) -> None:
    """The server has an IPv6 address, and so has what is behind it."""
    sshd = start(address="::1")
    with loop.pool() as pool, loop.server(Echo, "::1") as (port, _):
        for method in (Method.DIRECT, Method.NC):
            known = f"[::1]:{sshd.port} {sshd.known_lines}"
            route = (node(sshd, key, method=method, known=known),)
            says_hello(loop.connect(pool.endpoint(route, "::1", port)))


def test_a_command_leads_to_the_server(loop: Loop, plain: Sshd, key: SshKey, echo: int) -> None:
    """proxy_command: its input and output are the connection, and it ends with it."""
    with loop.pool() as pool:
        command = (_nc(), "127.0.0.1", str(plain.port))
        route = (node(plain, key, host="nobody.invalid", command=command),)
        client = loop.connect(pool.endpoint(route, "127.0.0.1", echo))
        data = noise(4 * MIB)
        client.send(data)
        assert client.until_got(len(data)) == data
    client.until_lost()


def test_a_shell(loop: Loop, plain: Sshd, key: SshKey) -> None:
    """A login shell has a terminal, whose size follows."""
    with loop.pool() as pool:
        endpoint = pool.shell((), node(plain, key), Terminal(columns=91, rows=27))
        client = loop.connect(endpoint)
        client.send(b"echo size $(stty size) $TERM\n")
        client.until(lambda: b"size 27 91 xterm-256color" in client.got)
        client.call("resize", 120, 40)
        client.send(b"echo size $(stty size)\n")
        client.until(lambda: b"size 40 120" in client.got)
        client.send(b"exit 3\n")
        client.until_lost()


def test_a_reader_that_stalls_holds_up_nobody(
    loop: Loop, plain: Sshd, key: SshKey, echo: int
) -> None:
    """S5: one of 50 streams is flooded and not read; the others go on, and memory is bounded."""
    with loop.pool() as pool, loop.server(Flood) as (flood, floods):
        route = (node(plain, key),)
        stalled = loop.connect(pool.endpoint(route, "127.0.0.1", flood))
        stalled.call("pauseProducing")
        others = [loop.connect(pool.endpoint(route, "127.0.0.1", echo)) for _ in range(49)]
        data = noise(MIB)
        for client in others[:4]:
            client.send(data)
        for client in others:
            client.send(b"here")
        for client in others[:4]:
            assert client.until_got(MIB + 4) == data + b"here"
        for client in others[4:]:
            assert client.until_got(4) == b"here"
        stream: Any = stalled.transport
        held = loop.run(lambda: sum(map(len, stream._inbox)))
        assert held <= stream.window.size
        assert len({id(each) for each in floods}) == 1
        before = len(stalled.got)
        stalled.call("resumeProducing")
        stalled.until_got(before + 8 * MIB)
        says_hello(others[0])
        stalled.call("abortConnection")


def test_a_target_that_does_not_read_pauses_its_writer(
    loop: Loop, plain: Sshd, key: SshKey
) -> None:
    """A producer is paused when the target takes no more, and goes on when it does."""

    class Deaf(Silent):
        """Reads nothing at first."""

        def connectionMade(self) -> None:
            """Paused."""
            super().connectionMade()
            self.over: Deferred[None] = Deferred()
            self.transport.pauseProducing()

        def connectionLost(self, reason: object = None) -> None:
            """Everything was read."""
            self.over.callback(None)

    class Source(Client):
        """Writes while it is allowed to."""

        def connectionMade(self) -> None:
            """Begins."""
            self.written, self.allowed = 0, True
            self.transport.registerProducer(self, True)
            loop.reactor.callLater(0, self.more)

        def more(self) -> None:
            """64 KiB in each turn, 64 MiB in all."""
            self.allowed = self.allowed and self.written < 64 * MIB
            if self.allowed:
                self.written += 65536
                self.transport.write(b"s" * 65536)
                loop.reactor.callLater(0, self.more)
            self._look()

        def pauseProducing(self) -> None:
            """Enough."""
            self.allowed = False
            self._look()

        def resumeProducing(self) -> None:
            """On."""
            self.allowed = True
            self.more()

        def stopProducing(self) -> None:
            """The end."""
            self.allowed = False

    from twisted.internet.protocol import Factory

    with loop.pool() as pool, loop.server(Deaf) as (port, made):
        endpoint = pool.endpoint((node(plain, key),), "127.0.0.1", port)
        source: Source = loop.run(endpoint.connect, Factory.forProtocol(Source))
        source.loop = loop
        source.until(lambda: not source.allowed)
        assert source.written < 32 * MIB
        loop.run(made[0].transport.resumeProducing)
        source.until(lambda: not source.allowed and source.written >= 64 * MIB)
        loop.run(source.transport.loseConnection)
        source.until_lost()
        # sshd may still have some of it.
        loop.run(lambda: made[0].over)
        assert made[0].count == source.written


def test_the_librarys_example(loop: Loop, start: Start, key: SshKey, lab: Path) -> None:
    """docs/examples/over_ssh.py as its page has it: two servers, and what is behind them."""

    class Greets(Silent):
        """Speaks first."""

        def connectionMade(self) -> None:
            """A greeting."""
            super().connectionMade()
            self.transport.write(b"220 mail.example.org ESMTP\r\n")

    example = Path(__file__).parents[2] / "docs/examples/over_ssh.py"
    servers = [start(), start()]
    known = lab / "example_known_hosts"
    lines = []
    for sshd in servers:
        place = f"127.0.0.1:{sshd.port}"
        scan = [sys.executable, "-m", "consoled.cli", "ssh", "scan", place]
        shown = subprocess.run(scan, check=True, capture_output=True, text=True)
        assert sshd.host_keys[0].public.split()[1] in shown.stdout
        lines.append(shown.stdout)
    known.write_text("".join(lines))
    way = ",".join(f"{sshd.user}@127.0.0.1:{sshd.port}" for sshd in servers)
    argv = [sys.executable, str(example), str(key.path), str(known), way, "127.0.0.1"]
    with loop.server(Greets) as (port, _):
        done = subprocess.run([*argv, str(port)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "220 mail.example.org ESMTP"
    known.write_text("")
    done = subprocess.run([*argv, "7"], capture_output=True, text=True, check=False)
    assert "no host key is known of it" in done.stderr
    assert done.returncode == 1
