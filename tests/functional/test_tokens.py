"""Tokens on real databases and in real daemons: used up once, taken back, kept by a reload."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
from backends import Backend, backend, echo
from databases import ALL, REPLICATED, new_database
from sqlalchemy import Connection, Engine
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from consoled.db import instances, ports, schema, tokens
from consoled.db.engine import make_engine
from consoled.model import Console, ConsoleAuthToken, Instance, InstanceState, hash_token
from tools.lab.daemon import MEMBER_KEY, Daemon, static_daemon

WEB_1 = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0001"
PATIENCE = 60.0
USES = 50


@pytest.fixture
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database with the newest schema, of the kind that the test names."""
    url = new_database(request.session, request.param, tmp_path)
    engine = make_engine(url, None)
    schema.upgrade(engine)
    engine.dispose()
    return url


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    """An engine of that database."""
    made = make_engine(database)
    yield made
    made.dispose()


def stored(connection: Connection, clear: str, ttl: int = 600) -> ConsoleAuthToken:
    """A token for the first console of an instance."""
    console = Console(0, "192.0.2.1", 10000)
    web = Instance(WEB_1, "web", "demo", "rack1", InstanceState.RUNNING, (console,))
    instances.upsert(connection, web, "static")
    token = ConsoleAuthToken(
        token_hash=hash_token(clear),
        instance_uuid=WEB_1,
        index=0,
        host="192.0.2.1",
        port=10000,
        generation=ports.claim(connection, WEB_1, console, 10000),
        access_url="http://127.0.0.1:6083/serial.html",
        expires=0,
        project_id="demo",
        user_id="mia",
        options={"rights": "see_holder"},
    )
    return tokens.add(connection, token, ttl)


@pytest.mark.parametrize("database", ALL, indirect=True)
def test_the_rows(engine: Engine) -> None:
    """Issue, check, use, look at and take back are the same on each database."""
    with engine.begin() as connection:
        kept = stored(connection, "a")
        ended = stored(connection, "b", ttl=0)
    with engine.begin() as connection:
        found = tokens.find(connection, kept.token_hash)
        assert found == kept
        assert found.rights == {"see_holder"}
        assert 590 <= found.left <= 600
        assert tokens.find(connection, ended.token_hash) is None
        assert not tokens.spend(connection, ended.token_hash)
        assert tokens.spend(connection, kept.token_hash)
        assert tokens.find(connection, kept.token_hash) is None
    with engine.begin() as connection:
        assert not tokens.spend(connection, kept.token_hash)
        (record,) = tokens.named(connection, kept.token_id)
        assert (record.token, record.used, record.owner) == (kept, True, "demo")
        assert record.created_at == kept.expires - 600
        assert tokens.revoke(connection, kept.token_hash)
        assert not tokens.revoke(connection, kept.token_hash)
        assert tokens.named(connection, kept.token_id) == []


@pytest.mark.parametrize("database", ALL, indirect=True)
def test_of_many_transactions_one_uses_a_token(database: str) -> None:
    """Transactions that meet at the same row: one finds it unused, whatever the isolation."""
    engine = make_engine(database)
    with engine.begin() as connection:
        token = stored(connection, "a")
    racers = 8
    start = threading.Barrier(racers)

    def spend(_: int) -> bool:
        start.wait(PATIENCE)
        with engine.begin() as connection:
            return tokens.spend(connection, token.token_hash)

    with ThreadPoolExecutor(racers) as pool:
        assert sorted(pool.map(spend, range(racers))) == [False] * (racers - 1) + [True]
    engine.dispose()


@contextmanager
def daemons(folder: Path, database: str, count: int) -> Iterator[tuple[Backend, list[Daemon]]]:
    """That many replicas of one cell with tokens for one session, and their one console."""
    with backend(echo) as console, ExitStack() as stack:
        instance = {
            "uuid": WEB_1,
            "name": "web-1",
            "project_id": "demo",
            "host": "rack1",
            "serial": [f"127.0.0.1:{console.port}"],
        }
        running = []
        for number in range(count):
            home = folder / f"replica-{number}"
            home.mkdir()
            config = {"database": {"connection": database}, "consoleauth": {"single_use": True}}
            running.append(stack.enter_context(static_daemon(home, [instance], config)))
        yield console, running


def address(daemon: Daemon, url: str) -> str:
    """The WebSocket of that console URL, by that replica."""
    return f"ws://127.0.0.1:{daemon.port}/serial.html?{url.partition('?')[2]}"


def close_code(client: ClientConnection) -> int:
    """The code with which the server closes."""
    with pytest.raises(ConnectionClosed) as caught:
        while True:
            client.recv(PATIENCE)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code


@pytest.mark.parametrize("database", REPLICATED, indirect=True)
def test_fifty_uses_of_one_token_on_two_replicas(tmp_path: Path, database: str) -> None:
    """Exactly one session opens, and the guest sees one connection (faults.md T2)."""
    with daemons(tmp_path, database, 2) as (guest, running):
        url = running[0].console_url(WEB_1, key=MEMBER_KEY)
        start = threading.Barrier(USES)
        outcomes: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        over = threading.Event()

        def use(number: int) -> None:
            where = address(running[number % 2], url)
            start.wait(PATIENCE)
            try:
                with connect(where, compression=None, open_timeout=PATIENCE) as client:
                    client.send(b"x")
                    assert client.recv(PATIENCE) == b"x"
                    outcomes.put(None)
                    assert over.wait(PATIENCE)
                    client.send(b"y")
                    assert client.recv(PATIENCE) == b"y"
            except ConnectionClosed as closed:
                outcomes.put(closed.rcvd.code if closed.rcvd else 0)

        with ThreadPoolExecutor(USES) as pool:
            uses = [pool.submit(use, number) for number in range(USES)]
            codes = [outcomes.get(timeout=PATIENCE) for _ in uses]
            late = []
            for daemon in running:
                with connect(address(daemon, url), compression=None) as client:
                    late.append(close_code(client))
            over.set()
            for one in uses:
                one.result(PATIENCE)
        assert codes.count(None) == 1
        assert {code for code in codes if code is not None} | set(late) <= {4401, 4409}
        assert guest.accepted.qsize() == 1
        opened = [e for d in running for e in d.events() if e["event"] == "session_opened"]
        assert len(opened) == 1


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_used_token_is_used_after_its_session_and_a_restart(
    tmp_path: Path, database: str
) -> None:
    """When the session has ended, and in the next daemon, the URL opens nothing."""
    with daemons(tmp_path, database, 1) as (_, (daemon,)):
        url = daemon.console_url(WEB_1, key=MEMBER_KEY)
        with connect(address(daemon, url), compression=None) as client:
            client.send(b"x")
            assert client.recv(PATIENCE) == b"x"
            (session,) = daemon.request("GET", "/v1/sessions").body["sessions"]
            daemon.request("DELETE", f"/v1/sessions/{session['id']}")
            assert close_code(client) == 4410
        with connect(address(daemon, url), compression=None) as late:
            assert close_code(late) == 4401
        daemon.stop()
        daemon.start()
        with connect(address(daemon, url), compression=None) as late:
            assert close_code(late) == 4401


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_reload_comes_back_with_a_used_token(tmp_path: Path, database: str) -> None:
    """The page that has the session comes back by its resume key; the token alone does not."""
    with daemons(tmp_path, database, 1) as (guest, (daemon,)):
        where = address(daemon, daemon.console_url(WEB_1, key=MEMBER_KEY))
        page = [Subprotocol("consoled.v1")]
        with connect(where, compression=None, subprotocols=page) as client:
            hello = json.loads(client.recv(PATIENCE))
            client.send(b"before")
            assert client.recv(PATIENCE) == b"before"
            client.close(1001)
        with connect(where, compression=None, subprotocols=page) as stranger:
            assert close_code(stranger) == 4401
        again = f"{where}&resume={quote(hello['resume'])}"
        with connect(again, compression=None, subprotocols=page) as client:
            assert json.loads(client.recv(PATIENCE))["session"] == hello["session"]
            assert client.recv(PATIENCE) == b"before"
        assert guest.accepted.qsize() == 1


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_taking_a_token_back(tmp_path: Path, database: str) -> None:
    """A revoked token opens nothing more; revoking a used one leaves its session alone."""
    with daemons(tmp_path, database, 1) as (_, (daemon,)):
        answers = [
            daemon.request("POST", f"/v1/servers/{WEB_1}/tokens", key=MEMBER_KEY).body["token"]
            for _ in range(2)
        ]
        unused, used = ((one["id"], address(daemon, one["url"])) for one in answers)
        with connect(used[1], compression=None) as client:
            client.send(b"x")
            assert client.recv(PATIENCE) == b"x"
            shown = daemon.request("GET", f"/v1/tokens/{used[0]}", key=MEMBER_KEY)
            assert shown.body["token"]["used"] is True
            for token_id in (used[0], unused[0]):
                answer = daemon.request("DELETE", f"/v1/tokens/{token_id}", key=MEMBER_KEY)
                assert (answer.status, answer.body) == (204, None)
            client.send(b"y")
            assert client.recv(PATIENCE) == b"y"
        with connect(unused[1], compression=None) as late:
            assert close_code(late) == 4401
        assert daemon.wait_for_event("token_revoked", token_id=unused[0])["user_id"] == "max"
