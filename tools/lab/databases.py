"""Private database servers: PostgreSQL and MariaDB in a folder, reached by a Unix socket.

Neither listens on a port, so any number of them live side by side. As root each runs as an
unprivileged user, because PostgreSQL refuses root. Nothing of them survives the end of the
process that started them (:mod:`tools.lab.kept`).
"""

from __future__ import annotations

import itertools
import os
import pwd
import select
import shutil
import signal
import socket
import subprocess
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from sqlalchemy import create_engine

from tools.lab.errors import LabError
from tools.lab.kept import KeptProcess
from tools.lab.notice import wait_for_ready
from tools.lab.started import Started

SOCKET_PATH_LIMIT = 107
"""The longest path of a Unix socket, in bytes (unix(7))."""

START_TIMEOUT = 60.0
"""Seconds from the command to a server that serves."""

USERS = ("postgres", "nobody")
"""Whom a server runs as when we are root: the first that there is."""


class PrivateServer(Started):
    """A database server of our own, from :meth:`start` to :meth:`stop`.

    It may be started again after a stop, and has its data still. Writes are not flushed to
    the disk: a crash of the server loses nothing, a crash of the machine all.

    :param folder: its own folder; short, as its socket lies in it.
    :param options: further words of the server's command line.
    """

    name: str
    package: str

    def __init__(self, folder: Path, options: Sequence[str] = ()) -> None:
        self.folder = folder
        self.options = tuple(options)
        self.log = folder / f"{self.name}.log"
        self.data = folder / "data"
        self._user = _unprivileged()
        self._process: KeptProcess | None = None
        self._numbers = itertools.count(1)

    @abstractmethod
    def url(self, database: str) -> str:
        """The SQLAlchemy URL of one of its databases, for ``[database] connection``."""

    @abstractmethod
    def _socket(self) -> Path:
        """Its Unix socket."""

    @abstractmethod
    def _initialize(self) -> Sequence[str | Path]:
        """The command that makes its data folder."""

    @abstractmethod
    def _serve(self) -> Sequence[str | Path]:
        """The command that serves in the foreground."""

    @property
    @abstractmethod
    def _first_database(self) -> str:
        """A database that is there from the beginning."""

    @property
    def process(self) -> KeptProcess:
        """The running server.

        :raises LabError: before start() or after stop().
        """
        if self._process is None:
            raise LabError(f"{self.name} in {self.folder} is not running: start() it first")
        return self._process

    def database(self) -> str:
        """Makes an empty database, and gives its URL."""
        name = f"cell_{next(self._numbers)}"
        engine = create_engine(self.url(self._first_database), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
        engine.dispose()
        return self.url(name)

    def adopt(self, data: Path) -> None:
        """Begins with a copy of another server's data, which must not run then."""
        shutil.copytree(data, self.data)
        if self._user is not None:
            for path in (self.folder, self.data, *self.data.rglob("*")):
                os.chown(path, self._user.pw_uid, self._user.pw_gid)

    def start(self) -> Self:
        """Starts the server, and waits until it serves.

        :raises LabError: when it cannot, with the end of its log.
        """
        if len(os.fsencode(self._socket())) > SOCKET_PATH_LIMIT:
            raise LabError(f"{self.folder}: too long a path for sockets; use a folder in /tmp")
        if not self.data.exists():
            self._make_data()
        notices = self.folder / "notify"
        notices.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
            ready.bind(os.fspath(notices))
            notices.chmod(0o666)
            self._process = KeptProcess(
                self._as_user(self._serve()),
                self.log,
                env={**self._environment(), "NOTIFY_SOCKET": str(notices)},
                cwd=self.folder,
            )
            try:
                wait_for_ready(ready, self.process, self.name, START_TIMEOUT)
            except BaseException:
                self.stop()
                raise
        return self

    def stop(self) -> None:
        """Ends the server, whoever is connected, and waits for that."""
        if self._process is not None:
            self._say_goodbye()
            self._process.stop()
            self._process = None

    @abstractmethod
    def _say_goodbye(self) -> None:
        """What it needs before SIGTERM."""

    def _make_data(self) -> None:
        if self._user is not None:
            os.chown(self.folder, self._user.pw_uid, self._user.pw_gid)
        done = subprocess.run(
            self._as_user(self._initialize()),
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            shutil.rmtree(self.data, ignore_errors=True)
            raise LabError(
                f"{self.name} cannot make its data folder {self.data}:\n"
                f"{done.stdout[-2000:]}{done.stderr[-2000:]}"
            )

    def _environment(self) -> dict[str, str]:
        # MariaDB deletes others' temporary tables at its start: nobody shares a folder.
        return {**os.environ, "HOME": str(self.folder), "TMPDIR": str(self.folder)}

    def _as_user(self, argv: Sequence[str | Path]) -> list[str | Path]:
        if self._user is None:
            return [*argv]
        ids = [f"--reuid={self._user.pw_uid}", f"--regid={self._user.pw_gid}"]
        return ["setpriv", *ids, "--clear-groups", "--", *argv]

    def _program(self, name: str, *folders: Path) -> str:
        path = os.pathsep.join([*map(str, folders), os.environ.get("PATH", ""), "/usr/sbin"])
        found = shutil.which(name, path=path)
        if found is None:
            raise LabError(f"there is no {name}: run apt-get install {self.package}")
        return found


class PrivatePostgreSQL(PrivateServer):
    """A PostgreSQL server of our own."""

    name = "postgresql"
    package = "postgresql"
    _first_database = "postgres"

    def url(self, database: str) -> str:
        """The SQLAlchemy URL of one of its databases, for ``[database] connection``."""
        return f"postgresql+psycopg://lab@/{database}?host={self.folder}"

    def _socket(self) -> Path:
        return self.folder / ".s.PGSQL.5432"

    def _folders(self) -> list[Path]:
        """Where Debian has the servers, the newest first."""
        found = Path("/usr/lib/postgresql").glob("[0-9]*/bin")
        return sorted(found, key=lambda path: -int(path.parent.name))

    def _initialize(self) -> Sequence[str | Path]:
        program = self._program("initdb", *self._folders())
        words = ["--username=lab", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
        return [program, *words, "--pgdata", self.data]

    def _serve(self) -> Sequence[str | Path]:
        program = self._program("postgres", *self._folders())
        settings = ["listen_addresses=", "fsync=off", "full_page_writes=off", "max_connections=200"]
        words = [word for setting in settings for word in ("-c", setting)]
        return [program, "-D", self.data, "-k", self.folder, *words, *self.options]

    def _say_goodbye(self) -> None:
        """SIGINT is its fast shutdown; SIGTERM would wait for its clients."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split()[0])
            os.kill(pid, signal.SIGINT)
        except (OSError, ValueError, IndexError):
            return  # It has ended by itself.
        select.select([self.process.ended], [], [], 5.0)


class PrivateMariaDB(PrivateServer):
    """A MariaDB server of our own."""

    name = "mariadb"
    package = "mariadb-server-core mariadb-client-core"
    _first_database = "mysql"

    def url(self, database: str) -> str:
        """The SQLAlchemy URL of one of its databases, for ``[database] connection``."""
        return f"mariadb+pymysql://root@/{database}?unix_socket={self._socket()}"

    def _socket(self) -> Path:
        return self.folder / "mariadb.sock"

    def _initialize(self) -> Sequence[str | Path]:
        # It runs the other one, and says it in many words when that is not there.
        self._program("my_print_defaults")
        words = ["--auth-root-authentication-method=normal", "--skip-test-db"]
        return [
            self._program("mariadb-install-db"),
            "--no-defaults",
            *words,
            f"--datadir={self.data}",
        ]

    def _serve(self) -> Sequence[str | Path]:
        return [
            self._program("mariadbd"),
            "--no-defaults",
            f"--datadir={self.data}",
            f"--socket={self._socket()}",
            f"--pid-file={self.folder / 'pid'}",
            "--skip-networking",
            "--skip-name-resolve",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-buffer-pool-size=32M",
            "--max-connections=200",
            *self.options,
        ]

    def _say_goodbye(self) -> None:
        """Nothing: SIGTERM does not wait for its clients."""


def _unprivileged() -> pwd.struct_passwd | None:
    """Whom servers run as; None for ourselves."""
    if os.geteuid() != 0:
        return None
    for name in USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise LabError(f"none of the users {', '.join(USERS)} is there to run a server as")
