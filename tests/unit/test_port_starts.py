"""A domain that libvirt could not start because somebody had its port."""

from __future__ import annotations

import pytest
from cells import outcome
from port_world import World, uuid
from twisted.internet.defer import Deferred, fail, succeed

from consoled.compute.libvirt.bind_error import TakenPort, taken_port
from consoled.compute.libvirt.client import ClientError
from consoled.compute.libvirt.second_try import Ports, start_with_ports
from consoled.errors import SocketPortRangeExhausted

ERROR = (
    "internal error: process exited while connecting to monitor: 2026-01-01T00:00:00.000000Z "
    "qemu-system-x86_64: -chardev socket,id=charserial{index},host={host},port={port},server=on,"
    "wait=off{more}: Failed to find an available port: {why}"
)


def said(
    index: int = 1,
    port: int = 10001,
    *,
    host: str = "127.0.0.1",
    why: str = "Address already in use",
    more: str = "",
) -> str:
    """What libvirt 9.0 and QEMU 7.2 say."""
    return ERROR.format(index=index, port=port, host=host, why=why, more=more)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "2001:db8::7", "kvm1.example.org"])
def test_the_port_is_named(host: str) -> None:
    """Index and port are read out of libvirt's words, whatever the address."""
    assert taken_port(said(host=host)) == TakenPort(1, 10001)
    assert taken_port(said(host=host, more=",tls-creds=objcharserial1_tls0")) == TakenPort(1, 10001)
    assert taken_port(f"something before\n{said(0, 65535, host=host)}\n") == TakenPort(0, 65535)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Domain not found",
        said(why="Cannot assign requested address"),
        said(why="Permission denied"),
        "-netdev socket,id=hostnet0,listen=:10001: Address already in use",
        "-vnc 127.0.0.1:1: Failed to find an available port: Address already in use",
        said(why="x") + "\nAddress already in use",
    ],
)
def test_other_errors(text: str) -> None:
    """Where it was not a serial port's, another one would not help."""
    assert taken_port(text) is None


class Starts:
    """Attempts to start a domain; each fails with the next error, and then they succeed."""

    def __init__(self, *errors: str) -> None:
        self.errors = list(errors)
        self.tried: list[Ports] = []

    def __call__(self, ports: Ports) -> Deferred[str]:
        """One attempt."""
        self.tried.append(dict(ports))
        return fail(ClientError(self.errors.pop(0))) if self.errors else succeed("started")


def start(world: World, starts: Starts) -> str:
    ports = outcome(world.allocator.allocate(uuid("a"), [0, 1]))
    running = start_with_ports(starts, dict(enumerate(ports)), world.allocator, uuid("a"))
    return outcome(Deferred.fromCoroutine(running))


def test_a_taken_port_is_replaced_once() -> None:
    """The serial port gets the next one, the other one keeps its own."""
    starts = Starts(said(1, 10001))
    assert start(World(), starts) == "started"
    assert starts.tried == [{0: 10000, 1: 10001}, {0: 10000, 1: 10002}]


def test_nothing_is_wrong() -> None:
    """One attempt is enough."""
    starts = Starts()
    assert start(World(), starts) == "started"
    assert starts.tried == [{0: 10000, 1: 10001}]


@pytest.mark.parametrize(
    "errors",
    [
        (said(1, 10001), said(1, 10002)),
        (said(1, 10001), "the emulator is missing"),
        (said(2, 4444),),
        ("the emulator is missing",),
    ],
)
def test_there_is_no_third_try(errors: tuple[str, ...]) -> None:
    """The second error, one about another's port, or of another kind, is the caller's."""
    starts = Starts(*errors)
    with pytest.raises(ClientError) as caught:
        start(World(), starts)
    assert str(caught.value) == errors[-1]
    assert len(starts.tried) == len(errors)


def test_there_is_no_next_port() -> None:
    """The range is used up: that is what the caller hears."""
    with pytest.raises(SocketPortRangeExhausted):
        start(World("10000:10002"), Starts(said(1, 10001)))
