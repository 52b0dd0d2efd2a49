"""consoled.tokens.nova: the token authority over nova's own table."""

from __future__ import annotations

import uuid
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from cells import ALICE, PLACE, instance, outcome
from fakes import FakeDriver
from sqlalchemy import Connection, insert, select, update
from twisted.logger import capturedLogs

from consoled.compute.nova_known import NovaKnownDriver
from consoled.db import nova_tables
from consoled.db.database import CellDatabase
from consoled.db.engine import make_engine
from consoled.errors import (
    BadRequest,
    ConfigError,
    ConsoledError,
    InstanceNotRunning,
    NotFound,
    TokenInvalid,
    Unavailable,
)
from consoled.model import (
    NO_GENERATION,
    OBSERVER,
    Console,
    Instance,
    InstanceState,
    IssuedToken,
    hash_token,
)
from consoled.tokens.nova import NovaAuthority
from consoled.workers import InlineWorker

URL = "ws://127.0.0.1:6083/"
CLEAR = "b3a1c0de-0000-4000-8000-00000000feed"
RUNNING, PAUSED, SHUTDOWN = 1, 3, 4
FAR = 4_000_000_000


@pytest.fixture
def nova() -> CellDatabase:
    """An empty nova cell with two instances, made from the columns that consoled names."""
    engine = make_engine("sqlite://")
    nova_tables.metadata.create_all(engine)
    database = CellDatabase(engine, InlineWorker())
    for number in (1, 2):
        outcome(database.run(add_instance, number))
    return database


@pytest.fixture
def driver() -> FakeDriver:
    return FakeDriver([instance()])


@pytest.fixture
def authority(nova: CellDatabase, driver: FakeDriver) -> NovaAuthority:
    return NovaAuthority(nova, driver, ttl=600)


def add_instance(connection: Connection, number: int, **changes: Any) -> None:
    row = {
        "uuid": instance(number).uuid,
        "project_id": "demo",
        "display_name": "web",
        "host": "rack1",
        "power_state": RUNNING,
        "deleted": 0,
    }
    connection.execute(insert(nova_tables.instances), row | changes)


def add_token(connection: Connection, clear: str = CLEAR, **changes: Any) -> None:
    """A row as nova writes it."""
    row = {
        "token_hash": hash_token(clear),
        "console_type": "serial",
        "host": PLACE[0],
        "port": PLACE[1],
        "instance_uuid": instance().uuid,
        "expires": FAR,
        "access_url_base": URL,
    }
    connection.execute(insert(nova_tables.tokens), row | changes)


def issue(authority: NovaAuthority, one: Instance | None = None, url: str = URL) -> IssuedToken:
    one = one or instance()
    return outcome(authority.issue(one, one.consoles[0], ALICE, url))


def test_a_token_of_nova_s_opens(nova: CellDatabase, authority: NovaAuthority) -> None:
    """The row gives place and URL, the driver the index; there is no generation and no user."""
    outcome(nova.run(add_token))
    for _ in range(2):
        token = outcome(authority.validate(CLEAR))
    assert (token.instance_uuid, token.index, token.host, token.port) == (
        instance().uuid,
        0,
        *PLACE,
    )
    assert (token.access_url, token.expires, token.console_type) == (URL, FAR, "serial")
    assert (token.generation, token.user_id, token.project_id) == (NO_GENERATION, None, None)
    assert token.options == {}
    assert 0 < token.left < FAR


def test_the_time_that_is_left(nova: CellDatabase, authority: NovaAuthority) -> None:
    """It is judged by the database's clock, and is what the token was given at most."""
    left = outcome(authority.validate(issue(authority).clear)).left
    assert 0 < left <= 600


def test_the_index_is_where_the_driver_has_the_place(
    nova: CellDatabase, driver: FakeDriver, authority: NovaAuthority
) -> None:
    """A second port's token opens the second console."""
    consoles = (Console(0, "192.0.2.9", 1), Console(1, *PLACE))
    driver.known = [evolve(instance(), consoles=consoles)]
    outcome(nova.run(add_token))
    assert outcome(authority.validate(CLEAR)).index == 1


def test_issue_writes_what_nova_reads(nova: CellDatabase, authority: NovaAuthority) -> None:
    """A UUID4 in clear, its SHA-256 in the row, expiry by the database's clock."""
    issued = issue(authority)
    assert uuid.UUID(issued.clear).version == 4
    assert str(uuid.UUID(issued.clear)) == issued.clear

    def rows(connection: Connection) -> list[dict[str, Any]]:
        return [dict(row) for row in connection.execute(select(nova_tables.tokens)).mappings()]

    (row,) = outcome(nova.run(rows))
    created, expires = row.pop("created_at"), row.pop("expires")
    assert row == {
        "id": 1,
        "token_hash": hash_token(issued.clear),
        "console_type": "serial",
        "host": PLACE[0],
        "port": PLACE[1],
        "internal_access_path": None,
        "instance_uuid": instance().uuid,
        "access_url_base": URL,
    }
    assert expires == created.replace(tzinfo=UTC).timestamp() + 600
    assert issued.token.expires == expires
    assert outcome(authority.validate(issued.clear)) == issued.token


def test_an_internal_access_path_is_an_option(nova: CellDatabase, authority: NovaAuthority) -> None:
    """Whoever dials reads there that a CONNECT exchange comes first."""
    outcome(nova.run(lambda c: add_token(c, internal_access_path="/vm/7")))
    assert outcome(authority.validate(CLEAR)).options == {"internal_access_path": "/vm/7"}


@pytest.mark.parametrize(
    "changes",
    [
        {"expires": 1},
        {"console_type": "novnc"},
        {"port": PLACE[1] + 1},
        {"host": "192.0.2.77"},
        {"port": 0},
        {"internal_access_path": "/x\r\nHost: y"},
        {"instance_uuid": instance(2).uuid},
    ],
    ids=str,
)
def test_a_token_that_opens_nothing(
    nova: CellDatabase, authority: NovaAuthority, changes: dict[str, Any]
) -> None:
    """Expired, another type's, another place's, broken, or of an instance nobody knows."""
    outcome(nova.run(lambda c: add_token(c, **changes)))
    with pytest.raises(TokenInvalid):
        outcome(authority.validate(CLEAR))


@pytest.mark.parametrize("clear", ["", "unknown", "a b", "é" * 20, "x" * 513, "\udcff"])
def test_an_unknown_token(authority: NovaAuthority, clear: str) -> None:
    """Whatever stands in a URL gets the same answer, and its text is not in it."""
    with pytest.raises(TokenInvalid) as caught:
        outcome(authority.validate(clear))
    assert not clear or clear not in str(caught.value)


def test_a_stopped_instance_opens_nothing(
    nova: CellDatabase, driver: FakeDriver, authority: NovaAuthority
) -> None:
    """nova's hole: its token of a stopped instance would reach whoever got the port next."""
    outcome(nova.run(add_token))
    driver.known = [evolve(instance(), state=InstanceState.STOPPED)]
    with pytest.raises(InstanceNotRunning):
        outcome(authority.validate(CLEAR))


def test_a_moved_console_opens_nothing(
    nova: CellDatabase, driver: FakeDriver, authority: NovaAuthority
) -> None:
    """The live domain must name the token's host and port."""
    outcome(nova.run(add_token))
    driver.known = [instance(place=(PLACE[0], PLACE[1] + 5))]
    with pytest.raises(TokenInvalid, match="changed since"):
        outcome(authority.validate(CLEAR))


def test_a_place_that_went_to_another_instance(
    nova: CellDatabase, authority: NovaAuthority
) -> None:
    """A later token of another instance for the same place ends the older one's right."""
    outcome(nova.run(add_token))
    outcome(nova.run(lambda c: add_token(c, "later", instance_uuid=instance(2).uuid, expires=1)))
    with pytest.raises(TokenInvalid):
        outcome(authority.validate(CLEAR))


def test_a_later_token_of_the_same_instance(nova: CellDatabase, authority: NovaAuthority) -> None:
    """Two windows of one instance do not shut each other out."""
    outcome(nova.run(add_token))
    outcome(nova.run(lambda c: add_token(c, "later")))
    assert outcome(authority.validate(CLEAR)).port == PLACE[1]


def test_issue_refuses_what_nova_does_not_have(
    nova: CellDatabase, authority: NovaAuthority
) -> None:
    """Unknown or deleted in this cell: nova itself could do nothing with such a row."""
    with pytest.raises(NotFound, match="nova has no instance"):
        issue(authority, instance(3))
    outcome(nova.run(lambda c: c.execute(update(nova_tables.instances).values(deleted=1))))
    with pytest.raises(NotFound):
        issue(authority)


def test_no_room_for_a_role(authority: NovaAuthority) -> None:
    """A token to watch with is refused: kept without its role, it would let its user type."""
    with pytest.raises(BadRequest, match="nova's database, which has no room for a role"):
        outcome(authority.issue(instance(), instance().consoles[0], ALICE, URL, role=OBSERVER))


def test_issue_refuses_a_console_without_a_port(authority: NovaAuthority) -> None:
    """There is no room for one there; the words say what to do."""
    with pytest.raises(BadRequest, match="nova's database, which has no room for a console"):
        outcome(authority.issue(instance(), Console(0, "", None), ALICE, URL))


def test_issue_refuses_a_url_that_nova_cannot_keep(authority: NovaAuthority) -> None:
    """nova's column is narrower than ours; the words name the option."""
    with pytest.raises(ConsoledError, match="base_url"):
        issue(authority, url="http://127.0.0.1/" + "x" * 240)


def test_the_clear_token_is_in_no_repr_log_or_error(
    nova: CellDatabase, authority: NovaAuthority
) -> None:
    """Neither at issue, nor at a check that fails on a broken row."""
    with capturedLogs() as events:
        issued = issue(authority)
        outcome(nova.run(lambda c: add_token(c, port=0)))
        with pytest.raises(TokenInvalid) as caught:
            outcome(authority.validate(CLEAR))
    assert issued.clear not in repr((issued, events))
    assert CLEAR not in repr((events, caught.value))
    assert any("port is neither" in str(event.get("fault")) for event in events)


def test_a_database_that_is_away(tmp_path: Path) -> None:
    """An outage is Unavailable, never a refusal of the token."""
    engine = make_engine(f"sqlite:///{tmp_path}/missing/cell.sqlite")
    (tmp_path / "missing").write_text("not a folder")
    authority = NovaAuthority(CellDatabase(engine, InlineWorker()), FakeDriver(), 600)
    with pytest.raises(Unavailable):
        outcome(authority.validate(CLEAR))


def known(nova: CellDatabase, driver: FakeDriver) -> NovaKnownDriver:
    return NovaKnownDriver(driver, nova)


def test_the_driver_s_word_comes_first(nova: CellDatabase, driver: FakeDriver) -> None:
    """What it sees live is not mixed with what nova has."""
    outcome(nova.run(lambda c: add_token(c, port=1)))
    assert outcome(known(nova, driver).instance(instance().uuid)) == instance()
    assert outcome(known(nova, driver).instances()) == [instance()]
    assert known(nova, driver).name == "fake"


def test_an_instance_that_only_nova_knows(nova: CellDatabase) -> None:
    """On a controller: nova says that it runs, and its newest valid token where."""
    both = known(nova, FakeDriver([]))
    authority = NovaAuthority(nova, both, ttl=600)
    outcome(nova.run(lambda c: add_token(c, "old", port=1)))
    outcome(nova.run(add_token))
    outcome(nova.run(lambda c: add_token(c, "vnc", console_type="novnc", port=2)))
    outcome(nova.run(lambda c: add_token(c, "gone", port=3, expires=1)))
    assert outcome(both.instance(instance().uuid)) == instance()
    assert outcome(authority.validate(CLEAR)).index == 0
    with pytest.raises(TokenInvalid, match="changed since"):
        outcome(authority.validate("old"))


@pytest.mark.parametrize(
    ("power_state", "state"),
    [
        (RUNNING, InstanceState.RUNNING),
        (PAUSED, InstanceState.PAUSED),
        (SHUTDOWN, InstanceState.STOPPED),
        (0, InstanceState.STOPPED),
        (None, InstanceState.STOPPED),
    ],
)
def test_nova_s_power_states(
    nova: CellDatabase, power_state: int | None, state: InstanceState
) -> None:
    """Only a running or paused instance has serial ports."""
    changed = {"power_state": power_state, "display_name": None, "host": None}
    outcome(nova.run(lambda c: c.execute(update(nova_tables.instances).values(changed))))
    outcome(nova.run(add_token))
    found = outcome(known(nova, FakeDriver([])).instance(instance().uuid))
    assert (found.state, bool(found.consoles)) == (state, state.live)
    assert (found.name, found.host) == (instance().uuid, "")


def test_an_instance_that_nobody_knows(nova: CellDatabase) -> None:
    """Neither the driver nor nova, or nova has deleted it."""
    outcome(nova.run(lambda c: add_instance(c, 5, deleted=5)))
    for number in (4, 5):
        with pytest.raises(NotFound):
            outcome(known(nova, FakeDriver([])).instance(instance(number).uuid))


def test_a_driver_that_is_away_is_not_replaced(nova: CellDatabase) -> None:
    """Only an instance that it does not have is asked of nova."""
    driver = FakeDriver([instance()], error=Unavailable("libvirt does not answer"))
    with pytest.raises(Unavailable):
        outcome(known(nova, driver).instance(instance().uuid))


def test_the_rest_is_the_driver_s(nova: CellDatabase) -> None:
    """Start, reload and stop reach it."""
    both = known(nova, FakeDriver([]))
    both.start()
    assert outcome(both.reload()) is None
    assert outcome(both.stop()) is None


def test_the_check_of_the_connection(tmp_path: Path) -> None:
    """A start on a wrong database says what is missing, and makes no file."""
    missing = tmp_path / "cell.sqlite"
    with pytest.raises(ConfigError, match=r"\[nova\] connection: .* does not exist"):
        nova_tables.check(make_engine(f"sqlite:///{missing}"))
    assert not missing.exists()
    empty = tmp_path / "empty.sqlite"
    empty.touch()
    with pytest.raises(ConfigError, match="it has no table console_auth_tokens"):
        nova_tables.check(make_engine(f"sqlite:///{empty}"))
    broken = tmp_path / "broken.sqlite"
    broken.write_text("no database at all, but some text" * 100)
    with pytest.raises(ConfigError, match="cannot be opened: file is not a database"):
        nova_tables.check(make_engine(f"sqlite:///{broken}"))
    engine = make_engine(f"sqlite:///{empty}")
    nova_tables.metadata.create_all(engine)
    nova_tables.check(engine)
