"""Instances at addresses that a real Neutron knows, looked up with a real Keystone's tokens."""

from __future__ import annotations

import json
import select
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from attrs import define
from backends import Backend, echo
from fault_world import PATIENCE, Visit, visit, visit_when_free

from tools.lab.daemon import Answer, Daemon, static_daemon
from tools.lab.keystone import Keystone, User
from tools.lab.neutron import Neutron
from tools.lab.ports import free_ports
from tools.lab.secret_key import secret_key
from tools.lab.sshd import Sshd, make_key

WEB, GATE, SIX, LISTED = (f"2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b000{n}" for n in (1, 2, 3, 4))
LIFE = 20
"""Seconds that the one token lives that is to expire."""

INSIDE, OUTSIDE, ELSEWHERE, IPV6 = "127.0.77.0/24", "127.0.78.0/24", "127.0.79.0/24", "fd00:77::/64"
"""Networks of the lab's, all of whose addresses are on this machine."""

AT_WEB, AT_GATE, AT_SIX = "127.0.77.5", "127.0.77.9", "fd00:77::6"
AT_STRANGER, AT_LISTED = "127.0.79.5", "127.0.80.5"


class Answering(BaseHTTPRequestHandler):
    """Answers with the address at which it was asked."""

    def do_GET(self) -> None:
        """One answer."""
        body = json.dumps(self.connection.getsockname()[0]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


class Service6(ThreadingHTTPServer):
    """A web service at an IPv6 address."""

    address_family = socket.AF_INET6


@contextmanager
def service(address: str, port: int) -> Iterator[None]:
    """A web service at that address."""
    kind = Service6 if ":" in address else ThreadingHTTPServer
    with kind((address, port), Answering) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


@define
class World:
    """A cell whose instances Neutron alone can find, and a gateway to them.

    :ivar daemon: sends service tokens.
    :ivar bare: sends none, and a program is its way to the gateway.
    :ivar mia: of the instances' project.
    :ivar ada: an administrator of another project.
    :ivar gate_port: the gateway's port in Neutron.
    :ivar floating: floating addresses; the gateway has the first one.
    :ivar gates: the SSH servers at these.
    :ivar ids: what the program has to be told of the gateway: router, network, place.
    :ivar told: where it notes what it is told.
    :ivar service_port: of all web services.
    :ivar expiring: a token of mia's.
    :ivar late: consoles of both daemons, which were asked for with that token.
    """

    keystone: Keystone
    neutron: Neutron
    daemon: Daemon
    bare: Daemon
    mia: User
    ada: User
    gate_port: str
    floating: list[dict[str, Any]]
    gates: list[Sshd]
    ids: str
    told: Path
    service_port: int
    expiring: str
    late: tuple[str, str]

    def ask(self, user: User, uuid: str = WEB) -> Answer:
        """The answer of an instance's web service."""
        path = f"/v1/servers/{uuid}/http/{self.service_port}/"
        return self.daemon.request("GET", path, key=self.keystone.token(user))

    def reach(self, user: User, uuid: str = WEB) -> Any:
        """The address of the instance's web service; Neutron may be slow at first."""
        answers: list[Answer] = []

        def answered() -> bool:
            answers.append(self.ask(user, uuid))
            return answers[-1].status != 503

        waits_until(self.daemon, "Neutron answers in time", answered)
        assert answers[-1].status == 200, answers[-1].body
        return answers[-1].body

    @contextmanager
    def console(self, daemon: Daemon, where: str | None = None) -> Iterator[Visit]:
        """A session on the instance's console, as soon as the way to it is there."""
        where = where or daemon.ws_url(WEB, 0, self.keystone.token(self.mia))
        with visit_when_free(daemon, where, (4409, 1011, 1013)) as found:
            yield found


def waits_until(daemon: Daemon, what: str, true: Callable[[], bool]) -> None:
    """Asks again until that is true."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, f"it never came true: {what}"
        assert not select.select([daemon.process.ended], [], [], 0.25)[0], "the daemon has ended"


def network_of(neutron: Neutron, user: User, *cidrs: str, external: bool = False) -> str:
    """A network with subnets that no DHCP server serves, as loopback ones have to be."""
    body = {"network": {"name": "lab", "router:external": external}}
    network = str(neutron.ask(user, "POST", "/v2.0/networks", body)["network"]["id"])
    for cidr in cidrs:
        subnet = {
            "network_id": network,
            "cidr": cidr,
            "ip_version": 6 if ":" in cidr else 4,
            "enable_dhcp": False,
        }
        neutron.ask(user, "POST", "/v2.0/subnets", {"subnet": subnet})
    return network


def configured(keystone: Keystone, own: User, folder: Path, port: int) -> dict[str, dict[str, Any]]:
    """What the daemons have in common."""
    login = keystone.login(own)
    return {
        "api": {"auth_strategy": "keystone"},
        "keystone_authtoken": login | {"service_token_roles": "service", "token_cache_time": -1},
        "service_user": login
        | {"send_service_user_token": True, "token_secret_file": folder / "secret.key"},
        "consoleauth": {"token_ttl": 3600},
        "proxy": {"connect_timeout": 25, "linger": 0},
        "http_proxy": {
            "allowed_ports": port,
            "allowed_networks": f"127.0.0.0/8, {IPV6}",
            "connect_timeout": 20,
        },
        "ssh_proxy": {
            "allowed_networks": "127.0.0.0/8",
            "keys_dir": folder / "keys",
            "connect_timeout": 10,
            "linger": 1,
        },
    }


def lead_over_gate(daemon: Daemon, token: str, gates: list[Sshd]) -> None:
    """Makes the gateway the proxy of the compute host."""
    group = {
        "name": "gateway",
        "is_proxy": True,
        "user_name": gates[0].user,
        "key_file": "gate_key",
        "known_hosts": [gate.known_lines for gate in gates],
        "members": [{"instance_id": GATE, "port": gates[0].port}],
        "hosts": ["rack1"],
    }
    answer = daemon.request("POST", "/v1/node-groups", key=token, body={"node_group": group})
    assert answer.status == 201, answer.body


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One for all tests; each goes on from what those before it have made of it."""
    folder = tmp_path_factory.mktemp("neutron")
    for name in ("keys", "daemon", "bare"):
        (folder / name).mkdir()
    key = make_key(folder / "keys", "gate_key")
    secret_key(folder)
    with ExitStack() as stack:
        short = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lab-", dir="/tmp")))
        keystone = stack.enter_context(Keystone(short / "k"))
        neutron = stack.enter_context(Neutron(short / "n", keystone))
        demo, other, operators = (keystone.project(n) for n in ("demo", "other", "operators"))
        mia = keystone.user("mia", "demo", demo, ["member"])
        zoe = keystone.user("zoe", "other", other, ["member"])
        ada = keystone.user("ada", "operators", operators, ["admin"])
        own = keystone.service_user("consoled")

        private = network_of(neutron, mia, INSIDE, IPV6)
        external = network_of(neutron, ada, OUTSIDE, external=True)
        router = neutron.router(mia, external, private)
        neutron.plug(mia, private, WEB, [AT_WEB, "fd00:77::5"])
        neutron.plug(mia, private, SIX, [AT_SIX])
        gate_port = str(neutron.plug(mia, private, GATE, [AT_GATE])["id"])
        wishes = [{"floating_network_id": external, "port_id": port} for port in (gate_port, None)]
        floating = [
            neutron.ask(mia, "POST", "/v2.0/floatingips", {"floatingip": wish})["floatingip"]
            for wish in wishes
        ]
        # Somebody else's port, which claims to be the instance's.
        neutron.plug(zoe, network_of(neutron, zoe, ELSEWHERE), WEB, [AT_STRANGER])

        subprocess.run(["ip", "address", "replace", f"{AT_SIX}/128", "dev", "lo"], check=True)
        stack.callback(
            subprocess.run, ["ip", "address", "del", f"{AT_SIX}/128", "dev", "lo"], check=True
        )
        service_port, ssh_port = free_ports(2)
        for address in (AT_WEB, AT_SIX, AT_STRANGER, AT_LISTED):
            stack.enter_context(service(address, service_port))
        backend = Backend(echo)
        stack.callback(backend.close)
        gates = [
            Sshd(folder / name, [key.public], address=address, port=ssh_port)
            for name, address in (
                ("first", floating[0]["floating_ip_address"]),
                ("second", floating[1]["floating_ip_address"]),
                ("inner", AT_GATE),
            )
        ]
        for gate in gates:
            stack.enter_context(gate)
        serial = {"serial": [f"127.0.0.1:{backend.port}"]}
        instances: list[dict[str, object]] = [
            {"uuid": uuid, "name": name, "project_id": demo, "host": host, **more}
            for uuid, name, host, more in (
                (WEB, "web", "rack1", serial),
                (GATE, "gate", "rack2", {}),
                (SIX, "six", "rack2", {}),
                (LISTED, "listed", "rack2", {"addresses": [AT_LISTED]}),
            )
        ]
        way, told = folder / "way", folder / "told"
        way.write_text(f'#!/bin/sh\necho "$@" >> {told}\nexec nc "$3" "$4"\n')
        way.chmod(0o755)
        config = configured(keystone, own, folder, service_port)
        daemon = stack.enter_context(static_daemon(folder / "daemon", instances, config))
        lead_over_gate(daemon, keystone.token(ada), gates[:2])
        config["service_user"]["send_service_user_token"] = False
        places = "{router_id} {network_id} {host} {port}"
        config["ssh_proxy"]["proxy_command"] = f"{way} {places}"
        bare = stack.enter_context(static_daemon(folder / "bare", instances, config))
        lead_over_gate(bare, keystone.token(ada), gates[2:])
        expiring = keystone.token(mia, life=LIFE)
        late = daemon.ws_url(WEB, 0, expiring), bare.ws_url(WEB, 0, expiring)
        yield World(
            keystone=keystone,
            neutron=neutron,
            daemon=daemon,
            bare=bare,
            mia=mia,
            ada=ada,
            gate_port=gate_port,
            floating=floating,
            gates=gates,
            ids=f"{router} {private} {AT_GATE} {ssh_port}",
            told=told,
            service_port=service_port,
            expiring=expiring,
            late=late,
        )


def test_a_web_service_behind_the_gateway(world: World) -> None:
    """The gateway at its floating address, the instance at its fixed one, for its own project's
    member and for an administrator of another one; a stranger's port leads nobody astray."""
    assert [world.reach(user) for user in (world.mia, world.ada)] == [AT_WEB] * 2
    assert world.gates[0].count("Accepted publickey") > 0
    assert world.gates[1].count("Accepted publickey") == 0


def test_a_web_service_at_an_ipv6_address(world: World) -> None:
    """It is dialled directly; so is one that the inventory lists, which Neutron does not know."""
    assert world.reach(world.mia, SIX) == AT_SIX
    assert world.reach(world.mia, LISTED) == AT_LISTED


def test_a_console_by_a_program(world: World) -> None:
    """It is told the gateway's router, network and fixed address."""
    with world.console(world.bare) as found:
        found.says(b"hello")
    assert world.ids in world.told.read_text().splitlines()


def test_a_gateway_that_has_another_address(world: World) -> None:
    """Its floating address is moved: whoever has to dial it finds the new one at once."""
    first, second = (one["id"] for one in world.floating)
    with world.console(world.daemon) as found:
        found.says(b"over the first")
        world.neutron.move_floating_ip(world.mia, first, None)
        world.neutron.move_floating_ip(world.mia, second, world.gate_port)
        world.gates[0].stop()
    # Nothing is typed: the guest may have the lost connection still.
    with world.console(world.daemon):
        assert world.gates[1].count("Accepted publickey") > 0


def test_a_session_with_an_expired_token(world: World) -> None:
    """Its user's token was kept with the console's: Neutron tells with a service's word beside
    it, and without that it does not."""

    def expired() -> bool:
        asked = world.bare.request("GET", "/v1/servers", key=world.expiring)
        return asked.status == 401

    waits_until(world.bare, "the token has expired", expired)
    waits_until(
        world.bare,
        "nothing leads to the gateway any more",
        lambda: not any(gate.sessions() for gate in world.gates),
    )
    seen = len(world.daemon.events())
    with world.console(world.daemon, world.late[0]) as found:
        found.says(b"late, and with a service")
    assert not [e for e in world.daemon.events()[seen:] if e["event"] == "neutron_refused"]

    def refused() -> bool:
        with visit(world.late[1]) as found:
            assert (found.code, "proxy nodes cannot be used" in found.reason) == (1011, True)
        return any(event["event"] == "neutron_refused" for event in world.bare.events())

    waits_until(world.bare, "Neutron does not take the token", refused)
    for daemon in (world.daemon, world.bare):
        assert world.expiring not in daemon.log.read_text()
        assert world.expiring.encode() not in database_of(daemon)


def database_of(daemon: Daemon) -> bytes:
    """All that its database's files hold."""
    found = sorted((daemon.folder / "state").glob("consoled.sqlite*"))
    assert found
    return b"".join(path.read_bytes() for path in found)


def test_neutron_is_away(world: World) -> None:
    """What others know is reached; for the rest a sentence says what is missing."""
    world.neutron.stop()
    answer = world.ask(world.mia, SIX)
    assert answer.status == 503
    assert "Neutron" in answer.body["serviceUnavailable"]["message"]
    assert "Retry-After" in answer.headers
    assert world.ask(world.mia, LISTED).body == AT_LISTED
    world.daemon.wait_for_event("neutron_away")
