"""consoled.compute.libvirt: the driver against libvirt's own in-process test hypervisor."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import libvirt
import pytest
from cells import outcome
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from consoled.compute.libvirt import client as client_module
from consoled.compute.libvirt.client import ClientError, DomainXMLs, LibvirtClient
from consoled.compute.libvirt.driver import LibvirtDriver
from consoled.compute.libvirt.thread import DaemonThread
from consoled.compute.reconciling import NamedPort
from consoled.errors import ConfigError, NotFound, Unavailable
from consoled.model import Console, InstanceState
from consoled.workers import InlineWorker

WEB = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0001"
OFF = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0002"
ABSENT = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b00ff"

_SERIALS = """
<serial type='tcp'><source mode='bind' host='127.0.0.1' service='10000'/>
  <protocol type='raw'/><target port='0'/></serial>
<serial type='tcp'><source mode='bind' host='0.0.0.0' service='10001'/>
  <protocol type='raw'/><target port='1'/></serial>
<serial type='pty'><target port='2'/></serial>
<serial type='file'><source path='/dev/null'/><target port='3'/></serial>
"""
_NOVA = """
<metadata><nova:instance xmlns:nova='http://openstack.org/xmlns/libvirt/nova/1.1'>
  <nova:name>web</nova:name>
  <nova:owner><nova:project uuid='p1'>demo</nova:project></nova:owner>
</nova:instance></metadata>
"""


def _domain(name: str, uuid: str, more: str = "", runstate: int = 1) -> str:
    return f"""
<domain type='test'>
  <test:runstate xmlns:test='http://libvirt.org/schemas/domain/test/1.0'>{runstate}</test:runstate>
  <name>{name}</name><uuid>{uuid}</uuid>{more}
  <memory>1048576</memory><vcpu>1</vcpu><os><type arch='i686'>hvm</type></os>
  <devices>{_SERIALS}</devices>
</domain>"""


@pytest.fixture
def uri(tmp_path: Path) -> str:
    """A hypervisor with a running and a stopped domain."""
    node = tmp_path / "node.xml"
    node.write_text(
        "<node>" + _domain("domain-1", WEB, _NOVA) + _domain("off", OFF, runstate=5) + "</node>"
    )
    return f"test://{node}"


def make(
    uri: str,
    *,
    host: str | None = "rack1",
    worker: Any = None,
    clock: Clock | None = None,
    client: Any = None,
) -> LibvirtDriver:
    options = {} if client is None else {"client": client}
    return LibvirtDriver(
        uri, host, "192.0.2.7", "fallback", worker or InlineWorker(), clock or Clock(), **options
    )


@pytest.fixture
def driver(uri: str) -> LibvirtDriver:
    return make(uri)


def raw(driver: LibvirtDriver, uuid: str = WEB) -> Any:
    """The driver's own libvirt domain, to play the operator."""
    return driver.client._connection.lookupByUUIDString(uuid)


def test_domains_become_instances(driver: LibvirtDriver) -> None:
    """Name, project, host, state and the usable serial ports of every domain."""
    off, web = outcome(driver.instances())
    assert (web.uuid, web.name, web.project_id, web.host) == (WEB, "web", "p1", "rack1")
    assert web.state is InstanceState.RUNNING
    assert web.consoles == (
        Console(0, "127.0.0.1", 10000),
        Console(1, "192.0.2.7", 10001),
        Console(2, "rack1", None),
    )
    assert web.metadata == {"domain": "domain-1", "project_name": "demo"}
    assert (off.name, off.project_id, off.state) == ("off", "fallback", InstanceState.STOPPED)
    assert off.consoles == ()


def test_the_default_test_host_works() -> None:
    """libvirt's built-in test host: one running domain, and the host's own name."""
    driver = make("test:///default", host=None)
    (one,) = outcome(driver.instances())
    assert (one.name, one.state, one.consoles) == ("test", InstanceState.RUNNING, ())
    assert one.host == libvirt.open("test:///default").getHostname()


def test_an_instance_is_looked_up_by_its_uuid(driver: LibvirtDriver) -> None:
    """In either case of its letters."""
    assert outcome(driver.instance(WEB)) == outcome(driver.instance(WEB.upper()))


@pytest.mark.parametrize("uuid", [ABSENT, "", "domain-1", "../x", WEB + "\n", WEB[:-1], "{" + WEB])
def test_an_unknown_instance_is_not_found(driver: LibvirtDriver, uuid: str) -> None:
    """Odd text never reaches libvirt."""
    with pytest.raises(NotFound):
        outcome(driver.instance(uuid))


def test_power_states_are_followed(driver: LibvirtDriver) -> None:
    """Paused keeps its ports; destroyed has none, though its persistent XML names them."""
    seen = [outcome(driver.instance(WEB))]
    for act in ("suspend", "resume", "destroy", "create"):
        getattr(raw(driver), act)()
        seen.append(outcome(driver.instance(WEB)))
    states = [one.state.value for one in seen]
    assert states == ["running", "paused", "running", "stopped", "running"]
    assert [len(one.consoles) for one in seen] == [3, 3, 3, 0, 3]


@pytest.mark.parametrize(
    ("number", "state"),
    [
        (libvirt.VIR_DOMAIN_NOSTATE, InstanceState.RUNNING),
        (libvirt.VIR_DOMAIN_BLOCKED, InstanceState.RUNNING),
        (libvirt.VIR_DOMAIN_PAUSED, InstanceState.PAUSED),
        (libvirt.VIR_DOMAIN_PMSUSPENDED, InstanceState.PAUSED),
        (libvirt.VIR_DOMAIN_SHUTDOWN, InstanceState.STOPPED),
        (libvirt.VIR_DOMAIN_SHUTOFF, InstanceState.STOPPED),
        (libvirt.VIR_DOMAIN_CRASHED, InstanceState.STOPPED),
        (99, InstanceState.STOPPED),
    ],
)
def test_every_state_of_libvirt_has_its_meaning(
    uri: str, number: int, state: InstanceState
) -> None:
    """Only a domain whose ports are its own is live; an unknown state is not."""
    driver = make(uri, client=Scripted(uri, state=number))
    found = outcome(driver.instance(WEB))
    assert found.state is state
    assert bool(found.consoles) is state.live


class Scripted(LibvirtClient):
    """The real client, over a connection that behaves as the test says."""

    def __init__(self, uri: str, **script: Any) -> None:
        super().__init__(uri)
        self.script = script

    def _opened(self) -> Any:
        connection = super()._opened()
        return _Connection(connection, self.script)


class _Connection:
    def __init__(self, real: Any, script: dict[str, Any]) -> None:
        self.real, self.script = real, script

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def lookupByUUIDString(self, uuid: str) -> Any:
        return _Domain(self.real.lookupByUUIDString(uuid), self.script)

    def listAllDomains(self) -> list[Any]:
        return [_Domain(real, self.script) for real in self.real.listAllDomains()]


class _Domain:
    def __init__(self, real: Any, script: dict[str, Any]) -> None:
        self.real, self.script = real, script

    def state(self) -> list[int]:
        return [self.script["state"], 0] if "state" in self.script else self.real.state()

    def XMLDesc(self, flags: int) -> str:
        if self.real.UUIDString() == self.script.get("vanishes"):
            self.real.destroy()
            self.real.undefine()
        if self.real.UUIDString() == self.script.get("broken"):
            return "<domain"
        return str(self.real.XMLDesc(flags))


def test_a_domain_that_vanishes_while_listing_is_left_out(uri: str) -> None:
    """Between list and XML a domain may be gone; the others are still listed."""
    driver = make(uri, client=Scripted(uri, vanishes=WEB))
    assert [one.uuid for one in outcome(driver.instances())] == [OFF]
    with pytest.raises(NotFound):
        outcome(driver.instance(WEB))


def test_one_unreadable_domain_does_not_hide_the_others(uri: str) -> None:
    """It is logged and left out."""
    driver = make(uri, client=Scripted(uri, broken=WEB))
    with capturedLogs() as logs:
        assert [one.uuid for one in outcome(driver.instances())] == [OFF]
    assert "cannot be read" in logs[0]["log_format"]


def test_what_cannot_be_used_is_logged_once(driver: LibvirtDriver) -> None:
    """A note does not come again with every request."""
    with capturedLogs() as logs:
        for _ in range(3):
            outcome(driver.instances())
            outcome(driver.instance(WEB))
    notes = [log["note"] for log in logs if "note" in log]
    assert notes == ["serial port 3 cannot be used: its type is file, neither tcp nor pty"]


def test_a_lost_connection_is_opened_again(driver: LibvirtDriver) -> None:
    """libvirtd was restarted: the next request works, without an error in between."""
    outcome(driver.instances())
    old = driver.client._connection
    old.close()
    assert outcome(driver.instance(WEB)).name == "web"
    assert driver.client._connection is not old


def test_a_hypervisor_that_is_away_says_so_and_comes_back(
    tmp_path: Path, uri: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Unavailable for each caller, one line in the log, none of libvirt's on stderr, then well."""
    node = tmp_path / "node.xml"
    hidden = node.rename(tmp_path / "hidden.xml")
    driver = make(uri)
    with capturedLogs() as logs:
        for ask in (driver.instances, lambda: driver.instance(WEB)):
            with pytest.raises(Unavailable, match="hypervisor does not answer") as caught:
                outcome(ask())
            assert str(node) not in str(caught.value)
        hidden.rename(node)
        assert outcome(driver.instance(WEB)).uuid == WEB
    said = [(log["log_format"], log["what"]) for log in logs if "what" in log]
    formats = ["{what} is away: {cause}", "{what} answers again"]
    assert said == [(said_so, f"libvirt at {uri}") for said_so in formats]
    assert "libvirt:" not in capfd.readouterr().err


def test_an_error_of_a_living_connection_is_unavailable(uri: str) -> None:
    """A failure that is not a missing domain neither reopens nor retries."""
    client = LibvirtClient(uri)
    client.hostname()
    connection = client._connection
    with pytest.raises(ClientError):
        client._asked(lambda one: one.lookupByUUIDString("no uuid"))
    assert client._connection is connection


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


def test_a_stuck_libvirtd_does_not_hang_anybody(uri: str) -> None:
    """The stuck caller gets its answer in time, later ones at once, until libvirt is back."""
    clock, worker = Clock(), ManualWorker()
    driver = make(uri, worker=worker, clock=clock)
    first, second = driver.instances(), driver.instance(WEB)
    clock.advance(4.9)
    assert not first.called
    clock.advance(0.1)
    for late in (first, second, driver.instance(WEB)):
        with pytest.raises(Unavailable):
            outcome(late)
    assert len(worker.jobs) == 2, "nothing is queued behind a stuck call"
    for job in worker.jobs:
        job()
    again = driver.instance(WEB)
    worker.jobs[2]()
    assert outcome(again).uuid == WEB
    assert clock.getDelayedCalls() == []


def test_a_caller_that_went_away_does_no_harm(uri: str) -> None:
    """A cancelled request neither fails late nor counts as stuck."""
    clock, worker = Clock(), ManualWorker()
    driver = make(uri, worker=worker, clock=clock)
    gone = driver.instances()
    gone.addErrback(lambda _: None)
    gone.cancel()
    worker.jobs[0]()
    following = driver.instance(WEB)
    worker.jobs[1]()
    assert outcome(following).uuid == WEB
    assert clock.getDelayedCalls() == []


def test_stop_closes_the_connection(uri: str) -> None:
    """In the thread that owns it, before that thread ends."""
    worker = ManualWorker()
    driver = make(uri, worker=worker)
    driver.start()
    driver.instances()
    worker.jobs[0]()
    connection = driver.client._connection
    stopped = driver.stop()
    assert not worker.stopped
    worker.jobs[1]()
    outcome(stopped)
    assert worker.stopped
    with pytest.raises(libvirt.libvirtError, match="invalid connection"):
        connection.isAlive()


def test_stop_leaves_a_stuck_call_behind(uri: str) -> None:
    """The daemon ends although libvirt never answers."""
    clock, worker = Clock(), ManualWorker()
    driver = make(uri, worker=worker, clock=clock)
    asked = driver.instances()
    clock.advance(5)
    asked.addErrback(lambda _: None)
    outcome(driver.stop())
    assert worker.stopped


def test_reload_has_nothing_to_read(driver: LibvirtDriver) -> None:
    """Every answer is live already."""
    assert driver.name == "libvirt"
    outcome(driver.reload())


def test_a_missing_library_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """libvirt is imported when the driver is made; without it the operator reads what to do."""

    def missing(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(client_module.importlib, "import_module", missing)
    with pytest.raises(ConfigError, match="needs libvirt-python"):
        make("test:///default")


class _Reactor:
    """Collects what threads hand over."""

    def __init__(self) -> None:
        self.handed: list[tuple[Any, ...]] = []
        self.some = threading.Semaphore(0)

    def callFromThread(self, fn: Any, *args: Any) -> None:
        self.handed.append((fn, *args))
        self.some.release()


def test_the_daemon_thread_runs_calls_in_order() -> None:
    """Results and errors come back through the reactor; the thread is a daemon and ends."""
    reactor: Any = _Reactor()
    worker = DaemonThread(reactor, "libvirt-test")
    names: list[threading.Thread] = []
    fine = worker.run(lambda: names.append(threading.current_thread()) or "fine")
    bad = worker.run(lambda: 1 / 0)
    worker.start()
    worker.stop()
    for _ in range(2):
        assert reactor.some.acquire(timeout=30)
    assert not fine.called
    for fn, *args in reactor.handed:
        fn(*args)
    assert outcome(fine) == "fine"
    with pytest.raises(ZeroDivisionError):
        outcome(bad)
    assert names[0].daemon
    assert names[0].name == "libvirt-test"
    names[0].join(30)
    assert not names[0].is_alive()


def test_ports_that_domains_name(driver: LibvirtDriver) -> None:
    """Of running and of stopped domains; a port on every address is where it is dialled."""
    assert outcome(driver.compute_host()) == "rack1"
    found = outcome(driver.ports_named())
    named = (NamedPort(0, "127.0.0.1", 10000), NamedPort(1, "192.0.2.7", 10001))
    assert found.host == "rack1"
    assert {(one.uuid, one.name, one.active, one.ports) for one in found.domains} == {
        (WEB, "domain-1", True, named),
        (OFF, "off", False, named),
    }
    assert [one.uuid for one in outcome(driver.ports_named(OFF)).domains] == [OFF]
    assert outcome(driver.ports_named(ABSENT)).domains == ()


def test_ports_of_the_next_start(driver: LibvirtDriver) -> None:
    """A running domain names those that it has and those of its next start, each once."""
    outcome(driver.instances())
    domain = raw(driver)
    xml = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    domain.connect().defineXML(xml.replace("'10001'", "'10005'"))
    [web] = outcome(driver.ports_named(WEB)).domains
    assert sorted((one.index, one.port) for one in web.ports or ()) == [
        (0, 10000),
        (1, 10001),
        (1, 10005),
    ]
    domain.destroy()
    [web] = outcome(driver.ports_named(WEB)).domains
    assert [one.port for one in web.ports or ()] == [10000, 10005]


def test_ports_of_an_unreadable_domain(uri: str) -> None:
    """Nothing is known of them, which is not the same as none."""

    class Client(LibvirtClient):
        """One whose XML is broken."""

        def domain_xmls(self, uuid: str | None = None) -> list[DomainXMLs]:
            return [DomainXMLs(WEB, "web", True, ("<domain",))]

    with capturedLogs() as events:
        [web] = outcome(make(uri, client=Client(uri)).ports_named()).domains
    assert web.ports is None
    assert "cannot be read" in events[0]["log_format"]


def test_ports_while_libvirt_is_away() -> None:
    """Nothing is known, so nothing may come back."""
    driver = make("test:///does/not/exist.xml")
    for question in (driver.ports_named, lambda: driver.ports_named(WEB)):
        with pytest.raises(Unavailable):
            outcome(question())


def test_gone_domains_are_told_from_unreadable_ones(uri: str) -> None:
    """Only those of which libvirt knows nothing are gone."""
    driver = make(uri)
    assert outcome(driver.gone([WEB, ABSENT, OFF])) == (ABSENT,)
    assert outcome(driver.gone([])) == ()
