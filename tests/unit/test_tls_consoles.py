"""Consoles that speak TLS, from where they are declared to the token and the opening."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve
from cells import ALICE, instance, memory_database, outcome
from domain_lab import WEB, configurator, domain_xml, hypervisor
from fakes import FakeDriver
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from consoled.compute.inventory import parse_inventory
from consoled.compute.libvirt.configuring import Wish
from consoled.compute.libvirt.xml import parse_domain
from consoled.errors import BackendUnreachable, ConfigError, TokenInvalid
from consoled.model import Console, Instance
from consoled.options import load
from consoled.proxy.hangup import NORMAL, why_hung_up
from consoled.proxy.opening import console_of
from consoled.settings import Libvirt
from consoled.tokens.database import DatabaseAuthority
from tools.lab.authority import Authority

URL = "http://127.0.0.1:6083/serial.html"
AUTHORITY = Authority()

DOMAIN = """
<domain id='1'><name>web-1</name><uuid>2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0001</uuid><devices>
<serial type='tcp'><source mode='bind' host='127.0.0.1' service='10000' {tls}/>
<protocol type='raw'/><target port='0'/></serial></devices></domain>
"""

INVENTORY = """
instances:
  - uuid: 2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0001
    name: web-1
    host: rack1
    serial: [127.0.0.1:7000, 127.0.0.1:7001]
    {tls}
"""


@pytest.mark.parametrize(
    ("attribute", "tls"), [("tls='yes'", True), ("tls='no'", False), ("", False)]
)
def test_in_a_domain(attribute: str, tls: bool) -> None:
    """``tls='yes'`` on the source is what libvirt has for it."""
    facts = parse_domain(DOMAIN.format(tls=attribute), proxyclient_address="192.0.2.1")
    assert facts.consoles == (Console(0, "127.0.0.1", 10000, tls=tls),)


@pytest.mark.parametrize(("line", "tls"), [("tls: true", True), ("tls: no", False), ("", False)])
def test_in_an_inventory(line: str, tls: bool) -> None:
    """``tls`` says it of all consoles of an instance."""
    [web] = parse_inventory(INVENTORY.format(tls=line), "inventory.yaml")
    assert [console.tls for console in web.consoles] == [tls, tls]


def test_in_a_bad_inventory() -> None:
    """Something that is no yes or no is refused with its line."""
    with pytest.raises(ConfigError, match=r"inventory\.yaml:7: tls 'perhaps' is neither true"):
        parse_inventory(INVENTORY.format(tls="tls: perhaps"), "inventory.yaml")


def spoken(one: Instance, *, tls: bool) -> Instance:
    """The instance, with TLS at its consoles or without."""
    return evolve(one, consoles=tuple(evolve(console, tls=tls) for console in one.consoles))


@pytest.mark.parametrize("tls", [True, False])
def test_in_a_token(tls: bool) -> None:
    """It is one of the token's options, by the specification's name, and only where it is so."""
    authority = DatabaseAuthority(memory_database(), ttl=600, driver="static")
    web = spoken(instance(), tls=tls)
    issued = outcome(authority.issue(web, web.consoles[0], ALICE, URL))
    found = outcome(authority.validate(issued.clear))
    assert found.options == ({"usetls": True} if tls else {})
    assert console_of(found, web) == web.consoles[0]


def test_no_way_back_to_plain() -> None:
    """A token for a console with TLS opens none without; the other way round it does."""
    authority = DatabaseAuthority(memory_database(), ttl=600, driver="static")
    secure, plain = spoken(instance(), tls=True), spoken(instance(), tls=False)
    issued = outcome(authority.issue(secure, secure.consoles[0], ALICE, URL))
    with pytest.raises(TokenInvalid):
        console_of(issued.token, plain)
    issued = outcome(authority.issue(plain, plain.consoles[0], ALICE, URL))
    assert console_of(issued.token, secure).tls


def test_enabled_where_consoled_knows_the_authority() -> None:
    """Nobody is warned of what is set up."""
    with hypervisor(domain_xml()):
        domains = configurator()
        domains.opens_tls = True
        change = outcome(domains.enable(WEB, Wish(tls=True)))
        assert (change.warnings, [port.tls for port in change.ports]) == ((), [True])


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("it may not accept", (BackendUnreachable.close_code, "it may not accept")),
        ("", (NORMAL, "The console's port closed the connection.")),
    ],
)
def test_why_it_hung_up(fault: str, told: tuple[int, str]) -> None:
    """Of a guest that still runs, the transport's reason is told where it has one."""
    clock, one = Clock(), instance()
    why = Deferred.fromCoroutine(why_hung_up(FakeDriver([one]), one.uuid, clock, fault))
    clock.advance(1)
    assert outcome(why) == told


# Options


def written(folder: Path) -> dict[str, Path]:
    """The three files."""
    ca = folder / "ca.pem"
    ca.write_bytes(AUTHORITY.pair.cert_pem)
    cert, key = AUTHORITY.issue("client", ["consoled"]).write(folder, "client")
    return {"chardev_tls_ca": ca, "chardev_tls_cert": cert, "chardev_tls_key": key}


def loaded(folder: Path, **options: object) -> Libvirt:
    """[libvirt] with these options."""
    path = folder / "consoled.conf"
    lines = "".join(f"{name} = {value}\n" for name, value in options.items())
    path.write_text(f"[libvirt]\n{lines}")
    return load("cell1", [path], {}).libvirt


def test_options(tmp_path: Path) -> None:
    """The files and the name reach the settings; nothing is set by itself."""
    group = loaded(tmp_path, **written(tmp_path), chardev_tls_verify_name="Hypervisors.test")
    assert (group.chardev_tls_ca, group.chardev_tls_cert, group.chardev_tls_key) == tuple(
        written(tmp_path).values()
    )
    assert group.chardev_tls_verify_name == "hypervisors.test"
    assert loaded(tmp_path) == Libvirt()


@pytest.mark.parametrize(
    ("dropped", "words"),
    [
        ({"chardev_tls_ca"}, r"chardev_tls_cert: .* is of no use alone; set chardev_tls_ca"),
        ({"chardev_tls_cert"}, r"chardev_tls_key: .* is of no use alone; set chardev_tls_cert"),
    ],
)
def test_options_that_need_another(tmp_path: Path, dropped: set[str], words: str) -> None:
    """A certificate without an authority, and a key without a certificate, are mistakes."""
    options = {name: path for name, path in written(tmp_path).items() if name not in dropped}
    with pytest.raises(ConfigError, match=words):
        loaded(tmp_path, **options)


@pytest.mark.parametrize("option", ["chardev_tls_ca", "chardev_tls_cert", "chardev_tls_key"])
@pytest.mark.parametrize("content", [None, b"nonsense"])
def test_options_with_bad_files(tmp_path: Path, option: str, content: bytes | None) -> None:
    """``--check-config`` and a start name the option and the file."""
    files = written(tmp_path)
    if content is None:
        files[option].unlink()
    else:
        files[option].write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, **files)
    assert f"[libvirt] {option}: '{files[option]}' " in str(caught.value)
