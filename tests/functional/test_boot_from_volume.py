"""How many serial ports: a real Glance and a real Cinder are asked, before and after a token's end.

Two libvirts, a daemon that vouches for its users' tokens, and another one that does not.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
import time
import uuid as uuids
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import libvirt
import pytest
from attrs import define
from keystoneauth1.session import Session
from two_hosts import Hosts, configuration, libvirts

from tools.lab.cinder import Cinder
from tools.lab.daemon import Answer, Daemon
from tools.lab.glance import Glance
from tools.lab.guest import NOVA_XML, Guest
from tools.lab.image import Image
from tools.lab.keystone import Keystone, User
from tools.lab.secret_key import secret_key

LIFE = 10
"""Seconds that those tokens live that are to expire."""

RANGES = {"kvm1": range(24300, 24320), "kvm2": range(24320, 24340)}
OTHERS = {"kvm1": range(24340, 24350), "kvm2": range(24350, 24360)}
"""The ports of the daemon that vouches, and of the one that does not."""

PATIENCE = 60.0
TRIES = 5
STEP = 0.1

PADDING = 64 << 20
"""Bytes in a guest's memory that take a minute to migrate at 1 MiB a second."""
FILLED = 100 << 10
"""KiB of its process, from which on they are there, or on their way."""
FLAGS = libvirt.VIR_DOMAIN_XML_INACTIVE


@define
class World:
    """Everything real.

    :ivar vouching: a daemon with ``send_service_user_token``.
    :ivar silent: one without, over the same libvirts.
    :ivar admin: an administrator, of another project than the volumes.
    :ivar session: the administrator's.
    :ivar member: a user of the volumes' project.
    """

    keystone: Keystone
    glance: Glance
    cinder: Cinder
    hosts: Hosts
    vouching: Daemon
    silent: Daemon
    admin: User
    session: Session
    member: User
    image: Image

    def ask(self, daemon: Daemon, method: str, path: str, body: object = None) -> Answer:
        """An administrator's request, with a token that has not expired."""
        token = self.session.get_token()
        return daemon.request(method, path, key=token, body=body)

    def configure(self, domain: Any, daemon: Daemon | None = None, **wish: object) -> Answer:
        """What is answered to a wish for serial ports."""
        path = f"/v1/servers/{domain.UUIDString()}/consoles"
        return self.ask(daemon or self.vouching, "POST", path, {"consoles": wish})

    def volume(self, domain: Any, count: int, device: str = "/dev/vda") -> str:
        """A bootable volume of the domain's, whose image asks for that many ports."""
        return self.cinder.volume(
            self.member,
            server=domain.UUIDString(),
            device=device,
            image_properties={"hw_serial_port_count": str(count), "os_distro": "debian"},
        )

    def asks_for(self, volume: str, count: int) -> None:
        """The volume's image asks for another number from now on."""
        path = f"/v3/{self.member.project_id}/volumes/{volume}/action"
        metadata = {"metadata": {"hw_serial_port_count": str(count)}}
        self.cinder.ask(self.member, "POST", path, {"os-set_image_metadata": metadata})

    @contextmanager
    def domain(self, name: str, **further: Any) -> Iterator[Any]:
        """A domain without a serial port on kvm1, powered off."""
        guest = Plain(
            self.hosts["kvm1"], self.image, name, serial_ports=(), memory_mib=192, **further
        )
        guest.define()
        with closing(libvirt.open(self.hosts["kvm1"].uri)) as connection:
            try:
                yield connection.lookupByUUIDString(guest.uuid)
            finally:
                for libvirtd in self.hosts.values():
                    guest.libvirtd = libvirtd
                    guest.remove()


class Plain(Guest):
    """A guest that nova may have made.

    :ivar image_id: of the image that nova's metadata names.
    """

    image_id: str | None = None

    def __init__(self, *words: Any, image_id: str | None = None, **further: Any) -> None:
        super().__init__(*words, **further)
        self.image_id = image_id

    def xml(self) -> str:
        """The domain's definition."""
        if self.image_id is None:
            return super().xml()
        nova = NOVA_XML.format(name=self.name, project="'demo'", project_name="demo").replace(
            "</nova:owner>", f"</nova:owner><nova:root type='image' uuid='{self.image_id}'/>"
        )
        return super().xml().replace("<metadata></metadata>", f"<metadata>{nova}</metadata>")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, guest_image: Image) -> Iterator[World]:
    """One world for all tests."""
    with ExitStack() as stack:
        short = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lab-", dir="/tmp")))
        keystone = stack.enter_context(Keystone(short / "k"))
        glance = stack.enter_context(Glance(short / "g", keystone))
        cinder = stack.enter_context(Cinder(short / "c", keystone))
        hosts = stack.enter_context(libvirts(RANGES))
        own = keystone.service_user("consoled")
        demo, ops = keystone.project("demo"), keystone.project("ops")
        daemons = []
        for vouches, ranges in ((True, RANGES), (False, OTHERS)):
            folder = tmp_path_factory.mktemp("consoled")
            secret = secret_key(folder)
            config = configuration(hosts, ranges, live_migration_inbound_addr="127.0.0.1")
            config["libvirt"]["default_project"] = demo
            config |= {
                "api": {"auth_strategy": "keystone"},
                "keystone_authtoken": {
                    **keystone.login(own),
                    "service_token_roles": "service",
                    "token_cache_time": -1,
                },
                "service_user": {
                    "auth_section": "keystone_authtoken",
                    "send_service_user_token": vouches,
                    "token_secret_file": secret,
                },
            }
            daemon = stack.enter_context(Daemon(folder, config))
            for name in hosts:
                daemon.wait_for_event("hypervisor_connected", hypervisor=name)
            daemons.append(daemon)
        ada = keystone.user("ada", "ops", ops, ["admin"])
        yield World(
            keystone,
            glance,
            cinder,
            hosts,
            *daemons,
            admin=ada,
            session=keystone.session(ada),
            member=keystone.user("mia", "demo", demo, ["member"]),
            image=replace(guest_image, initrd=padded(guest_image, short)),
        )


def padded(image: Image, folder: Path) -> Path:
    """The image's first file system, and behind it what fills a guest's memory."""
    path = folder / "initrd"
    path.write_bytes(image.initrd.read_bytes() + os.urandom(PADDING))
    return path


def wait(look: Callable[[], bool], what: str) -> None:
    """Returns as soon as a look finds it so."""
    deadline = time.monotonic() + PATIENCE
    while not look():
        assert time.monotonic() < deadline, what
        time.sleep(STEP)


def tokens_kept(daemon: Daemon) -> list[str]:
    """What the cell database has of users' tokens."""
    with closing(sqlite3.connect(daemon.folder / "state/consoled.sqlite")) as database:
        query = "SELECT ciphertext FROM kept_tokens WHERE operation LIKE 'migration:%'"
        return [text for (text,) in database.execute(query)]


def test_the_boot_volume_s_image(world: World) -> None:
    """Cinder is asked for the root volume of several, also of another project's instance."""
    with world.domain("from-volume") as domain:
        world.volume(domain, 4, "/dev/vdb")
        world.volume(domain, 2)
        answer = world.configure(domain)
        assert answer.status == 200, answer.body
        assert len(answer.body["configuration"]["ports"]) == 2
        assert answer.body["configuration"]["warnings"] == []


def test_the_image(world: World) -> None:
    """Glance is asked for the image that nova's metadata names; a gone one is a warning."""
    image = world.glance.image(world.admin, properties={"serial_ports": "3"})
    with world.domain("from-image", image_id=image) as domain:
        assert len(world.configure(domain, force=True).body["configuration"]["ports"]) == 3
    with world.domain("from-gone", image_id=str(uuids.uuid4())) as domain:
        told = world.configure(domain, force=True).body["configuration"]
        assert len(told["ports"]) == 1
        assert [one for one in told["warnings"] if "Ask for a number of ports" in one]


def test_no_volume(world: World) -> None:
    """Where Cinder knows no volume of the domain's there is one port, and nothing to be said."""
    with world.domain("plain") as domain:
        told = world.configure(domain).body["configuration"]
        assert (len(told["ports"]), told["warnings"]) == (1, [])


@contextmanager
def filled(world: World, daemon: Daemon, name: str) -> Iterator[Leaving]:
    """A running domain with one port, whose image asks for two by now; it migrates slowly."""
    with world.domain(name) as domain:
        volume = world.volume(domain, 1)
        configured = world.configure(domain, daemon)
        assert len(configured.body["configuration"]["ports"]) == 1
        world.asks_for(volume, 2)
        domain.create()
        domain.migrateSetMaxSpeed(1)
        wait(lambda: domain.memoryStats()["rss"] > FILLED, "the guest does not fill its memory")
        yield Leaving(world, daemon, domain)


@define
class Leaving:
    """A domain that migrates.

    :ivar token: of whoever began that.
    """

    world: World
    daemon: Daemon
    domain: Any
    token: str = ""

    @property
    def path(self) -> str:
        """Of its migration."""
        return f"/v1/servers/{self.domain.UUIDString()}/migration"

    def begin(self) -> None:
        """The migration begins, with a token of its own."""
        to_kvm2 = {"migration": {"host": "kvm2"}}
        for _ in range(TRIES):
            self.token = self.world.keystone.token(self.world.admin, life=LIFE)
            begun = self.daemon.request("POST", self.path, key=self.token, body=to_kvm2)
            # On a busy machine it may have expired on the way.
            if begun.status != 401:
                break
        assert begun.status == 202, begun.body
        [kept] = tokens_kept(self.daemon)
        assert self.token not in kept

    def find(self) -> Any:
        """How far it is."""
        return self.world.ask(self.daemon, "GET", self.path).body["migration"]

    def expired(self) -> bool:
        """Whether the token has expired."""
        return self.daemon.request("GET", self.path, key=self.token).status == 401

    def hurry(self) -> None:
        """It goes on at full speed, now that its token has expired."""
        wait(self.expired, "the token does not expire")
        # On a very busy machine it may have come meanwhile.
        with suppress(libvirt.libvirtError):
            self.domain.migrateSetMaxSpeed(1000)

    def end(self) -> Any:
        """What has become of it."""
        wait(lambda: self.find()["state"] != "migrating", "it does not end")
        assert tokens_kept(self.daemon) == []
        found = self.find()
        assert found["state"] == "completed", found
        return found

    def ports(self) -> int:
        """How many serial ports its next start has on kvm2."""
        with closing(libvirt.open(self.world.hosts["kvm2"].uri)) as connection:
            xml = connection.lookupByUUIDString(self.domain.UUIDString()).XMLDesc(FLAGS)
        return str(xml).count("<serial type='tcp'")


def test_a_token_that_has_expired_meanwhile(world: World) -> None:
    """At the end of a long migration ports are planned again, by the service token alone.

    The daemon that does not vouch says why its domain's ports are as they were; neither keeps a
    token afterwards.
    """
    with (
        filled(world, world.vouching, "vouched-for") as vouched,
        filled(world, world.silent, "not-vouched-for") as silent,
    ):
        for leaving in (vouched, silent):
            leaving.begin()
        for leaving in (vouched, silent):
            leaving.hurry()
        said = vouched.end()["warnings"]
        assert said[0].startswith("It has 2 serial ports from its next start on"), said
        assert vouched.ports() == 2
        said = silent.end()["warnings"]
        assert said[0].startswith("Its serial ports are as they were"), said
        assert silent.ports() == 1
        assert world.vouching.wait_for_event("serial_ports_replanned")
        assert world.silent.wait_for_event("serial_ports_not_replanned")
