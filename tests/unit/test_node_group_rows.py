"""The rows of node groups on SQLite; the other databases have tests/functional."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve
from sqlalchemy import Connection

from consoled.db import node_groups as rows
from consoled.db.engine import make_engine
from consoled.db.tables import metadata
from consoled.errors import BadRequest, Conflict
from consoled.reaching.values import GroupTemplate, Member, NodeGroup, Traits

WEB = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0001"


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    """An empty cell database."""
    engine = make_engine(f"sqlite:///{tmp_path}/cell.sqlite")
    metadata.create_all(engine)
    with engine.connect() as opened:
        yield opened
    engine.dispose()


def group(name: str, via: str | None = None, **parts: object) -> NodeGroup:
    """A proxy group whose id is its name."""
    traits = Traits(name, is_proxy=True, proxy_group_id=via)
    return evolve(NodeGroup(name, traits), **parts)


def via(name: str | None) -> rows.Change:
    """A change of the group that leads there."""
    return lambda there: evolve(there, traits=evolve(there.traits, proxy_group_id=name))


def test_what_is_kept(connection: Connection) -> None:
    """A group comes back as it was made: secrets, the order of members, hosts."""
    whole = NodeGroup(
        "a",
        Traits("é ✓", "demo", True, "jump", "key", "sealed", "word", ("ssh-ed25519 AAAA",)),
        (Member(address="10.0.0.9"), Member(instance_uuid=WEB, port=2222), Member(address="::1")),
        ("rack1", "rack2"),
    )
    assert rows.create(connection, whole) == whole
    assert rows.find(connection, "a") == whole
    assert rows.every(connection) == [whole]
    assert rows.find(connection, "b") is None
    assert rows.alter(connection, "b", via(None)) is None
    assert not rows.remove(connection, "b")
    fewer = evolve(whole, members=whole.members[::-1][:2], hosts=())
    assert rows.alter(connection, "a", lambda _: fewer) == fewer
    assert rows.find(connection, "a") == fewer
    assert rows.remove(connection, "a")
    assert rows.every(connection) == []


def test_changes_are_seen_by_their_turn(connection: Connection) -> None:
    """Who has read the groups reads them again exactly when somebody has changed something."""
    nothing = rows.changed_since(connection, None)
    assert nothing is not None
    assert (nothing.turn, dict(nothing.by_id)) == (0, {})
    assert rows.changed_since(connection, 0) is None
    made = rows.create(connection, group("a", members=(Member(WEB),), hosts=("rack1",)))
    found = rows.changed_since(connection, 0)
    assert found is not None
    assert found.by_instance == {WEB: made}
    assert found.by_host == {"rack1": made}
    assert found.named("a") == made
    assert rows.changed_since(connection, found.turn) is None


def test_circles_are_refused(connection: Connection) -> None:
    """Of any length, when they are configured, and with their names."""
    rows.create(connection, group("a"))
    rows.create(connection, group("b", "a"))
    rows.create(connection, group("c", "b"))
    with pytest.raises(Conflict, match="a is behind c is behind b is behind a"):
        rows.alter(connection, "a", via("c"))
    with pytest.raises(Conflict, match="a is behind a"):
        rows.alter(connection, "a", via("a"))
    with pytest.raises(Conflict, match="d is behind d"):
        rows.create(connection, group("d", "d"))


def test_a_way_leads_over_proxies_only(connection: Connection) -> None:
    """The named group has to exist and to be a proxy, and stays one while it is named."""
    with pytest.raises(BadRequest, match="names no node group"):
        rows.create(connection, group("a", "x"))
    rows.create(connection, group("a"))
    rows.create(connection, group("b", "a", hosts=("rack1",)))

    def no_proxy(there: NodeGroup) -> NodeGroup:
        return evolve(there, traits=evolve(there.traits, is_proxy=False))

    with pytest.raises(Conflict, match="leads to node group b"):
        rows.alter(connection, "a", no_proxy)
    with pytest.raises(BadRequest, match="hosts must be empty unless is_proxy"):
        rows.alter(connection, "b", no_proxy)
    rows.alter(connection, "b", lambda there: evolve(no_proxy(there), hosts=()))
    with pytest.raises(BadRequest, match="node group b, which is no proxy"):
        rows.create(connection, group("c", "b"))


def test_names_instances_and_hosts_are_one_group_s(connection: Connection) -> None:
    """A second group is told whose they are."""
    rows.create(connection, group("a", members=(Member(WEB),), hosts=("rack1",)))
    with pytest.raises(Conflict, match="There is a node group a already"):
        rows.create(connection, evolve(group("a"), id="other"))
    with pytest.raises(Conflict, match=f"Instance {WEB} is a member of node group a already"):
        rows.create(connection, group("b", members=(Member(WEB),)))
    with pytest.raises(Conflict, match="Node group a leads to host rack1 already"):
        rows.create(connection, group("b", hosts=("rack1",)))
    rows.create(connection, group("b", members=(Member(address="10.0.0.1"),)))
    rows.create(connection, group("c", members=(Member(address="10.0.0.1"),)))
    with pytest.raises(Conflict, match="There is a node group a already"):
        rows.alter(connection, "b", lambda there: evolve(group("a"), id=there.id))


def test_what_is_named_stays(connection: Connection) -> None:
    """A group that leads to others, or stands in a template, is not deleted."""
    rows.create(connection, group("a"))
    rows.create(connection, group("b", "a"))
    with pytest.raises(Conflict, match="leads to node group b"):
        rows.remove(connection, "a")
    rows.remove(connection, "b")
    rows.create_template(connection, GroupTemplate("t", Traits("mould", proxy_group_id="a")))
    with pytest.raises(Conflict, match="leads to node group template mould"):
        rows.remove(connection, "a")
    assert rows.remove_template(connection, "t")
    assert rows.remove(connection, "a")


def test_templates(connection: Connection) -> None:
    """They are kept and changed as groups are."""
    one = GroupTemplate("t", Traits("mould", is_proxy=True, user_name="jump"))
    assert rows.create_template(connection, one) == one
    assert rows.find_template(connection, "t") == one
    with pytest.raises(Conflict, match="There is a node group template mould already"):
        rows.create_template(connection, evolve(one, id="u"))
    with pytest.raises(BadRequest, match="names no node group"):
        rows.create_template(connection, GroupTemplate("u", Traits("x", proxy_group_id="a")))
    rows.create(connection, NodeGroup("plain", Traits("plain")))
    with pytest.raises(BadRequest, match="a node group that is no proxy"):
        rows.create_template(connection, GroupTemplate("u", Traits("x", proxy_group_id="plain")))
    other = evolve(one, traits=evolve(one.traits, user_name="other"))
    assert rows.alter_template(connection, "t", lambda _: other) == other
    assert rows.every_template(connection) == [other]
    assert rows.alter_template(connection, "x", lambda _: other) is None
    assert not rows.remove_template(connection, "x")
