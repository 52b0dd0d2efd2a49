"""The database, the daemon or the clock fails under open sessions: faults D1 to D3 and D6."""

from __future__ import annotations

import os
import queue
import signal
import threading
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from backends import backend, echo
from databases import REPLICATED, server
from fault_world import (
    WallClock,
    address,
    cell_database,
    daemon_by,
    described,
    family,
    in_database,
    new_token,
    refusal,
    signalled,
    until,
    uuid_of,
    visit,
    visit_when_free,
)
from sqlalchemy import Connection, Select, Table, create_engine, select, text, update
from websockets.frames import Frame, Opcode
from websockets.sync.client import ClientConnection, connect

from consoled.db.clock import epoch_seconds
from consoled.db.engine import make_engine
from consoled.db.tables import console_auth_tokens as tokens
from consoled.db.tables import console_leases as leases
from consoled.model import hash_token
from tools.lab.daemon import STEP, Daemon, static_daemon
from tools.lab.databases import PrivatePostgreSQL, PrivateServer

POSTGRESQL = REPLICATED[:1]


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A cell database of the kind that the test names."""
    return cell_database(request.session, request.param, tmp_path)


@pytest.fixture
def running(request: pytest.FixtureRequest, url: str) -> PrivateServer:
    """The server of that database."""
    return server(request.session, url.partition("+")[0])


def page(daemon: Daemon) -> int:
    """The status of the page, which needs no database."""
    with urllib.request.urlopen(daemon.base_url, timeout=60) as answer:
        return int(answer.status)


def token_refused(daemon: Daemon) -> None:
    """REST says 503, when to come again, and why, to whoever wants a token or a list."""
    for method, path in (
        ("POST", f"/v1/servers/{uuid_of('web-1')}/consoles/1/tokens"),
        ("POST", f"/v3/servers/{uuid_of('web-1')}/get-serial-console"),
        ("GET", "/v1/sessions"),
        ("DELETE", f"/v1/servers/{uuid_of('web-1')}/sessions"),
    ):
        answer = daemon.request(method, path)
        assert answer.status == 503, (method, path)
        assert int(answer.headers["Retry-After"]) > 0
        assert "database" in answer.body["serviceUnavailable"]["message"]


def registrations(daemon: Daemon) -> int:
    """How often it has come into the cell."""
    return sum(event["event"] == "replica_registered" for event in daemon.events())


@pytest.mark.parametrize("url", REPLICATED, indirect=True)
def test_d1_a_database_that_is_away(tmp_path: Path, url: str, running: PrivateServer) -> None:
    """D1: sessions go on for the lease, then end; new ones get 503 and 1013; then all is well."""
    config = {"database": {"connection": url}}
    with (
        backend(echo) as one,
        backend(echo) as two,
        static_daemon(tmp_path, [described("web-1", one.port, two.port)], config) as daemon,
    ):
        unused = address(daemon, new_token(daemon, "web-1", 1))
        with visit(address(daemon, new_token(daemon, "web-1"))) as session:
            session.says(b"before")
            running.stop()
            try:
                session.says(b"without a database")
                token_refused(daemon)
                assert refusal(unused) == 1013
                assert page(daemon) == 200
                code, reason, output = session.ends()
                assert (code, output) == (1013, b"")
                assert "database" in reason
                assert refusal(unused) == 1013
                token_refused(daemon)
            finally:
                running.start()
        until(daemon, "it is registered again", lambda: registrations(daemon) == 2)
        # What was issued before is good again, and the console that was lost is free.
        with visit(unused) as again:
            again.says(b"after")
        with visit_when_free(daemon, address(daemon, new_token(daemon, "web-1"))) as again:
            # Its lease could not be given back, so the port may still be somebody's.
            again.client.send('{"type": "confirm"}')
            again.says(b"after")


def processes(running: PrivateServer) -> list[int]:
    """All processes of a PostgreSQL server."""
    return family(int((running.data / "postmaster.pid").read_text().split()[0]))


@pytest.mark.parametrize("url", POSTGRESQL, indirect=True)
def test_d2_a_database_that_hangs_or_restarts(
    tmp_path: Path, url: str, running: PrivateServer
) -> None:
    """D2: the reactor waits for nothing while it hangs, and the pool recovers by itself."""
    config = {"database": {"connection": url}}
    with (
        backend(echo) as one,
        backend(echo) as two,
        static_daemon(tmp_path, [described("web-1", one.port, two.port)], config) as daemon,
        visit(address(daemon, new_token(daemon, "web-1"))) as session,
    ):
        session.says(b"before")
        unused = address(daemon, new_token(daemon, "web-1", 1))
        with signalled(processes(running), signal.SIGSTOP, signal.SIGCONT):
            # Nothing here could be answered if anything waited for the database.
            assert page(daemon) == 200
            session.says(b"while it hangs")
            assert refusal(unused) == 1013
            assert page(daemon) == 200
        with visit_when_free(daemon, unused, (1013,)) as again:
            again.says(b"thawed")
            running.stop()
            running.start()
            again.says(b"across a restart")
        # All connections of the pool were cut: the first request after it notices none of that.
        with visit(address(daemon, new_token(daemon, "web-1", 1))) as again:
            again.says(b"restarted")


@pytest.mark.parametrize("url", POSTGRESQL, indirect=True)
def test_d2_requests_while_the_database_hangs(
    tmp_path: Path, url: str, running: PrivateServer
) -> None:
    """D2: a database that hangs is one that is away: REST says 503, and is well after it."""
    config = {"database": {"connection": url}}
    with (
        backend(echo) as one,
        static_daemon(tmp_path, [described("web-1", one.port)], config) as daemon,
    ):
        path = f"/v1/servers/{uuid_of('web-1')}/consoles/0/tokens"
        # More than one: those with a connection from the pool hang where they used it last.
        with ThreadPoolExecutor(4) as pool:
            before = list(pool.map(lambda _: daemon.request("POST", path).status, range(8)))
            assert set(before) == {201}
            with signalled(processes(running), signal.SIGSTOP, signal.SIGCONT):
                answers = list(pool.map(lambda _: daemon.request("POST", path), range(4)))
        assert {answer.status for answer in answers} == {503}
        assert all(int(answer.headers["Retry-After"]) > 0 for answer in answers)
        until(daemon, "all is well", lambda: daemon.request("POST", path).status == 201)


# D3


@contextmanager
def commits_unanswered(running: PrivateServer) -> Iterator[None]:
    """Lets every COMMIT land, and hang before it is answered: a standby is missing."""
    assert isinstance(running, PrivatePostgreSQL)
    engine = create_engine(running.url("postgres"), isolation_level="AUTOCOMMIT")

    def execute(*statements: str) -> None:
        with engine.connect() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    def standby(name: str) -> None:
        words = f"ALTER SYSTEM SET synchronous_standby_names = '{name}'"
        execute(words, "SELECT pg_reload_conf()")

    standby("nobody")
    try:
        # It is read in a moment: by then a COMMIT of ours hangs.
        probing = "COMMENT ON DATABASE postgres IS 'probed'"
        while True:
            probe = threading.Thread(target=execute, args=(probing,), daemon=True)
            probe.start()
            while probe.is_alive() and not in_database(running.url("postgres"), _hangs):
                probe.join(STEP)
            if probe.is_alive():
                break
        yield
    finally:
        standby("")
        probe.join()
        engine.dispose()


def _hangs(connection: Connection) -> bool:
    words = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    return bool(connection.scalar(text(words)))


_WAITING = text(
    "SELECT count(*) FROM pg_stat_activity JOIN pg_locks USING (pid)"
    " WHERE wait_event = :event AND relation = CAST(:table AS regclass)"
    " AND mode = 'RowExclusiveLock'"
)


def waiting(url: str, event: str, table: Table) -> Callable[[], bool]:
    """Whether a transaction that writes to that table waits so, when called."""

    def look(connection: Connection) -> bool:
        return bool(connection.scalar(_WAITING, {"event": event, "table": table.name}))

    return lambda: in_database(url, look)


class Kept:
    """A viewer that connects in a thread of its own and stays, whatever comes."""

    def __init__(self, where: str) -> None:
        self.greeted = False
        self._thread = threading.Thread(target=self._run, args=(where,), daemon=True)
        self._thread.start()

    def _run(self, where: str) -> None:
        try:
            with visit(where) as found:
                self.greeted = found.open
        except Exception:
            return  # The daemon is killed: that is the point.

    def join(self) -> None:
        """Returns when its connection is gone."""
        self._thread.join(60)
        assert not self._thread.is_alive()


def kill_at_commit(
    daemon: Daemon, running: PrivateServer, url: str, rows: Select[Any], table: Table, where: str
) -> None:
    """Kills the daemon when a viewer's COMMIT has landed, and has not been answered.

    :param rows: what that transaction writes to, in that table.
    :param where: what the viewer opens.
    """
    engine = make_engine(url, None)
    with engine.connect() as holder:
        assert holder.execute(rows.with_for_update()).all()
        viewer = Kept(where)
        until(daemon, "it waits for our row", waiting(url, "transactionid", table))
        with commits_unanswered(running):
            holder.rollback()
            until(daemon, "its COMMIT hangs", waiting(url, "SyncRep", table))
            os.kill(daemon.pid, signal.SIGKILL)
            daemon.stop()
            viewer.join()
    engine.dispose()
    assert not viewer.greeted


@pytest.mark.parametrize("url", POSTGRESQL, indirect=True)
def test_d3_killed_after_commit_was_sent(tmp_path: Path, url: str, running: PrivateServer) -> None:
    """D3: a lease and a token whose COMMIT landed unheard: neither is granted a second time."""
    config = {"database": {"connection": url}, "consoleauth": {"single_use": True}}
    with (
        backend(echo) as one,
        backend(echo) as two,
        static_daemon(tmp_path, [described("web-1", one.port, two.port)], config) as daemon,
    ):
        leasing, spending = (new_token(daemon, "web-1", index) for index in (0, 1))
        own = select(tokens.c.id).where(tokens.c.token_hash == hash_token(spending))
        spending, leasing = address(daemon, spending), address(daemon, leasing)
        kill_at_commit(daemon, running, url, own, tokens, spending)
        daemon.start()
        until(daemon, "it is registered", lambda: registrations(daemon) == 2)
        console = select(leases.c.epoch).where(leases.c.port_index == 0)
        kill_at_commit(daemon, running, url, console, leases, leasing)
        for guest in (one, two):
            assert guest.accepted.empty()
        daemon.start()
        assert refusal(spending) == 4401
        # Until the killed one counts as dead its lease stands, and the token is not spent on it.
        assert refusal(leasing) in (1013, 4409)
        with visit_when_free(daemon, leasing, (1013, 4409)) as again:
            assert again.hello["unproven"] is True
            assert refusal(leasing) == 4401
        assert refusal(leasing) == 4401
        assert refusal(spending) == 4401
        fresh = address(daemon, new_token(daemon, "web-1", 1))
        with visit_when_free(daemon, fresh, (1013, 4409)) as other:
            assert other.open
        for guest in (one, two):
            guest.accepted.get(timeout=60)
            assert guest.accepted.empty()


# D6


class Pinged(ClientConnection):
    """A client that counts the server's pings."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.pings: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        super().__init__(*args, **options)

    def process_event(self, event: Any) -> None:
        """Looks at each frame."""
        if isinstance(event, Frame) and event.opcode is Opcode.PING:
            self.pings.put(bytes(event.data))
        super().process_event(event)


def test_d6_a_wall_clock_that_steps_an_hour(tmp_path: Path) -> None:
    """D6: nobody is disconnected, timers go on, and tokens end neither early nor never."""
    url = f"sqlite:///{tmp_path}/cell.sqlite"
    clock = WallClock(tmp_path)
    config: dict[str, dict[str, object]] = {
        "database": {"connection": url},
        "proxy": {"ping_interval": 0.5, "ping_timeout": 10},
        "consoleauth": {"max_session": 3600, "idle_timeout": 3600, "enforce_session_timeout": True},
    }
    with (
        backend(echo) as one,
        backend(echo) as two,
        daemon_by(clock, tmp_path, [described("web-1", one.port, two.port)], config) as daemon,
        connect(
            address(daemon, new_token(daemon, "web-1")), compression=None, create_connection=Pinged
        ) as session,
    ):
        assert isinstance(session, Pinged)
        good, ended = (new_token(daemon, "web-1", 1) for _ in range(2))
        for step in (3600, -3600):
            clock.set(step)
            # Two pings after the step: timers neither stopped nor all ran at once.
            while not session.pings.empty():
                session.pings.get()
            session.pings.get(timeout=60)
            session.pings.get(timeout=60)
            session.send(b"x")
            assert session.recv(60) == b"x"
            with visit(address(daemon, good)) as other:
                other.says(b"not early")
            later = new_token(daemon, "web-1", 1)
            with visit(address(daemon, later)) as other:
                other.says(b"not early")
        # An hour back: whoever trusted that clock would let it live on.
        over = update(tokens).values(expires=epoch_seconds())
        own = over.where(tokens.c.token_hash == hash_token(ended))
        in_database(url, lambda connection: connection.execute(own).rowcount)
        assert refusal(address(daemon, ended)) == 4401
        assert not any(event["event"] == "replica_ended" for event in daemon.events())
