"""What the OpenStack services of the lab have in common: process, port, Keystone's catalog."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from keystoneauth1.session import Session

from tools.lab import openstack_environment
from tools.lab.environments import clean_environment
from tools.lab.errors import LabError
from tools.lab.kept import KeptProcess
from tools.lab.keystone import Keystone, User
from tools.lab.port_file import wait_for_port
from tools.lab.started import Started

SERVICE = Path(__file__).with_name("wsgi_service.py")


class OpenStackService(Started):
    """A real service, from its released package, on a free loopback port.

    It has a user of its own with the roles service and admin in the project ``service``, and
    takes an expired token with the word of a user who has the role service. It remembers
    nothing of what Keystone said of a token.

    :param folder: for its configuration, data and log; short, as sockets may lie in it.
    :param keystone: a running one; the first start puts the service into its catalog.
    """

    name: ClassVar[str]
    """Of its user and its log."""
    program: ClassVar[str]
    """Whom it takes itself for; its configuration has that name."""
    kind: ClassVar[str]
    """Its type in the catalog."""
    module: ClassVar[str]
    """What :mod:`tools.lab.wsgi_service` imports."""
    path: ClassVar[str] = ""
    """Of its API, below the server's address, in the catalog."""

    def __init__(self, folder: Path, keystone: Keystone) -> None:
        self.folder = folder
        self.keystone = keystone
        self.port = 0
        self._process: KeptProcess | None = None
        self._user: User | None = None
        self._sessions: dict[str, Session] = {}

    @property
    def url(self) -> str:
        """Of its server; it stays the same after a second start."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def user(self) -> User:
        """The service's own.

        :raises tools.lab.errors.LabError: it was not started yet.
        """
        if self._user is None:
            raise LabError(f"{self.name} has no user yet: start() it first")
        return self._user

    def start(self) -> Self:
        """Starts it, on its earlier port and with its data where it had them.

        :raises tools.lab.errors.LabError: it cannot be installed or started; the text says why.
        """
        home = openstack_environment.install()
        fresh = self._user is None
        if fresh:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._prepare(home)
            self._user = self.keystone.service_user(self.name)
        conf = self.folder / f"{self.program}.conf"
        conf.write_text(self._conf(home) + self._authtoken())
        told = self.folder / "port"
        told.unlink(missing_ok=True)
        argv: list[str | Path] = [home / "bin/python", "-P", SERVICE]
        argv += [self.program, self.module, told, str(self.port), *self._arguments(conf)]
        self._process = KeptProcess(
            argv,
            self.folder / f"{self.name}.log",
            env=clean_environment(**self._environment()),
            cwd=self.folder,
        )
        self.port = wait_for_port(told, self._process, self.name)
        if fresh:
            self.keystone.endpoint(self.kind, f"{self.url}{self.path}")
        return self

    def stop(self) -> None:
        """Ends it; its data stay."""
        if self._process is not None:
            self._process.stop()
            self._process = None

    def ask(self, user: User, method: str, path: str, body: Any = None, **further: Any) -> Any:
        """What the service answers to a user, decoded from JSON; nothing where it is empty.

        :param path: with the API's version, below :attr:`url`.
        :raises keystoneauth1.exceptions.http.HttpError: a status from 400 on.
        """
        if user.id not in self._sessions:
            self._sessions[user.id] = self.keystone.session(user)
        answer = self._sessions[user.id].request(f"{self.url}{path}", method, json=body, **further)
        return answer.json() if answer.content else None

    @abstractmethod
    def _conf(self, home: Path) -> str:
        """Its configuration but for Keystone."""

    @abstractmethod
    def _prepare(self, home: Path) -> None:
        """Makes its data, before its first start."""

    def _arguments(self, conf: Path) -> list[str]:
        """Of its command line."""
        return [f"--config-file={conf}"]

    def _environment(self) -> Mapping[str, str]:
        """Further variables of its environment."""
        return {}

    def _authtoken(self) -> str:
        options = {
            **self.keystone.login(self.user),
            "www_authenticate_uri": self.keystone.url,
            "service_token_roles": "service",
            "service_token_roles_required": "true",
            "token_cache_time": "-1",
        }
        lines = "".join(f"{name} = {value}\n" for name, value in options.items())
        return f"[keystone_authtoken]\n{lines}"
