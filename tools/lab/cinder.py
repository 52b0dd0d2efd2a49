"""A real Cinder: its API, with volumes that are rows only."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text

from tools.lab import openstack_environment
from tools.lab.environments import clean_environment, made_once, run
from tools.lab.keystone import User
from tools.lab.openstack_service import OpenStackService

_CONF = """\
[DEFAULT]
state_path = {folder}
transport_url = fake://
auth_strategy = keystone
api_paste_config = {home}/etc/cinder/api-paste.ini
resource_query_filters_file = {home}/etc/cinder/resource_filters.json
use_stderr = true
[database]
connection = sqlite:///{folder}/cinder.sqlite
[oslo_concurrency]
lock_path = {folder}
"""


class Cinder(OpenStackService):
    """From :meth:`start` to :meth:`stop`; ``volumev3`` in the catalog, with the project's id in
    its address, as the installation guide has it.

    There is no volume service: its volumes are written into its database.
    """

    name = "cinder"
    program = "cinder-api"
    kind = "volumev3"
    module = "cinder.wsgi.api"
    path = "/v3/%(project_id)s"

    def volume(
        self,
        user: User,
        name: str = "root",
        *,
        server: str | None = None,
        device: str = "/dev/vda",
        image_properties: Mapping[str, str] | None = None,
    ) -> str:
        """A new volume of the user's project; its id.

        :param server: the uuid of the instance that it is attached to.
        :param device: its name there.
        :param image_properties: of the image that it was made from; it is bootable then.
        """
        body = {"volume": {"name": name, "size": 1}}
        volume = str(self.ask(user, "POST", self._path(user, "/volumes"), body)["volume"]["id"])
        # What the scheduler and the volume service would do.
        self._execute("UPDATE volumes SET status = 'available' WHERE id = :volume", volume=volume)
        if image_properties is not None:
            self._act(user, volume, "os-set_image_metadata", {"metadata": dict(image_properties)})
            self._act(user, volume, "os-set_bootable", {"bootable": True})
        if server is not None:
            self.attach(user, volume, server, device)
        return volume

    def attach(self, user: User, volume: str, server: str, device: str = "/dev/vda") -> None:
        """Attaches a volume to an instance, as nova does it."""
        headers = {"OpenStack-API-Version": "volume 3.54"}
        body = {"attachment": {"volume_uuid": volume, "instance_uuid": server}}
        path = self._path(user, "/attachments")
        made = self.ask(user, "POST", path, body, headers=headers)["attachment"]["id"]
        self._execute(
            "UPDATE volume_attachment SET attach_status = 'attached', mountpoint = :device"
            " WHERE id = :attachment",
            attachment=made,
            device=device,
        )
        self._execute(
            "UPDATE volumes SET status = 'in-use', attach_status = 'attached' WHERE id = :volume",
            volume=volume,
        )

    def volumes(self, user: User) -> list[dict[str, Any]]:
        """The volumes that a user sees, with all that Cinder tells of them."""
        path = self._path(user, "/volumes/detail")
        found: list[dict[str, Any]] = self.ask(user, "GET", path)["volumes"]
        return found

    def _act(self, user: User, volume: str, action: str, arguments: Mapping[str, Any]) -> None:
        self.ask(user, "POST", self._path(user, f"/volumes/{volume}/action"), {action: arguments})

    def _path(self, user: User, path: str) -> str:
        return f"/v3/{user.project_id}{path}"

    def _execute(self, statement: str, **values: object) -> None:
        engine = create_engine(f"sqlite:///{self.folder}/cinder.sqlite")
        with engine.begin() as connection:
            connection.execute(text(statement), values)
        engine.dispose()

    def _prepare(self, home: Path) -> None:
        shutil.copyfile(install() / "cinder.sqlite", self.folder / "cinder.sqlite")

    def _conf(self, home: Path) -> str:
        return _CONF.format(folder=self.folder, home=home)


def install() -> Path:
    """The folder with an empty database of Cinder's, kept between runs.

    :raises tools.lab.errors.LabError: it cannot be installed, or fails.
    """
    home = openstack_environment.install()

    def make(folder: Path) -> None:
        folder.mkdir(parents=True)
        conf = folder / "cinder.conf"
        conf.write_text(_CONF.format(folder=folder, home=home))
        manage: list[str | Path] = [home / "bin/cinder-manage", "--config-file", conf]
        run([*manage, "db", "sync"], env=clean_environment())

    return made_once(home / "data/cinder", make)
