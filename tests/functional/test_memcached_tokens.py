"""consoled beside oslo.cache on a real memcached."""

from __future__ import annotations

import hashlib
import json
import pickle
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import memcache
import pytest
from dogpile.cache.api import CachedValue
from oslo_cache import core
from oslo_config import cfg
from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from consoled.db import schema
from consoled.db.database import CellDatabase
from consoled.db.engine import make_engine
from consoled.errors import NotFound, TokenInvalid, Unavailable
from consoled.model import Caller, Console, Instance, InstanceState, hash_token
from consoled.tokens.database import DatabaseAuthority
from consoled.tokens.fallback import FallbackAuthority
from consoled.tokens.memcached import MemcachedAuthority
from consoled.tokens.oslo_region import OsloRegion
from consoled.workers import InlineWorker
from tools.lab.memcached import Memcached

T = TypeVar("T")

TTL = 600
INSTANCE = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0001"
PLACE = ("127.0.0.1", 10000)
URL = "ws://127.0.0.1:6083/"
MIA = Caller("mia", "demo")
LIVE = Instance(
    uuid=INSTANCE,
    name="web",
    project_id="demo",
    host="rack1",
    state=InstanceState.RUNNING,
    consoles=(Console(0, *PLACE),),
)


class OneInstance:
    """A driver that sees one instance."""

    name = "one"

    def instances(self) -> Deferred[Any]:
        return succeed([LIVE])

    def instance(self, uuid: str) -> Deferred[Instance]:
        return succeed(LIVE) if uuid == INSTANCE else fail(NotFound(uuid))

    def start(self) -> None: ...

    def stop(self) -> Deferred[None]:
        return succeed(None)

    def reload(self) -> Deferred[None]:
        return succeed(None)


def outcome(deferred: Deferred[T]) -> T:
    found: list[Any] = []
    deferred.addBoth(found.append)
    if isinstance(found[0], Failure):
        found[0].raiseException()
    value: T = found[0]
    return value


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Memcached]:
    """A memcached of its own, empty."""
    with Memcached(tmp_path) as running:
        yield running


@pytest.fixture
def authority(server: Memcached) -> MemcachedAuthority:
    return authority_over(server)


def authority_over(server: Memcached, ttl: int = TTL) -> MemcachedAuthority:
    region = OsloRegion.open([server.server], ttl)
    return MemcachedAuthority(region, InlineWorker(), OneInstance(), ttl)


def oslo_region(server: Memcached, backend: str, ttl: int = TTL) -> Any:
    """A region as the old service made it: oslo.cache by its own options, nothing of ours."""
    conf = cfg.ConfigOpts()
    core.configure(conf)
    conf([], default_config_files=[], default_config_dirs=[])
    conf.set_override("enabled", True, "cache")
    conf.set_override("backend", backend, "cache")
    conf.set_override("memcache_servers", [server.server], "cache")
    conf.set_override("expiration_time", ttl, "cache")
    region = core.create_region()
    core.configure_cache_region(conf, region)
    return region


def info(token: str, **changes: Any) -> dict[str, Any]:
    """The old service's connect info."""
    return {
        "token": token,
        "instance_uuid": INSTANCE,
        "console_type": "serial",
        "host": PLACE[0],
        "port": PLACE[1],
        "internal_access_path": None,
        "access_url": f"{URL}?token={token}",
        "last_activity_at": time.time(),
    } | changes


def key(word: str) -> str:
    """The key on the wire."""
    return hashlib.sha1(word.encode()).hexdigest()


@pytest.mark.parametrize("backend", ["dogpile.cache.memcached", "oslo_cache.memcache_pool"])
def test_what_oslo_cache_wrote_opens_here(
    server: Memcached, authority: MemcachedAuthority, backend: str
) -> None:
    """Keys and values as the old service put them in, with either backend of nova's guides."""
    region = oslo_region(server, backend)
    token = str(uuid.uuid4())
    region.set(token.encode(), json.dumps(info(token)))
    region.set(INSTANCE.encode(), json.dumps([token]))
    for _ in range(2):
        found = outcome(authority.validate(token))
    assert (found.instance_uuid, found.index, found.host, found.port) == (INSTANCE, 0, *PLACE)
    assert (found.access_url, found.token_hash) == (URL, hash_token(token))
    with pytest.raises(TokenInvalid):
        outcome(authority.validate(str(uuid.uuid4())))
    with pytest.raises(TokenInvalid):
        outcome(authority.validate(INSTANCE))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_pickle_protocol_is_read(
    server: Memcached, authority: MemcachedAuthority, protocol: int
) -> None:
    """The old service's client may have been set to any."""
    client = memcache.Client([server.server], pickleProtocol=protocol)
    token = str(uuid.uuid4())
    value = CachedValue(json.dumps(info(token)), {"v": 1, "ct": time.time()})
    assert client.set(key(token), value)
    assert outcome(authority.validate(token)).port == PLACE[1]


def test_oslo_cache_reads_what_is_issued_here(
    server: Memcached, authority: MemcachedAuthority
) -> None:
    """The old service, still running beside consoled, takes consoled's tokens and lists."""
    issued = outcome(authority.issue(LIVE, LIVE.consoles[0], MIA, URL))
    region = oslo_region(server, "dogpile.cache.memcached")
    stored = json.loads(region.get(issued.clear.encode()))
    assert stored == info(issued.clear, last_activity_at=stored["last_activity_at"])
    assert json.loads(region.get(INSTANCE.encode())) == [issued.clear]
    assert outcome(authority.validate(issued.clear)) == issued.token


def test_a_token_outlives_its_time_nowhere(
    server: Memcached, authority: MemcachedAuthority
) -> None:
    """The writer's time stamp decides, though memcached itself still holds the value."""
    client = memcache.Client([server.server])
    token = str(uuid.uuid4())
    written = time.time() - TTL - 1
    text = json.dumps(info(token, last_activity_at=written))
    client.set(key(token), CachedValue(text, {"v": 1, "ct": written}))
    assert client.get(key(token)) is not None
    with pytest.raises(TokenInvalid):
        outcome(authority.validate(token))
    assert outcome(authority_over(server, TTL + 60).validate(token)).expires == int(written) + 660


def test_memcached_drops_what_is_issued_here(
    server: Memcached, authority: MemcachedAuthority
) -> None:
    """The time to live stands in memcached too, so that it need not fill up."""
    issued = outcome(authority.issue(LIVE, LIVE.consoles[0], MIA, URL))
    client = memcache.Client([server.server])
    client.get("connects")
    (host,) = client.servers
    for word in (issued.clear, INSTANCE):
        host.send_cmd(f"mg {key(word)} t")  # a meta get of the seconds that are left
        code, left = host.readline().split()
        assert code == b"HD"
        assert 0 < int(left.removeprefix(b"t")) <= TTL


def test_a_restart_loses_tokens(server: Memcached, authority: MemcachedAuthority) -> None:
    """Away: come back in a moment. Back: the tokens are gone, and new ones are issued."""
    issued = outcome(authority.issue(LIVE, LIVE.consoles[0], MIA, URL))
    server.stop()
    with pytest.raises(Unavailable):
        outcome(authority.validate(issued.clear))
    with pytest.raises(Unavailable):
        outcome(authority.issue(LIVE, LIVE.consoles[0], MIA, URL))
    server.start()
    # Another process, which has not put the server aside for some seconds.
    again = authority_over(server)
    with pytest.raises(TokenInvalid):
        outcome(again.validate(issued.clear))
    new = outcome(again.issue(LIVE, LIVE.consoles[0], MIA, URL))
    assert outcome(again.validate(new.clear)) == new.token


class Evil:
    """Unpickled, it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_a_hostile_value_runs_nothing(
    server: Memcached, authority: MemcachedAuthority, tmp_path: Path
) -> None:
    """Who can write to memcached cannot run code in the daemon."""
    client = memcache.Client([server.server])
    made = tmp_path / "made"
    token = str(uuid.uuid4())
    assert client.set(key(token), Evil(made))
    with pytest.raises(TokenInvalid):
        outcome(authority.validate(token))
    assert not made.exists()
    # The same value does act on a reader without that care.
    client.get(key(token))
    assert made.exists()


def test_beside_the_database(
    server: Memcached, authority: MemcachedAuthority, tmp_path: Path
) -> None:
    """The fallback on: old and new tokens open. Off: the old one is refused."""
    engine = make_engine(f"sqlite:///{tmp_path}/cell.sqlite")
    schema.prepare(engine)
    database = CellDatabase(engine, InlineWorker())
    both = FallbackAuthority(DatabaseAuthority(database, TTL, "one"), authority)
    token = str(uuid.uuid4())
    oslo_region(server, "dogpile.cache.memcached").set(token.encode(), json.dumps(info(token)))
    issued = outcome(both.issue(LIVE, LIVE.consoles[0], MIA, URL))
    assert outcome(both.validate(token)).generation == 0
    assert outcome(both.validate(issued.clear)).generation == 1
    with pytest.raises(TokenInvalid):
        outcome(authority.validate(issued.clear))
    both.legacy = None
    with pytest.raises(TokenInvalid):
        outcome(both.validate(token))
    assert outcome(both.validate(issued.clear)) == issued.token
    database.stop()
