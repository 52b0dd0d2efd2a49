"""consolectl domain migrate: what it needs, what it says, and ^C."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Event

import pytest
from attrs import evolve
from cli_client import run
from click.testing import Result
from domain_lab import hypervisor
from migration_lab import UUID, WEB

from consoled.cli import inline_engine, migration
from consoled.cli.migration import MEBIBYTE
from consoled.compute.libvirt.client import ClientError
from consoled.compute.libvirt.migrating import LibvirtMigrations
from consoled.compute.migration.values import (
    Leaving,
    Migration,
    MigrationEnded,
    Order,
    Progress,
)

OTHER = "qemu+ssh://kvm2/system"


class FakeLibvirt:
    """In the place of :class:`LibvirtMigrations`: one migration, as the test wants it."""

    found: Leaving | None = WEB
    error: Exception | None = None
    interrupts = 0
    orders: list[Order]
    aborted: Event
    left: Event

    def look(self, uri: str, name: str) -> Leaving | None:
        """The domain."""
        return self.found

    def perform(self, order: Order) -> None:
        """Waits for ^C where there is to be one."""
        self.orders.append(order)
        if self.interrupts:
            assert self.aborted.wait(60)
            assert self.interrupts == 1 or self.left.wait(60)
            raise MigrationEnded("aborted", cancelled=True)
        if self.error is not None:
            raise self.error

    def progress(self, uri: str, uuid: str) -> Progress | None:
        """A press of ^C, or how far it is."""
        if self.interrupts > 1 or (self.interrupts and not self.aborted.is_set()):
            raise KeyboardInterrupt
        return Progress(1, 2 * 1024 * 1024, 1024 * 1024)

    def abort(self, uri: str, uuid: str) -> bool:
        """^C was heard."""
        self.aborted.set()
        return True


@pytest.fixture
def libvirt(monkeypatch: pytest.MonkeyPatch) -> FakeLibvirt:
    """What migrates."""
    fake = FakeLibvirt()
    fake.orders, fake.aborted, fake.left = [], Event(), Event()
    monkeypatch.setattr(inline_engine, "LibvirtMigrations", lambda: fake)
    return fake


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """One compute host, libvirt's own in-process one, and a database with its schema."""
    path = tmp_path / "consoled.conf"
    path.write_text(
        f"[DEFAULT]\nstate_path = {tmp_path}\n"
        f"[database]\nconnection = sqlite:///{tmp_path}/cell.sqlite\n"
        "[libvirt]\nuri = test:///default\n[serial_console]\nport_range = 26500:26510\n"
    )
    assert run(["--config", str(path), "db", "upgrade"]).exit_code == 0
    return path


def migrate(config: Path, *words: str) -> Result:
    """Runs ``consolectl domain migrate web-1 WORDS``."""
    return run(["--config", str(config), "domain", "migrate", "web-1", *words])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["kvm2"], "there is no compute host 'kvm2'"),
        ([OTHER], "say with --address"),
        (["kvm2", "--host", "kvm1"], "there is no compute host 'kvm1'"),
        (["test:///default"], "already"),
    ],
)
def test_what_is_missing(config: Path, libvirt: FakeLibvirt, words: list[str], said: str) -> None:
    """A destination is a host of the configuration, or a URI with an address; not the source."""
    with hypervisor():
        done = migrate(config, *words)
    assert done.exit_code == 1
    assert said in done.stderr
    assert libvirt.orders == []


def beside(config: Path) -> Path:
    """The same with a second compute host, which is libvirt's other in-process one."""
    second = config.with_name("node.xml")
    second.write_text("<node><cpu><mhz>1</mhz></cpu></node>")
    text = config.read_text().replace("uri = test:///default", "hosts = kvm1, kvm2")
    sections = "".join(
        f"[libvirt:{name}]\nuri = {uri}\nproxyclient_address = {address}\n"
        for name, uri, address in (
            ("kvm1", "test:///default", "127.0.0.1"),
            ("kvm2", f"test://{second}", "127.0.0.2"),
        )
    )
    config.write_text(text + sections)
    return config


def test_to_a_configured_host(config: Path, libvirt: FakeLibvirt) -> None:
    """By its name: the ports are of its range, and scripts get what REST gives."""
    with hypervisor():
        done = migrate(beside(config), "kvm2", "--host", "kvm1", "--format", "json")
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["server_id"], told["state"]) == (UUID, "completed")
    assert (told["source"], told["destination"]) == ("kvm1", "kvm2")
    [order] = libvirt.orders
    assert 'host="127.0.0.2"' in order.xml
    assert [f'service="{one["port"]}"' in order.xml for one in told["ports"]] == [True, True]


def test_to_a_uri(config: Path, libvirt: FakeLibvirt) -> None:
    """To a host that the configuration does not name: its name is libvirt's, the rest is given."""
    other = config.with_name("other.xml")
    other.write_text("<node><cpu><mhz>1</mhz></cpu></node>")
    words = ["--address", "127.0.0.9", "--inbound-address", "192.0.2.10"]
    with hypervisor():
        done = migrate(beside(config), f"test://{other}", "--host", "kvm1", *words)
    assert done.exit_code == 0, done.stderr
    [order] = libvirt.orders
    assert (order.peer_uri, order.inbound_address) == (f"test://{other}", "192.0.2.10")
    assert 'host="127.0.0.9" service="265' in order.xml


def test_for_people(config: Path, libvirt: FakeLibvirt) -> None:
    """A sentence, and the ports; progress is for terminals only."""
    with hypervisor():
        done = migrate(beside(config), "kvm2", "--host", "kvm1")
    assert done.stdout.startswith("web-1 runs on kvm2 now.\n\nINDEX  PORT\n0")
    assert done.stderr == ""


def test_progress(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """On a terminal one line, written over and over; what follows begins another."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    shown = migration._Progress()
    one = Migration(UUID, "web-1", "kvm1", "kvm2")
    shown.show(one)
    for left in (100, 50):
        shown.show(evolve(one, progress=Progress(2, 200 * MEBIBYTE, left * MEBIBYTE, MEBIBYTE)))
    shown.cancelling()
    said = capsys.readouterr().err
    assert said == (
        "\rweb-1: 50 % of 200 MiB, 1.0 MiB/s, 2 s\rweb-1: 75 % of 200 MiB, 1.0 MiB/s, 2 s\n"
        "Cancelling; ^C once more leaves it to libvirt.\n"
    )


def test_a_failure(config: Path, libvirt: FakeLibvirt) -> None:
    """One line with libvirt's own reason, exit status 1; a libvirt that is lost says so."""
    libvirt.error = MigrationEnded("operation failed: no room")
    with hypervisor():
        done = migrate(beside(config), "kvm2", "--host", "kvm1")
        assert done.exit_code == 1
        assert "web-1 did not migrate to kvm2: operation failed: no room" in done.stderr
        libvirt.error = ClientError("end of file")
        done = migrate(config, "kvm2", "--host", "kvm1")
        assert "libvirt was lost in the middle" in done.stderr
        libvirt.error, libvirt.found = None, evolve(WEB, active=False)
        assert "does not run" in migrate(config, "kvm2", "--host", "kvm1").stderr


def test_interrupted(config: Path, libvirt: FakeLibvirt) -> None:
    """^C has libvirt asked for the end, and the domain stays; JSON still says what came of it."""
    libvirt.interrupts = 1
    with hypervisor():
        done = migrate(beside(config), "kvm2", "--host", "kvm1", "--format", "json")
    assert done.exit_code == 1
    assert "Cancelling" in done.stderr
    assert "the migration was cancelled; web-1 stays on kvm1" in done.stderr
    assert json.loads(done.stdout)["state"] == "cancelled"


def test_interrupted_twice(config: Path, libvirt: FakeLibvirt) -> None:
    """The command ends, and says that libvirt may go on; the ports stay reserved for that."""
    libvirt.interrupts = 2
    with hypervisor():
        done = migrate(beside(config), "kvm2", "--host", "kvm1")
    libvirt.left.set()
    assert done.exit_code == 1
    assert "Nobody waits for it. It may go on without consoled." in done.stderr


def test_another_driver(config: Path) -> None:
    """Has no domains, and says so."""
    config.write_text(config.read_text().replace("[DEFAULT]\n", "[DEFAULT]\ndriver = static\n"))
    assert "which has no domains" in migrate(config, "kvm2").stderr


def test_libvirt_s_test_hypervisor() -> None:
    """It cannot migrate peer to peer: the refusal is libvirt's, and the domain is looked at."""
    calls = LibvirtMigrations()
    with hypervisor(
        f"<domain type='test'><name>web-1</name><uuid>{UUID}</uuid><memory>1048576</memory>"
        "<os><type>hvm</type></os></domain>"
    ) as connection:
        for name in ("web-1", UUID):
            found = calls.look("test:///default", name)
            assert found is not None
            assert (found.uuid, found.active, found.busy) == (UUID, False, False)
        assert calls.look("test:///default", "web-2") is None
        assert calls.progress("test:///default", UUID) is None
        assert not calls.abort("test:///default", UUID)
        connection.lookupByName("web-1").create()
        order = Order(UUID, "web-1", "test:///default", OTHER, "::1", "<domain/>", "<domain/>")
        with pytest.raises(MigrationEnded):
            calls.perform(order)
        with pytest.raises(MigrationEnded):
            calls.perform(evolve(order, uuid=UUID.replace("1d1f", "1d1e")))
    with pytest.raises(ClientError):
        calls.look("test:///nowhere.xml", "web-1")
