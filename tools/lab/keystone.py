"""A real Keystone, from its released package, on a free loopback port.

Its environment, and a database in which it has bootstrapped itself, are kept between runs
(:mod:`tools.lab.environments`); each server starts with a copy.
"""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from attrs import frozen
from keystoneauth1.identity import v3
from keystoneauth1.session import Session

from tools.lab import openstack_environment
from tools.lab.environments import clean_environment, made_once, run
from tools.lab.fernet_tokens import redated
from tools.lab.kept import KeptProcess
from tools.lab.port_file import wait_for_port
from tools.lab.started import Started

REGION = "RegionOne"
ADMIN_PASSWORD = "bootstrap"
SERVICE = Path(__file__).with_name("wsgi_service.py")

SERVICES = "service"
"""The project of the services' users."""

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
backend = dogpile.cache.memory
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
        home, data = openstack_environment.install(), install()
        fresh = not self.folder.joinpath("keystone.sqlite").exists()
        if fresh:
            self.folder.mkdir(parents=True, exist_ok=True)
            for name in ("fernet", "credential"):
                shutil.copytree(data / name, self.folder / name)
            shutil.copyfile(data / "keystone.sqlite", self.folder / "keystone.sqlite")
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
        self.port = wait_for_port(told, self._process, "keystone")
        if fresh:
            self.endpoint("identity", self.url)
        return self

    def stop(self) -> None:
        """Ends it; its data stay."""
        if self._process is not None:
            self._process.stop()
            self._process = None

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
        """The id of the project of that name; it is made where there is none."""
        found = self._ask("GET", f"/projects?name={name}")["projects"]
        if found:
            return str(found[0]["id"])
        made = self._ask("POST", "/projects", {"project": {"name": name, "domain_id": "default"}})
        return str(made["project"]["id"])

    def drop_project(self, project_id: str) -> None:
        """Deletes a project."""
        self._ask("DELETE", f"/projects/{project_id}")

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

    def service_user(self, name: str) -> User:
        """A new user with the roles service and admin in the project of services."""
        return self.user(name, SERVICES, self.project(SERVICES), ["service", "admin"])

    def drop_role(self, user: User, role: str) -> None:
        """Takes a role in their project from a user."""
        self._ask("DELETE", self._assignment(user, role))

    def enable(self, user: User, *, enabled: bool) -> None:
        """Lets a user in, or not any more."""
        self._ask("PATCH", f"/users/{user.id}", {"user": {"enabled": enabled}})

    def revoke(self, token: str) -> None:
        """Takes a token back."""
        self._ask("DELETE", "/auth/tokens", headers={"X-Subject-Token": token})

    def token(self, user: User, life: float | None = None) -> str:
        """A new token of the user, for their project.

        :param life: seconds that it is valid from now on; less than 0 for one that has expired
            already. It is :attr:`expiration` otherwise.
        """
        session = self.session(user)
        assert isinstance(session.auth, v3.Password)
        token = str(session.get_token())
        if life is None:
            return token
        expires = session.auth.get_access(session).expires
        assert expires is not None
        return redated(self.folder / "fernet", token, expires, life, self.expiration)

    def login(self, user: User) -> dict[str, Any]:
        """The options with which a service's section logs in as that user."""
        return {
            "auth_type": "password",
            "auth_url": self.url,
            "username": user.name,
            "password": user.password,
            "project_name": user.project,
            "user_domain_id": "default",
            "project_domain_id": "default",
        }

    def session(self, user: User) -> Session:
        """A client's session of the user."""
        return _session(self.url, user.name, user.password, user.project)

    def admin_token(self, **scope: Any) -> str:
        """A new token of the administrator's that is not a project's.

        :param scope: ``system_scope="all"``, ``unscoped=True``...
        """
        auth = v3.Password(
            auth_url=self.url,
            username="admin",
            password=ADMIN_PASSWORD,
            user_domain_id="default",
            **scope,
        )
        return str(Session(auth).get_token())

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
    """The folder with what Keystone has bootstrapped, kept between runs.

    :raises tools.lab.errors.LabError: it cannot be installed, or fails.
    """
    home = openstack_environment.install()
    return made_once(home / "data/keystone", lambda folder: _bootstrap(home, folder))


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


def _bootstrap(home: Path, data: Path) -> None:
    """Makes a database with an administrator, and the keys of tokens."""
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
