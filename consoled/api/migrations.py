"""Live migrations of instances to other compute hosts.

``POST /v1/servers/{server_id}/migration`` 202 with ``{"migration": {"host": "kvm2"}}``::

    {"migration": {"server_id": "2f9e...", "domain": "web-1", "source": "kvm1",
                   "destination": "kvm2", "state": "migrating", "error": null,
                   "ports": [{"index": 0, "port": 10003}], "warnings": [],
                   "progress": {"percent": 0, "elapsed": 0.0, "bytes_total": 0,
                                "bytes_remaining": 0, "bytes_per_second": 0}}}

The destination is a compute host that the daemon's configuration names. ``ports`` are those of
the serial ports there. ``GET`` 200 says how far it is, by the same shape: ``state`` is
``migrating``, then ``completed``, ``failed`` (and ``error`` says why) or ``cancelled``. The
outcome is known to the daemon that was asked for the migration; one that somebody else drives is
shown while it is under way, with ``destination`` null. ``DELETE`` 202 asks for its end, and what
comes of that is for a ``GET`` to find.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from attrs import frozen

from consoled.api.exchange import Call
from consoled.api.routes import Routes, instance_id
from consoled.api.schemas import MIGRATE
from consoled.auth.policy import Rule
from consoled.compute.migration.parts import HostMigrations
from consoled.compute.migration.values import migration_view
from consoled.errors import BadRequest
from consoled.issuing import ConsoleIssuer
from consoled.model import Instance
from consoled.openstack.values import UserToken

Json = Mapping[str, Any]


@frozen
class MigrationsApi:
    """Handlers of the routes.

    :ivar migrations: None where the driver has no domains.
    """

    issuer: ConsoleIssuer
    migrations: HostMigrations | None

    def mount(self, routes: Routes) -> None:
        """Adds the routes."""
        template = "/v1/servers/{server_id}/migration"
        routes.post(template, self.begin, HTTPStatus.ACCEPTED, MIGRATE)
        routes.get(template, self.show)
        routes.delete(template, self.cancel, HTTPStatus.ACCEPTED)

    async def begin(self, call: Call, server_id: str) -> Json:
        """Begins a migration."""
        instance, migrations = await self._migratable(call, server_id)
        host = (call.body.get("migration") or {}).get("host")
        if host is None:
            raise BadRequest(
                "migration.host is missing: it names the compute host that the instance goes to."
            )
        facts = {
            "user_id": call.caller.user_id,
            "project_id": call.caller.project_id,
            "request_id": call.request_id,
        }
        begun = await migrations.start(instance, host, facts, UserToken.of(call.caller))
        return {"migration": migration_view(begun)}

    async def show(self, call: Call, server_id: str) -> Json:
        """How far it is."""
        instance, migrations = await self._migratable(call, server_id)
        return {"migration": migration_view(await migrations.find(instance))}

    async def cancel(self, call: Call, server_id: str) -> Json:
        """Asks for its end."""
        instance, migrations = await self._migratable(call, server_id)
        return {"migration": migration_view(await migrations.cancel(instance))}

    async def _migratable(self, call: Call, server_id: str) -> tuple[Instance, HostMigrations]:
        uuid = instance_id(server_id)
        instance = await self.issuer.visible(call.caller, uuid, Rule.SERVERS_MIGRATE)
        if self.migrations is None:
            raise BadRequest(
                f"The driver of this cell ({self.issuer.driver.name}) has no domains that could "
                "migrate."
            )
        return instance, self.migrations
