"""A real Neutron on a MariaDB of its own: its API, without agents."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from tools.lab import openstack_environment
from tools.lab.databases import PrivateMariaDB
from tools.lab.environments import clean_environment, made_once, run
from tools.lab.keystone import Keystone, User
from tools.lab.openstack_service import OpenStackService

SMALL = ("--innodb-log-file-size=4M",)
"""Its log of changes is copied with the data."""

_CONF = """\
[DEFAULT]
core_plugin = ml2
service_plugins = router,port_forwarding
auth_strategy = keystone
transport_url = fake://
state_path = {folder}
api_paste_config = {home}/etc/neutron/api-paste.ini
notify_nova_on_port_status_changes = false
notify_nova_on_port_data_changes = false
dhcp_agent_notification = false
use_stderr = true
[database]
connection = {connection}
[ml2]
type_drivers = local
tenant_network_types = local
mechanism_drivers =
[oslo_concurrency]
lock_path = {folder}
"""


class Neutron(OpenStackService):
    """From :meth:`start` to :meth:`stop`; ``network`` in the catalog."""

    name = "neutron"
    program = "neutron-server"
    kind = "network"
    module = "neutron.db.migration.models.head,neutron.wsgi.api"

    def __init__(self, folder: Path, keystone: Keystone) -> None:
        super().__init__(folder, keystone)
        # The database's user cannot look into a folder of ours.
        self._place = tempfile.TemporaryDirectory(prefix="lab-", dir="/tmp")
        self._mariadb = PrivateMariaDB(Path(self._place.name), SMALL)

    def stop(self) -> None:
        """Ends it and its database; its data stay until the end of the context."""
        super().stop()
        self._mariadb.stop()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, traceback)
        self._place.cleanup()

    def network(
        self, user: User, cidr: str, name: str = "private", *, external: bool = False
    ) -> str:
        """A new network of the user's project with one subnet; its id.

        :param cidr: of the subnet, as in ``10.0.0.0/24``; version 6 as well.
        :param external: floating addresses come from it; only an admin can make one.
        """
        network = self._make(user, "network", {"name": name, "router:external": external})
        self.subnet(user, str(network["id"]), cidr)
        return str(network["id"])

    def subnet(self, user: User, network: str, cidr: str) -> str:
        """One more subnet of a network; its id."""
        version = 6 if ":" in cidr else 4
        body = {"network_id": network, "cidr": cidr, "ip_version": version}
        return str(self._make(user, "subnet", body)["id"])

    def plug(
        self, user: User, network: str, device: str, addresses: Sequence[str] = ()
    ) -> dict[str, Any]:
        """A new port of an instance, or of any other device, as Neutron tells of it.

        :param device: its ``device_id``.
        :param addresses: its fixed ones; Neutron chooses otherwise.
        """
        body: dict[str, Any] = {
            "network_id": network,
            "device_id": device,
            "device_owner": "compute:nova",
        }
        if addresses:
            body["fixed_ips"] = [{"ip_address": address} for address in addresses]
        return self._make(user, "port", body)

    def router(self, user: User, external: str, network: str) -> str:
        """A new router of the user's project between its network and an external one; its id."""
        body = {"external_gateway_info": {"network_id": external}}
        router = str(self._make(user, "router", body)["id"])
        subnets = self.ask(user, "GET", f"/v2.0/subnets?network_id={network}")["subnets"]
        for subnet in subnets:
            path = f"/v2.0/routers/{router}/add_router_interface"
            self.ask(user, "PUT", path, {"subnet_id": subnet["id"]})
        return router

    def floating_ip(self, user: User, external: str, port: str) -> dict[str, Any]:
        """A new floating address for a port behind a router, as Neutron tells of it."""
        body = {"floating_network_id": external, "port_id": port}
        return self._make(user, "floatingip", body)

    def move_floating_ip(self, user: User, floating: str, port: str | None) -> None:
        """Gives it to another port, or to none."""
        path = f"/v2.0/floatingips/{floating}"
        self.ask(user, "PUT", path, {"floatingip": {"port_id": port}})

    def _make(self, user: User, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        made: dict[str, Any] = self.ask(user, "POST", f"/v2.0/{kind}s", {kind: body})[kind]
        return made

    def _prepare(self, home: Path) -> None:
        self._mariadb.adopt(install() / "db")

    def _conf(self, home: Path) -> str:
        self._mariadb.start()
        return _CONF.format(folder=self.folder, home=home, connection=_connection(self._mariadb))


def install() -> Path:
    """The folder with the data of a MariaDB in which Neutron has its schema, kept between runs.

    :raises tools.lab.errors.LabError: it cannot be installed, or fails.
    """
    home = openstack_environment.install()

    def make(folder: Path) -> None:
        folder.mkdir(parents=True)
        with tempfile.TemporaryDirectory(prefix="lab-", dir="/tmp") as short:
            with PrivateMariaDB(Path(short), SMALL) as mariadb:
                mariadb.database()
                conf = folder / "neutron.conf"
                connection = _connection(mariadb)
                conf.write_text(_CONF.format(folder=folder, home=home, connection=connection))
                manage: list[str | Path] = [home / "bin/neutron-db-manage", "--config-file", conf]
                run([*manage, "upgrade", "heads"], env=clean_environment())
            shutil.copytree(mariadb.data, folder / "db")

    return made_once(home / "data/neutron", make)


def _connection(mariadb: PrivateMariaDB) -> str:
    """Of its first database; OpenStack knows MariaDB by the name of mysql only."""
    return mariadb.url("cell_1").replace("mariadb+", "mysql+", 1)
