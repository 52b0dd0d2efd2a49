"""Checks of tokens on a real PostgreSQL without a thread: the same rows, and the same faults."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from select import select as select_files
from typing import Any

import pytest
from attrs import evolve
from databases import server
from fault_world import family, signalled
from sqlalchemy import Connection, Select, bindparam, func, literal_column, or_, select, true
from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import TestCase

from consoled.db import instances, ports, schema, tokens
from consoled.db.direct import Query, key_names
from consoled.db.engine import for_reading, make_engine
from consoled.db.inline_reads import SOON, InlineReads
from consoled.db.libpq import PostgreSQLLink
from consoled.db.tables import console_auth_tokens, console_ports
from consoled.db.tables import instances as instance_rows
from consoled.db.threads import READERS, DatabaseThreads
from consoled.errors import Unavailable
from consoled.model import Caller, Console, ConsoleAuthToken, Instance, InstanceState, hash_token
from consoled.tokens.database import DatabaseAuthority
from tools.lab.daemon import STEP

WEB = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0001"
PATIENCE = 60.0


VALUES = ("1.5", "'é'", "NULL", "-1", "1 = 1", "now()::date")
SETTINGS = ("statement_timeout", "lock_timeout", "client_encoding", "search_path", "TimeZone")
CONSTANTS = [
    literal_column(each) for each in (*VALUES, *(f"current_setting('{name}')" for name in SETTINGS))
]


def _everything(size: int) -> Select[Any]:
    """All that the database has of some tokens, their consoles and instances, and constants."""
    hashes: list[Any] = [bindparam(name) for n in range(size) for name in key_names(n)]
    return (
        select(console_auth_tokens, console_ports, instance_rows, *CONSTANTS)
        .select_from(console_auth_tokens)
        .join(console_ports, true())
        .join(instance_rows, true())
        .where(or_(*(console_auth_tokens.c.token_hash == key for key in hashes)))
        .order_by(console_auth_tokens.c.token_hash)
    )


EVERYTHING = Query(_everything)


def stored(connection: Connection, *drafts: tuple[str, dict[str, Any]]) -> list[ConsoleAuthToken]:
    """Tokens for the first console of an instance, each other than usual in some ways."""
    console = Console(0, "192.0.2.1", 10000)
    web = Instance(WEB, "wéb", "demo", "rack1", InstanceState.RUNNING, (console,))
    instances.upsert(connection, web, "static")
    usual = ConsoleAuthToken(
        token_hash=hash_token(""),
        instance_uuid=WEB,
        index=0,
        host="192.0.2.1",
        port=10000,
        generation=ports.claim(connection, WEB, console, 10000),
        access_url="http://127.0.0.1:6083/serial.html",
        expires=0,
        project_id="demo",
        user_id="mia",
        options={"rights": "see_holder"},
    )
    made = [evolve(usual, token_hash=hash_token(clear), **words) for clear, words in drafts]
    return tokens.add_all(connection, made, 600)


DRAFTS: list[tuple[str, dict[str, Any]]] = [
    ("plain", {}),
    ("nobody", {"project_id": None, "user_id": None, "options": {}}),
    ("foreign", {"user_id": "mía 🖥 \\ \" ' $1", "options": {"é": "🖥", "n": 7, "yes": True}}),
    ("long", {"access_url": "http://x/" + "y" * 1000}),
    ("displaced", {"generation": 1 << 40}),
    ("elsewhere", {"port": None}),
]


class Rig(TestCase):
    """A cell's threads over a database of its own."""

    # Seconds for a test with all that it waits for.
    timeout = 4 * PATIENCE

    @pytest.fixture(autouse=True)
    def rig(self, request: pytest.FixtureRequest) -> None:
        """The server of this process, with the newest schema."""
        self.server = server(request.session, "postgresql")
        self.engine = make_engine(self.server.database())
        schema.upgrade(self.engine)
        with self.engine.begin() as connection:
            self.tokens = stored(connection, *DRAFTS)
        self.hashes = [token.token_hash for token in self.tokens]

    async def running(self) -> DatabaseThreads:
        """Threads that run, and a connection in the reactor; attempts are made as we say."""
        threads = DatabaseThreads.of(self.engine, reactor)
        self.addCleanup(threads.stop)
        self.inline, self.clock = _inline(threads), Clock()
        self.inline.clock = self.clock
        assert not self.inline.stands
        threads.start()
        await _until(lambda: self.inline.stands)
        return threads

    def link(self) -> PostgreSQLLink:
        """The connection in the reactor."""
        link = self.inline._link
        assert isinstance(link, PostgreSQLLink)
        return link

    async def test_rows_are_those_of_a_thread(self) -> None:
        """Whatever the column and the value, and however many keys: what psycopg's cursor gives,
        on a connection with the same settings."""
        await self.running()
        with for_reading(self.engine).connect() as connection:
            for count in range(1, len(self.hashes) + 1):
                keys = [(each,) for each in self.hashes[:count]]
                wording, parameters = EVERYTHING.worded(self.inline.dialect, keys)
                given = [value.encode() for value in parameters]
                rows = wording.rows(await self.link().ask(wording, given))
                wanted = EVERYTHING.rows(connection, keys)
                assert rows == wanted
                assert len(rows) == count
                kinds = [[type(value) for value in row] for row in rows]
                assert kinds == [[type(value) for value in row] for row in wanted]

    async def test_a_hundred_checks_while_no_thread_is_free(self) -> None:
        """They are answered, and rightly, while tokens are issued and long reads go on."""
        threads = await self.running()
        database = threads.database
        free = threading.Event()
        long = [database.read(lambda _: free.wait(PATIENCE)) for _ in range(READERS)]
        authority = DatabaseAuthority(database, 600, "static")
        web = Instance(WEB, "wéb", "demo", "rack1", InstanceState.RUNNING, ())
        console, caller = Console(0, "192.0.2.1", 10000), Caller("mia", "demo")
        issues = [authority.issue(web, console, caller, "http://x/") for _ in range(20)]
        unknown = hash_token("unknown")
        asked = [[*self.hashes, unknown][number % 7] for number in range(100)]
        try:
            found = await gatherResults([database.read(tokens.find, each) for each in asked])
            issued = await gatherResults(issues)
            checked = [authority.validate(each.clear) for each in issued]
            assert await gatherResults(checked) == [each.token for each in issued]
            assert not any(answer.called for answer in long)
        finally:
            free.set()
        # The last two have lost their place.
        good = {token.token_hash: token for token in self.tokens[:4]}
        assert found == [good.get(each) for each in asked]
        assert all(0 < token.left <= 600 for token in found if token is not None)
        assert all(await gatherResults(long))

    async def test_a_server_that_is_killed_and_comes_back(self) -> None:
        """It is the threads' outage, as without the connection; then there is another one."""
        threads = await self.running()
        check = threads.database.read
        token = self.hashes[0]
        try:
            _kill(int((self.server.data / "postmaster.pid").read_text().split()[0]))
            self.server.stop()
            await _until(lambda: not self.inline.stands)
            with pytest.raises(Unavailable):
                await check(tokens.find, token)
            self.clock.advance(SOON)
            with pytest.raises(Unavailable):
                await check(tokens.find, token)
            await _until(lambda: bool(self.clock.getDelayedCalls()))
        finally:
            self.server.start()
        assert await check(tokens.find, token) == self.tokens[0]
        self.clock.advance(2 * SOON)
        await _until(lambda: self.inline.stands)
        assert await check(tokens.find, token) == self.tokens[0]

    async def test_a_check_that_is_sent_to_a_process_that_is_gone(self) -> None:
        """A thread answers it, before the reactor has heard of that end."""
        threads = await self.running()
        process = self.link().opened.pgconn.backend_pid
        ended = os.pidfd_open(process)
        try:
            with self.engine.connect() as connection:
                assert connection.scalar(select(func.pg_terminate_backend(process)))
            assert select_files([ended], [], [], PATIENCE)[0]
        finally:
            os.close(ended)
        assert self.inline.stands
        assert await threads.database.read(tokens.find, self.hashes[0]) == self.tokens[0]
        assert not self.inline.stands
        self.clock.advance(SOON)
        await _until(lambda: self.inline.stands)
        assert await threads.database.read(tokens.find, self.hashes[0]) == self.tokens[0]

    async def test_checks_that_are_sent_to_a_process_that_hangs(self) -> None:
        """Threads answer them when it has had its time."""
        threads = await self.running()
        process = self.link().opened.pgconn.backend_pid
        with signalled([process], signal.SIGSTOP, signal.SIGCONT):
            checks = [threads.database.read(tokens.find, self.hashes[0]) for _ in range(10)]
            assert await gatherResults(checks) == [self.tokens[0]] * 10
        assert not self.inline.stands


def _inline(threads: DatabaseThreads) -> InlineReads:
    inline = threads.database.inline
    assert inline is not None
    return inline


def _kill(pid: int) -> None:
    """Kills a server, and returns when none of its processes is left."""
    os.kill(pid, signal.SIGSTOP)  # It has no new children then.
    ends = []
    for process in family(pid)[::-1]:
        with contextlib.suppress(ProcessLookupError):
            ends.append(os.pidfd_open(process))
            os.kill(process, signal.SIGKILL)
    for end in ends:
        assert select_files([end], [], [], PATIENCE)[0]
        os.close(end)


async def _until(fulfilled: Callable[[], bool]) -> None:
    """Returns when the condition is fulfilled, while the reactor runs."""
    real: Any = reactor
    end = real.seconds() + PATIENCE
    while not fulfilled():
        assert real.seconds() < end, "it has not come about"
        await deferLater(real, STEP)
