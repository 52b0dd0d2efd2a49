"""consoled.compute.libvirt: a BREAK through QEMU's monitor, and why there is none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cells import outcome
from test_libvirt_ports import PORTS, UUID, ManualWorker, Qemu, ports, xml
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from consoled.compute.libvirt import qmp
from consoled.compute.libvirt.client import LibvirtClient
from consoled.compute.libvirt.driver import LibvirtDriver
from consoled.errors import Conflict, ConsoledError, Unavailable
from consoled.interfaces import BreakControl
from consoled.workers import InlineWorker


class BreakingQemu(Qemu):
    """A QEMU whose ports take a BREAK.

    :ivar broken: the chardevs that got one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.broken: list[str] = []

    def chardev_send_break(self, asked: Any) -> Any:
        self.broken.append(asked["arguments"]["id"])
        return {"return": {}}


def refusal(deferred: Deferred[None]) -> ConsoledError:
    """Why there was no BREAK."""
    [failure] = found(deferred)
    assert isinstance(failure, Failure)
    assert isinstance(failure.value, ConsoledError)
    return failure.value


def found(deferred: Deferred[None]) -> list[Any]:
    """What it holds, if it has fired."""
    results: list[Any] = []
    deferred.addBoth(results.append)
    return results


def test_the_command() -> None:
    """What QEMU gets, to the letter."""
    assert json.loads(qmp.send_break('a"b')) == {
        "execute": "chardev-send-break",
        "arguments": {"id": 'a"b'},
    }


def test_the_port_gets_it() -> None:
    """The chardev behind that serial port, whoever named it, and no other."""
    qemu = BreakingQemu()
    outcome(ports(qemu).send_break(UUID, 1))
    assert qemu.broken == [PORTS[1]]
    assert qemu.commands == ["chardev-send-break"]


@pytest.mark.parametrize(("text", "index"), [(xml(), 2), (xml(live=False), 0), (None, 0)])
def test_a_port_that_is_not_there(text: str | None, index: int) -> None:
    """No such port, a stopped domain, no domain: who asks reads so, and QEMU is not asked."""
    qemu = BreakingQemu()
    qemu.xml = text
    error = refusal(ports(qemu).send_break(UUID, index))
    assert isinstance(error, Conflict)
    assert str(error).startswith(f"Instance {UUID} has no serial port {index} that takes a BREAK")
    assert qemu.commands == []


@pytest.mark.parametrize("broken", ["no such command", "no domain's XML"])
def test_a_hypervisor_that_refuses(broken: str) -> None:
    """Its own words go to the log, ours to the person."""
    qemu = BreakingQemu()
    if broken == "no such command":
        answer = {"error": {"class": "CommandNotFound", "desc": "no break"}}
        qemu.chardev_send_break = lambda asked: answer  # type: ignore[method-assign]  # an old QEMU
    else:
        qemu.xml = "<domain"
    with capturedLogs() as logs:
        error = refusal(ports(qemu).send_break(UUID, 0))
    assert isinstance(error, Conflict)
    assert "the log of consoled says why" in str(error)
    (log,) = logs
    assert log["cause"].startswith("CommandNotFound" if broken == "no such command" else "not well")


def test_a_hypervisor_without_qemu() -> None:
    """libvirt's test driver has no such instance."""
    error = refusal(ports(LibvirtClient("test:///default")).send_break(UUID, 0))
    assert isinstance(error, Conflict)


def test_a_qemu_that_hangs() -> None:
    """Nobody waits for it; whether the guest gets the BREAK nobody can tell then."""
    clock, worker, qemu = Clock(), ManualWorker(), BreakingQemu()
    hung: list[Deferred[None]] = []

    def hang(_asked: Any) -> Any:
        # The answer comes when the person has long been told.
        clock.advance(2)
        return {"return": {}}

    qemu.chardev_send_break = hang  # type: ignore[method-assign]  # this QEMU's own moods
    hung.append(ports(qemu, worker=worker, clock=clock).send_break(UUID, 0))
    worker.jobs[0]()
    error = refusal(hung[0])
    assert isinstance(error, Unavailable)
    assert "may have got the BREAK, or get it later" in str(error)


def test_a_break_out_of_the_blue() -> None:
    """A thread that is free again too late sends nothing: who asked has been told otherwise."""
    clock, worker, qemu = Clock(), ManualWorker(), BreakingQemu()
    asked = ports(qemu, worker=worker, clock=clock).send_break(UUID, 0)
    clock.advance(2)
    error = refusal(asked)
    assert isinstance(error, Unavailable)
    assert "may have got" not in str(error)
    worker.jobs[0]()
    assert qemu.broken == []


def test_a_caller_that_went_away() -> None:
    """Nor is one sent that nobody wants any more."""
    worker, qemu = ManualWorker(), BreakingQemu()
    asked = ports(qemu, worker=worker).send_break(UUID, 0)
    asked.cancel()
    [failure] = found(asked)
    assert failure.check(CancelledError)
    worker.jobs[0]()
    assert qemu.broken == []


def test_which_drivers_can() -> None:
    """libvirt's can where it has threads for it."""
    worker = InlineWorker()
    able = LibvirtDriver(
        "test:///default", "a", "192.0.2.7", None, worker, Clock(), monitors=[worker]
    )
    control: BreakControl | None = able.breaks
    assert control is not None
    unable = LibvirtDriver("test:///default", "a", "192.0.2.7", None, worker, Clock())
    assert unable.breaks is None
