"""consoled.compute.libvirt: who has a guest's serial ports, by QEMU's own word."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import libvirt
import pytest
from cells import outcome
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from consoled.compute.libvirt import qmp
from consoled.compute.libvirt.asking import Asker
from consoled.compute.libvirt.client import DomainRecord, LibvirtClient
from consoled.compute.libvirt.driver import MONITOR_TIMEOUT, LibvirtDriver
from consoled.compute.libvirt.ports import LOOKS, GuestPorts, Lane
from consoled.compute.libvirt.qmp import MonitorRefused
from consoled.compute.libvirt.xml import DomainXMLError, serial_chardevs
from consoled.interfaces import PortControl
from consoled.workers import InlineWorker

UUID = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0001"
PORTS = ("charserial0", "charua-second")


def xml(*, live: bool = True) -> str:
    """A domain with two serial ports; the second has an alias of its user's."""
    serials = "".join(
        f"<serial type='tcp'><target port='{index}'/><alias name='{chardev[4:]}'/></serial>"
        for index, chardev in enumerate(PORTS)
    )
    console = "<console type='tcp'><target port='0'/><alias name='serial0'/></console>"
    number = "id='7'" if live else ""
    return f"<domain {number}><devices>{serials}{console}</devices></domain>"


def test_chardevs_of_the_serial_ports() -> None:
    """libvirt's alias names QEMU's chardev, whoever chose the alias."""
    assert serial_chardevs(xml()) == dict(enumerate(PORTS))


def test_a_dead_domain_has_no_chardevs() -> None:
    """Its persistent XML may name anything."""
    assert serial_chardevs(xml(live=False)) == {}


@pytest.mark.parametrize(
    "serial",
    [
        "<serial><target port='0'/></serial>",
        "<serial><target port='0'/><alias name=''/></serial>",
        "<serial><alias name='serial0'/></serial>",
        "<serial><target port='x'/><alias name='serial0'/></serial>",
    ],
)
def test_a_port_without_an_alias_or_index_is_left_out(serial: str) -> None:
    """There is nothing to ask QEMU about."""
    assert serial_chardevs(f"<domain id='1'><devices>{serial}</devices></domain>") == {}


def test_chardevs_of_no_xml() -> None:
    """As for everything else that is read from a domain."""
    with pytest.raises(DomainXMLError):
        serial_chardevs("<domain")


def test_commands() -> None:
    """What QEMU gets, to the letter."""
    assert json.loads(qmp.QUERY_CHARDEV) == {"execute": "query-chardev"}
    assert json.loads(qmp.yank('a"b')) == {
        "execute": "yank",
        "arguments": {"instances": [{"type": "chardev", "id": 'a"b'}]},
    }


@pytest.mark.parametrize(
    ("filename", "held"),
    [
        ("tcp:127.0.0.1:10000,server=on <-> 127.0.0.1:55522", True),
        ("tcp:[::1]:10000,server=on <-> [::1]:55522", True),
        ("disconnected:tcp:127.0.0.1:10000,server=on", False),
        ("disconnected:tcp:127.0.0.1:10000,server=on <-> 127.0.0.1:1", False),
        ("unix:/run/monitor.sock,server=on", False),
        ("pty:/dev/pts/1", False),
        (None, False),
        (7, False),
    ],
)
def test_a_chardev_that_has_a_client(filename: object, held: bool) -> None:
    """QEMU says so in the chardev's file name."""
    found = qmp.connected([{"label": "charserial0", "filename": filename}])
    assert found == (frozenset({"charserial0"}) if held else frozenset())


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from(["label", "filename", "return", "error"]), inner)
        ),
    )
)
def test_odd_answers_do_no_harm(answer: Any) -> None:
    """Whatever JSON comes, it is read, or refused with one kind of error."""
    assert isinstance(qmp.connected(answer), frozenset)
    try:
        qmp.returned(json.dumps(answer))
    except MonitorRefused as error:
        assert str(error)


@pytest.mark.parametrize("reply", ["", "{", "[" * 100_000, '{"id": 1}', "null"])
def test_no_answer_at_all(reply: str) -> None:
    """Text that is not QEMU's."""
    with pytest.raises(MonitorRefused, match="not one of its monitor's"):
        qmp.returned(reply)


def test_an_error_of_qemu() -> None:
    """Its class and words are kept for the log."""
    with pytest.raises(MonitorRefused, match="CommandNotFound: The command yank has not"):
        qmp.returned(
            '{"error": {"class": "CommandNotFound", "desc": "The command yank has not been found"}}'
        )


class Qemu(LibvirtClient):
    """A client whose domain is a QEMU that behaves as the test says.

    :ivar clients: chardev -> how many are connected or queued there.
    :ivar commands: the names of what was executed.
    :ivar yanks: whether this QEMU is new enough.
    :ivar fill: called after each yank.
    """

    def __init__(self) -> None:
        super().__init__("test:///default")
        self.xml: str | None = xml()
        self.clients = dict.fromkeys(PORTS, 0)
        self.commands: list[str] = []
        self.yanks = True
        self.fill: Callable[[], object] = lambda: None

    def domain(self, uuid: str) -> DomainRecord | None:
        assert uuid == UUID
        return None if self.xml is None else DomainRecord(1, self.xml)

    def monitor(self, uuid: str, command: str) -> str:
        asked = json.loads(command)
        self.commands.append(asked["execute"])
        return json.dumps(getattr(self, asked["execute"].replace("-", "_"))(asked))

    def query_chardev(self, _asked: Any) -> Any:
        return {"return": [self._chardev(name) for name in PORTS]}

    def _chardev(self, name: str) -> dict[str, Any]:
        place = "tcp:127.0.0.1:1,server=on"
        state = f"{place} <-> 127.0.0.1:2" if self.clients[name] else f"disconnected:{place}"
        return {"label": name, "filename": state, "frontend-open": True}

    def yank(self, asked: Any) -> Any:
        if not self.yanks:
            return {"error": {"class": "CommandNotFound", "desc": "no yank"}}
        [instance] = asked["arguments"]["instances"]
        assert instance["type"] == "chardev"
        self.clients[instance["id"]] -= 1
        self.fill()
        return {"return": {}}


def ports(*clients: LibvirtClient, worker: Any = None, clock: Clock | None = None) -> GuestPorts:
    asker = Asker("a monitor", worker or InlineWorker(), clock or Clock(), 2.0)
    return GuestPorts([Lane(asker, client) for client in clients])


def test_ports_that_are_held() -> None:
    """The index of each port that has a client, and no other."""
    qemu = Qemu()
    seen = []
    for clients in ((0, 0), (1, 0), (0, 1), (2, 1)):
        qemu.clients = dict(zip(PORTS, clients, strict=True))
        seen.append(outcome(ports(qemu).held_ports(UUID)))
    assert seen == [frozenset(), {0}, {1}, {0, 1}]


def test_a_held_port_is_freed() -> None:
    """The client goes, and those that wait behind it; the other port is left alone."""
    for waiting in (0, 1, 2, 3):
        qemu = Qemu()
        qemu.clients = dict(zip(PORTS, (1, waiting), strict=True))
        assert outcome(ports(qemu).free_port(UUID, 1)) is True
        assert qemu.clients == dict(zip(PORTS, (1, 0), strict=True))
        assert qemu.commands.count("yank") == waiting


def test_a_port_that_fills_up_again_is_given_up() -> None:
    """Somebody who dials without end keeps the port, and the caller hears that."""
    qemu = Qemu()
    qemu.clients["charserial0"] = 1
    qemu.fill = lambda: qemu.clients.update(charserial0=1)
    assert outcome(ports(qemu).free_port(UUID, 0)) is False
    assert len(qemu.commands) == 2 * LOOKS


def test_a_queued_client_that_comes_late_is_thrown_out_too() -> None:
    """QEMU is between two clients for a moment: one empty answer proves nothing."""
    qemu = Qemu()
    qemu.clients["charserial0"] = 1
    answers: Iterator[int] = iter([1, 0, 1, 0, 0])

    def answer(_asked: Any) -> Any:
        qemu.clients["charserial0"] = next(answers)
        return {"return": [qemu._chardev(name) for name in PORTS]}

    qemu.query_chardev = answer  # type: ignore[method-assign]  # this QEMU's own moods
    assert outcome(ports(qemu).free_port(UUID, 0)) is True
    assert qemu.commands.count("yank") == 2


def test_what_is_not_there_is_not_freed() -> None:
    """No such port, a stopped domain, no domain: False, and QEMU is not even asked."""
    qemu = Qemu()
    assert outcome(ports(qemu).free_port(UUID, 2)) is False
    for text in (xml(live=False), None):
        qemu.xml = text
        assert outcome(ports(qemu).free_port(UUID, 0)) is False
        assert outcome(ports(qemu).held_ports(UUID)) == frozenset()
    assert qemu.commands == []


def test_an_old_qemu_frees_nothing() -> None:
    """Before 6.0 it had no yank; who holds the port is known all the same. Said once."""
    qemu = Qemu()
    qemu.yanks = False
    qemu.clients["charserial0"] = 1
    guests = ports(qemu)
    with capturedLogs() as logs:
        for _ in range(3):
            assert outcome(guests.free_port(UUID, 0)) is False
    assert [log["cause"] for log in logs] == ["CommandNotFound: no yank"]
    assert outcome(guests.held_ports(UUID)) == {0}


def test_a_hypervisor_without_qemu() -> None:
    """libvirt's test driver has no monitor: nothing is known, nothing breaks."""
    client = LibvirtClient("test:///default")
    [uuid] = [domain.UUIDString() for domain in libvirt.open("test:///default").listAllDomains()]
    with pytest.raises(MonitorRefused, match="not supported"):
        client.monitor(uuid, qmp.QUERY_CHARDEV)
    with pytest.raises(MonitorRefused, match="is gone"):
        client.monitor(UUID, qmp.QUERY_CHARDEV)
    assert outcome(ports(client).held_ports(uuid)) == frozenset()
    assert outcome(ports(client).free_port(uuid, 0)) is False


def test_a_lost_connection_is_opened_again_for_the_monitor() -> None:
    """libvirtd was restarted: the next question is a new connection's."""
    client = LibvirtClient("test:///default")
    client.hostname()
    old = client._connection
    old.close()
    with pytest.raises(MonitorRefused, match="is gone"):
        client.monitor(UUID, qmp.QUERY_CHARDEV)
    assert client._connection is not old


def test_a_fault_of_ours_is_logged_and_harmless() -> None:
    """A listing never fails for want of the monitor."""
    qemu = Qemu()
    qemu.xml = "<domain"
    guests = ports(qemu)
    with capturedLogs() as logs:
        assert outcome(guests.held_ports(UUID)) == frozenset()
        qemu.domain = lambda uuid: 1 / 0  # type: ignore[method-assign,assignment,return-value]  # the fault
        assert outcome(guests.held_ports(UUID)) == frozenset()
    assert [bool(log.get("log_failure")) for log in logs] == [False, True]


class ManualWorker(InlineWorker):
    """Holds each call until the test lets it run."""

    def __init__(self) -> None:
        self.jobs: list[Callable[[], None]] = []
        self.stopped = False

    def stop(self) -> None:
        self.stopped = True

    def run(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Deferred[Any]:
        result: Deferred[Any] = Deferred()

        def job() -> None:
            try:
                value = fn(*args, **kwargs)
            except Exception:
                value = Failure()
            result.callback(value)

        self.jobs.append(job)
        return result


def test_a_guest_that_hangs_is_not_waited_for() -> None:
    """Nothing is known in time, then at once, until its QEMU answers again."""
    clock, worker, qemu = Clock(), ManualWorker(), Qemu()
    qemu.clients["charserial0"] = 1
    guests = ports(qemu, worker=worker, clock=clock)
    first = guests.held_ports(UUID)
    clock.advance(1.9)
    assert not first.called
    clock.advance(0.1)
    assert outcome(first) == frozenset()
    assert outcome(guests.free_port(UUID, 0)) is False
    worker.jobs[0]()
    again = guests.held_ports(UUID)
    worker.jobs[1]()
    assert outcome(again) == {0}


def test_an_answer_that_comes_late_closes_nobody() -> None:
    """By then the port was dialled, and its client is ours."""
    clock, worker, qemu = Clock(), ManualWorker(), Qemu()
    qemu.clients["charserial0"] = 1
    asked = ports(qemu, worker=worker, clock=clock).free_port(UUID, 0)
    clock.advance(2)
    assert outcome(asked) is False
    worker.jobs[0]()
    assert qemu.commands == ["query-chardev"]
    assert qemu.clients["charserial0"] == 1


def test_a_caller_that_went_away_closes_nobody() -> None:
    """Nor does it leave anything in the log."""
    worker, qemu = ManualWorker(), Qemu()
    qemu.clients["charserial0"] = 1
    asked = ports(qemu, worker=worker).free_port(UUID, 0)
    with capturedLogs() as logs:
        asked.cancel()
        with pytest.raises(CancelledError):
            outcome(asked)
        worker.jobs[0]()
    assert qemu.commands == ["query-chardev"]
    assert logs == []


def test_a_guest_that_hangs_leaves_others_their_answers() -> None:
    """Each guest has a lane, always the same one."""
    clock, stuck, free = Clock(), ManualWorker(), InlineWorker()
    lanes = [Lane(Asker("it", worker, clock, 2.0), Open()) for worker in (stuck, free)]
    guests = GuestPorts(lanes)
    for number in range(8):
        guests.held_ports(str(number))
    hanging = len(stuck.jobs)
    assert 0 < hanging < 8
    clock.advance(2)
    for number in range(8):
        assert outcome(guests.held_ports(str(number))) == frozenset()
    assert len(stuck.jobs) == hanging


class Open(LibvirtClient):
    """A client of a hypervisor without domains."""

    def __init__(self) -> None:
        super().__init__("test:///default")

    def domain(self, uuid: str) -> DomainRecord | None:
        return None


def test_the_driver_has_the_ability() -> None:
    """With threads for it; they start and stop with the driver, and a stuck one is left."""
    workers = [ManualWorker(), ManualWorker()]
    clock, main = Clock(), InlineWorker()
    driver = LibvirtDriver(
        "test:///default", "rack1", "192.0.2.7", None, main, clock, monitors=workers
    )
    control: PortControl = driver
    driver.start()
    asked = control.held_ports(UUID)
    [busy] = [worker for worker in workers if worker.jobs]
    clock.advance(MONITOR_TIMEOUT)
    assert outcome(asked) == frozenset()
    assert outcome(driver.instances())
    stopped = driver.stop()
    for worker in workers:
        if worker is not busy:
            worker.jobs[0]()
    outcome(stopped)
    assert [worker.stopped for worker in workers] == [True, True]


def test_a_driver_without_threads_for_it() -> None:
    """It says what a driver says that cannot."""
    driver = LibvirtDriver("test:///default", "rack1", "192.0.2.7", None, InlineWorker(), Clock())
    assert outcome(driver.held_ports(UUID)) == frozenset()
    assert outcome(driver.free_port(UUID, 0)) is False
