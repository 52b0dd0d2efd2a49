"""The rows of node groups, and what must hold between them.

Whoever changes a group or a template takes the next turn first, an UPDATE of one row: so changes
wait for each other, and what one of them has checked (no circle, no instance in two groups) holds
until its COMMIT. The unique constraints are the net under that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from attrs import asdict, frozen
from sqlalchemy import Connection, Table, bindparam, delete, insert, select, update

from consoled.db.tables import (
    node_group_hosts as hosts,
)
from consoled.db.tables import (
    node_group_members as members,
)
from consoled.db.tables import (
    node_group_templates as templates,
)
from consoled.db.tables import (
    node_group_turns as turns,
)
from consoled.db.tables import (
    node_groups as groups,
)
from consoled.errors import BadRequest, Conflict
from consoled.reaching.routes import TRAITS, loop
from consoled.reaching.values import Groups, GroupTemplate, Member, NodeGroup, Traits

_TURN = update(turns).values(turn=turns.c.turn + 1)
_NOW = select(turns.c.turn)
_GRAPH = select(groups.c.id, groups.c.name, groups.c.is_proxy, groups.c.proxy_group_id)
_ELSEWHERE = (
    select(members.c.instance_uuid, groups.c.name)
    .join(groups, groups.c.id == members.c.group_id)
    .where(
        members.c.instance_uuid.in_(bindparam("some", expanding=True)),
        members.c.group_id != bindparam("own"),
    )
    .order_by(members.c.instance_uuid)
)
_LED = (
    select(hosts.c.host, groups.c.name)
    .join(groups, groups.c.id == hosts.c.group_id)
    .where(
        hosts.c.host.in_(bindparam("some", expanding=True)), hosts.c.group_id != bindparam("own")
    )
    .order_by(hosts.c.host)
)

Change = Callable[[NodeGroup], NodeGroup]
TemplateChange = Callable[[GroupTemplate], GroupTemplate]


@frozen
class _Node:
    """What the graph of groups is made of."""

    name: str
    is_proxy: bool
    via: str | None


def changed_since(connection: Connection, turn: int | None) -> Groups | None:
    """All groups, where somebody has changed one since that turn; else None.

    :param turn: None for what has been read never.
    """
    now = connection.scalar(_NOW) or 0
    if now == turn:
        return None
    # Read after the turn: a change between the two is read again in the next round.
    return Groups.of(now, every(connection))


def every(connection: Connection) -> list[NodeGroup]:
    """All groups, by name."""
    return _groups(connection, select(groups).order_by(groups.c.name))


def find(connection: Connection, group_id: str) -> NodeGroup | None:
    """One group, or None."""
    found = _groups(connection, select(groups).where(groups.c.id == group_id), group_id)
    return found[0] if found else None


def create(connection: Connection, group: NodeGroup) -> NodeGroup:
    """Adds a group.

    :raises consoled.errors.BadRequest: it names a group that is none, or no proxy.
    :raises consoled.errors.Conflict: its name, an instance or a host is another's.
    """
    _take_turn(connection)
    _check(connection, group)
    connection.execute(insert(groups), _row(group.id, group.traits))
    _insert_parts(connection, group)
    return group


def alter(connection: Connection, group_id: str, change: Change) -> NodeGroup | None:
    """Changes a group.

    :param change: makes the new group of the one that there is; what it raises changes nothing.
    :returns: the new one; None where there is no such group.
    :raises consoled.errors.BadRequest: as of :func:`create`.
    :raises consoled.errors.Conflict: as of :func:`create`; or groups would go round, or others
        name it and it would be no proxy any more.
    """
    _take_turn(connection)
    old = find(connection, group_id)
    if old is None:
        return None
    new = change(old)
    _check(connection, new)
    connection.execute(
        update(groups).where(groups.c.id == group_id).values(**_row(group_id, new.traits))
    )
    for table in (members, hosts):
        connection.execute(delete(table).where(table.c.group_id == group_id))
    _insert_parts(connection, new)
    return new


def remove(connection: Connection, group_id: str) -> bool:
    """Deletes a group; whether there was one.

    :raises consoled.errors.Conflict: another group or a template names it.
    """
    _take_turn(connection)
    for table, what in ((groups, "node group"), (templates, "node group template")):
        named = select(table.c.name).where(
            table.c.proxy_group_id == group_id, table.c.id != group_id
        )
        name = connection.scalar(named.order_by(table.c.name).limit(1))
        if name is not None:
            raise Conflict(
                f"This node group leads to {what} {name} (proxy_group_id); change that first."
            )
    return connection.execute(delete(groups).where(groups.c.id == group_id)).rowcount == 1


def every_template(connection: Connection) -> list[GroupTemplate]:
    """All templates, by name."""
    return [_template(row) for row in connection.execute(select(templates).order_by("name"))]


def find_template(connection: Connection, template_id: str) -> GroupTemplate | None:
    """One template, or None."""
    row = connection.execute(select(templates).where(templates.c.id == template_id)).one_or_none()
    return None if row is None else _template(row)


def create_template(connection: Connection, template: GroupTemplate) -> GroupTemplate:
    """Adds a template.

    :raises consoled.errors.BadRequest: it names a group that is none, or no proxy.
    :raises consoled.errors.Conflict: its name is another's.
    """
    _take_turn(connection)
    _check_template(connection, template)
    connection.execute(insert(templates), _row(template.id, template.traits))
    return template


def alter_template(
    connection: Connection, template_id: str, change: TemplateChange
) -> GroupTemplate | None:
    """Changes a template; groups that were made with it stay as they are.

    :param change: makes the new template of the one that there is.
    :returns: the new one; None where there is no such template.
    :raises consoled.errors.BadRequest: as of :func:`create_template`.
    :raises consoled.errors.Conflict: as of :func:`create_template`.
    """
    _take_turn(connection)
    old = find_template(connection, template_id)
    if old is None:
        return None
    new = change(old)
    _check_template(connection, new)
    row = _row(template_id, new.traits)
    connection.execute(update(templates).where(templates.c.id == template_id).values(**row))
    return new


def remove_template(connection: Connection, template_id: str) -> bool:
    """Deletes a template; whether there was one."""
    _take_turn(connection)
    done = connection.execute(delete(templates).where(templates.c.id == template_id))
    return done.rowcount == 1


def _take_turn(connection: Connection) -> None:
    if connection.execute(_TURN).rowcount == 0:
        connection.execute(insert(turns), {"id": 1, "turn": 1})


def _check(connection: Connection, group: NodeGroup) -> None:
    graph = {
        row.id: _Node(row.name, row.is_proxy, row.proxy_group_id)
        for row in connection.execute(_GRAPH)
    }
    traits = group.traits
    if any(node.name == traits.name and other != group.id for other, node in graph.items()):
        raise Conflict(f"There is a node group {traits.name} already; give another name.")
    if not traits.is_proxy:
        led = sorted(node.name for node in graph.values() if node.via == group.id)
        if led:
            raise Conflict(
                f"This node group leads to node group {led[0]} (proxy_group_id), so it has to be "
                "a proxy; change that first."
            )
        if group.hosts:
            raise BadRequest("hosts must be empty unless is_proxy is true: nothing leads to them.")
    _check_via(graph, group.id, traits)
    _check_apart(connection, group)


def _check_via(graph: Mapping[str, _Node], group_id: str, traits: Traits) -> None:
    via = traits.proxy_group_id
    if via is None:
        return
    round_ = loop({other: node.via for other, node in graph.items()}, group_id, via)
    if round_:
        names = [graph[one].name if one != group_id else traits.name for one in round_]
        raise Conflict(
            f"Node groups would go round: {' is behind '.join(names)}. Leave out one of the "
            "proxy_group_id."
        )
    if via not in graph:
        raise BadRequest("proxy_group_id names no node group.")
    if not graph[via].is_proxy:
        raise BadRequest(
            f"proxy_group_id names node group {graph[via].name}, which is no proxy; set its "
            "is_proxy first."
        )


def _check_apart(connection: Connection, group: NodeGroup) -> None:
    uuids = [m.instance_uuid for m in group.members if m.instance_uuid is not None]
    for statement, some, what in (
        (_ELSEWHERE, uuids, "Instance {} is a member of node group {} already; an instance is in "),
        (_LED, list(group.hosts), "Node group {1} leads to host {0} already; a host names "),
    ):
        other = connection.execute(statement, {"some": some, "own": group.id}).first()
        if other is not None:
            raise Conflict(what.format(*other) + "one group only.")


def _check_template(connection: Connection, template: GroupTemplate) -> None:
    same = select(templates.c.id).where(
        templates.c.name == template.traits.name, templates.c.id != template.id
    )
    if connection.scalar(same) is not None:
        raise Conflict(
            f"There is a node group template {template.traits.name} already; give another name."
        )
    via = template.traits.proxy_group_id
    if via is not None:
        is_proxy = connection.scalar(select(groups.c.is_proxy).where(groups.c.id == via))
        if not is_proxy:
            what = "no node group" if is_proxy is None else "a node group that is no proxy"
            raise BadRequest(f"proxy_group_id names {what}.")


def _row(row_id: str, traits: Traits) -> dict[str, Any]:
    return {"id": row_id, **asdict(traits), "known_hosts": list(traits.known_hosts)}


def _insert_parts(connection: Connection, group: NodeGroup) -> None:
    rows: list[tuple[Table, list[dict[str, Any]]]] = [
        (members, [_member_row(group.id, *one) for one in enumerate(group.members)]),
        (hosts, [{"group_id": group.id, "host": host} for host in group.hosts]),
    ]
    for table, new in rows:
        if new:
            connection.execute(insert(table), new)


def _member_row(group_id: str, position: int, member: Member) -> dict[str, Any]:
    return {"group_id": group_id, "position": position, **asdict(member)}


def _groups(connection: Connection, which: Any, only: str | None = None) -> list[NodeGroup]:
    rows = connection.execute(which).all()
    if not rows:
        return []
    nodes, led = select(members).order_by(members.c.position), select(hosts).order_by(hosts.c.host)
    if only is not None:
        nodes, led = nodes.where(members.c.group_id == only), led.where(hosts.c.group_id == only)
    by_group = _by_group(connection.execute(nodes))
    hosts_of = _by_group(connection.execute(led))
    return [
        NodeGroup(
            row.id,
            _traits(row),
            tuple(Member(m.instance_uuid, m.address, m.port) for m in by_group.get(row.id, ())),
            tuple(one.host for one in hosts_of.get(row.id, ())),
        )
        for row in rows
    ]


def _by_group(rows: Iterable[Any]) -> dict[str, Sequence[Any]]:
    found: dict[str, list[Any]] = {}
    for row in rows:
        found.setdefault(row.group_id, []).append(row)
    return dict(found)


def _template(row: Any) -> GroupTemplate:
    return GroupTemplate(row.id, _traits(row))


def _traits(row: Any) -> Traits:
    values = {name: getattr(row, name) for name in TRAITS}
    return Traits(**values | {"known_hosts": tuple(row.known_hosts)})
