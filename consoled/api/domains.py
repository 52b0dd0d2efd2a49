"""Serial ports of libvirt's domains.

``POST /v1/servers/{server_id}/consoles`` 200, with no body, ``{}``, or any of these members::

    {"consoles": {"ports": 2, "image_properties": {"hw_serial_port_count": "2"},
                  "log": false, "tls": false, "force": false, "dry_run": false}}

gives the domain serial ports that listen on TCP::

    {"configuration": {"server_id": "2f9e...", "domain": "web-1", "changed": true,
                       "power_cycle": true, "warnings": ["web-1 runs: ..."], "diff": "...",
                       "ports": [{"index": 0, "host": "127.0.0.1", "port": 10000, "tls": false,
                                  "log": null, "configured": true}]}}

``ports`` are those of its persistent XML; ``configured`` says that they are consoled's doing.
A domain that runs has the change when it was powered off and started again (``power_cycle``).

``DELETE /v1/servers/{server_id}/consoles`` 200: takes back what POST did, with the same answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from attrs import frozen
from twisted.logger import Logger

from consoled.api.exchange import Call
from consoled.api.routes import Routes, instance_id
from consoled.api.schemas import CONFIGURE_CONSOLES, shown
from consoled.auth.policy import Rule
from consoled.compute.image_source import Questions
from consoled.compute.libvirt.configuring import (
    Change,
    DomainConfigurator,
    Wish,
    configuration,
)
from consoled.errors import BadRequest
from consoled.issuing import ConsoleIssuer
from consoled.model import Instance
from consoled.openstack.values import UserToken

Json = Mapping[str, Any]

Configurators = Callable[[Instance], DomainConfigurator]
"""What configures an instance's domain, on its compute host."""

log = Logger()


@frozen
class DomainsApi:
    """Handlers of the routes.

    :ivar configurator: configures the domain of an instance; None where the driver has none.
    :ivar images: who is asked for the properties of its image; None for nobody.
    """

    issuer: ConsoleIssuer
    configurator: Configurators | None
    images: Questions | None = None

    def mount(self, routes: Routes) -> None:
        """Adds the routes."""
        template = "/v1/servers/{server_id}/consoles"
        routes.post(template, self.configure, HTTPStatus.OK, CONFIGURE_CONSOLES)
        routes.delete(template, self.restore, HTTPStatus.OK)

    async def configure(self, call: Call, server_id: str) -> Json:
        """Gives a domain serial ports that listen on TCP."""
        uuid, domains = await self._domains(call, server_id)
        wish = wish_of(call.body.get("consoles") or {})
        ask = None if self.images is None else self.images(UserToken.of(call.caller))
        change = await domains.enable(uuid, wish, ask)
        return _told(call, change, "serial_ports_enabled", wish.dry_run)

    async def restore(self, call: Call, server_id: str) -> Json:
        """Takes back what :meth:`configure` did."""
        uuid, domains = await self._domains(call, server_id)
        return _told(call, await domains.disable(uuid), "serial_ports_disabled", False)

    async def _domains(self, call: Call, server_id: str) -> tuple[str, DomainConfigurator]:
        uuid = instance_id(server_id)
        instance = await self.issuer.visible(call.caller, uuid, Rule.CONSOLES_CONFIGURE)
        if self.configurator is None:
            raise BadRequest(
                f"The driver of this cell ({self.issuer.driver.name}) has no domains whose serial "
                "ports could be configured."
            )
        return uuid, self.configurator(instance)


def wish_of(members: Mapping[str, Any]) -> Wish:
    """What a body wishes for.

    :param members: as :data:`~consoled.api.schemas.CONFIGURE_CONSOLES` lets them be.
    :raises consoled.errors.BadRequest: a property of the image is neither text nor number.
    """
    given = dict(members)
    image = given.pop("image_properties", {})
    for name, value in image.items():
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise BadRequest(
                f"consoles.image_properties.{shown(name)} must be a string or a whole number."
            )
    return Wish(image=image, **given)


def _told(call: Call, change: Change, event: str, dry_run: bool) -> Json:
    if change.changed and not dry_run:
        log.info(
            "{user_id} changed the serial ports of {domain}: those that listen are now {ports}",
            event=event,
            user_id=call.caller.user_id,
            project_id=call.caller.project_id,
            instance_uuid=change.uuid,
            domain=change.domain,
            ports=", ".join(str(port.port) for port in change.ports) or "none",
            request_id=call.request_id,
        )
    return {"configuration": configuration(change)}
