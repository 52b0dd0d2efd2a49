"""Several compute hosts in a configuration: read, or refused with the place of the mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from consoled.compute.port_range import parse
from consoled.errors import ConfigError
from consoled.options import load
from consoled.options.declared.compute import LIBVIRT_HOST
from consoled.options.sample import sample
from consoled.settings import LibvirtHost, Settings

TWO = """\
[libvirt]
hosts = kvm1, KVM-2.example
[libvirt:kvm1]
uri = qemu+tls://kvm1/system
proxyclient_address = 192.0.2.11
port_range = 10000:10100
[libvirt:KVM-2.example]
uri = qemu+tls://kvm2/system
proxyclient_address = 192.0.2.12
"""


def settings(folder: Path, *texts: str) -> Settings:
    """What these files come to."""
    paths = [folder / f"{number}.conf" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text, encoding="utf-8")
    return load("cell1", paths, {})


def test_two_hosts(tmp_path: Path) -> None:
    """Each has its own section; ports without a range of their own are the console's."""
    found = settings(tmp_path, TWO, "[serial_console]\nport_range = 12000:12500\n")
    one = LibvirtHost("kvm1", "qemu+tls://kvm1/system", "192.0.2.11", parse("10000:10100"))
    two = LibvirtHost("KVM-2.example", "qemu+tls://kvm2/system", "192.0.2.12", parse("12000:12500"))
    assert found.compute_hosts == found.libvirt.hosts == (one, two)
    assert [host.label for host in found.compute_hosts] == ["kvm1", "KVM-2.example"]


def test_a_later_file_wins(tmp_path: Path) -> None:
    """In sections of hosts as in all others."""
    found = settings(tmp_path, TWO, "[libvirt:kvm1]\nuri = qemu+ssh://root@kvm1/system\n")
    assert found.compute_hosts[0].uri == "qemu+ssh://root@kvm1/system"


def test_one_host(tmp_path: Path) -> None:
    """Without hosts it is the one of uri, by libvirt's own name for it."""
    text = "[libvirt]\nuri = test:///default\n[serial_console]\nproxyclient_address = 192.0.2.7\n"
    [only] = settings(tmp_path, text).compute_hosts
    assert (only.name, only.uri, only.label) == (None, "test:///default", "libvirt")
    assert only.proxyclient_address == "192.0.2.7"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("kvm1, KVM", "kvm1, kvm3, KVM", "conf:2: [libvirt] hosts: 'kvm1, kvm3, KVM-2.example' "
         "names kvm3, which has no section; add [libvirt:kvm3]"),
        ("kvm1, KVM", "KVM", "conf:3: [libvirt:kvm1] is of no host; name it in [libvirt] hosts"),
        ("hosts = kvm1, KVM-2.example", "", "conf:3: [libvirt:kvm1] is of no host"),
        ("kvm1, KVM", "kvm1, Kvm1, KVM", "differ in upper and lower case only"),
        ("kvm1, KVM", "-kvm1, KVM", "holds '-kvm1', which is not a compute host's name"),
        ("uri = qemu+tls://kvm1/system\n", "", "conf:3: [libvirt:kvm1] has no uri"),
        ("proxyclient_address = 192.0.2.12\n", "",
         "conf:7: [libvirt:kvm-2.example] has no proxyclient_address"),
        ("uri = qemu+tls://kvm1/system", "uri = kvm1",
         "conf:4: [libvirt:kvm1] uri: 'kvm1' is not a libvirt URI"),
        ("10000:10100", "10000", "conf:6: [libvirt:kvm1] port_range: '10000' is not START:STOP"),
        ("port_range", "ports", "conf:6: [libvirt:kvm1] has no option 'ports'"),
        ("port_range = 10000:10100", "default_project = demo", "it belongs in [libvirt]"),
        ("kvm2/system", "kvm1/system", "conf:8: [libvirt:kvm-2.example] uri: "
         "'qemu+tls://kvm1/system' is that of kvm1, too"),
        ("192.0.2.12", "192.0.2.11", "conf:7: [libvirt:kvm-2.example] has the "
         "proxyclient_address of kvm1, and both give out ports of 10000:10100"),
        ("[libvirt]", "[libvirt]\nuri = qemu:///system",
         "conf:2: [libvirt] uri: 'qemu:///system' is not used where hosts is set"),
        ("[libvirt:kvm1]", "[libvrt:kvm1]", "conf:3: there is no section [libvrt:kvm1]"),
        ("[libvirt:kvm1]", "[libvirt:]", "conf:3: [libvirt:] is of no host"),
    ],
)  # fmt: skip
def test_what_cannot_be_used(tmp_path: Path, before: str, after: str, said: str) -> None:
    """One line says where and what."""
    assert before in TWO
    with pytest.raises(ConfigError) as caught:
        settings(tmp_path, TWO.replace(before, after, 1))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_address_with_ports_of_their_own(tmp_path: Path) -> None:
    """Two hosts behind one address are fine as long as no port is both's."""
    text = TWO.replace("192.0.2.12", "192.0.2.11\nport_range = 10100:10200")
    assert len(settings(tmp_path, text).compute_hosts) == 2


def test_the_sample_has_an_example(tmp_path: Path) -> None:
    """It can be used as it is, with its host named."""
    example = sample().split("\n#   [libvirt:kvm1]\n", maxsplit=1)[1].split("\n\n", maxsplit=1)[0]
    assert all(f"#   {option.dest} = " in example for option in LIBVIRT_HOST)
    text = "[libvirt]\nhosts = kvm1\n[libvirt:kvm1]\n" + example.replace("#   ", "")
    [host] = settings(tmp_path, text).compute_hosts
    assert (host.name, str(host.port_range)) == ("kvm1", "10000:20000")


def test_how_guests_come_there(tmp_path: Path) -> None:
    """A host may have another URI for other hosts, and a network of its own for migrations."""
    more = (
        "live_migration_uri = qemu+ssh://kvm2/system\nlive_migration_inbound_addr = 2001:db8::12\n"
    )
    one, two = settings(tmp_path, TWO + more).compute_hosts
    assert (one.live_migration_uri, one.live_migration_inbound_addr) == (None, None)
    assert two.live_migration_uri == "qemu+ssh://kvm2/system"
    assert two.live_migration_inbound_addr == "2001:db8::12"
