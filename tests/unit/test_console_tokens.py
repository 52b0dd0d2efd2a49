"""The user's own token, from a console's URL to the sessions that it opens."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import define, evolve, field
from fakes import WEB_1, FakeAuthority, FakeDirectory, FakeDriver, make_instance, result
from sqlalchemy import Engine, text
from test_session import TOKEN, Bench
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.logger import capturedLogs
from wires import answer_dial

from consoled.auth.policy import PolicyEnforcer
from consoled.db.database import CellDatabase
from consoled.db.engine import make_engine
from consoled.db.tables import metadata
from consoled.errors import ConfigError, Unavailable
from consoled.interfaces import Transport
from consoled.issuing import ConsoleIssuer
from consoled.model import Caller, Console, ConsoleAuthToken, Instance, TokenRecord, hash_token
from consoled.openstack.console_tokens import ConsoleTokens, operation_of
from consoled.openstack.keeping import TokenKeeper
from consoled.openstack.values import UserToken
from consoled.reaching.behalf import NOBODY, Behalf
from consoled.reaching.secrets import SecretBox
from consoled.revoking import TokenRegister
from consoled.workers import InlineWorker

MIA = Caller("mia", "demo", frozenset({"member"}), token="gAAAA-mia")
MIAS = UserToken("gAAAA-mia", "demo", "mia")
THERE = make_instance(
    WEB_1,
    "web-1",
    host="rack2",
    consoles=(Console(0, "192.0.2.2", 20000), Console(1, "192.0.2.2", 20001)),
)


@define(eq=False)
class Kept:
    """Console tokens over a real database."""

    engine: Engine
    tokens: ConsoleTokens

    @property
    def rows(self) -> list[Any]:
        """What the table has."""
        with self.engine.connect() as connection:
            return list(connection.execute(text("SELECT * FROM kept_tokens")))


def secret(path: Path, byte: bytes) -> SecretBox:
    """A box with a key of its own."""
    path.touch(0o600)
    path.write_bytes(base64.b64encode(byte * 32))
    return SecretBox.open(path)


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    """Every console token will be asked for."""
    engine = make_engine(f"sqlite:///{tmp_path}/cell.sqlite")
    metadata.create_all(engine)
    database = CellDatabase(engine, InlineWorker())
    keeper = TokenKeeper(database, secret(tmp_path / "secret", b"k"))
    yield Kept(engine, ConsoleTokens(keeper, 600, [lambda token: True]))
    database.stop()


def test_from_the_url_to_the_session(kept: Kept) -> None:
    """It is found by the console token's hash, not in clear, and goes when that is taken back."""
    result(kept.tokens.keep_for(TOKEN, MIA))
    [row] = kept.rows
    assert row.operation == operation_of(TOKEN.token_hash)
    assert "gAAAA-mia" not in str(row)
    assert result(kept.tokens.find(TOKEN.token_hash)) == MIAS
    assert result(kept.tokens.find(hash_token("another"))) is None
    result(kept.tokens.release(TOKEN.token_hash))
    assert kept.rows == []
    assert result(kept.tokens.find(TOKEN.token_hash)) is None


def test_nothing_is_kept_for_nothing(kept: Kept) -> None:
    """A token that nobody will ask for, or of a caller with an API key, is kept nowhere."""
    result(kept.tokens.keep_for(TOKEN, evolve(MIA, token=None)))
    kept.tokens.uses[:] = [lambda token: token.observes]
    result(kept.tokens.keep_for(TOKEN, MIA))
    assert kept.rows == []
    result(kept.tokens.keep_for(evolve(TOKEN, options={"role": "observer"}), MIA))
    assert len(kept.rows) == 1


def test_a_cell_that_keeps_no_tokens() -> None:
    """Nothing is kept, nothing found, and nothing is wrong."""
    tokens = ConsoleTokens(None, 600, [lambda token: True])
    result(tokens.keep_for(TOKEN, MIA))
    assert result(tokens.find(TOKEN.token_hash)) is None
    result(tokens.release(TOKEN.token_hash))


class Broken:
    """A keeper that cannot."""

    def keep(self, operation: str, user: UserToken, seconds: float) -> Deferred[None]:
        """Fails."""
        assert seconds > 600
        return fail(Unavailable("the database is away"))

    def find(self, operation: str) -> Deferred[UserToken | None]:
        """Fails."""
        return fail(ConfigError("encrypted with another key"))

    def forget(self, operation: str) -> Deferred[None]:
        """Fails."""
        return fail(Unavailable("the database is away"))


def test_consoles_open_without_it() -> None:
    """What cannot be kept or read is said, without the token; sessions do without its rights."""
    tokens = ConsoleTokens(Broken(), 600, [lambda token: True])
    with capturedLogs() as events:
        result(tokens.keep_for(TOKEN, MIA))
        assert result(tokens.find(TOKEN.token_hash)) is None
    told = [event["event"] for event in events if "event" in event]
    assert told == ["user_token_not_kept", "user_token_not_found"]
    assert "gAAAA" not in str(events)


def test_the_issuer_keeps_it() -> None:
    """Once for each URL, for the console token that is in it."""
    noted: list[tuple[str, Caller]] = []

    def keep(token: ConsoleAuthToken, caller: Caller) -> Deferred[None]:
        noted.append((token.token_hash, caller))
        return succeed(None)

    issuer = ConsoleIssuer(
        FakeDriver(),
        PolicyEnforcer(InlineWorker(), None),
        FakeAuthority(),
        FakeDirectory(),
        enabled=True,
        base_url="https://proxy.test/serial.html",
        keep=keep,
    )
    issued = result(issuer.issue(MIA, WEB_1, None, "req"))
    assert noted == [(issued.token.token_hash, MIA)]
    assert "gAAAA" not in repr(noted)


@define(eq=False)
class Store:
    """A store of one token.

    :ivar revoked: whether it was taken back.
    """

    revoked: bool = False

    def named(self, prefix: str) -> Deferred[list[TokenRecord]]:
        """The one."""
        return succeed([TokenRecord(TOKEN, "demo", 0, used=False)])

    def revoke(self, token: ConsoleAuthToken) -> Deferred[bool]:
        """Takes it back."""
        self.revoked = True
        return succeed(True)


def test_who_takes_a_token_back_takes_both(kept: Kept) -> None:
    """While what was kept cannot be deleted nothing is taken back: a second try does both."""
    store, admin = Store(), Caller("ada", "ops", frozenset({"admin"}))
    policy = PolicyEnforcer(InlineWorker(), None)
    broken = TokenRegister(policy, store, ConsoleTokens(Broken(), 600).release)
    with pytest.raises(Unavailable):
        result(broken.revoke(admin, TOKEN.token_id, "req"))
    assert not store.revoked
    result(kept.tokens.keep_for(TOKEN, MIA))
    result(TokenRegister(policy, store, kept.tokens.release).revoke(admin, TOKEN.token_id, "req"))
    assert store.revoked
    assert kept.rows == []


@define(eq=False)
class Noting:
    """A transport that notes on whose behalf it is asked."""

    inner: Transport
    behalfs: list[Behalf] = field(factory=list)

    def endpoint(
        self, instance: Instance, console: Console, behalf: Behalf = NOBODY
    ) -> IStreamClientEndpoint:
        """The other one's."""
        self.behalfs.append(behalf)
        return self.inner.endpoint(instance, console)


def test_a_session_has_it_in_memory() -> None:
    """It is looked for when the console opens; a guest that moves is followed with the same one,
    and with ways that are looked up anew."""
    bench, asked = Bench(), list[str]()
    noting = Noting(bench.reception.opener.transport)

    def users(token: ConsoleAuthToken) -> Deferred[UserToken | None]:
        asked.append(token.token_hash)
        return succeed(MIAS)

    bench.reception.opener = evolve(
        bench.reception.opener, follows=True, transport=noting, users=users
    )
    _, _, wire = bench.opened()
    [line] = bench.sessions.open_lines()
    assert line.console.user == MIAS
    assert "gAAAA" not in repr(line.console)
    assert noting.behalfs == [Behalf(MIAS)]
    line.switch.expect(THERE)
    answer_dial(bench.reactor).drop()
    assert noting.behalfs == [Behalf(MIAS), Behalf(MIAS, anew=True)]
    bench.driver.known = [THERE]
    wire.drop()
    assert noting.behalfs == [Behalf(MIAS), *[Behalf(MIAS, anew=True)] * 2]
    answer_dial(bench.reactor)
    [line] = bench.sessions.open_lines()
    assert (line.console.instance.host, line.console.user) == ("rack2", MIAS)
    assert asked == [TOKEN.token_hash]
