"""Which node groups lead to an instance or a compute host, as pure rules.

The specification: an instance whose node group is behind a proxy is reached over the first
member of the proxy's group, at its internal address. Here a group names the proxy group that
leads to it, so there are chains; and further members of a proxy group stand in for the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TypeVar

from consoled.reaching.values import Groups, NodeGroup, Traits

T = TypeVar("T")

Chain = tuple[NodeGroup, ...]
"""Proxy groups on a way, the outermost first; () is directly."""

MOST_ROUTES = 32
"""Routes that are looked at for one connection."""


class NoWay(Exception):
    """The groups lead nowhere; the text says why."""


def to_instance(groups: Groups, instance_uuid: str, host: str) -> Chain | None:
    """The way to an instance's own addresses; None for the cell's.

    Its node group's, else its compute host's, else the cell's. A proxy whose group names no
    way is reached directly, as the specification has it.

    :param host: the name of its compute host.
    :raises NoWay: a group is missing, or the groups go round.
    """
    own = groups.by_instance.get(instance_uuid)
    if own is not None and (own.traits.proxy_group_id is not None or own.traits.is_proxy):
        return chain(groups.by_id, own.traits.proxy_group_id)
    return to_host(groups, host)


def to_host(groups: Groups, host: str) -> Chain | None:
    """The way to the serial ports of a compute host; None for the cell's.

    :param host: its name.
    :raises NoWay: as of :func:`to_instance`.
    """
    leading = groups.by_host.get(host)
    return None if leading is None else chain(groups.by_id, leading.id)


def chain(by_id: Mapping[str, NodeGroup], last: str | None) -> Chain:
    """The proxy groups up to one of them, the outermost first.

    :param last: the group next to the target; None for none at all.
    :raises NoWay: as of :func:`to_instance`.
    """
    found: list[NodeGroup] = []
    while last is not None:
        group = by_id.get(last)
        if group is None:
            raise NoWay("a node group on the way to it is gone")
        if not group.traits.is_proxy:
            raise NoWay(f"node group {group.name} on the way to it is no proxy (is_proxy)")
        if group in found:
            raise NoWay(f"the node groups on the way to it go round: {_names([*found, group])}")
        found.append(group)
        last = group.traits.proxy_group_id
    return tuple(reversed(found))


def loop(ways: Mapping[str, str | None], start: str, via: str | None) -> tuple[str, ...]:
    """The groups of a circle that would come about; () where there is none.

    :param ways: of each group, the one that leads to it.
    :param start: the group that is to be reached...
    :param via: ...over this one.
    """
    passed = [start]
    while via is not None and via not in passed:
        passed.append(via)
        via = ways.get(via)
    return (*passed, start) if via == start else ()


def alternatives(hops: Sequence[Sequence[T]], most: int = MOST_ROUTES) -> list[tuple[T, ...]]:
    """Routes over one node of each hop, best first: the fewer stand-ins, the earlier.

    :param hops: the nodes of each hop, the first one of each before those that stand in for it.
    :param most: routes at most.
    """
    highest = sum(len(nodes) - 1 for nodes in hops)
    routes = (
        tuple(nodes[at] for nodes, at in zip(hops, places, strict=True))
        for total in range(highest + 1)
        for places in _places([len(nodes) for nodes in hops], total)
    )
    return list(islice(routes, most))


def _places(sizes: Sequence[int], total: int) -> Iterator[tuple[int, ...]]:
    """All positions, one below each size, whose sum is the total."""
    if not sizes:
        if total == 0:
            yield ()
        return
    rest = sizes[1:]
    fits = sum(size - 1 for size in rest)
    for at in range(max(0, total - fits), min(total, sizes[0] - 1) + 1):
        for following in _places(rest, total - at):
            yield (at, *following)


def merged(template: Traits, given: Mapping[str, object]) -> dict[str, object]:
    """The fields of a new group: every one of the template's, but for those that are given."""
    fields = {name: getattr(template, name) for name in TRAITS}
    if given.keys() & KEYS:
        fields |= dict.fromkeys(KEYS)
    return fields | dict(given)


TRAITS = tuple(attribute.name for attribute in Traits.__attrs_attrs__)
KEYS = frozenset({"key_file", "private_key", "passphrase"})
"""They are one key together: who gives one of them gives all."""


def _names(groups: Iterable[NodeGroup]) -> str:
    return " -> ".join(group.name for group in groups)
