"""consoled's token objects and rows beside nova's own classes and schema."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from attrs import frozen
from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from consoled.compute.nova_known import NovaKnownDriver
from consoled.db import nova_tables, schema
from consoled.db.database import CellDatabase
from consoled.db.engine import make_engine
from consoled.errors import ConfigError, InstanceNotRunning, NotFound, TokenInvalid
from consoled.interfaces import Driver
from consoled.model import Caller, Console, ConsoleAuthToken, Instance, InstanceState, hash_token
from consoled.tokens.nova import NovaAuthority
from consoled.tokens.objects import VERSIONS, TokenObject, from_primitive, to_primitive
from consoled.workers import InlineWorker
from tools.lab.nova import POWER_SHUTDOWN, Nova
from tools.lab.openstack_environment import version_of

# The first test may have to install nova.
pytestmark = pytest.mark.timeout(900)

T = TypeVar("T")

INSTANCE = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0001"
OTHER = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0002"
PLACE = ("127.0.0.1", 10000)
URL = "ws://127.0.0.1:6083/"
CLEAR = "b3a1c0de-0000-4000-8000-00000000feed"
MIA = Caller("mia", "demo")
FIELDS: dict[str, Any] = {
    "console_type": "serial",
    "host": PLACE[0],
    "port": PLACE[1],
    "internal_access_path": None,
    "instance_uuid": INSTANCE,
    "access_url_base": URL,
}
TOKEN = ConsoleAuthToken(
    token_hash=hash_token(CLEAR),
    instance_uuid=INSTANCE,
    index=0,
    host=PLACE[0],
    port=PLACE[1],
    generation=3,
    access_url=URL,
    expires=1_767_225_600,
    options={"internal_access_path": "/vm/1", "tls_port": 10443},
)
LIVE = Instance(
    uuid=INSTANCE,
    name="web",
    project_id="demo",
    host="rack1",
    state=InstanceState.RUNNING,
    consoles=(Console(0, *PLACE),),
)


@frozen
class OneInstance:
    """A driver that sees one instance, or none."""

    seen: Instance | None = LIVE
    name: str = "one"

    def instances(self) -> Deferred[Any]:
        return succeed([self.seen] if self.seen else [])

    def instance(self, uuid: str) -> Deferred[Instance]:
        if self.seen is None or self.seen.uuid != uuid:
            return fail(NotFound(f"Instance {uuid} could not be found."))
        return succeed(self.seen)

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
def nova(tmp_path: Path) -> Nova:
    """A nova cell with two running instances."""
    cell = Nova(tmp_path / "nova")
    cell.add_instance(INSTANCE)
    cell.add_instance(OTHER, name="db")
    return cell


@pytest.fixture
def database(nova: Nova) -> Iterator[CellDatabase]:
    engine = make_engine(nova.connection)
    nova_tables.check(engine)
    database = CellDatabase(engine, InlineWorker())
    yield database
    database.stop()


def authority(database: CellDatabase, driver: Driver | None = None) -> NovaAuthority:
    return NovaAuthority(database, driver or OneInstance(), ttl=600)


def test_nova_s_class_reads_our_primitive(nova: Nova) -> None:
    """NovaObject.obj_from_primitive finds the same fields, with and without the clear token."""
    bare, full = nova.call(
        {"do": "read", "primitive": to_primitive(TOKEN)},
        {"do": "read", "primitive": TokenObject.of(TOKEN, CLEAR).primitive()},
    )
    expected = FIELDS | {
        "internal_access_path": "/vm/1",
        "tls_port": 10443,
        "expires": TOKEN.expires,
        # nova forms it once a token has a row.
        "access_url": None,
    }
    assert bare == expected
    assert full == expected | {"token": CLEAR}


def test_we_read_and_write_as_nova_s_class_does(nova: Nova) -> None:
    """For each version, for new and for stored objects: the same envelope and data."""
    fields = FIELDS | {"expires": 1_767_225_600, "tls_port": None, "token": CLEAR, "id": 7}
    written = nova.call(
        *({"do": "write", "fields": fields, "version": version} for version in VERSIONS)
    )
    for version, theirs in zip(VERSIONS, written, strict=True):
        found = from_primitive(theirs)
        assert found == TokenObject(
            instance_uuid=INSTANCE,
            console_type="serial",
            host=PLACE[0],
            port=PLACE[1],
            access_url=URL,
            expires=None if version < "1.2" else 1_767_225_600,
            clear=CLEAR,
            id=7,
        )
        ours = found.primitive(version)
        # New there, and so all changed; nothing is new in what is passed on.
        theirs["nova_object.changes"] = []
        assert ours == theirs


def test_a_token_of_nova_s_opens_here(nova: Nova, database: CellDatabase) -> None:
    """authorize() of nova's class, then our check: the same place, URL and expiry."""
    (made,) = nova.call({"do": "authorize", "fields": FIELDS, "ttl": 600})
    token = outcome(authority(database).validate(made["token"]))
    assert (token.instance_uuid, token.index, token.host, token.port) == (INSTANCE, 0, *PLACE)
    assert (token.access_url, token.expires) == (URL, made["expires"])
    assert token.token_hash == hash_token(made["token"])


def test_nova_accepts_a_token_of_ours(nova: Nova, database: CellDatabase) -> None:
    """Issued here, validate() of nova's class reads all of it; an unknown one it refuses."""
    issued = outcome(authority(database).issue(LIVE, LIVE.consoles[0], MIA, URL))
    found, unknown = nova.call(
        {"do": "validate", "token": issued.clear}, {"do": "validate", "token": CLEAR}
    )
    assert unknown is None
    assert found == FIELDS | {
        "id": 1,
        "token": issued.clear,
        "tls_port": None,
        "expires": issued.token.expires,
        "access_url": f"{URL}?token={issued.clear}",
    }


def test_expired_here_and_there(nova: Nova, database: CellDatabase) -> None:
    """A token without any time to live is refused by both, whoever made it."""
    ours = outcome(
        NovaAuthority(database, OneInstance(), 0).issue(LIVE, LIVE.consoles[0], MIA, URL)
    )
    theirs, refused = nova.call(
        {"do": "authorize", "fields": FIELDS, "ttl": 0}, {"do": "validate", "token": ours.clear}
    )
    assert refused is None
    with pytest.raises(TokenInvalid):
        outcome(authority(database).validate(theirs["token"]))


def test_nova_s_hole_is_closed(nova: Nova, database: CellDatabase) -> None:
    """A stopped instance's token, and one whose port the next instance has, open nothing."""
    first, _ = nova.call(
        {"do": "authorize", "fields": FIELDS, "ttl": 600},
        {"do": "authorize", "fields": FIELDS | {"instance_uuid": OTHER}, "ttl": 600},
    )
    with pytest.raises(TokenInvalid):
        outcome(authority(database).validate(first["token"]))


def test_on_a_controller_nova_s_word_counts(nova: Nova, database: CellDatabase) -> None:
    """No driver sees the instance: its power state and its newest token stand in for one."""
    (made,) = nova.call({"do": "authorize", "fields": FIELDS, "ttl": 600})
    both = NovaKnownDriver(OneInstance(None), database)
    assert outcome(both.instance(INSTANCE)) == LIVE
    assert outcome(authority(database, both).validate(made["token"])).port == PLACE[1]
    nova.set_power_state(INSTANCE, POWER_SHUTDOWN)
    with pytest.raises(InstanceNotRunning):
        outcome(authority(database, both).validate(made["token"]))


def test_consoled_s_own_database_is_another(nova: Nova, tmp_path: Path) -> None:
    """Each is refused where the other belongs."""
    with pytest.raises(ConfigError):
        schema.upgrade(make_engine(nova.connection))
    own = make_engine(f"sqlite:///{tmp_path}/own.sqlite")
    schema.prepare(own)
    with pytest.raises(ConfigError, match=r"it has no column (instances|console_auth_tokens)\."):
        nova_tables.check(own)


def test_the_version_is_the_contract_s() -> None:
    """The reference speaks of this release; a newer one may have a newer object."""
    assert version_of("nova").split(".")[0] == "34"
