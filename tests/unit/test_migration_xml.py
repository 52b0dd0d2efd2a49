"""consoled.compute.migration.destination: a domain's serial ports at other places."""

from __future__ import annotations

import difflib

import pytest

from consoled.compute.libvirt.xml import DomainXMLError
from consoled.compute.migration.destination import listening_indexes, relocated

DOMAIN = """\
<domain type='kvm' id='4'>
  <name>web-1</name><uuid>2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0001</uuid>
  <!-- kept -->
  <devices>
    <serial type='tcp'>
      <source mode='bind' host='192.0.2.1' service='10000' tls='yes'/>
      <protocol type='raw'/>
      <log file='/var/log/web-1.log' append='on'/>
      <target type='isa-serial' port='0'/>
      <alias name='serial0'/>
    </serial>
    <serial type='tcp'>
      <source mode='bind' host='192.0.2.1' service='10001'/>
      <protocol type='telnet'/>
      <target port='3'/>
    </serial>
    <serial type='pty'><target port='1'/></serial>
    <serial type='tcp'>
      <source mode='connect' host='192.0.2.9' service='7'/><target port='2'/>
    </serial>
    <console type='tcp'>
      <source mode='bind' host='192.0.2.1' service='10000' tls='yes'/>
      <target type='serial' port='0'/>
    </console>
    <console type='tcp'>
      <source mode='bind' host='192.0.2.1' service='5000'/>
      <target type='virtio' port='0'/>
    </console>
    <graphics type='vnc' port='5900' passwd='hunter2'/>
  </devices>
</domain>"""


def test_which_ports_need_one() -> None:
    """Those that listen on TCP, whatever they speak; a pty and one that connects do not."""
    assert listening_indexes(DOMAIN) == (0, 3)


def test_only_the_places_change() -> None:
    """By the target's port, the console that repeats port 0 with it; passwords are kept."""
    after = relocated(DOMAIN, {0: ("192.0.2.2", 20000), 3: ("192.0.2.2", 20001)})
    changed = [
        line[1:].strip()
        for line in difflib.ndiff(DOMAIN.replace("'", '"').splitlines(), after.splitlines())
        if line.startswith("+ ")
    ]
    assert changed == [
        '<source mode="bind" host="192.0.2.2" service="20000" tls="yes"/>',
        '<source mode="bind" host="192.0.2.2" service="20001"/>',
        '<source mode="bind" host="192.0.2.2" service="20000" tls="yes"/>',
    ]
    assert 'passwd="hunter2"' in after


def test_a_domain_without_tcp_ports() -> None:
    """Nothing is allocated for it, and it stays as it is."""
    pty = "<domain><devices><serial type='pty'><target port='0'/></serial></devices></domain>"
    assert listening_indexes(pty) == ()
    assert relocated(pty, {}).replace('"', "'") == pty


@pytest.mark.parametrize("text", ["<domain>", "<network/>", "<domain/>"])
def test_what_is_no_domain(text: str) -> None:
    """It is refused, not guessed at."""
    with pytest.raises(DomainXMLError):
        listening_indexes(text)
    with pytest.raises(DomainXMLError):
        relocated(text, {})
