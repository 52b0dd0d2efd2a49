"""Ways that are found: consoled.reaching.finding over a real database and real key files."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import define, evolve, field
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from fakes import FOREIGN, STOPPED, WEB_1, FakeDriver, make_instance, result
from sqlalchemy import Engine
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from consoled.auth.policy import PolicyEnforcer
from consoled.composition import check
from consoled.db import node_groups as rows
from consoled.db.database import CellDatabase
from consoled.db.engine import make_engine
from consoled.db.tables import metadata
from consoled.errors import BackendUnreachable, ConfigError, Unavailable
from consoled.reaching.book import LOOK, GroupBook
from consoled.reaching.commands import ProxyCommand
from consoled.reaching.finding import CellWay, ListedAddresses, RouteFinder, Rules
from consoled.reaching.logins import Logins, load_named
from consoled.reaching.parts import RouteFiles, RouteParts
from consoled.reaching.secrets import SecretBox
from consoled.reaching.values import Groups, Member, NodeGroup, Traits
from consoled.settings import (
    Api,
    DatabaseGroup,
    Default,
    Settings,
    SSHNode,
    SSHProxy,
    Static,
)
from consoled.transports.ssh.host_keys import HostKeys
from consoled.transports.ssh.values import Login, Method, NoKeys, ProxyNode, Route
from consoled.workers import InlineWorker

GATEWAY = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0010"
NETWORKS = ("10.0.0.0/24",)
KEY = Ed25519PrivateKey.generate()
PUBLIC = KEY.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def private_text(passphrase: str = "") -> str:
    """The private key as OpenSSH writes it."""
    how = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    return KEY.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, how).decode()


def private_file(path: Path, text: str, mode: int = 0o600) -> Path:
    """A file with that text."""
    path.touch(mode)
    path.write_text(text)
    path.chmod(mode)
    return path


@define
class World:
    """A finder, and what it finds.

    :ivar reads: how often the database was read.
    """

    finder: RouteFinder
    engine: Engine
    clock: Clock
    driver: FakeDriver
    reads: list[object] = field(factory=list)

    def make(
        self, name: str, *members: Member, hosts: tuple[str, ...] = (), **traits: Any
    ) -> NodeGroup:
        """A proxy group whose id is its name, known at once."""
        values = {"is_proxy": True, "user_name": "jump", "known_hosts": (PUBLIC,)}
        group = NodeGroup(name, Traits(name, **(values | traits)), members, hosts)
        with self.engine.begin() as connection:
            rows.create(connection, group)
        result(Deferred.fromCoroutine(self.finder.book.refresh()))
        return group

    def to(self, uuid: str = WEB_1, **changes: Any) -> list[list[str]]:
        """The labels of the nodes of each route to an instance."""
        return labels(result(self.finder.to(make_instance(uuid, "x", **changes))))

    def to_host(self, **changes: Any) -> list[list[str]]:
        """The same, to its compute host."""
        return labels(result(self.finder.to_host(make_instance(WEB_1, "x", **changes))))


def labels(routes: Any) -> list[list[str]]:
    """What logs call the nodes of each route."""
    return [[node.label for node in route] for route in routes]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A cell without groups, with gateway instances that can be members."""
    engine = make_engine(f"sqlite:///{tmp_path}/cell.sqlite")
    metadata.create_all(engine)
    clock, driver = Clock(), FakeDriver()
    driver.known += [
        make_instance(GATEWAY, "gateway", addresses=("fe80::1", "127.0.0.1", "203.0.113.9")),
    ]
    database = CellDatabase(engine, InlineWorker())
    finder = RouteFinder(
        book=GroupBook(database, clock),
        driver=driver,
        addresses=ListedAddresses(),
        logins=Logins(),
        rules=Rules(networks=NETWORKS),
        cell=CellWay(),
        seconds=clock.seconds,
    )
    yield World(finder, engine, clock, driver)
    database.stop()


def test_a_cell_without_proxies_pays_nothing(world: World) -> None:
    """The groups are read once; from then on the answer is there without a question."""
    finder, asked = world.finder, []
    finder.book.start()
    finder.book.database = Asked(finder.book.database, asked)
    for _ in range(100):
        assert world.to() == [[]]
        assert world.to_host() == [[]]
    assert asked == []
    world.clock.advance(LOOK)
    assert len(asked) == 1
    result(finder.book.stop() or succeed(None))


@define
class Asked:
    """A database that notes what it is asked."""

    inner: Any
    asked: list[object]

    def read(self, fn: Any, /, *args: Any) -> Deferred[Any]:
        """The same, noted."""
        self.asked.append(fn)
        answer: Deferred[Any] = self.inner.read(fn, *args)
        return answer

    run = read


def test_what_another_replica_changes_counts_soon(world: World) -> None:
    """The next look finds it; while the database is away, what was read stays in force."""
    book = world.finder.book
    book.start()
    assert world.to() == [[]]
    group = NodeGroup(
        "g", Traits("g", is_proxy=True, user_name="jump"), (Member(GATEWAY),), ("rack1",)
    )
    with world.engine.begin() as connection:
        rows.create(connection, group)
    assert world.to() == [[]]
    world.clock.advance(LOOK)
    assert world.to() == [["g (203.0.113.9:22)"]]
    kept, book.database = book.database, Away()
    world.clock.advance(LOOK)
    assert world.to() == [["g (203.0.113.9:22)"]]
    book.database = kept
    with world.engine.begin() as connection:
        rows.remove(connection, "g")
    world.clock.advance(LOOK)
    assert world.to() == [[]]
    result(book.stop() or succeed(None))


def test_reads_that_overtake_each_other(world: World) -> None:
    """What was asked last counts, whichever answer comes first and whatever its turn is."""
    answers: list[Deferred[Any]] = []

    class Slow:
        """Answers when told to."""

        def read(self, fn: Any, /, *args: Any) -> Deferred[Any]:
            answers.append(Deferred())
            return answers[-1]

        run = read

    book = GroupBook(Slow(), world.clock)
    reads = [Deferred.fromCoroutine(book.refresh()) for _ in range(2)]
    restored, old = Groups.of(1, ()), Groups.of(7, ())
    answers[1].callback(restored)
    answers[0].callback(old)
    for read in reads:
        result(read)
    assert book.known is restored


class Away:
    """A database that is not there."""

    def read(self, fn: Any, /, *args: Any) -> Deferred[Any]:
        """Fails."""
        return fail(Unavailable("away"))

    run = read


def test_nothing_is_dialled_before_the_groups_are_known(world: World) -> None:
    """A database that is away at the start means no way, not the direct one."""
    world.finder.book.database = Away()
    with pytest.raises(Unavailable):
        world.to()


def test_members_in_their_order(world: World) -> None:
    """Hosts by address, instances by the first of their own that can be meant; others stand in."""
    world.make(
        "g",
        Member(address="10.0.0.5", port=2222),
        Member(GATEWAY),
        Member(address="10.0.9.9"),  # not allowed any more
        Member(STOPPED),
        Member("2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b00fe"),  # gone
        hosts=("rack1",),
    )
    found = [["g (10.0.0.5:2222)"], ["g (203.0.113.9:22)"]]
    assert world.to_host() == world.to() == found
    assert world.to_host(host="rack2") == [[]]


def test_chains(world: World) -> None:
    """The outermost group comes first, and each member of each hop is tried."""
    world.make("edge", Member(address="10.0.0.1"), Member(address="10.0.0.2"))
    world.make("inner", Member(FOREIGN), proxy_group_id="edge", hosts=("rack1",))
    assert world.to_host() == [
        ["edge (10.0.0.1:22)", "inner (198.51.100.5:22)"],
        ["edge (10.0.0.2:22)", "inner (198.51.100.5:22)"],
    ]
    assert world.to(FOREIGN) == [["edge (10.0.0.1:22)"], ["edge (10.0.0.2:22)"]]


def test_a_group_that_leads_nowhere_is_not_passed_by(world: World) -> None:
    """Without a member that can be used there is no way: nothing is dialled directly instead."""
    world.make("g", Member(STOPPED), hosts=("rack1",))
    with pytest.raises(BackendUnreachable, match="its proxy nodes cannot be used"):
        world.to_host()
    world.make("nobody", Member(address="10.0.0.1"), hosts=("rack2",), user_name=None)
    with pytest.raises(BackendUnreachable, match="An administrator finds the reason"):
        world.to_host(host="rack2")


def test_a_hypervisor_that_is_away_takes_no_other_member_along(world: World) -> None:
    """The other members are tried; the address is asked again the next time."""
    world.make("g", Member(GATEWAY), Member(address="10.0.0.5"), hosts=("rack1",))
    world.driver.error = Unavailable("away")
    assert world.to_host() == [["g (10.0.0.5:22)"]]
    world.driver.error = None
    assert world.to_host() == [["g (203.0.113.9:22)"], ["g (10.0.0.5:22)"]]
    world.driver.error = Unavailable("away")
    assert world.to_host() == [["g (203.0.113.9:22)"], ["g (10.0.0.5:22)"]]
    world.clock.advance(31)
    assert world.to_host() == [["g (10.0.0.5:22)"]]


def node(host: str, login: Login | None = None) -> ProxyNode:
    """A node of the configuration."""
    return ProxyNode(host, 22, login or Login("jump", NoKeys(), HostKeys()))


def test_the_cell_s_own_nodes(world: World) -> None:
    """They lead to what no group leads to, the first one first."""
    world.finder.cell = CellWay((node("10.9.0.1"), node("10.9.0.2")))
    assert world.to() == world.to_host() == [["10.9.0.1:22"], ["10.9.0.2:22"]]
    world.make("g", Member(GATEWAY), hosts=("rack1",))
    assert world.to_host() == [["g (203.0.113.9:22)"]]
    assert world.to_host(host="rack2") == [["10.9.0.1:22"], ["10.9.0.2:22"]]
    assert world.to(GATEWAY) == [[]]


def test_the_cell_s_group(world: World) -> None:
    """By its name; one that is missing is told, and nothing is dialled directly."""
    world.finder.cell = CellWay(group="edge")
    with pytest.raises(BackendUnreachable):
        world.to()
    world.make("edge", Member(GATEWAY))
    assert world.to() == world.to_host() == [["edge (203.0.113.9:22)"]]
    assert world.to(GATEWAY) == [[]]


def test_the_command_reaches_the_first_node_only(world: World) -> None:
    """Filled in with the node's place and the instance's project and networks."""
    command = ProxyCommand.parse("ip netns exec qrouter-{router_id} nc {host} {port} {tenant_id}")
    world.finder.rules = evolve(world.finder.rules, command=command, method=Method.NC)
    world.make("edge", Member(address="10.0.0.1"))
    world.make("inner", Member(FOREIGN), proxy_group_id="edge", hosts=("rack1",))
    instance = make_instance(WEB_1, "x", metadata={"router_id": "8c1f"})
    [route] = result(world.finder.to_host(instance))
    assert route[0].command == (
        *("ip", "netns", "exec", "qrouter-8c1f", "nc", "10.0.0.1", "22", "demo"),
    )
    assert route[1].command is None
    assert {node.method for node in route} == {Method.NC}
    with pytest.raises(BackendUnreachable):
        world.to_host(metadata={})
    world.make("gateways", Member(GATEWAY))
    [shell] = result(world.finder.shells(evolve(instance, uuid=GATEWAY)))
    assert shell.command == (
        *("ip", "netns", "exec", "qrouter-8c1f", "nc", "198.51.100.5", "22", "demo"),
    )


def test_the_same_group_read_again_is_the_same_node(world: World, tmp_path: Path) -> None:
    """A connection of the pool is found again, as its key is the node."""
    box = SecretBox.open(private_file(tmp_path / "s", base64.b64encode(b"x" * 32).decode()))
    world.finder.logins = Logins(tmp_path, box, agent="/agent")
    sealed = box.seal(private_text())
    world.make("g", Member(GATEWAY), hosts=("rack1",), private_key=sealed)
    instance = make_instance(WEB_1, "x")
    before: list[Route] = result(world.finder.to_host(instance))
    world.make("other")
    after: list[Route] = result(world.finder.to_host(instance))
    assert before == after
    assert hash(before[0][0]) == hash(after[0][0])
    assert before[0][0].login.agent == ""
    assert sealed not in repr(before)
    with world.engine.begin() as connection:
        rows.alter(connection, "g", lambda g: evolve(g, traits=evolve(g.traits, user_name="x")))
    result(Deferred.fromCoroutine(world.finder.book.refresh()))
    assert result(world.finder.to_host(instance)) != after


def test_shells(world: World) -> None:
    """The login is of the group that holds the instance, else of the one that leads to it."""
    web = make_instance(WEB_1, "web-1", addresses=("169.254.0.1", "198.51.100.7", "2001:db8::7"))
    assert result(world.finder.shells(web)) == ()
    world.make("edge", Member(GATEWAY), hosts=("rack1",), user_name="jump")
    found = result(world.finder.shells(web))
    assert [(one.login.user, one.host, one.port) for one in found] == [
        ("jump", "198.51.100.7", 22),
        ("jump", "2001:db8::7", 22),
    ]
    world.make("workers", Member(WEB_1, port=2222), is_proxy=False, user_name="ubuntu")
    found = result(world.finder.shells(web))
    assert [(one.login.user, one.port, one.label) for one in found] == [
        ("ubuntu", 2222, "web-1 (198.51.100.7:2222)"),
        ("ubuntu", 2222, "web-1 ([2001:db8::7]:2222)"),
    ]
    assert result(world.finder.shells(evolve(web, addresses=()))) == []


def test_keys_of_groups(tmp_path: Path) -> None:
    """From the database, decrypted; from the folder, by name; with a passphrase; or the agent's."""
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    box = SecretBox.open(private_file(tmp_path / "s", key))
    (tmp_path / "keys").mkdir()
    private_file(tmp_path / "keys" / "locked", private_text("word"))
    logins = Logins(tmp_path / "keys", box, agent="/agent")
    sealed, word = box.seal(private_text("word")), box.seal("word")
    for traits in (
        Traits("g", user_name="u", private_key=box.seal(private_text())),
        Traits("g", user_name="u", private_key=sealed, passphrase=word),
        Traits("g", user_name="u", key_file="locked", passphrase=word),
    ):
        login = logins.of(traits)
        assert login is not None
        [loaded] = login.keys.load()
        assert loaded.public().toString("OPENSSH").decode().split()[1] == PUBLIC.split()[1]
        assert login.agent == ""
    bare = logins.of(Traits("g", user_name="u"))
    assert bare is not None
    assert (list(bare.keys.load()), bare.agent) == ([], "/agent")
    assert logins.of(Traits("g")) is None
    for traits, problem in (
        (Traits("g", user_name="u", key_file="x"), "keys_dir is not set"),
        (Traits("g", user_name="u", private_key=sealed), "secret_key_file is not set"),
    ):
        unusable = Logins().of(traits)
        assert unusable is not None
        with pytest.raises(ConfigError, match=problem):
            unusable.keys.load()


def test_no_key_from_elsewhere(tmp_path: Path) -> None:
    """A link that leads out of the folder, a folder and a readable file are refused."""
    folder = tmp_path / "keys"
    folder.mkdir()
    private_file(tmp_path / "outside", private_text())
    (folder / "link").symlink_to(tmp_path / "outside")
    (folder / "folder").mkdir()
    private_file(folder / "open", private_text(), 0o644)
    private_file(folder / "real", private_text())
    (folder / "inside").symlink_to("real")
    for name in ("link", "folder", "missing", "../outside", "."):
        with pytest.raises(ConfigError, match="keys_dir has no key"):
            load_named(folder, name, "")
    with pytest.raises(ConfigError, match="others than its owner have access to it"):
        load_named(folder, "open", "")
    assert len(load_named(folder, "inside", "")) == 1


def files(tmp_path: Path, **changes: Any) -> SSHProxy:
    """A configuration of one node, whose files are there."""
    values: dict[str, Any] = {
        "nodes": (SSHNode("jump", "10.0.0.5", 2222), SSHNode("jump", "gw.example.org")),
        "key_file": private_file(tmp_path / "id", private_text("word")),
        "key_passphrase_file": private_file(tmp_path / "word", "word\n"),
        "known_hosts": private_file(tmp_path / "known", f"# both\n{PUBLIC}\n"),
        "keys_dir": tmp_path,
    }
    return SSHProxy(**(values | changes))


def test_files_of_the_configuration(tmp_path: Path) -> None:
    """They are read at the start: key, passphrase, known host keys."""
    cell = RouteFiles.read(files(tmp_path)).cell
    assert [one.label for one in cell.nodes] == ["10.0.0.5:2222", "gw.example.org:22"]
    assert len(cell.nodes[0].login.keys.load()) == 1
    assert cell.nodes[0].login.host_keys.types("10.0.0.5", 2222) == ("ssh-ed25519",)
    assert "word" not in repr(cell)


@pytest.mark.parametrize(
    ("option", "content", "problem"),
    [
        ("key_file", "nothing", "cannot be used"),
        ("key_passphrase_file", "wrong", "passphrase"),
        ("known_hosts", "", "holds no host key"),
        ("known_hosts", "nonsense", "line 1 of the known host keys"),
        ("known_hosts", f"10.0.0.6 {PUBLIC}", "has no key of 10.0.0.5:2222"),
    ],
    ids=["key", "passphrase", "empty", "nonsense", "another host"],
)
def test_files_that_cannot_be_used(tmp_path: Path, option: str, content: str, problem: str) -> None:
    """--check-config names the option and what is wrong."""
    group = files(tmp_path)
    getattr(group, option).write_text(content)
    with pytest.raises(ConfigError, match=problem):
        RouteFiles.read(group)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    """Each is named."""
    for option in ("key_file", "known_hosts", "key_passphrase_file", "keys_dir"):
        with pytest.raises(ConfigError, match="missing"):
            RouteFiles.read(files(tmp_path, **{option: tmp_path / "missing"}))
    with pytest.raises(ConfigError, match="secret_key_file"):
        RouteFiles.read(SSHProxy(secret_key_file=tmp_path / "missing"))


def test_sighup_reads_the_files_again(tmp_path: Path) -> None:
    """New host keys are in force at once; bad ones leave the old."""
    group = files(tmp_path)
    parts = RouteParts.of(
        group,
        RouteFiles.read(group),
        reactor=Clock(),
        database=Away(),
        policy=PolicyEnforcer(InlineWorker()),
        driver=FakeDriver(),
        addresses=ListedAddresses(),
        worker=InlineWorker(),
    )
    assert group.known_hosts is not None
    group.known_hosts.write_text(f"10.0.0.5,[10.0.0.5]:2222,gw.example.org {PUBLIC}")
    result(parts.reload(group))
    [keys] = {node.login.host_keys for node in parts.routes.cell.nodes}
    assert keys.types("10.0.0.9", 22) == ()
    group.known_hosts.write_text("nonsense")
    with pytest.raises(ConfigError, match="known host keys"):
        result(parts.reload(group))
    assert parts.routes.cell.nodes[0].login.host_keys == keys


def test_check_config_reads_the_files(tmp_path: Path) -> None:
    """--check-config says what a start would say of a file."""
    inventory = tmp_path / "inventory.yaml"
    inventory.write_text("instances: []")
    settings = Settings(
        "cell1",
        default=Default(driver="static", state_path=tmp_path),
        static=Static(inventory),
        api=Api(keys_file=tmp_path / "keys.yaml"),
        database=DatabaseGroup(f"sqlite:///{tmp_path}/cell.sqlite"),
        ssh_proxy=files(tmp_path),
    )
    check(settings)
    (tmp_path / "known").write_text("nonsense")
    with pytest.raises(ConfigError, match="line 1 of the known host keys"):
        check(settings)
