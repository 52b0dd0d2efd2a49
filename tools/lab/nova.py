"""nova itself, from its released package, in the environment of OpenStack.

consoled never imports nova. Its tests do, in other processes: nova's own classes read what
consoled wrote, and write what consoled reads. An empty cell database in SQLite is kept with
the environment.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text

from tools.lab import openstack_environment
from tools.lab.environments import clean_environment, made_once, run

CALLS = Path(__file__).with_name("nova_calls.py")

POWER_RUNNING = 1
POWER_SHUTDOWN = 4
"""nova's words for an instance's power state."""

_CONF = """\
[DEFAULT]
state_path = {folder}
transport_url = fake://
[database]
connection = {connection}
[api_database]
connection = sqlite:///{folder}/api.sqlite
[oslo_concurrency]
lock_path = {folder}
"""


class Nova:
    """A nova cell with an empty database, in a folder of its own.

    :param server: the URL of an empty database for the cell; by default it is an SQLite file
        in the folder.
    :ivar connection: the value for ``[nova] connection``.
    :raises tools.lab.errors.LabError: nova cannot be installed, or its schema not be made.
    """

    def __init__(self, folder: Path, server: str | None = None) -> None:
        home, data = openstack_environment.install(), install()
        self._python = home / "bin/python"
        folder.mkdir(parents=True, exist_ok=True)
        # nova's database layer knows MariaDB by the name of mysql only.
        self.connection = (server or f"sqlite:///{folder}/cell.sqlite").replace(
            "mariadb+", "mysql+", 1
        )
        self._conf = folder / "nova.conf"
        self._conf.write_text(_CONF.format(folder=folder, connection=self.connection))
        if server is None:
            shutil.copyfile(data / "cell.sqlite", folder / "cell.sqlite")
        else:
            _make_schema(home, self._conf)

    def add_instance(
        self, uuid: str, *, name: str = "web", host: str = "rack1", power_state: int = POWER_RUNNING
    ) -> None:
        """A row in nova's table of instances; there is no compute service to make one."""
        self._execute(
            "INSERT INTO instances (uuid, project_id, user_id, display_name, host,"
            " power_state, vm_state, deleted)"
            " VALUES (:uuid, 'demo', 'mia', :name, :host, :power_state, 'active', 0)",
            {"uuid": uuid, "name": name, "host": host, "power_state": power_state},
        )

    def set_power_state(self, uuid: str, power_state: int) -> None:
        """What nova's compute service writes when a guest starts or stops."""
        self._execute(
            "UPDATE instances SET power_state = :power_state WHERE uuid = :uuid",
            {"uuid": uuid, "power_state": power_state},
        )

    def _execute(self, statement: str, values: Mapping[str, object]) -> None:
        engine = create_engine(self.connection)
        with engine.begin() as connection:
            connection.execute(text(statement), dict(values))
        engine.dispose()

    def call(self, *calls: Mapping[str, Any]) -> list[Any]:
        """What nova's own classes answer, call by call; see :mod:`tools.lab.nova_calls`.

        :raises tools.lab.errors.LabError: they raised something.
        """
        done = run(
            [self._python, "-P", CALLS, "--config-file", self._conf],
            input=json.dumps(calls),
            env=_environment(),
        )
        answers: list[Any] = json.loads(done.stdout.splitlines()[-1])
        return answers


def _environment() -> dict[str, str]:
    return clean_environment(OS_NOVA_DISABLE_EVENTLET_PATCHING="1")


def install() -> Path:
    """The folder with an empty cell database, kept between runs.

    :raises tools.lab.errors.LabError: nova cannot be installed, or its schema not be made.
    """
    home = openstack_environment.install()

    def make(folder: Path) -> None:
        folder.mkdir(parents=True)
        conf = folder / "schema.conf"
        conf.write_text(_CONF.format(folder=folder, connection=f"sqlite:///{folder}/cell.sqlite"))
        _make_schema(home, conf)

    return made_once(home / "data/nova", make)


def _make_schema(home: Path, conf: Path) -> None:
    manage = home / "bin/nova-manage"
    run([manage, "--config-file", conf, "db", "sync", "--local_cell"], env=_environment())
