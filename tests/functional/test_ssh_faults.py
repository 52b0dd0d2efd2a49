"""What goes wrong with real OpenSSH servers: each time a plain sentence, in time, and no more."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ssh_fixtures import Start, echo, key, lab, loop, plain, says_hello, start
from ssh_loop import Client, Loop, Silent, node
from twisted.internet.defer import CancelledError
from twisted.logger import globalLogPublisher
from twisted.logger._format import formatEvent

from consoled.errors import BackendUnreachable
from consoled.transports.ssh.errors import (
    HostKeyRefused,
    LoginRefused,
    NodeFailed,
    TargetFailed,
    TargetRefused,
)
from consoled.transports.ssh.host_keys import HostKeys, fingerprint
from consoled.transports.ssh.keys import KeyText
from consoled.transports.ssh.values import Method
from tools.lab.ports import free_ports
from tools.lab.sshd import Sshd, SshKey, make_key

__all__ = ["echo", "key", "lab", "loop", "plain", "start"]

TIMEOUT = 3.0
"""The connect time-out of these tests, in seconds."""


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What is logged."""
    found: list[str] = []

    def observe(event: Any) -> None:
        found.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield found
    globalLogPublisher.removeObserver(observe)


@contextmanager
def black_hole() -> Iterator[int]:
    """A port of loopback whose connections get no answer: its queue is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        held = []
        try:
            for _ in range(4):
                held.append(socket.socket())
                held[-1].setblocking(False)
                held[-1].connect_ex(("127.0.0.1", port))
            yield port
        finally:
            for each in held:
                each.close()


def fails(
    loop: Loop,
    route: tuple[Any, ...],
    port: int,
    kind: type[BackendUnreachable],
    lines: list[str],
) -> str:
    """The sentence of a connection that fails as it should, and is in the log with its cause."""
    with loop.pool(connect_timeout=TIMEOUT) as pool:
        began = time.monotonic()
        with pytest.raises(kind) as caught:
            loop.connect(pool.endpoint(route, "127.0.0.1", port))
        assert time.monotonic() - began < 3 * TIMEOUT
        assert pool.is_dead(route) == issubclass(kind, NodeFailed)
    said = str(caught.value)
    assert any(said in line and "no connection to" in line for line in lines)
    return said


def test_an_unknown_host_key(loop: Loop, plain: Sshd, key: SshKey, lines: list[str]) -> None:
    """S1: a server of which no key is known is refused, by the fingerprint that it showed."""
    said = fails(loop, (node(plain, key, known=""),), 1, HostKeyRefused, lines)
    shown = fingerprint(HostKeys.parse(plain.known_lines).keys[0].blob)
    assert shown in said
    assert f"consolectl ssh scan 127.0.0.1:{plain.port}" in said
    assert "no host key is known" in said


def test_a_changed_host_key(
    loop: Loop, plain: Sshd, key: SshKey, lab: Path, lines: list[str]
) -> None:
    """S1: another key than the known one is refused, of the same type or another."""
    for kind in ("ed25519", "ecdsa"):
        other = make_key(lab, f"other-{kind}", kind)
        route = (node(plain, key, known=f"[127.0.0.1]:{plain.port} {other.public}"),)
        before = plain.count("Accepted")
        said = fails(loop, route, 1, HostKeyRefused, lines)
        assert fingerprint(HostKeys.parse(plain.known_lines).keys[0].blob) in said
        assert "has changed" in said
        assert plain.count("Accepted") == before


def test_a_wrong_key_and_a_wrong_user(
    loop: Loop, plain: Sshd, key: SshKey, lab: Path, lines: list[str]
) -> None:
    """The login is refused; the log names the user and the key's fingerprint."""
    stranger = make_key(lab, "stranger")
    said = fails(loop, (node(plain, stranger),), 1, LoginRefused, lines)
    assert "refused the login" in said
    blob = HostKeys.parse(stranger.public).keys[0].blob
    assert any(fingerprint(blob) in line and f"user {plain.user}" in line for line in lines)
    fails(loop, (node(plain, key, user="nobody-here"),), 1, LoginRefused, lines)
    assert any("user nobody-here" in line for line in lines)


def test_a_key_that_cannot_be_used(loop: Loop, plain: Sshd, lab: Path, lines: list[str]) -> None:
    """A wrong passphrase is told in the log, and no part of the key."""
    locked = make_key(lab, "locked", passphrase="right")
    route = (node(plain, KeyText(locked.text, "wrong")),)
    said = fails(loop, route, 1, NodeFailed, lines)
    assert "The key for the SSH server" in said
    assert any("passphrase is wrong" in line for line in lines)
    assert not any("PRIVATE KEY" in line for line in lines)


def test_a_server_that_is_down(loop: Loop, plain: Sshd, key: SshKey, lines: list[str]) -> None:
    """Nobody listens; or no packet is answered; or it is no SSH server; or it has no name."""
    [port] = free_ports(1)
    assert "refused the connection" in fails(
        loop, (node(plain, key, port=port),), 1, NodeFailed, lines
    )
    with black_hole() as port:
        said = fails(loop, (node(plain, key, port=port),), 1, NodeFailed, lines)
        assert "did not answer within 3 seconds" in said
    with loop.server(Silent) as (port, _):
        said = fails(loop, (node(plain, key, port=port),), 1, NodeFailed, lines)
        assert "did not answer within 3 seconds" in said
    route = (node(plain, key, host="nobody.invalid", name="the gate"),)
    assert "SSH server the gate" in fails(loop, route, 1, NodeFailed, lines)
    command = ("/nonexistent/nc", "%h")
    assert "command" in fails(loop, (node(plain, key, command=command),), 1, NodeFailed, lines)
    command = ("false",)
    fails(loop, (node(plain, key, command=command),), 1, NodeFailed, lines)


def test_something_else_than_ssh(loop: Loop, plain: Sshd, key: SshKey, lines: list[str]) -> None:
    """A server that speaks another protocol is said so."""

    class Web(Silent):
        """Speaks first, and much."""

        def connectionMade(self) -> None:
            """Not SSH."""
            super().connectionMade()
            self.transport.write(b"220 mail.example.org ESMTP\r\n" * 400)

    with loop.server(Web) as (port, _):
        said = fails(loop, (node(plain, key, port=port),), 1, NodeFailed, lines)
    assert "does not speak SSH 2" in said


def test_no_algorithm_in_common(loop: Loop, start: Start, key: SshKey, lines: list[str]) -> None:
    """What a server allows is in the log where nothing of it is supported."""
    sshd = start({"Ciphers": "aes128-cbc"})
    said = fails(loop, (node(sshd, key),), 1, NodeFailed, lines)
    assert "no SSH algorithms in common" in said
    assert any("cipher: aes128-cbc" in line for line in lines)


def test_a_target_that_refuses(
    loop: Loop, plain: Sshd, key: SshKey, echo: int, lines: list[str]
) -> None:
    """Nobody listens behind the server, whichever way it is asked; the server stays in use."""
    [port] = free_ports(1)
    for method in (Method.DIRECT, Method.NC):
        said = fails(loop, (node(plain, key, method=method),), port, TargetRefused, lines)
        assert "the connection was refused" in said
    with loop.pool() as pool:
        with pytest.raises(TargetRefused):
            loop.connect(pool.endpoint((), "127.0.0.1", port))
        route = (node(plain, key),)
        client = loop.connect(pool.endpoint(route, "127.0.0.1", echo))
        with pytest.raises(TargetFailed):
            loop.connect(pool.endpoint(route, "127.0.0.1; reboot", port))
        with pytest.raises(TargetFailed):
            loop.connect(pool.endpoint(route, "-oProxyCommand=reboot", port))
        says_hello(client)


def test_a_target_that_does_not_answer(
    loop: Loop, plain: Sshd, key: SshKey, echo: int, lines: list[str]
) -> None:
    """A black hole behind the server is told from a frozen server; streams beside it go on."""
    with black_hole() as port:
        for method in (Method.DIRECT, Method.NC):
            said = fails(loop, (node(plain, key, method=method),), port, TargetFailed, lines)
            assert "no answer" in said
        with loop.pool(connect_timeout=TIMEOUT) as pool:
            route = (node(plain, key),)
            client = loop.connect(pool.endpoint(route, "127.0.0.1", echo))
            with pytest.raises(TargetFailed):
                loop.connect(pool.endpoint(route, "127.0.0.1", port))
            says_hello(client)


def test_a_server_that_is_killed(
    loop: Loop, start: Start, plain: Sshd, key: SshKey, echo: int, lines: list[str]
) -> None:
    """S2: its streams end with the reason, others go on, and it is remembered as dead."""
    sshd = start()
    with loop.pool() as pool:
        route = (node(sshd, key, name="gate-1"),)
        client = loop.connect(pool.endpoint(route, "127.0.0.1", echo))
        other = loop.connect(pool.endpoint((node(plain, key),), "127.0.0.1", echo))
        for pid in sshd.sessions():
            os.kill(pid, signal.SIGKILL)
        reason = client.until_lost()
        assert "connection to the SSH server gate-1 was lost" in str(reason.value)
        assert reason.check(BackendUnreachable)
        assert pool.is_dead(route)
        says_hello(other)
        assert any("gate-1" in line and "ended" in line for line in lines)
        # The server itself is well: the next stream has a new connection.
        says_hello(loop.connect(pool.endpoint(route, "127.0.0.1", echo)))
        assert not pool.is_dead(route)


def test_a_server_that_freezes(
    loop: Loop, start: Start, plain: Sshd, key: SshKey, echo: int
) -> None:
    """S2: a stopped server is noticed within keepalive and patience; its streams end with it."""
    sshd = start()
    with loop.pool(connect_timeout=TIMEOUT, keepalive=1.0, patience=1.0) as pool:
        route = (node(sshd, key),)
        client = loop.connect(pool.endpoint(route, "127.0.0.1", echo))
        other = loop.connect(pool.endpoint((node(plain, key),), "127.0.0.1", echo))
        sshd.freeze()
        assert "does not answer any more" in str(client.until_lost().value)
        assert pool.is_dead(route)
        with pytest.raises(NodeFailed, match="did not answer within 3 seconds"):
            loop.connect(pool.endpoint(route, "127.0.0.1", echo))
        says_hello(other)
        sshd.thaw()
        says_hello(loop.connect(pool.endpoint(route, "127.0.0.1", echo)))


def test_new_streams_of_a_frozen_server(loop: Loop, start: Start, key: SshKey, echo: int) -> None:
    """A stream that is asked for before keepalive notices fails in time, and blames the server."""
    sshd = start()
    with loop.pool(connect_timeout=TIMEOUT, keepalive=20.0, patience=10.0) as pool:
        route = (node(sshd, key),)
        client = loop.connect(pool.endpoint(route, "127.0.0.1", echo))
        sshd.freeze()
        with pytest.raises(NodeFailed, match="does not answer any more"):
            loop.connect(pool.endpoint(route, "127.0.0.1", echo))
        assert pool.is_dead(route)
        sshd.thaw()
        says_hello(client)


def test_a_server_in_the_middle_of_a_chain(
    loop: Loop, start: Start, plain: Sshd, key: SshKey, echo: int
) -> None:
    """The first server of a chain is named when the second cannot be reached through it."""
    [port] = free_ports(1)
    with loop.pool() as pool:
        route = (node(plain, key), node(plain, key, port=port, name="inner"))
        with pytest.raises(NodeFailed, match="SSH server inner cannot be reached"):
            loop.connect(pool.endpoint(route, "127.0.0.1", echo))
        assert pool.is_dead(route)
        assert not pool.is_dead(route[:1])


def test_cancelling_leaves_nothing_behind(loop: Loop, start: Start, key: SshKey, echo: int) -> None:
    """A dial that nobody waits for ends, at whichever step it is."""
    sshd = start()
    with loop.pool(connect_timeout=TIMEOUT) as pool, black_hole() as hole:
        route = (node(sshd, key),)
        stages: list[Callable[[], bool]] = [
            lambda: True,
            lambda: sshd.count("Connection from") > 0,
        ]
        for reached in stages:
            [dial] = loop.run(lambda: [pool.endpoint(route, "127.0.0.1", echo).connect(_factory())])
            while not reached():
                loop.run(_turn, loop)
            with pytest.raises(CancelledError):
                loop.run(_cancel, dial)
        loop.run(lambda: None)
        # Of a stream that is on its way only the stream ends.
        client = loop.connect(pool.endpoint(route, "127.0.0.1", echo))
        [dial] = loop.run(lambda: [pool.endpoint(route, "127.0.0.1", hole).connect(_factory())])
        with pytest.raises(CancelledError):
            loop.run(_cancel, dial)
        says_hello(client)
        assert pool.load(route) <= 2
        client.call("loseConnection")
        client.until_lost()


def _factory() -> Any:
    from twisted.internet.protocol import Factory

    return Factory.forProtocol(Client)


def _turn(loop: Loop) -> Any:
    from twisted.internet.task import deferLater

    return deferLater(loop.reactor, 0.01, lambda: None)


def _cancel(dial: Any) -> Any:
    dial.cancel()
    return dial


def test_a_connection_that_is_not_used_ends(
    loop: Loop, start: Start, key: SshKey, echo: int
) -> None:
    """Without streams it lingers, and is closed then."""
    sshd = start()
    with loop.pool(linger=0.2) as pool:
        route = (node(sshd, key),)
        client = loop.connect(pool.endpoint(route, "127.0.0.1", echo))
        client.call("loseConnection")
        client.until_lost()
        while pool.health():
            loop.run(_turn, loop)
        assert not pool.is_dead(route)
        says_hello(loop.connect(pool.endpoint(route, "127.0.0.1", echo)))
    assert sshd.count("Accepted publickey") == 2
