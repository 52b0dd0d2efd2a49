"""consoled.tokens.database: the token authority over the cell database."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from attrs import evolve
from cells import ALICE, PLACE, file_database, instance, memory_database, outcome
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, insert, select, text, update
from twisted.logger import capturedLogs

from consoled.db import instances, tables
from consoled.db.clock import epoch_seconds
from consoled.db.database import CellDatabase
from consoled.errors import TokenInvalid, Unavailable
from consoled.model import (
    OBSERVER,
    Caller,
    Console,
    Instance,
    InstanceState,
    IssuedToken,
    hash_token,
)
from consoled.tokens.database import DatabaseAuthority

URL = "http://127.0.0.1:6083/serial.html"
TOKENS = tables.console_auth_tokens


@pytest.fixture
def cell() -> CellDatabase:
    return memory_database()


@pytest.fixture
def authority(cell: CellDatabase) -> DatabaseAuthority:
    return DatabaseAuthority(cell, ttl=600, driver="static")


def issue(
    authority: DatabaseAuthority, one: Instance | None = None, caller: Caller = ALICE
) -> IssuedToken:
    one = one or instance()
    return outcome(authority.issue(one, one.consoles[0], caller, URL))


def refused(authority: DatabaseAuthority, clear: str) -> str:
    with pytest.raises(TokenInvalid) as caught:
        outcome(authority.validate(clear))
    return str(caught.value)


def test_a_token_opens_what_it_was_issued_for(authority: DatabaseAuthority) -> None:
    """Validation gives back all that was issued, and does so again: a token is reusable."""
    issued = issue(authority)
    for _ in range(2):
        token = outcome(authority.validate(issued.clear))
        assert token == issued.token
    assert (token.instance_uuid, token.index, token.host, token.port) == (
        instance().uuid,
        0,
        *PLACE,
    )
    assert (token.access_url, token.project_id, token.user_id) == (URL, "demo", "alice")
    assert (token.generation, token.console_type) == (1, "serial")


def test_each_token_is_new_and_long(authority: DatabaseAuthority) -> None:
    """256 random bits in characters that need no quoting in a URL."""
    clear = {issue(authority).clear for _ in range(20)}
    assert len(clear) == 20
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", one) for one in clear)


def test_only_the_hash_is_stored(authority: DatabaseAuthority, cell: CellDatabase) -> None:
    """The clear token is in no column of any table."""
    issued = issue(authority)

    def dump(connection: Connection) -> str:
        return "\n".join(
            repr(connection.execute(select(table)).all()) for table in tables.metadata.sorted_tables
        )

    dumped = outcome(cell.read(dump))
    assert issued.clear not in dumped
    assert hash_token(issued.clear) in dumped


def test_the_database_s_clock_sets_the_end(
    authority: DatabaseAuthority, cell: CellDatabase
) -> None:
    """``expires`` is the database's now plus the ttl, in whole seconds."""

    def now(connection: Connection) -> int:
        return int(connection.execute(select(epoch_seconds())).scalar_one())

    before = outcome(cell.read(now))
    expires = issue(authority).token.expires
    assert before + 600 <= expires <= outcome(cell.read(now)) + 600


@pytest.mark.parametrize(("left", "valid"), [(60, True), (0, False), (-1, False)])
def test_a_token_ends_exactly_then(
    authority: DatabaseAuthority, cell: CellDatabase, left: int, valid: bool
) -> None:
    """Valid while ``expires > now``, by the database's clock, without grace."""
    issued = issue(authority)
    statement = update(TOKENS).values(expires=epoch_seconds() + left)
    outcome(cell.run(lambda connection: connection.execute(statement).rowcount))
    if valid:
        assert outcome(authority.validate(issued.clear)).token_hash == issued.token.token_hash
    else:
        refused(authority, issued.clear)


def test_a_token_survives_a_restart(tmp_path: Path) -> None:
    """What one daemon issued, the next one on the same file accepts."""
    path = tmp_path / "cell.sqlite"
    first = file_database(path)
    issued = issue(DatabaseAuthority(first, 600))
    first.stop()
    second = file_database(path)
    assert outcome(DatabaseAuthority(second, 600).validate(issued.clear)) == issued.token
    second.stop()


def test_another_instance_at_the_place_ends_old_tokens(authority: DatabaseAuthority) -> None:
    """A port that went to the next tenant never opens with the last one's token (T4)."""
    old = issue(authority, instance(1))
    new = issue(authority, instance(2))
    refused(authority, old.clear)
    assert outcome(authority.validate(new.clear)).instance_uuid == instance(2).uuid


def test_a_place_that_comes_back_does_not_revive_old_tokens(authority: DatabaseAuthority) -> None:
    """The generation has grown twice by then; only the newest token opens."""
    old = issue(authority, instance(1))
    issue(authority, instance(2))
    new = issue(authority, instance(1))
    refused(authority, old.clear)
    assert outcome(authority.validate(new.clear)).generation == 3


def test_a_deleted_instance_ends_its_tokens(
    authority: DatabaseAuthority, cell: CellDatabase
) -> None:
    """The instance's row takes its tokens, and a new one of that uuid does not revive them."""
    old = issue(authority)
    outcome(cell.run(instances.remove, instance().uuid))
    refused(authority, old.clear)
    issue(authority)
    refused(authority, old.clear)


def test_a_token_of_another_generation_is_refused(
    authority: DatabaseAuthority, cell: CellDatabase
) -> None:
    """The generation in the row counts, not only the place."""
    issued = issue(authority)
    statement = update(TOKENS).values(generation=2)
    outcome(cell.run(lambda connection: connection.execute(statement).rowcount))
    refused(authority, issued.clear)


def test_a_console_that_moved_ends_its_old_tokens(authority: DatabaseAuthority) -> None:
    """The same console at a new port: the old token would dial the wrong place."""
    old = issue(authority)
    new = issue(authority, instance(place=("127.0.0.1", 10001)))
    refused(authority, old.clear)
    assert outcome(authority.validate(new.clear)).port == 10001


def test_consoles_of_an_instance_are_apart(authority: DatabaseAuthority) -> None:
    """Two ports of one instance have a token each, and neither ends the other's."""
    two = evolve(instance(), consoles=(Console(0, *PLACE), Console(1, "127.0.0.1", 10001)))
    issued = [
        outcome(authority.issue(two, console, ALICE, URL)) for console in two.consoles for _ in "ab"
    ]
    found = [outcome(authority.validate(one.clear)).index for one in issued]
    assert found == [0, 0, 1, 1]


@pytest.mark.parametrize(
    "odd",
    ["", " ", "a b", "a" * 513, "\0", "t\u00f6ken", "\udcff", "a\n", "\r\nX: y", "\u2028"],
)
def test_odd_input_never_reaches_the_database(odd: str) -> None:
    """It is refused with the text of any unknown token, before anything is looked up."""
    away = memory_database()
    with away.engine.begin() as connection:
        connection.execute(text("DROP TABLE console_auth_tokens"))
    authority = DatabaseAuthority(away, 600)
    with pytest.raises(Unavailable):
        outcome(authority.validate("plausible"))
    assert (
        refused(authority, odd)
        == "This console link is not valid, or has expired; ask for a new one."
    )


@given(st.text(max_size=600))
def test_no_text_is_a_token_by_accident(clear: str) -> None:
    """Whatever comes in the query, the answer is the one refusal."""
    refused(_SHARED, clear)


_SHARED = DatabaseAuthority(memory_database(), 600)


def test_a_uuid_is_looked_up(authority: DatabaseAuthority, cell: CellDatabase) -> None:
    """nova's tokens are UUIDs; such a row opens as well."""
    clear = "0a6cb9f2-6c11-4bd3-8f5d-1b4f5a0a7e10"
    outcome(cell.run(_rename, issue(authority).token.token_hash, hash_token(clear)))
    assert outcome(authority.validate(clear)).index == 0


def _rename(connection: Connection, old: str, new: str) -> None:
    connection.execute(update(TOKENS).where(TOKENS.c.token_hash == old).values(token_hash=new))


def test_nobody_s_instance_can_have_a_token(authority: DatabaseAuthority) -> None:
    """An instance without a project, asked for by someone without one."""
    ownerless = evolve(instance(), project_id=None)
    issued = issue(authority, ownerless, Caller("root", None))
    assert outcome(authority.validate(issued.clear)).project_id is None


def test_a_console_without_a_port(authority: DatabaseAuthority) -> None:
    """Its token holds as long as the console stays on its host without a port."""
    pty, moved, tcp = (Console(0, host, port) for host, port in PLACES)
    first = outcome(authority.issue(instance(), pty, ALICE, URL))
    assert outcome(authority.validate(first.clear)).port is None
    for console in (moved, tcp):
        issued = outcome(authority.issue(instance(), console, ALICE, URL))
        assert outcome(authority.validate(issued.clear)).host == console.host
        with pytest.raises(TokenInvalid):
            outcome(authority.validate(first.clear))
        again = outcome(authority.issue(instance(), pty, ALICE, URL))
        with pytest.raises(TokenInvalid):
            outcome(authority.validate(issued.clear))
        with pytest.raises(TokenInvalid):
            outcome(authority.validate(first.clear))
        first = again


PLACES: list[tuple[str, int | None]] = [("kvm1", None), ("kvm2", None), ("kvm1", 10000)]


def test_issue_keeps_the_instance_in_step(authority: DatabaseAuthority, cell: CellDatabase) -> None:
    """The row says what the driver said when the token was issued."""
    issue(authority)
    issue(authority, evolve(instance(name="renamed"), state=InstanceState.PAUSED))
    columns = tables.instances.c
    statement = select(columns.name, columns.state, columns.driver)
    found = outcome(cell.read(lambda connection: connection.execute(statement).all()))
    assert found == [("renamed", "paused", "static")]


def test_the_clear_token_is_in_no_repr_log_or_error(tmp_path: Path) -> None:
    """Neither when all is well nor when the database fails in the middle."""
    cell = file_database(tmp_path / "cell.sqlite")
    authority = DatabaseAuthority(cell, 600)
    with capturedLogs() as logs:
        issued = issue(authority)
        cell.stop()
        (tmp_path / "cell.sqlite").write_bytes(b"x" * 8192)
        with pytest.raises(Unavailable) as away:
            outcome(authority.validate(issued.clear))
        with pytest.raises(Unavailable):
            issue(authority)
    cell.stop()
    for said in (repr(issued), str(issued), repr(logs), repr(away.value), repr(authority)):
        assert issued.clear not in said
    assert logs


def test_many_rows_do_not_widen_the_look_up(cell: CellDatabase) -> None:
    """A check is one search in the index, whatever the table holds."""
    issued = issue(DatabaseAuthority(cell, 600))
    row = "SELECT * FROM console_auth_tokens"
    with cell.engine.begin() as connection:
        found = dict(connection.execute(text(row)).mappings().one())
        found.pop("id")
        more = [{**found, "options": {}, "token_hash": f"{n:064x}"} for n in range(100)]
        connection.execute(insert(TOKENS), more)
        plan = connection.execute(
            text(
                "EXPLAIN QUERY PLAN SELECT t.* FROM console_auth_tokens t JOIN console_ports p"
                " ON p.instance_uuid = t.instance_uuid WHERE t.token_hash = :hash"
            ),
            {"hash": issued.token.token_hash},
        ).all()
    assert all("SCAN" not in str(step) for step in plan)


def test_rights_come_back(authority: DatabaseAuthority) -> None:
    """What policy allowed at issue is in the token when it is checked, in a fixed order."""
    one = instance()
    rights = frozenset({"see_holder", "another"})
    issued = outcome(authority.issue(one, one.consoles[0], ALICE, URL, rights))
    token = outcome(authority.validate(issued.clear))
    assert token.rights == rights
    assert token.options == {"rights": "another see_holder"}
    assert outcome(authority.validate(issue(authority).clear)).options == {}


def test_the_role_comes_back(authority: DatabaseAuthority) -> None:
    """A token to watch with is one when it is checked."""
    one = instance()
    issued = outcome(authority.issue(one, one.consoles[0], ALICE, URL, role=OBSERVER))
    token = outcome(authority.validate(issued.clear))
    assert (issued.token.observes, token.observes, token.role) == (True, True, OBSERVER)
    assert token.options == {"role": "observer"}
    assert outcome(authority.validate(issue(authority).clear)).role == "writer"


def test_the_time_left_is_the_database_s(authority: DatabaseAuthority, cell: CellDatabase) -> None:
    """A check says how long the token is valid yet, whatever this host's clock shows."""
    issued = issue(authority)
    assert issued.token.left == 600
    statement = update(TOKENS).values(expires=epoch_seconds() + 60)
    outcome(cell.run(lambda connection: connection.execute(statement).rowcount))
    assert 58 <= outcome(authority.validate(issued.clear)).left <= 60


@pytest.fixture
def single(cell: CellDatabase) -> DatabaseAuthority:
    return DatabaseAuthority(cell, ttl=600, driver="static", single_use=True)


def test_a_token_is_used_up_once(single: DatabaseAuthority) -> None:
    """Checks do not use it; a session does, and from then on it is as unknown (T2)."""
    issued, other = issue(single), issue(single)
    for _ in range(3):
        token = outcome(single.validate(issued.clear))
    outcome(single.spend(token))
    with pytest.raises(TokenInvalid, match="has been used"):
        outcome(single.spend(token))
    refused(single, issued.clear)
    outcome(single.spend(outcome(single.validate(other.clear))))


def test_reusable_tokens_are_not_used_up(authority: DatabaseAuthority) -> None:
    """Without single_use any number of sessions opens with a token, and nothing is written."""
    issued = issue(authority)
    for _ in range(3):
        outcome(authority.spend(outcome(authority.validate(issued.clear))))
    (record,) = outcome(authority.named(issued.token.token_hash))
    assert not record.used


def test_a_used_token_stays_used(single: DatabaseAuthority, cell: CellDatabase) -> None:
    """Turning single_use off gives back no token that has been used."""
    issued = issue(single)
    outcome(single.spend(issued.token))
    refused(DatabaseAuthority(cell, 600), issued.clear)


@pytest.mark.parametrize("how", ["expired", "revoked"])
def test_what_ends_between_check_and_session_opens_nothing(
    single: DatabaseAuthority, cell: CellDatabase, how: str
) -> None:
    """A token that expires or is taken back after its check is not used any more."""
    token = outcome(single.validate(issue(single).clear))
    if how == "revoked":
        assert outcome(single.revoke(token))
    else:
        statement = update(TOKENS).values(expires=epoch_seconds())
        outcome(cell.run(lambda connection: connection.execute(statement).rowcount))
    with pytest.raises(TokenInvalid):
        outcome(single.spend(token))


def test_a_revoked_token_opens_nothing(authority: DatabaseAuthority) -> None:
    """It is gone for every check; taking it back again changes nothing, others stay."""
    issued, other = issue(authority), issue(authority)
    assert outcome(authority.revoke(issued.token))
    assert not outcome(authority.revoke(issued.token))
    refused(authority, issued.clear)
    outcome(authority.validate(other.clear))
    assert outcome(authority.named(issued.token.token_id)) == []


def test_tokens_by_their_prefix(authority: DatabaseAuthority, cell: CellDatabase) -> None:
    """All tokens whose hash begins so, with the project of their instance; no pattern counts."""
    first, second = issue(authority), issue(authority, instance(2, place=("127.0.0.1", 1)))
    outcome(cell.run(_rename, first.token.token_hash, "ab" * 6 + "0" * 52))
    outcome(cell.run(_rename, second.token.token_hash, "ab" * 6 + "f" * 52))
    found = outcome(authority.named("ab" * 6))
    assert [record.token.token_hash[12:] for record in found] == ["0" * 52, "f" * 52]
    assert {(record.owner, record.used) for record in found} == {("demo", False)}
    assert [r.token.instance_uuid for r in outcome(authority.named("ab" * 6 + "f"))] == [
        instance(2).uuid
    ]
    assert outcome(authority.named("ab" * 6 + "f" * 52)) == found[1:]
    for other in ("b" * 12, "a" * 12, "%" * 12, "_" * 12, "ab" * 5 + "ac"):
        assert outcome(authority.named(other)) == []


def test_a_prefix_is_looked_up_in_the_index(cell: CellDatabase) -> None:
    """Naming a token does not read the table."""
    query = (
        "EXPLAIN QUERY PLAN SELECT t.* FROM console_auth_tokens t"
        " JOIN instances i ON i.uuid = t.instance_uuid"
        " WHERE t.token_hash >= 'aa' AND t.token_hash < 'aag'"
    )
    with cell.engine.begin() as connection:
        plan = connection.execute(text(query)).all()
    assert all("SCAN" not in str(step) for step in plan)
