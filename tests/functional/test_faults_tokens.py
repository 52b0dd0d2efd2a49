"""The tokens of running daemons under attack: T1 to T4 and T6 to T8 of the faults."""

from __future__ import annotations

import os
import signal
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from attrs import frozen
from backends import Backend, backend, echo, saying
from databases import ALL, REPLICATED, server
from fault_world import (
    WallClock,
    address,
    cell_database,
    daemon_by,
    described,
    files,
    in_database,
    new_token,
    refusal,
    until,
    uuid_of,
    visit,
)
from raw_http import handshake
from sqlalchemy import Connection, MetaData, select, update

from consoled.db.clock import epoch_seconds
from consoled.db.tables import console_auth_tokens as tokens
from consoled.db.tables import metadata
from consoled.model import hash_token
from tools.lab.daemon import ADMIN_KEY, MEMBER_KEY, Daemon, inventory, static_daemon


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A cell database of the kind that the test names."""
    return cell_database(request.session, request.param, tmp_path)


def now(url: str) -> int:
    """The time of the database."""
    time = select(epoch_seconds())
    return in_database(url, lambda connection: connection.execute(time).scalar_one())


def expires_of(url: str, token_hash: str) -> int:
    """When a token ends, by the database's clock."""
    found = select(tokens.c.expires).where(tokens.c.token_hash == token_hash)
    return in_database(url, lambda connection: connection.execute(found).scalar_one())


def set_to_expire(url: str, token: str, seconds: int) -> int:
    """Lets a token expire so many seconds from now, by the database's clock; gives that time."""

    own = tokens.c.token_hash == hash_token(token)

    def change(connection: Connection) -> int:
        connection.execute(update(tokens).where(own).values(expires=epoch_seconds() + seconds))
        return connection.execute(select(tokens.c.expires).where(own)).scalar_one()

    return in_database(url, change)


# T1


@pytest.mark.parametrize("url", ALL, indirect=True)
def test_t1_the_database_s_clock_decides(tmp_path: Path, url: str) -> None:
    """T1: a second before its end a token opens, from then on not, whatever the daemon's clock."""
    clock = WallClock(tmp_path)
    config = {"database": {"connection": url}}
    with (
        backend(echo) as guest,
        daemon_by(clock, tmp_path, [described("web-1", guest.port)], config) as daemon,
    ):
        for wrong in (5, -5):
            clock.set(wrong)
            for left in (0, -1):
                token = new_token(daemon, "web-1")
                set_to_expire(url, token, left)
                assert refusal(address(daemon, token)) == 4401

            def opens_before_its_end() -> bool:
                token = new_token(daemon, "web-1")
                expires = set_to_expire(url, token, 1)
                code = refusal(address(daemon, token))
                # On a busy machine the second may be over; then there is nothing to judge.
                if now(url) >= expires:
                    return False
                assert code is None
                return True

            until(daemon, "the token was tried in time", opens_before_its_end)
        before = now(url)
        fresh = hash_token(new_token(daemon, "web-1"))
        assert before + 600 <= expires_of(url, fresh) <= now(url) + 600


# T2


@pytest.mark.parametrize("url", REPLICATED, indirect=True)
def test_t2_one_token_fifty_times(tmp_path: Path, url: str) -> None:
    """T2: 50 viewers with one token, at two replicas at once: exactly one session."""
    with ExitStack() as stack:
        guest = stack.enter_context(backend(echo))
        daemons = []
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            one = static_daemon(
                tmp_path / name,
                [described("web-1", guest.port)],
                {"database": {"connection": url}},
            )
            daemons.append(stack.enter_context(one))
        token = new_token(daemons[0], "web-1")
        together = threading.Barrier(50)

        def use(number: int) -> int | None:
            together.wait()
            with visit(address(daemons[number % 2], token)) as found:
                if found.open:
                    found.says(b"x")
                # Nobody leaves before all have had their answer.
                together.wait()
                return found.code

        with ThreadPoolExecutor(50) as pool:
            codes = list(pool.map(use, range(50)))
        assert codes.count(None) == 1
        assert set(codes) == {None, 4409}
        guest.accepted.get(timeout=60)
        assert guest.accepted.empty()


# T3


def test_t3_a_session_outlives_its_token(tmp_path: Path) -> None:
    """T3: by default an open session goes on when its token ends; the token opens no other."""
    url = f"sqlite:///{tmp_path}/cell.sqlite"
    with (
        backend(echo) as guest,
        static_daemon(
            tmp_path, [described("web-1", guest.port)], {"database": {"connection": url}}
        ) as daemon,
    ):
        token = new_token(daemon, "web-1")
        with visit(address(daemon, token)) as session:
            session.says(b"before")
            set_to_expire(url, token, 0)
            assert refusal(address(daemon, token)) == 4401
            session.says(b"after")


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"max_session": 1}, 4412),
        ({"idle_timeout": 1}, 4411),
        ({"token_ttl": 2, "enforce_session_timeout": True}, 4412),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_t3_limits_of_a_session(tmp_path: Path, options: dict[str, object], code: int) -> None:
    """T3: each documented limit ends the session with its own code and a sentence."""
    with (
        backend(echo) as guest,
        static_daemon(
            tmp_path, [described("web-1", guest.port)], {"consoleauth": options}
        ) as daemon,
        visit(address(daemon, new_token(daemon, "web-1"))) as session,
    ):
        assert session.open
        found, reason, _ = session.ends()
        assert found == code
        assert reason.endswith(".")


# T4


@frozen
class World:
    """A daemon whose inventory changes, and two guests' ports."""

    daemon: Daemon
    folder: Path
    one: Backend
    two: Backend

    def becomes(self, *instances: dict[str, object]) -> None:
        """Another inventory, in force when this returns."""
        (self.folder / "inventory.yaml").write_text(inventory(*instances))
        since = len(self.daemon.events())
        os.kill(self.daemon.pid, signal.SIGHUP)

        def reloaded() -> bool:
            events = self.daemon.events()[since:]
            assert not any(event["event"] == "reload_refused" for event in events)
            return any("static driver reloaded" in event["message"] for event in events)

        until(self.daemon, "the inventory is read again", reloaded)

    def refuses(self, token: str, code: int) -> None:
        """The token is refused, and no guest has heard of it."""
        assert refusal(address(self.daemon, token)) == code
        assert self.one.accepted.empty()
        assert self.two.accepted.empty()

    def opens(self, token: str, guest: Backend, banner: bytes) -> None:
        """The token opens the console of that guest, and nothing else."""
        with visit(address(self.daemon, token)) as found:
            found.prints(banner)
        guest.accepted.get_nowait()
        assert self.one.accepted.empty()
        assert self.two.accepted.empty()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A daemon with web-1 at the first port."""
    folder = tmp_path_factory.mktemp("inventories")
    with (
        backend(saying(b"one ")) as one,
        backend(saying(b"two ")) as two,
        static_daemon(folder, [described("web-1", one.port)]) as daemon,
    ):
        yield World(daemon, folder, one, two)


def test_t4_a_port_that_went_to_another_tenant(world: World) -> None:
    """T4: the old token never reaches the new tenant, nor opens when the port comes back."""
    at_one = world.one.port
    world.becomes(described("web-1", at_one))
    old = new_token(world.daemon, "web-1")
    world.opens(old, world.one, b"one ")
    world.becomes(described("web-2", at_one, project_id="other"))
    world.refuses(old, 4401)
    world.opens(new_token(world.daemon, "web-2", key=ADMIN_KEY), world.one, b"one ")
    # The first one is back there: a place of another generation.
    world.becomes(described("web-1", at_one))
    world.refuses(old, 4401)
    world.opens(new_token(world.daemon, "web-1"), world.one, b"one ")
    world.refuses(old, 4401)


def test_t4_two_instances_that_changed_places(world: World) -> None:
    """T4: both old tokens are refused as soon as the driver says so, before any new token."""
    one, two = world.one.port, world.two.port
    world.becomes(described("web-1", one), described("web-2", two))
    olds = [new_token(world.daemon, name) for name in ("web-1", "web-2")]
    world.becomes(described("web-1", two), described("web-2", one))
    for old in olds:
        world.refuses(old, 4401)
    world.opens(new_token(world.daemon, "web-1"), world.two, b"two ")
    for old in olds:
        world.refuses(old, 4401)


def test_t4_a_stopped_or_deleted_instance(world: World) -> None:
    """T4: a stopped instance's token opens nothing, though something listens at its port."""
    at_one = world.one.port
    world.becomes(described("web-1", at_one))
    token = new_token(world.daemon, "web-1")
    world.becomes(described("web-1", at_one, state="stopped"))
    world.refuses(token, 4413)
    world.becomes(described("web-2", world.two.port))
    world.refuses(token, 4401)


# T6


def secrets_of(daemon: Daemon) -> dict[str, bytes]:
    """Uses a daemon, and names everything that nobody may find afterwards."""
    token = new_token(daemon, "web-1")
    with visit(address(daemon, token)) as session:
        session.says(b"x")
        resume = session.hello["resume"]
        daemon.request("GET", "/v1/sessions")
    unused = new_token(daemon, "web-1", key=ADMIN_KEY)
    return {
        "a token": token.encode(),
        "a token that was never used": unused.encode(),
        "a resume key": resume.encode(),
        "the secret of a resume key": resume.partition(".")[2].encode(),
        "an admin's key": ADMIN_KEY.encode(),
        "a member's key": MEMBER_KEY.encode(),
    }


def leaks(secrets: dict[str, bytes], places: dict[str, bytes]) -> list[tuple[str, str]]:
    """Which secrets are in which places."""
    return [
        (what, place)
        for what, secret in secrets.items()
        for place, data in places.items()
        if secret in data
    ]


def dumped(url: str) -> bytes:
    """Every row of every table, as text."""

    def dump(connection: Connection) -> bytes:
        found = MetaData()
        found.reflect(connection)
        assert tokens.name in found.tables
        rows = [
            repr(tuple(row))
            for table in found.sorted_tables
            for row in connection.execute(table.select())
        ]
        return "\n".join(rows).encode()

    return in_database(url, dump)


def write_out(connection: Connection, kind: str) -> None:
    """Lets a server write what it has in memory into its files."""
    if kind == "postgresql":
        connection.exec_driver_sql("CHECKPOINT")
        return
    connection.exec_driver_sql("FLUSH ENGINE LOGS")
    for table in metadata.tables:
        connection.exec_driver_sql(f"FLUSH TABLES {table} FOR EXPORT")
        connection.exec_driver_sql("UNLOCK TABLES")


@pytest.mark.parametrize("url", ALL, indirect=True)
def test_t6_a_dump_of_the_database(
    tmp_path: Path, url: str, request: pytest.FixtureRequest
) -> None:
    """T6: no token, resume key or API key is in any table, nor in any file of the database."""
    config = {"database": {"connection": url}}
    with (
        backend(echo) as guest,
        static_daemon(tmp_path, [described("web-1", guest.port)], config) as daemon,
    ):
        secrets = secrets_of(daemon)
        places = {"a dump": dumped(url)}
        kind = url.partition(":")[0].partition("+")[0]
        # Before anything is tidied up: SQLite's -wal, PostgreSQL's WAL, MariaDB's redo log.
        if kind == "sqlite":
            places |= {path.name: data for path, data in files(tmp_path) if "sqlite" in path.name}
        else:
            in_database(url, lambda connection: write_out(connection, kind))
            folder = server(request.session, kind).data
            places |= {str(path): data for path, data in files(folder)}
    # It is where one would look for it.
    by_hash = hash_token(secrets["a token"].decode()).encode()
    assert by_hash in places["a dump"]
    assert len([place for place, data in places.items() if by_hash in data]) > 1
    assert leaks(secrets, places) == []


# T7


def fetched(request: urllib.request.Request) -> tuple[bytes, dict[str, str]]:
    """The body and headers of an answer, whatever its status."""
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        return error.read(), dict(error.headers)


def test_t7_a_token_is_in_no_log_and_no_answer(tmp_path: Path) -> None:
    """T7: with debug on, nothing that the daemon writes or answers has a token or key in it."""
    config: dict[str, dict[str, object]] = {"DEFAULT": {"debug": True}}
    with (
        backend(echo) as guest,
        static_daemon(tmp_path, [described("web-1", guest.port)], config) as daemon,
    ):
        secrets = secrets_of(daemon)
        token, wrong = secrets["a token"].decode(), "wrong-" + "t" * 37
        secrets["a wrong token"] = wrong.encode()
        secrets["a wrong key"] = b"wrong-key-0123456789"
        proxy = f"http://127.0.0.1:{daemon.port}"
        paths = ["/serial.html", "/", "/nothing", "//evil", "/websockify", "/%00"]
        requests = [
            urllib.request.Request(f"{proxy}{path}?token={it}")
            for path in paths
            for it in (token, wrong)
        ]
        requests += [
            urllib.request.Request(f"{daemon.api_url}{path}", headers={"X-Auth-Token": key})
            for path in (
                f"/v1/servers/{token}",
                f"/v1/servers?token={token}",
                f"/v1/sessions/{token}",
                f"/v1/tokens/{token}",
                f"/{token}",
            )
            for key in (ADMIN_KEY, "wrong-key-0123456789")
        ]
        requests += [
            urllib.request.Request(
                f"{daemon.api_url}/v3/servers/{uuid_of('web-1')}/remote-consoles",
                data=b'{"remote_console": {"protocol": "%s"}}' % token.encode(),
                headers={"X-Auth-Token": ADMIN_KEY, "Content-Type": "application/json"},
            )
        ]
        answers = []
        for request in requests:
            body, headers = fetched(request)
            answers.append(body + repr(headers).encode())
            if request.host.endswith(str(daemon.port)):
                assert headers["Referrer-Policy"] == "no-referrer"
        for it in (token, wrong):
            assert refusal(address(daemon, it)) in (None, 4401)
            for headers in ({"Origin": "http://evil.example"}, {"Sec-WebSocket-Version": "8"}):
                answers.append(handshake(daemon.port, f"/?token={it}", headers).data)
            cookie = {"Cookie": f"token={it}"}
            answers.append(handshake(daemon.port, "/websockify", cookie).data)
        (tmp_path / "inventory.yaml").unlink()
        os.kill(daemon.pid, signal.SIGHUP)
        daemon.wait_for_event("reload_refused")
        daemon.stop()
        written = {path: data for path, data in files(tmp_path) if path != daemon.keys_file}
    # Events name a token by the beginning of its hash, so there is one to be found.
    assert hash_token(token)[:12].encode() in written[daemon.log]
    places = {str(path): data for path, data in written.items()}
    places |= {f"answer {number}": data for number, data in enumerate(answers)}
    assert leaks(secrets, places) == []


# T8


def test_t8_a_session_id_attaches_to_nothing(tmp_path: Path) -> None:
    """T8: what the lists show opens nothing, in whatever place it is tried; nor does a guess."""
    with (
        backend(echo) as guest,
        static_daemon(tmp_path, [described("web-1", guest.port)]) as daemon,
        visit(address(daemon, new_token(daemon, "web-1"))) as session,
    ):
        session.says(b"x")
        (listed,) = daemon.request("GET", "/v1/sessions").body["sessions"]
        known = listed["id"]
        assert session.hello["session"] == known
        assert known not in session.hello["resume"].partition(".")[2]
        guess = "A" * len(session.hello["resume"].partition(".")[2])
        other = new_token(daemon, "web-1", key=ADMIN_KEY)
        proxy = f"ws://127.0.0.1:{daemon.port}/serial.html"
        for query, code in (
            (f"token={known}", 4401),
            (f"session={known}", 4401),
            (f"resume={known}", 4401),
            (f"resume={known}.{guess}", 4401),
            (f"resume={known}.", 4401),
            (f"token={known}&resume={known}.{guess}&since=0&takeover=1", 4401),
            # Another user's own right to the console is no right to this session.
            (f"token={other}&resume={known}.{guess}&since=0", 4409),
        ):
            assert refusal(f"{proxy}?{query}") == code, query
        session.says(b"still mine")
        guest.accepted.get_nowait()
        assert guest.accepted.empty()
