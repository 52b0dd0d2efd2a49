"""consoled.db.moving: an instance on another compute host keeps its tokens, others get none."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve
from cells import ALICE, file_database, instance, memory_database, outcome

from consoled.db import instances, moving, registration
from consoled.db.database import CellDatabase
from consoled.errors import TokenInvalid
from consoled.model import Console, ConsoleAuthToken, Instance
from consoled.tokens.database import DatabaseAuthority

DRIVER = "libvirt"
HERE = evolve(
    instance(1), consoles=(Console(0, "192.0.2.1", 10000), Console(1, "192.0.2.1", 10001))
)
THERE = evolve(
    HERE,
    host="rack2",
    consoles=(Console(0, "192.0.2.2", 20000), Console(1, "192.0.2.2", 20001)),
)


class World:
    """A cell with tokens for both consoles of an instance on rack1."""

    def __init__(self, database: CellDatabase) -> None:
        self.database = database
        self.authority = DatabaseAuthority(database, 600, DRIVER)
        self.links = [self.link(HERE, index) for index in (0, 1)]

    def link(self, of: Instance, index: int = 0) -> str:
        """A new token."""
        console = of.console(index)
        assert console is not None
        return outcome(self.authority.issue(of, console, ALICE, "http://c/")).clear

    def opens(self, clear: str) -> ConsoleAuthToken:
        """What a token opens now."""
        return outcome(self.authority.validate(clear))

    def place(self, clear: str) -> tuple[str, int]:
        """Where a token leads."""
        token = self.opens(clear)
        return token.host, token.port

    def settle(self, now: Instance) -> None:
        """What a look at the instance's host writes."""
        outcome(self.database.run(moving.settle_all, [now], DRIVER))


@pytest.fixture
def world() -> World:
    """Before the move."""
    return World(memory_database())


def test_old_tokens_reach_the_same_instance(world: World) -> None:
    """All of its consoles' tokens follow, and the row names the new host."""
    world.settle(THERE)
    assert [world.place(link) for link in world.links] == [
        ("192.0.2.2", 20000),
        ("192.0.2.2", 20001),
    ]
    rows = outcome(world.database.read(instances.rows))
    assert rows[HERE.uuid]["host"] == "rack2"
    again = world.link(THERE)
    assert world.opens(again).generation == world.opens(world.links[0]).generation


def test_the_next_tenant_of_the_old_port(world: World) -> None:
    """Whoever gets it is reached by none of the old tokens."""
    world.settle(THERE)
    tenant = evolve(instance(2, place=("192.0.2.1", 10000)), host="rack1")
    link = world.link(tenant)
    assert world.opens(link).instance_uuid == tenant.uuid
    assert {world.opens(old).instance_uuid for old in world.links} == {HERE.uuid}
    assert world.place(world.links[0]) == ("192.0.2.2", 20000)


def test_twice_and_back(world: World) -> None:
    """To say it twice changes nothing; on the way back the tokens follow again."""
    world.settle(THERE)
    before = world.opens(world.links[0])
    world.settle(THERE)
    assert world.opens(world.links[0]) == before
    world.settle(HERE)
    assert world.place(world.links[0]) == ("192.0.2.1", 10000)


def test_a_new_token_is_enough(world: World) -> None:
    """Whoever asks for a token on the new host first moves the others, too."""
    world.link(THERE, 1)
    assert world.place(world.links[0]) == ("192.0.2.2", 20000)
    console = THERE.console(0)
    assert console is not None
    generation = outcome(
        world.database.run(registration.record, THERE, console, console.port, DRIVER)
    )
    assert generation == world.opens(world.links[0]).generation


def test_tokens_that_were_dead_stay_dead(world: World) -> None:
    """A place that was lost before the move gives its tokens back to nobody."""
    world.link(evolve(instance(2, place=("192.0.2.1", 10000)), host="rack1"))
    world.settle(THERE)
    with pytest.raises(TokenInvalid):
        world.opens(world.links[0])
    assert world.place(world.links[1]) == ("192.0.2.2", 20001)


def test_another_place_on_the_same_host(world: World) -> None:
    """Is no migration: a domain with another port is asked for a new link, as ever."""
    world.settle(evolve(HERE, consoles=(Console(0, "192.0.2.1", 10007),)))
    console = Console(0, "192.0.2.1", 10007)
    world.link(evolve(HERE, consoles=(console,)))
    with pytest.raises(TokenInvalid):
        world.opens(world.links[0])


def test_a_console_that_is_not_there_any_more(world: World) -> None:
    """What the domain does not have on the new host keeps the old place in the books."""
    world.settle(evolve(THERE, consoles=THERE.consoles[:1]))
    assert world.place(world.links[0]) == ("192.0.2.2", 20000)
    assert world.place(world.links[1]) == ("192.0.2.1", 10001)


def test_it_survives_a_restart(tmp_path: Path) -> None:
    """The move is in the database, whole."""
    path = tmp_path / "cell.sqlite"
    world = World(file_database(path))
    world.settle(THERE)
    later = DatabaseAuthority(file_database(path), 600, DRIVER)
    assert outcome(later.validate(world.links[0])).port == 20000
