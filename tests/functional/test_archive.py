"""Recordings in a real Glance, long after their users' tokens of a real Keystone have expired."""

from __future__ import annotations

import hashlib
import os
import select
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from attrs import define
from backends import Backend
from fault_world import PATIENCE, described, in_database, until, uuid_of
from sqlalchemy import select as rows_of
from stalling import StallingProxy
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from consoled.db import tables
from tools.lab.daemon import Daemon, static_daemon
from tools.lab.glance import Glance
from tools.lab.keystone import Keystone, User
from tools.lab.secret_key import secret_key

TEXT = b"All the world's a stage, and all the men and women merely players.\r\n"
LINES = 4000
NAMES = ("web", "db", "app")

ARCHIVES, TOKENS = tables.recording_archives, tables.kept_tokens


class ProxiedGlance(Glance):
    """A Glance that the catalog leads to over a proxy."""

    proxy: StallingProxy

    @property
    def url(self) -> str:
        """The proxy's."""
        return f"http://127.0.0.1:{self.proxy.port}"


@define
class World:
    """Keystone, Glance, a daemon that vouches for users' tokens and one that does not.

    :ivar token: the member's, which has expired. So whoever opens a console with it needs a
        service's word in front, too.
    :ivar fresh: another one, to look with.
    """

    keystone: Keystone
    glance: ProxiedGlance
    vouching: Daemon
    silent: Daemon
    member: User
    stranger: User
    dashboard: User
    token: str
    fresh: str

    def open(self, daemon: Daemon, name: str) -> ClientConnection:
        """A session of the member's, for whom a service has asked."""
        path = f"/v1/servers/{uuid_of(name)}/consoles/0/tokens"
        word = {"X-Service-Token": self.keystone.token(self.dashboard)}
        answer = daemon.request("POST", path, key=self.token, headers=word)
        assert answer.status < 300, answer.body
        return connect(answer.body["token"]["url"].replace("http", "ws"), subprotocols=[BINARY])

    def recordings(self, daemon: Daemon, name: str) -> list[dict[str, Any]]:
        """The member's list, as it is now."""
        path = f"/v1/recordings?server={uuid_of(name)}"
        answer = daemon.request("GET", path, key=self.fresh)
        found: list[dict[str, Any]] = answer.body["recordings"]
        return found

    def images(self, recording: dict[str, Any]) -> list[dict[str, Any]]:
        """Those of a recording, whatever their state."""
        return [
            image
            for image in self.glance.images(self.member)
            if image.get("consoled_session_id") == recording["id"]
        ]

    def ended(self, daemon: Daemon, name: str) -> dict[str, Any]:
        """The one recording of an instance, when nothing is to be done for its archive."""
        found: list[dict[str, Any]] = []

        def is_over() -> bool:
            found[:] = self.recordings(daemon, name)
            return [one.get("archive") in {"done", "failed"} for one in found] == [True]

        until(daemon, f"the recording of {name} is archived", is_over)
        return found[0]


BINARY = Subprotocol("binary")


def config(keystone: Keystone, own: User, folder: Path, *, vouch: bool) -> dict[str, Any]:
    """A daemon's configuration."""
    user = keystone.login(own)
    return {
        "serial_console": {"record": True},
        "api": {"auth_strategy": "keystone"},
        "keystone_authtoken": user | {"service_token_roles": "service", "token_cache_time": -1},
        "service_user": user
        | {"send_service_user_token": vouch, "token_secret_file": secret_key(folder)},
        "recording": {"archive": "glance"},
    }


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One world for all tests, in which the member's token has expired."""
    with ExitStack() as stack:
        short = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lab-", dir="/tmp")))
        keystone = stack.enter_context(Keystone(short / "k"))
        demo, other = keystone.project("demo"), keystone.project("other")
        member = keystone.user("mia", "demo", demo, ["member"])
        glance = ProxiedGlance(short / "g", keystone)
        glance.proxy = StallingProxy(lambda: glance.port)
        stack.callback(glance.proxy.close)
        stack.enter_context(glance)
        own = keystone.service_user("consoled")
        backends = [Backend(much) for _ in NAMES]
        for backend in backends:
            stack.callback(backend.close)
        instances = [
            described(name, backend.port, project_id=demo)
            for name, backend in zip(NAMES, backends, strict=True)
        ]
        daemons = []
        for cell, vouch in (("lab", True), ("silent", False)):
            folder = tmp_path_factory.mktemp(cell)
            daemons.append(
                stack.enter_context(
                    static_daemon(folder, instances, config(keystone, own, folder, vouch=vouch))
                )
            )
        token = keystone.token(member, life=-5)
        for daemon in daemons:
            assert daemon.request("GET", "/v1/servers", key=token).status == 401
        yield World(
            keystone,
            glance,
            *daemons,
            member=member,
            stranger=keystone.user("zoe", "other", other, ["member"]),
            dashboard=keystone.service_user("dashboard"),
            token=token,
            fresh=keystone.token(member),
        )


def much(connection: socket.socket) -> None:
    """A guest that prints some hundred kilobytes whenever something is typed."""
    while connection.recv(65536):
        connection.sendall(TEXT * LINES)


def print_much(client: ClientConnection) -> None:
    """Has the guest do so."""
    client.send(b"\r")
    left = len(TEXT) * LINES
    while left:
        left -= len(client.recv(PATIENCE))
    assert left == 0


def kept_tokens(daemon: Daemon) -> list[Any]:
    """The rows of users' tokens that a daemon has now."""
    url = f"sqlite:///{daemon.folder / 'state/consoled.sqlite'}"
    return in_database(url, lambda connection: list(connection.execute(rows_of(TOKENS))))


def keeps_for_upload(daemon: Daemon) -> bool:
    """Whether one of them is an upload's."""
    return any(row.operation.startswith("archive:") for row in kept_tokens(daemon))


def test_an_expired_token_with_a_service_s_word(world: World) -> None:
    """The recording is in Glance, byte for byte, the user's own and nobody else's; the token was
    kept for that, encrypted, and is kept no longer."""
    daemon = world.vouching
    with world.open(daemon, "web") as client:
        print_much(client)
        until(daemon, "the token is kept for the upload", lambda: keeps_for_upload(daemon))
        kept = {row.operation.partition(":")[0]: row.ciphertext for row in kept_tokens(daemon)}
        assert kept.keys() == {"console", "archive"}
        assert not any(world.token in ciphertext for ciphertext in kept.values())
    found = world.ended(daemon, "web")
    assert (found["archive"], found["archive_reason"]) == ("done", "")
    [image] = world.images(found)
    file = daemon.folder / "state/recordings" / f"{found['id']}.cast"
    content = file.read_bytes()
    assert len(content) > len(TEXT) * LINES
    assert image["id"] == found["image_id"]
    assert (image["status"], image["size"]) == ("active", len(content))
    assert image["os_hash_value"] == hashlib.sha512(content).hexdigest()
    assert world.glance.content(image["id"]) == content
    assert image["consoled_digest"] == found["digest"]
    assert (image["owner"], image["visibility"]) == (world.member.project_id, "private")
    assert world.glance.images(world.stranger) == []
    until(daemon, "the token is forgotten", lambda: not keeps_for_upload(daemon))
    assert world.token not in daemon.log.read_text()


def test_an_expired_token_alone(world: World) -> None:
    """Without a service's word there is a reason, no image, and the file as it was."""
    daemon = world.silent
    with world.open(daemon, "web") as client:
        print_much(client)
    found = world.ended(daemon, "web")
    assert (found["archive"], found["image_id"]) == ("failed", None)
    assert "does not take the user's token" in found["archive_reason"]
    assert world.images(found) == []
    file = daemon.folder / "state/recordings" / f"{found['id']}.cast"
    assert file.stat().st_size == found["bytes"]
    told = daemon.wait_for_event("recording_archive_failed", session_id=found["id"])
    assert told["reason"] == found["archive_reason"]


@pytest.mark.parametrize(("name", "kill"), [("db", True), ("app", False)])
def test_ended_in_the_middle(world: World, name: str, kill: bool) -> None:
    """A daemon that is killed, or stopped, while it sends leaves a part; the next one leaves one
    whole image and no part."""
    daemon, proxy = world.vouching, world.glance.proxy
    proxy.stall(100_000)
    with world.open(daemon, name) as client:
        print_much(client)
    assert proxy.stalled.wait(PATIENCE)
    if kill:
        os.kill(daemon.pid, signal.SIGKILL)
        assert select.select([daemon.process.ended], [], [], PATIENCE)[0]
        daemon.stop()
    else:
        seen = len(daemon.events())
        daemon.stop()
        # In its order, and not by its last deadline.
        assert "stopped" in {event["event"] for event in daemon.events()[seen:]}
    proxy.drop()
    url = f"sqlite:///{daemon.folder / 'state/consoled.sqlite'}"
    uploading = rows_of(ARCHIVES.c.image_id).where(ARCHIVES.c.state == "uploading")
    [left] = in_database(url, lambda connection: list(connection.scalars(uploading)))
    parts = {image["id"]: image["status"] for image in world.glance.images(world.member)}
    assert parts[left] != "active"
    daemon.start()
    found = world.ended(daemon, name)
    assert found["archive"] == "done"
    [image] = world.images(found)
    assert image["id"] == found["image_id"] != left
    file = daemon.folder / "state/recordings" / f"{found['id']}.cast"
    assert world.glance.content(image["id"]) == file.read_bytes()
