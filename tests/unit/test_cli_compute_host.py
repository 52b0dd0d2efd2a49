"""consoled.cli.compute_host: the host that has a domain, of several."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event

import pytest

from consoled.cli.compute_host import host_of
from consoled.cli.failure import Failure
from consoled.compute.libvirt.client import ClientError, Definition
from consoled.compute.port_range import parse
from consoled.settings import LibvirtHost

ONE, TWO = (
    LibvirtHost(name, f"test:///{name}", "192.0.2.1", parse("1:2")) for name in ("kvm1", "kvm2")
)
PLAIN = LibvirtHost(None, "test:///default", "192.0.2.1", parse("1:2"))


def known(**active: bool) -> Callable[[LibvirtHost, str], Definition | None]:
    """What the hosts say of a domain.

    :param active: whether it runs, of each host that has it.
    """

    def ask(host: LibvirtHost, domain: str) -> Definition | None:
        if host.name not in active:
            return None
        return Definition("u", domain, "<domain/>", active[host.name], True, False)

    return ask


def test_a_host_that_is_named() -> None:
    """Nobody is asked; an unknown one is refused with those that there are."""
    assert host_of([ONE, TWO], "web", "kvm2") is TWO
    with pytest.raises(Failure, match=r"no compute host 'kvm3'.* has kvm1, kvm2"):
        host_of([ONE, TWO], "web", "kvm3")
    with pytest.raises(Failure, match="hosts has none"):
        host_of([PLAIN], "web", "kvm3")


def test_a_single_host_is_not_asked() -> None:
    """Whether it has the domain is found later, by whoever works with it."""
    assert host_of([PLAIN], "web", None) is PLAIN


def test_the_host_that_has_it() -> None:
    """Of several, the one where it runs; otherwise somebody has to say."""
    both = [ONE, TWO]
    assert host_of(both, "web", None, ask=known(kvm2=False)) is TWO
    assert host_of(both, "web", None, ask=known(kvm1=False, kvm2=True)) is TWO
    with pytest.raises(Failure, match="on several compute hosts, kvm1, kvm2: give --host NAME"):
        host_of(both, "web", None, ask=known(kvm1=False, kvm2=False))
    with pytest.raises(Failure, match=r"^no compute host has a domain web$"):
        host_of(both, "web", None, ask=known())


def test_hosts_that_do_not_answer() -> None:
    """They are named where nobody else has the domain, and disturb nobody who has it."""
    for_ever = Event()

    def ask(host: LibvirtHost, domain: str) -> Definition | None:
        if host is ONE:
            for_ever.wait()
        raise ClientError("Connection refused")

    with pytest.raises(Failure) as caught:
        host_of([ONE, TWO], "web", None, ask=ask, patience=0.1)
    for_ever.set()
    said = str(caught.value)
    assert "no compute host has a domain web" in said
    assert "kvm1 cannot be asked: no answer within 0.1 s" in said
    assert "kvm2 cannot be asked: Connection refused" in said
