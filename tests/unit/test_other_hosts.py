"""consoled.compute.other_hosts, and what InstanceKeeper makes of it: a migrated row is kept."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from attrs import define, evolve
from cells import ALICE, instance, memory_database, outcome
from fakes import FakeDriver
from twisted.internet.defer import Deferred, fail, succeed

from consoled.compute.following import Differences
from consoled.compute.instance_keeper import InstanceKeeper
from consoled.compute.other_hosts import OtherHosts
from consoled.db import instances
from consoled.errors import TokenInvalid, Unavailable
from consoled.model import Console, InstanceState
from consoled.tokens.database import DatabaseAuthority

WEB = instance(1)
MOVED = evolve(WEB, host="rack2", consoles=(Console(0, "192.0.2.2", 20000),))


@define
class Host(FakeDriver):
    """A compute host."""

    name: str = "libvirt"
    host: str = "rack1"
    away: bool = False

    def compute_host(self) -> Deferred[str]:
        """Its name."""
        return succeed(self.host)

    def gone(self, uuids: Sequence[str]) -> Deferred[tuple[str, ...]]:
        """Those that it does not have."""
        if self.away:
            return fail(Unavailable("away"))
        there = {one.uuid for one in self.known}
        return succeed(tuple(uuid for uuid in uuids if uuid not in there))


def test_what_others_have() -> None:
    """What any of them has, or all where one is away; nothing where there are no others."""
    first, second = Host([WEB]), Host([instance(2)])
    uuids = [instance(number).uuid for number in (1, 2, 3)]
    others = OtherHosts([first, second])
    assert outcome(others.have(uuids)) == frozenset(uuids[:2])
    second.away = True
    assert outcome(others.have(uuids)) == frozenset(uuids)
    assert outcome(OtherHosts([]).have(uuids)) == frozenset()


@pytest.mark.parametrize("first", ["source", "destination"])
def test_both_looks_in_any_order(first: str) -> None:
    """The source's domain vanishes: the row stays for the destination, with its tokens."""
    source, destination = Host([WEB], host="rack1"), Host([], host="rack2")
    database = memory_database()
    keepers = {
        "source": InstanceKeeper(source, database, OtherHosts([destination]).have),
        "destination": InstanceKeeper(destination, database, OtherHosts([source]).have),
    }
    outcome(keepers["source"].reconcile())
    authority = DatabaseAuthority(database, 600, "libvirt")
    console = WEB.consoles[0]
    link = outcome(authority.issue(WEB, console, ALICE, "http://c/")).clear
    destination.known = [evolve(MOVED, state=InstanceState.PAUSED)]
    assert outcome(keepers["destination"].reconcile(WEB.uuid)) == Differences()
    source.known, destination.known = [], [MOVED]
    names = ["source", "destination"]
    for name in names if first == "source" else reversed(names):
        assert outcome(keepers[name].reconcile(WEB.uuid)).missed == ()
    assert outcome(database.read(instances.rows))[WEB.uuid]["host"] == "rack2"
    token = outcome(authority.validate(link))
    assert (token.host, token.port) == ("192.0.2.2", 20000)


def test_a_domain_that_is_gone_everywhere() -> None:
    """Its row goes, as soon as every host has said so."""
    source, other = Host([WEB]), Host([], host="rack2", away=True)
    database = memory_database()
    keeper = InstanceKeeper(source, database, OtherHosts([other]).have)
    outcome(keeper.reconcile())
    authority = DatabaseAuthority(database, 600, "libvirt")
    link = outcome(authority.issue(WEB, WEB.consoles[0], ALICE, "http://c/")).clear
    source.known = []
    assert outcome(keeper.reconcile()).missed == ()
    assert WEB.uuid in outcome(database.read(instances.rows))
    other.away = False
    assert outcome(keeper.reconcile()).missed == (WEB.uuid,)
    with pytest.raises(TokenInvalid):
        outcome(authority.validate(link))
