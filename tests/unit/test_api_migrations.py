"""The routes of migrations: who may, what they take and answer."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from api_client import ApiClient
from fakes import ABSENT, WEB_1, FakeDriver, make_instance
from migration_lab import FakeEngine, FakePorts
from twisted.internet.defer import succeed

from consoled.compute.migration.migrator import Migrator
from consoled.compute.migration.parts import HostMigrations
from consoled.compute.migration.values import MigrationEnded
from consoled.settings import LibvirtHost

ROUTE = f"/v1/servers/{WEB_1}/migration"
TO_KVM2 = json.dumps({"migration": {"host": "kvm2"}}).encode()


class Hosts:
    """Two compute hosts, as far as they are asked."""

    def __init__(self) -> None:
        self.hosts = [self._host("kvm1", 10000), self._host("kvm2", 20000)]

    def __iter__(self) -> Any:
        return iter(self.hosts)

    def named(self, name: str) -> Any:
        """One of them."""
        return next((host for host in self.hosts if host.name == name), None)

    def _host(self, name: str, first: int) -> Any:
        def look(uuid: str) -> Any:
            return succeed(None)

        keeper = SimpleNamespace(reconcile=look)
        uri, address = f"qemu+tls://{name}/system", "192.0.2.1"
        return SimpleNamespace(
            name=name,
            uri=uri,
            address=address,
            configured=LibvirtHost(
                name,
                uri,
                address,
                None,  # type: ignore[arg-type]  # not asked
                f"qemu+ssh://{name}/system",
                "198.51.100.1",
            ),
            ports=SimpleNamespace(allocator=FakePorts(first), keeper=keeper),
            watch=SimpleNamespace(keeper=keeper),
        )


class World:
    """An API over them, with web-1 on kvm1."""

    def __init__(self, host: str = "kvm1", key: str = "admin-key") -> None:
        self.engine = FakeEngine()
        hosts: Any = Hosts()
        self.api = ApiClient(
            driver=FakeDriver([make_instance(WEB_1, "web-1", host=host)]),
            migrations=HostMigrations(hosts, Migrator(self.engine)),
            key=key,
        )


def test_from_the_request_to_the_end() -> None:
    """202 with a state, GET says how far, and what came of it."""
    world = World()
    begun = world.api.post(ROUTE, TO_KVM2)
    assert begun.status == 202
    told = begun.json["migration"]
    assert (told["state"], told["source"], told["destination"]) == ("migrating", "kvm1", "kvm2")
    assert [port["port"] for port in told["ports"]] == [20000, 20001]
    [order] = world.engine.orders
    assert (order.peer_uri, order.inbound_address) == ("qemu+ssh://kvm2/system", "198.51.100.1")
    assert world.api.post(ROUTE, TO_KVM2).status == 409
    cancelled = world.api.ask("DELETE", ROUTE)
    assert (cancelled.status, cancelled.json["migration"]["state"]) == (202, "migrating")
    world.engine.running.errback(MigrationEnded("", cancelled=True))
    assert world.api.get(ROUTE).json["migration"]["state"] == "cancelled"
    assert world.api.ask("DELETE", ROUTE).status == 409


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "migration.host is missing"),
        (b'{"migration": {}}', "migration.host is missing"),
        (b'{"migration": {"host": 2}}', "migration.host must be a string"),
        (b'{"migration": {"uri": "x"}}', "unknown member"),
        (b'{"migration": {"host": "kvm3"}}', "no compute host of that name; it has kvm1, kvm2."),
        (b'{"migration": {"host": "qemu+ssh://kvm2/system"}}', "no compute host of that name"),
        (b'{"migration": {"host": "kvm1"}}', "on kvm1 already"),
    ],
)
def test_bad_requests(body: bytes, words: str) -> None:
    """Each says what is wrong; a destination is a configured host, never a URI."""
    world = World()
    answer = world.api.post(ROUTE, body)
    assert answer.status == 400
    assert words in answer.message
    assert world.engine.orders == []


def test_who_may() -> None:
    """Administrators; the instance is looked for before that."""
    for method in ("POST", "GET", "DELETE"):
        assert World(key="member-key").api.ask(method, ROUTE, TO_KVM2).status == 403
        absent = f"/v1/servers/{ABSENT}/migration"
        assert World().api.ask(method, absent, TO_KVM2).status == 404


def test_nothing_to_tell() -> None:
    """Without a migration GET and DELETE are 404."""
    assert World().api.get(ROUTE).status == 404
    assert World().api.ask("DELETE", ROUTE).status == 404


def test_another_daemon_s_host() -> None:
    """Where the domain is on a host that this daemon does not serve, it says so."""
    answer = World("kvm9").api.post(ROUTE, TO_KVM2)
    assert answer.status == 503
    assert "kvm9" in answer.message


def test_a_driver_without_domains() -> None:
    """Says so."""
    answer = ApiClient(key="admin-key").post(ROUTE, TO_KVM2)
    assert answer.status == 400
    assert "no domains" in answer.message
