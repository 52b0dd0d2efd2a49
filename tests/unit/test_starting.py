"""consoled.compute.libvirt.starting: a domain is started, with the next port where one is taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve
from cells import outcome
from port_world import ADDRESS, HOST, World
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from consoled.compute.libvirt.asking import Asker
from consoled.compute.libvirt.client import Definition, DefinitionRefused, StartRefused
from consoled.compute.libvirt.serial_devices import enable, listening
from consoled.compute.libvirt.starting import DomainStarter, Started, started
from consoled.errors import Conflict, NotFound, SocketPortRangeExhausted, Unavailable
from consoled.workers import InlineWorker

UUID = "2f9e1b6e-3c43-4f6e-9b0a-000000000097"
BARE = f"<domain type='kvm'><name>web</name><uuid>{UUID}</uuid><devices/></domain>"
BY_HAND = BARE.replace(
    "<devices/>",
    "<devices><serial type='tcp'><source mode='bind' host='192.0.2.7' service='10001'/>"
    "<target port='0'/></serial></devices>",
)
MADE = enable(BARE, 2, {0: (ADDRESS, 10000), 1: (ADDRESS, 10001)})


def bind_error(index: int, port: int) -> str:
    """What libvirt says of a port that somebody has."""
    return (
        f"internal error: -chardev socket,id=charserial{index},host=192.0.2.7,port={port},"
        "server=on,wait=off: Failed to find an available port: Address already in use"
    )


class Client:
    """libvirt with one domain.

    :ivar errors: what its starts come to; after them it runs.
    :ivar refuses: why it takes no other definition, or None.
    """

    def __init__(self, xml: str = MADE, *errors: str) -> None:
        self.known: Definition | None = Definition(UUID, "web", xml, False, True, False)
        self.errors = list(errors)
        self.refuses: str | None = None

    def definition(self, name: str) -> Definition | None:
        """What there is."""
        return self.known

    def define(self, xml: str) -> None:
        """Changes it."""
        if self.refuses is not None:
            raise DefinitionRefused(self.refuses)
        assert self.known is not None
        self.known = evolve(self.known, xml=xml)

    def power_on(self, uuid: str) -> None:
        """Starts it."""
        assert uuid == UUID
        if self.errors:
            raise StartRefused(self.errors.pop(0))

    def ports(self) -> list[int | None]:
        """Those of its XML."""
        assert self.known is not None
        return [one.port for one in listening(self.known.xml)]


def starter(
    client: Client, world: World, noted: Callable[[str], Deferred[Any]] | None = None
) -> DomainStarter:
    """Starts that client's domain with that world's ports, whose books have its own."""
    world.allocator.settled = lambda: succeed(HOST)
    outcome(world.allocator.allocate(UUID, [0, 1]))
    clock = Clock()
    asker = Asker("libvirt", InlineWorker(), clock, 1.0)
    quiet: Callable[[str], Deferred[Any]] = lambda _: succeed(None)  # noqa: E731  # a default
    domains: Any = client
    return DomainStarter(domains, asker, world.allocator, ADDRESS, noted or quiet)


def start(client: Client, world: World | None = None) -> Started:
    """Starts it."""
    return outcome(starter(client, world or World()).start("web"))


def test_a_start() -> None:
    """Nothing of the domain is changed; the books are made to look at it."""
    client, looked = Client(), []
    note = starter(client, World(), lambda uuid: succeed(looked.append(uuid)))
    found = outcome(note.start("web"))
    assert (found.domain, found.moved, client.ports()) == ("web", {}, [10000, 10001])
    assert looked == [UUID]
    assert client.known is not None
    assert client.known.xml == MADE


def test_a_port_that_somebody_has() -> None:
    """It gets the next one in its persistent XML, and that is said."""
    client = Client(MADE, bind_error(1, 10001))
    found = start(client)
    assert (found.moved, client.ports()) == ({1: 10001}, [10000, 10002])
    assert [(one["port"], one["moved_from"]) for one in started(found)["ports"]] == [
        (10000, None),
        (10002, 10001),
    ]


@pytest.mark.parametrize(
    "errors", [[bind_error(0, 10000), bind_error(0, 10002)], ["the emulator is missing"]]
)
def test_libvirt_s_last_word(errors: list[str]) -> None:
    """A second taken port, or another reason, is told."""
    with pytest.raises(Conflict, match="libvirt does not start web") as caught:
        start(Client(MADE, *errors))
    assert errors[-1] in str(caught.value)


def test_a_port_of_somebody_s_own() -> None:
    """What consoled has not made it does not change."""
    client = Client(BY_HAND, bind_error(0, 10001))
    with pytest.raises(Conflict, match="Address already in use"):
        start(client)
    assert client.ports() == [10001]


def test_refusals() -> None:
    """A domain that is not there, runs, or whose XML is none; a definition; no next port."""
    client = Client()
    known, client.known = client.known, None
    with pytest.raises(NotFound):
        start(client)
    assert known is not None
    client.known = evolve(known, active=True)
    with pytest.raises(Conflict, match="web runs already"):
        start(client)
    with pytest.raises(Conflict, match="cannot be read"):
        start(Client("<domain"))
    client = Client(MADE, bind_error(0, 10000))
    client.refuses = "unsupported configuration"
    with pytest.raises(Conflict, match=r"take another port .*unsupported configuration"):
        start(client)
    with pytest.raises(SocketPortRangeExhausted):
        start(Client(MADE, bind_error(0, 10000)), World("10000:10002"))


def test_books_that_cannot_be_asked() -> None:
    """The domain runs all the same; the next round makes it good."""
    away = starter(Client(), World(), lambda _: fail(Unavailable("It is away.")))
    assert outcome(away.start("web")).domain == "web"
