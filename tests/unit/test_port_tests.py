"""consoled.compute.port_tests: whether a port is free, on this machine's own loopback."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from consoled.compute import port_tests
from consoled.compute.foreign_ports import ForeignPorts
from consoled.compute.port_tests import ConnectTest, bind_test, is_local, port_test
from consoled.errors import Unavailable

V4, V6 = socket.AF_INET, socket.AF_INET6


@contextmanager
def listener(family: socket.AddressFamily, address: str, *, only: bool = True) -> Iterator[int]:
    """Somebody else, who listens on a port."""
    with socket.socket(family) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == V6:
            other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
        other.bind((address, 0))
        other.listen(1)
        yield other.getsockname()[1]


@pytest.mark.parametrize(
    ("family", "address", "only"),
    [
        (V4, "0.0.0.0", True),
        (V4, "127.0.0.1", True),
        (V6, "::", True),
        (V6, "::1", True),
        (V6, "::", False),
    ],
)
def test_a_listener_of_either_family_is_seen(
    family: socket.AddressFamily, address: str, only: bool
) -> None:
    """Also one that listens on IPv4 only, on IPv6 only, or on one address."""
    with listener(family, address, only=only) as port:
        assert not bind_test(port)
    assert bind_test(port)


def test_connections_that_have_ended_are_no_hindrance() -> None:
    """A port whose last client's connection still lingers in the kernel can be used again."""
    with socket.socket() as server, socket.socket() as client:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", 0))
        server.listen(1)
        port = server.getsockname()[1]
        client.connect(("127.0.0.1", port))
        accepted, _ = server.accept()
        # Whoever closes first has the lingering end of it.
        accepted.close()
    assert bind_test(port)


def test_a_machine_without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens on what is not there."""

    def refuse(family: socket.AddressFamily, kind: int) -> socket.socket:
        if family == V6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return real(family, kind)

    real = socket.socket
    monkeypatch.setattr(port_tests.socket, "socket", refuse)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert bind_test(port)


def test_a_process_without_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """That says nothing of the port."""

    def refuse(*_: int) -> socket.socket:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(port_tests.socket, "socket", refuse)
    with pytest.raises(Unavailable, match="Port 10000 cannot be tested: Too many open files"):
        bind_test(10000)


@pytest.mark.parametrize(("family", "address"), [(V4, "127.0.0.1"), (V6, "::1")])
def test_connecting_tells_too(family: socket.AddressFamily, address: str) -> None:
    """Another machine accepts where somebody listens, and refuses where nobody does."""
    test = ConnectTest("localhost" if family == V4 else address)
    with listener(family, address) as port:
        assert not test(port)
    assert test(port)


def test_what_is_sent_to_a_listener() -> None:
    """Nothing: it is a reset connection, not a client that QEMU would keep."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not ConnectTest("127.0.0.1")(port)
        accepted, _ = server.accept()
        with accepted, pytest.raises(ConnectionResetError):
            accepted.recv(1)


@pytest.mark.parametrize("address", ["kvm1.invalid", "255.255.255.255"])
def test_a_machine_that_does_not_answer(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the port is free is not known, and the operator reads where to look."""

    def resolve(name: str, *rest: Any, **more: Any) -> Any:
        if name == "kvm1.invalid":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(name, *rest, **more)

    real = socket.getaddrinfo
    monkeypatch.setattr(port_tests.socket, "getaddrinfo", resolve)
    said = rf"Port 10000 of {address} cannot be tested \(.+\); look whether"
    with pytest.raises(Unavailable, match=said):
        ConnectTest(address)(10000)


@pytest.mark.parametrize(
    ("uri", "local"),
    [
        ("qemu:///system", True),
        ("qemu+unix:///system?socket=/run/x/libvirt-sock", True),
        ("qemu+tcp://localhost/system", True),
        ("test:///default", True),
        ("qemu+ssh://root@kvm1/system", False),
        ("qemu+tls://kvm1.example.org:16514/system", False),
        ("qemu+tcp://[2001:db8::7]/system", False),
    ],
)
def test_where_the_hypervisor_is(uri: str, local: bool) -> None:
    """libvirt's URI says whether this machine's own ports are meant."""
    assert is_local(uri) is local
    assert port_test(uri, "192.0.2.7") == (bind_test if local else ConnectTest("192.0.2.7"))


def test_others_are_remembered_for_a_while() -> None:
    """By a clock of its own; each time they are found the time begins anew."""
    now = [0.0]
    foreign = ForeignPorts(lambda: now[0], 10)
    foreign.note(1)
    now[0] = 6
    foreign.note(2)
    assert foreign.now() == {1, 2}
    now[0] = 10
    assert foreign.now() == {2}
    foreign.note(2)
    now[0] = 19
    assert foreign.now() == {2}
    now[0] = 20
    assert foreign.now() == frozenset()
