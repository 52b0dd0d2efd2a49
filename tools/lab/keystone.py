"""A real Keystone, from its released package, on a free loopback port.

Its environment, and a database in which it has bootstrapped itself, are kept between runs
(:mod:`tools.lab.environments`); each server starts with a copy.
"""

from __future__ import annotations

import os
import pwd
import select
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from attrs import frozen
from keystoneauth1.identity import v3
from keystoneauth1.session import Session

from tools.lab.environments import clean_environment, environment, run
from tools.lab.errors import LabError
from tools.lab.kept import KeptProcess
from tools.lab.started import Started

VERSION = "30.0.0"
REGION = "RegionOne"
ADMIN_PASSWORD = "bootstrap"
SERVICE = Path(__file__).with_name("wsgi_service.py")

STEP = 0.05
"""Seconds between two looks for the port's file."""

DEADLINE = 60.0
"""Seconds for a start."""

_CONF = """\
[database]
connection = sqlite:///{folder}/keystone.sqlite
[token]
provider = fernet
expiration = {expiration}
allow_expired_window = 172800
[fernet_tokens]
key_repository = {folder}/fernet
[fernet_receipts]
key_repository = {folder}/fernet
[credential]
key_repository = {folder}/credential
[identity]
password_hash_rounds = 4
[cache]
enabled = false
"""


@frozen
class User:
    """Somebody whom Keystone knows.

    :ivar project: the name of the project that tokens of theirs are for.
    """

    id: str
    name: str
    password: str
    project: str
    project_id: str


class Keystone(Started):
    """From :meth:`start` to :meth:`stop`.

    :param folder: for its files.
    :param expiration: seconds that its tokens are valid.
    :ivar url: of its API, with the version.
    """

    def __init__(self, folder: Path, expiration: int = 3600) -> None:
        self.folder = folder
        self.expiration = expiration
        self.port = 0
        self._process: KeptProcess | None = None
        self._admin: Session | None = None
        self._roles: dict[str, str] = {}

    @property
    def url(self) -> str:
        """Of its API, with the version; it stays the same after a second start."""
        return f"http://127.0.0.1:{self.port}/v3"

    def start(self) -> Self:
        """Starts it, on its earlier port and with its data where it had them.

        :raises tools.lab.errors.LabError: it cannot be installed or started; the text says why.
        """
        home = install()
        fresh = not self.folder.joinpath("keystone.sqlite").exists()
        if fresh:
            self.folder.mkdir(parents=True, exist_ok=True)
            for name in ("fernet", "credential"):
                shutil.copytree(home / "data" / name, self.folder / name)
            shutil.copyfile(home / "data/keystone.sqlite", self.folder / "keystone.sqlite")
        _write_conf(self.folder, self.expiration)
        told = self.folder / "port"
        told.unlink(missing_ok=True)
        self._process = KeptProcess(
            [
                *(home / "bin/python", "-P", SERVICE),
                *("keystone", "keystone.wsgi.api", told, str(self.port)),
            ],
            self.folder / "keystone.log",
            env=clean_environment(
                OS_KEYSTONE_CONFIG_DIR=str(self.folder), OS_KEYSTONE_CONFIG_FILES="keystone.conf"
            ),
        )
        deadline = time.monotonic() + DEADLINE
        while not told.exists():
            ended, _, _ = select.select([self._process.ended], [], [], STEP)
            if ended or time.monotonic() > deadline:
                tail = self._process.tail()
                self.stop()
                raise LabError(f"keystone did not start; its log ends with:\n{tail}")
        self.port = int(told.read_text())
        if fresh:
            self.endpoint("identity", self.url)
        return self

    def stop(self) -> None:
        """Ends it; its data stay."""
        if self._process is not None:
            self._process.stop()
            self._process = None

    @contextmanager
    def short_lived(self, seconds: int) -> Iterator[None]:
        """Tokens that it gives out meanwhile are valid for so long only. It is started again
        before and after: clients take a new token before an old one is two minutes from its end.
        """
        usual = self.expiration
        for self.expiration in (seconds, usual):
            self.stop()
            self.start()
            if self.expiration == seconds:
                yield

    def endpoint(self, kind: str, url: str) -> None:
        """Puts a service into the catalog.

        :param kind: its type: identity, compute, image...
        """
        made = self._ask("POST", "/services", {"service": {"type": kind, "name": kind}})
        for interface in ("public", "internal", "admin"):
            endpoint = {
                "service_id": made["service"]["id"],
                "interface": interface,
                "url": url,
                "region_id": REGION,
            }
            self._ask("POST", "/endpoints", {"endpoint": endpoint})

    def project(self, name: str) -> str:
        """A new project's id."""
        made = self._ask("POST", "/projects", {"project": {"name": name, "domain_id": "default"}})
        return str(made["project"]["id"])

    def user(self, name: str, project: str, project_id: str, roles: Sequence[str]) -> User:
        """A new user with those roles in that project."""
        password = f"{name} opens"
        body = {"user": {"name": name, "password": password, "domain_id": "default"}}
        user = User(
            self._ask("POST", "/users", body)["user"]["id"], name, password, project, project_id
        )
        for role in roles:
            self._ask("PUT", self._assignment(user, role))
        return user

    def drop_role(self, user: User, role: str) -> None:
        """Takes a role in their project from a user."""
        self._ask("DELETE", self._assignment(user, role))

    def enable(self, user: User, *, enabled: bool) -> None:
        """Lets a user in, or not any more."""
        self._ask("PATCH", f"/users/{user.id}", {"user": {"enabled": enabled}})

    def revoke(self, token: str) -> None:
        """Takes a token back."""
        self._ask("DELETE", "/auth/tokens", headers={"X-Subject-Token": token})

    def token(self, user: User) -> str:
        """A new token of the user, for their project."""
        return str(self.session(user).get_token())

    def session(self, user: User) -> Session:
        """A client's session of the user."""
        return _session(self.url, user.name, user.password, user.project)

    def _assignment(self, user: User, role: str) -> str:
        if not self._roles:
            self._roles = {one["name"]: one["id"] for one in self._ask("GET", "/roles")["roles"]}
        return f"/projects/{user.project_id}/users/{user.id}/roles/{self._roles[role]}"

    def _ask(self, method: str, path: str, body: Any = None, **further: Any) -> Any:
        if self._admin is None:
            self._admin = _session(self.url, "admin", ADMIN_PASSWORD, "admin")
        answer = self._admin.request(f"{self.url}{path}", method, json=body, **further)
        return answer.json() if answer.content else None


def install() -> Path:
    """The folder of Keystone's environment, with what it has bootstrapped in it.

    :raises tools.lab.errors.LabError: it cannot be installed, or fails.
    """
    return environment(f"keystone-{VERSION}", [f"keystone=={VERSION}", "waitress"], _bootstrap)


def _session(url: str, name: str, password: str, project: str) -> Session:
    return Session(
        v3.Password(
            auth_url=url,
            username=name,
            password=password,
            project_name=project,
            user_domain_id="default",
            project_domain_id="default",
        )
    )


def _bootstrap(home: Path) -> None:
    """Makes a database with an administrator, and the keys of tokens."""
    data = home / "data"
    for name in ("fernet", "credential"):
        (data / name).mkdir(parents=True)
    manage: list[str | Path] = [home / "bin/keystone-manage"]
    manage += ["--config-file", _write_conf(data, 3600)]
    user = pwd.getpwuid(os.geteuid()).pw_name
    owner = ["--keystone-user", user, "--keystone-group", str(os.getegid())]
    for words in (
        ["db_sync"],
        ["fernet_setup", *owner],
        ["credential_setup", *owner],
        ["bootstrap", "--bootstrap-password", ADMIN_PASSWORD, "--bootstrap-region-id", REGION],
    ):
        run([*manage, *words], env=clean_environment())


def _write_conf(folder: Path, expiration: int) -> Path:
    conf = folder / "keystone.conf"
    conf.write_text(_CONF.format(folder=folder, expiration=expiration))
    return conf
