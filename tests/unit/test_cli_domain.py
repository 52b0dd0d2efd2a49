"""consolectl domain: over libvirt's own in-process hypervisor and a cell database."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from cli_client import run
from click.testing import Result
from domain_lab import FLAGS, domain_xml, hypervisor, xml_of

from consoled.compute.port_tests import bind_test


@pytest.fixture(scope="module")
def first() -> int:
    """The first of four ports that are free, below those of outgoing connections."""
    starts = range(21000, 32000, 4)
    return next(start for start in starts if all(map(bind_test, range(start, start + 4))))


@pytest.fixture
def config(tmp_path: Path, first: int) -> Path:
    """A configuration with four ports, whose database has its schema."""
    path = tmp_path / "consoled.conf"
    path.write_text(
        f"[DEFAULT]\nstate_path = {tmp_path}\n"
        f"[database]\nconnection = sqlite:///{tmp_path}/cell.sqlite\n"
        "[libvirt]\nuri = test:///default\n"
        f"[serial_console]\nport_range = {first}:{first + 4}\n"
    )
    assert run(["--config", str(path), "db", "upgrade"]).exit_code == 0
    return path


def domain(config: Path, *words: str) -> Result:
    """Runs ``consolectl domain WORDS``."""
    return run(["--config", str(config), "domain", *words])


def test_enable_and_disable(config: Path, first: int) -> None:
    """The difference and the ports are shown; disable leaves the domain as it was."""
    with hypervisor(domain_xml()) as connection:
        before = xml_of(connection)
        done = domain(config, "enable-serial", "web-1", "--ports", "2", "--log")
        assert (done.exit_code, done.stderr) == (0, "")
        assert (
            '+      <log file="/var/log/libvirt/qemu/web-1-serial0.log" append="on"/>'
            in done.stdout
        )
        assert "hunter2" not in done.stdout
        heading, *rows = done.stdout.splitlines()[-3:]
        assert heading.split() == ["INDEX", "HOST", "PORT", "TLS", "CONSOLED'S", "LOG"]
        assert [row.split()[:5] for row in rows] == [
            [str(index), "127.0.0.1", str(first + index), "no", "yes"] for index in (0, 1)
        ]
        again = domain(config, "enable-serial", "web-1", "--ports", "2", "--log")
        assert (again.exit_code, again.stderr) == (0, "Nothing to change.\n")
        undone = domain(config, "disable-serial", "web-1")
        assert "No serial port listens on TCP." in undone.stdout
        assert xml_of(connection) == before


def test_ports_are_given_once(config: Path, first: int) -> None:
    """Another domain gets other ports; those of a domain that let them go come back."""
    other = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0002"
    with hypervisor(domain_xml(), domain_xml("web-2", other)):
        assert str(first) in domain(config, "enable-serial", "web-1", "--ports", "3").stdout
        assert str(first + 3) in domain(config, "enable-serial", "web-2").stdout
        full = domain(config, "enable-serial", "web-2", "--ports", "2")
        assert full.exit_code == 1
        assert "no free port left" in full.stderr
        assert domain(config, "disable-serial", "web-1").exit_code == 0
        assert domain(config, "enable-serial", "web-2", "--ports", "2").exit_code == 0


def test_dry_run_and_json(config: Path) -> None:
    """Scripts get the names of REST; nothing is changed, and people are told so."""
    with hypervisor(domain_xml()) as connection:
        before = xml_of(connection)
        done = domain(config, "enable-serial", "web-1", "--dry-run", "--format", "json")
        told = json.loads(done.stdout)
        assert (told["domain"], told["changed"], len(told["ports"])) == ("web-1", True, 1)
        assert "dry run" in done.stderr
        assert xml_of(connection) == before


def test_a_running_domain_of_nova_s(config: Path) -> None:
    """It is refused without --force; with it both warnings are told, apart from the outcome."""
    with hypervisor(domain_xml(nova=True)) as connection:
        running = connection.lookupByName("web-1")
        running.create()
        before = running.XMLDesc(FLAGS)
        refused = domain(config, "enable-serial", "web-1")
        assert refused.exit_code == 1
        assert refused.stderr.startswith("consolectl: web-1 is managed by nova")
        assert "force" in refused.stderr
        assert running.XMLDesc(FLAGS) == before
        done = domain(config, "enable-serial", "web-1", "--force")
        assert done.exit_code == 0
        assert "managed by nova" in done.stderr
        assert "powered off" in done.stderr


def test_start(config: Path, first: int) -> None:
    """The domain runs, and its ports are shown; a second time it is refused."""
    with hypervisor(domain_xml()) as connection:
        assert domain(config, "enable-serial", "web-1").exit_code == 0
        done = domain(config, "start", "web-1")
        assert (done.exit_code, done.stderr) == (0, "")
        assert done.stdout.splitlines()[-1].split()[:3] == ["0", "127.0.0.1", str(first)]
        assert connection.lookupByName("web-1").isActive()
        again = domain(config, "start", "web-1")
        assert again.stderr == "consolectl: web-1 runs already.\n"


def test_bad_calls(config: Path) -> None:
    """Each says what is wrong in one line."""
    with hypervisor(domain_xml()):
        unknown = domain(config, "enable-serial", "web-9")
        assert unknown.stderr == "consolectl: There is no domain web-9 on this hypervisor.\n"
        assert domain(config, "enable-serial", "web-1", "--ports", "5").exit_code == 2
    assert run(["domain", "enable-serial", "web-1"]).exit_code == 2


def test_libvirt_away_and_other_drivers(config: Path, tmp_path: Path) -> None:
    """libvirt's own reason is told; a driver without domains is named."""
    text = config.read_text()
    config.write_text(text.replace("test:///default", "test:///no/such/file"))
    away = domain(config, "enable-serial", "web-1")
    assert away.exit_code == 1
    assert "libvirt at test:///no/such/file cannot be asked: " in away.stderr
    config.write_text(text.replace("[DEFAULT]", "[DEFAULT]\ndriver = static"))
    static = domain(config, "enable-serial", "web-1")
    assert "[DEFAULT] driver is static, which has no domains" in static.stderr
    config.write_text(text.replace("cell.sqlite", "none.sqlite"))
    assert "db upgrade" in domain(config, "enable-serial", "web-1").stderr


def test_a_libvirt_that_hangs(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not waited for without end."""
    monkeypatch.setattr("consoled.cli.hypervisor.PATIENCE", 0.2)
    silent_socket = tmp_path / "silent"
    uri = f"qemu+unix:///system?socket={silent_socket}"
    config.write_text(config.read_text().replace("test:///default", uri))
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(silent_socket))
        silent.listen(1)
        hung = domain(config, "disable-serial", "web-1")
    assert hung.exit_code == 1
    assert hung.stderr == f"consolectl: libvirt at {uri} does not answer within 0.2 s\n"
