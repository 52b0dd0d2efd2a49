"""Which node groups lead where: consoled.reaching.routes."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consoled.reaching.routes import (
    KEYS,
    NoWay,
    alternatives,
    chain,
    loop,
    merged,
    to_host,
    to_instance,
)
from consoled.reaching.values import Groups, Member, NodeGroup, Traits

WEB = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0001"
OTHER = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0002"


def group(
    name: str,
    via: str | None = None,
    *,
    proxy: bool = True,
    holds: tuple[str, ...] = (),
    hosts: tuple[str, ...] = (),
) -> NodeGroup:
    """A group whose id is its name."""
    traits = Traits(name, is_proxy=proxy, proxy_group_id=via)
    return NodeGroup(name, traits, tuple(Member(instance_uuid=uuid) for uuid in holds), hosts)


def known(*groups: NodeGroup) -> Groups:
    """These groups and no others."""
    return Groups.of(1, groups)


def names(way: tuple[NodeGroup, ...] | None) -> list[str] | None:
    """The names of a way, the outermost first."""
    return None if way is None else [one.name for one in way]


def test_the_group_that_holds_an_instance_comes_first() -> None:
    """Its node group's proxy counts more than its compute host's, and that more than the cell's."""
    groups = known(
        group("tenant"),
        group("workers", "tenant", proxy=False, holds=(WEB,)),
        group("racks", hosts=("rack1",)),
    )
    assert names(to_instance(groups, WEB, "rack1")) == ["tenant"]
    assert names(to_instance(groups, OTHER, "rack1")) == ["racks"]
    assert to_instance(groups, OTHER, "rack2") is None
    assert to_instance(groups, WEB, "rack2") != to_instance(groups, OTHER, "rack2")


def test_a_group_without_a_way_leaves_it_to_the_host() -> None:
    """An instance in a group that names no proxy group is reached as its host is."""
    groups = known(group("workers", proxy=False, holds=(WEB,)), group("racks", hosts=("rack1",)))
    assert names(to_instance(groups, WEB, "rack1")) == ["racks"]
    assert to_instance(groups, WEB, "rack2") is None


def test_a_proxy_itself_is_reached_directly() -> None:
    """Not over itself, nor over its host's or the cell's: it is what can be reached."""
    groups = known(group("tenant", holds=(WEB,), hosts=("rack1",)))
    assert names(to_instance(groups, WEB, "rack1")) == []


def test_serial_ports_follow_the_host() -> None:
    """The way to a compute host does not depend on the instance's own group."""
    groups = known(
        group("tenant"),
        group("workers", "tenant", proxy=False, holds=(WEB,)),
        group("edge"),
        group("racks", "edge", hosts=("rack1",)),
    )
    assert names(to_host(groups, "rack1")) == ["edge", "racks"]
    assert to_host(groups, "rack2") is None


def test_chains_begin_outside() -> None:
    """The group that is dialled first comes first, to any depth."""
    depth = [f"hop{n}" for n in range(40)]
    groups = [group(name, via) for via, name in itertools.pairwise(depth)]
    by_id = known(group(depth[0]), *groups).by_id
    assert names(chain(by_id, depth[-1])) == depth
    assert chain(by_id, None) == ()


def test_ways_that_lead_nowhere() -> None:
    """A missing group, one that is no proxy, and a circle are told, and never dialled around."""
    with pytest.raises(NoWay, match="is gone"):
        chain({}, "gone")
    with pytest.raises(NoWay, match="plain on the way to it is no proxy"):
        chain(known(group("plain", proxy=False)).by_id, "plain")
    with pytest.raises(NoWay, match="go round: a -> b -> a"):
        chain(known(group("a", "b"), group("b", "a")).by_id, "a")


@given(st.lists(st.integers(-1, 5), min_size=6, max_size=6), st.integers(0, 5), st.integers(0, 5))
def test_loops_are_found(ways: list[int], start: int, via: int) -> None:
    """A circle through the changed group is found exactly where following its ways comes back."""
    graph = {str(n): None if to < 0 else str(to) for n, to in enumerate(ways)}
    found = loop(graph, str(start), str(via))
    followed = {**graph, str(start): str(via)}
    at, steps = followed[str(start)], 0
    while at is not None and at != str(start) and steps < 10:
        at, steps = followed[at], steps + 1
    assert bool(found) == (at == str(start))
    if found:
        assert found[0] == found[-1] == str(start)


def test_no_loop_without_a_way() -> None:
    """A group that is reached directly closes no circle."""
    assert loop({"a": "b", "b": None}, "b", None) == ()
    assert loop({"a": None}, "a", "a") == ("a", "a")


def test_alternatives_change_as_little_as_they_can() -> None:
    """First the first node of each hop, then routes with one stand-in, then with two."""
    assert alternatives([["a1", "a2"], ["b1", "b2"]]) == [
        ("a1", "b1"),
        ("a1", "b2"),
        ("a2", "b1"),
        ("a2", "b2"),
    ]
    assert alternatives([]) == [()]


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_alternatives_are_all_routes_once(sizes: list[int]) -> None:
    """Each combination is there once, the fewer stand-ins the earlier."""
    hops = [list(range(size)) for size in sizes]
    found = alternatives(hops, 1000)
    assert sorted(found) == sorted(itertools.product(*hops))
    assert [sum(route) for route in found] == sorted(sum(route) for route in found)


def test_alternatives_are_bounded() -> None:
    """Many members of many hops cost no more than the routes that are asked for."""
    hops = [list(range(100))] * 12
    found = alternatives(hops, 40)
    assert len(found) == 40
    # Whichever hop's first node has failed, there is a route around it.
    assert all(any(route[hop] for route in found) for hop in range(12))


def test_a_template_gives_every_field() -> None:
    """is_proxy and the key included; what is given wins, and a key is one thing."""
    template = Traits(
        "gateways",
        project_id="demo",
        is_proxy=True,
        user_name="jump",
        private_key="sealed",
        passphrase="sealed too",
        known_hosts=("ssh-ed25519 AAAA",),
        proxy_group_id="edge",
    )
    assert Traits(**merged(template, {})) == template  # type: ignore[arg-type]  # fields by name
    fields = merged(template, {"name": "own", "is_proxy": False})
    assert (fields["name"], fields["is_proxy"], fields["user_name"]) == ("own", False, "jump")
    other = merged(template, {"key_file": "other"})
    assert {name: other[name] for name in KEYS} == {
        "key_file": "other",
        "private_key": None,
        "passphrase": None,
    }
