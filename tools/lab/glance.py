"""A real Glance, with its images in a folder."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools.lab import openstack_environment
from tools.lab.environments import clean_environment, made_once, run
from tools.lab.keystone import User
from tools.lab.openstack_service import OpenStackService

_CONF = """\
[DEFAULT]
enabled_backends = fs:file
log_dir =
use_stderr = true
[database]
connection = sqlite:///{folder}/glance.sqlite
[glance_store]
default_backend = fs
[fs]
filesystem_store_datadir = {folder}/images
[os_glance_tasks_store]
filesystem_store_datadir = {folder}/tasks
[os_glance_staging_store]
filesystem_store_datadir = {folder}/staging
[paste_deploy]
flavor = keystone
config_file = {home}/etc/glance/glance-api-paste.ini
"""


class Glance(OpenStackService):
    """From :meth:`start` to :meth:`stop`; ``image`` in the catalog."""

    name = "glance"
    program = "glance-api"
    kind = "image"
    module = "glance.wsgi.api"

    def image(
        self,
        user: User,
        name: str = "cirros",
        properties: Mapping[str, str] | None = None,
        data: bytes = b"",
    ) -> str:
        """A new image of the user's project, and what is in it; its id."""
        body = {"name": name, "disk_format": "raw", "container_format": "bare"}
        made = self.ask(user, "POST", "/v2/images", body | dict(properties or {}))
        path = f"/v2/images/{made['id']}/file"
        headers = {"Content-Type": "application/octet-stream"}
        self.ask(user, "PUT", path, data=data, headers=headers)
        return str(made["id"])

    def images(self, user: User) -> list[dict[str, Any]]:
        """The images that a user sees, with all that Glance tells of them."""
        found: list[dict[str, Any]] = self.ask(user, "GET", "/v2/images")["images"]
        return found

    def content(self, image_id: str) -> bytes:
        """What is stored of an image."""
        return (self.folder / "images" / image_id).read_bytes()

    def _prepare(self, home: Path) -> None:
        kept = install()
        for each in ("images", "tasks", "staging"):
            (self.folder / each).mkdir(exist_ok=True)
        shutil.copyfile(kept / "glance.sqlite", self.folder / "glance.sqlite")

    def _conf(self, home: Path) -> str:
        return _CONF.format(folder=self.folder, home=home)

    def _arguments(self, conf: Path) -> list[str]:
        return []

    def _environment(self) -> Mapping[str, str]:
        return {"OS_GLANCE_CONFIG_DIR": str(self.folder)}


def install() -> Path:
    """The folder with an empty database of Glance's, kept between runs.

    :raises tools.lab.errors.LabError: it cannot be installed, or fails.
    """
    home = openstack_environment.install()

    def make(folder: Path) -> None:
        folder.mkdir(parents=True)
        conf = folder / "glance.conf"
        conf.write_text(_CONF.format(folder=folder, home=home))
        manage: list[str | Path] = [home / "bin/glance-manage", "--config-file", conf]
        run([*manage, "db_sync"], env=clean_environment())

    return made_once(home / "data/glance", make)
