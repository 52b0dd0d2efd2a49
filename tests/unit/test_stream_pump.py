"""The program that carries pty consoles: what it makes of libvirt's answers."""

from __future__ import annotations

import libvirt
import pytest

from consoled.compute.libvirt import pump

XML = """
<domain type='qemu' id='1'>
  <devices>
    <serial type='tcp'><target port='0'/><alias name='serial0'/></serial>
    <serial type='pty'><target port='3'/><alias name='serial1'/></serial>
    <serial type='pty'><target port='4'/></serial>
    <console type='pty'><target port='1'/><alias name='console1'/></console>
  </devices>
</domain>
"""


@pytest.mark.parametrize(("index", "alias"), [(0, None), (1, None), (3, "serial1"), (4, None)])
def test_the_name_of_a_pty(index: int, alias: str | None) -> None:
    """The device is found by the guest's number of the port, and only where it is a pty."""
    assert pump.alias_of(XML, index) == alias


def order(uuid: str, uri: str = "test:///default") -> dict[str, object]:
    """What the daemon asks for."""
    return {"number": 1, "uri": uri, "uuid": uuid, "index": 0}


def test_a_domain_that_is_not_there() -> None:
    """It is gone, and libvirt's own words are kept for the log."""
    with pytest.raises(pump.Refused, match="Domain not found") as caught:
        pump.opened(order("00000000-0000-4000-8000-00000000dead"), [])
    assert caught.value.kind == "gone"


def test_a_domain_without_a_pty() -> None:
    """The console is gone, though the domain is there."""
    connection = libvirt.open("test:///default")
    uuid = connection.listAllDomains()[0].UUIDString()
    connection.close()
    with pytest.raises(pump.Refused, match="no pty of a serial port 0") as caught:
        pump.opened(order(uuid), [])
    assert caught.value.kind == "gone"


def test_a_hypervisor_that_is_away() -> None:
    """Nobody answers at the URI."""
    with pytest.raises(pump.Refused) as caught:
        pump.opened(order("", "qemu+unix:///system?socket=/nowhere/libvirt-sock"), [])
    assert caught.value.kind == "away"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (libvirt.VIR_ERR_OPERATION_INVALID, "gone"),
        (libvirt.VIR_ERR_SYSTEM_ERROR, "away"),
        (libvirt.VIR_ERR_RPC, "lost"),
    ],
)
def test_what_an_error_means(code: int, kind: str) -> None:
    """A stopped domain, a connection that broke, and a stream that somebody else took."""
    error = libvirt.libvirtError("")
    error.err = (code, 0, "", 0, "", None, None, 0, 0)
    assert pump.kind_of(error) == kind
