"""Node groups: SSH servers that lead to instances and compute hosts.

``GET /v1/node-groups`` 200::

    {"node_groups": [{"id": "5b0d...", "name": "gateways", "project_id": null,
                      "is_proxy": true, "user_name": "jump", "key_file": "gateways",
                      "has_private_key": false, "has_passphrase": false,
                      "known_hosts": ["ssh-ed25519 AAAA..."], "proxy_group_id": null,
                      "members": [{"instance_id": "2f9e...", "port": 22},
                                  {"host": "10.0.0.5", "port": 22}],
                      "hosts": ["rack1"]}]}

Those that the caller may see, by name. ``is_proxy`` says that others are reached over the
members: the first one, or the next that is there. ``proxy_group_id`` names the group that leads
to the members. ``hosts`` are compute hosts that this group leads to.

``GET /v1/node-groups/{group_id}`` 200: ``{"node_group": {...}}``, the same shape.

``POST /v1/node-groups`` 201: ``{"node_group": {...}}`` with any of these members but ``id``;
``name`` has to be there. In place of ``key_file`` there may be a ``private_key``, with either a
``passphrase``: they are kept encrypted, and no answer has them. With a
``node_group_template_id`` the group has every field of the template, ``is_proxy`` included, but
for those that are given.

``PATCH /v1/node-groups/{group_id}`` 200: as POST; what is not given stays. ``key_file``,
``private_key`` and ``passphrase`` are one key together: whoever gives one replaces all.

``DELETE /v1/node-groups/{group_id}`` 204; 409 while another group or a template names it.

``/v1/node-group-templates`` has the same routes for ``node_group_template`` objects, which have
neither ``members`` nor ``hosts``.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from attrs import frozen

from consoled.api.exchange import Call
from consoled.api.routes import Routes, is_uuid
from consoled.api.schemas import NODE_GROUP, NODE_GROUP_TEMPLATE, NODE_GROUP_TO_MAKE
from consoled.errors import BadRequest, NotFound
from consoled.reaching.groups import ABSENT, ABSENT_TEMPLATE, Asked, NodeGroups
from consoled.reaching.values import GroupTemplate, Member, NodeGroup, Traits

Json = Mapping[str, Any]


@frozen
class NodeGroupsApi:
    """Handlers of the routes."""

    groups: NodeGroups

    def mount(self, routes: Routes) -> None:
        """Adds the routes."""
        every, one = "/v1/node-groups", "/v1/node-groups/{group_id}"
        routes.get(every, self.list_groups)
        routes.get(one, self.show_group)
        routes.post(every, self.create_group, HTTPStatus.CREATED, NODE_GROUP_TO_MAKE)
        routes.patch(one, self.alter_group, HTTPStatus.OK, NODE_GROUP)
        routes.delete(one, self.delete_group, HTTPStatus.NO_CONTENT)
        every, one = "/v1/node-group-templates", "/v1/node-group-templates/{template_id}"
        routes.get(every, self.list_templates)
        routes.get(one, self.show_template)
        routes.post(every, self.create_template, HTTPStatus.CREATED, NODE_GROUP_TEMPLATE)
        routes.patch(one, self.alter_template, HTTPStatus.OK, NODE_GROUP_TEMPLATE)
        routes.delete(one, self.delete_template, HTTPStatus.NO_CONTENT)

    async def list_groups(self, call: Call) -> Json:
        """The groups that the caller may see."""
        return {"node_groups": [group_view(one) for one in await self.groups.groups(call.caller)]}

    async def show_group(self, call: Call, group_id: str) -> Json:
        """One group."""
        found = await self.groups.group(call.caller, _id(group_id, ABSENT))
        return {"node_group": group_view(found)}

    async def create_group(self, call: Call) -> Json:
        """Makes a group."""
        given = dict(_object(call, "node_group"))
        template_id = given.pop("node_group_template_id", None)
        if template_id is not None and not is_uuid(template_id):
            raise BadRequest("node_group_template_id must be a UUID in lower case.")
        made = await self.groups.create(_asked(call), given, template_id)
        return {"node_group": group_view(made)}

    async def alter_group(self, call: Call, group_id: str) -> Json:
        """Changes a group."""
        given = _object(call, "node_group")
        new = await self.groups.alter(_asked(call), _id(group_id, ABSENT), given)
        return {"node_group": group_view(new)}

    async def delete_group(self, call: Call, group_id: str) -> Json:
        """Deletes a group."""
        await self.groups.remove(_asked(call), _id(group_id, ABSENT))
        return {}

    async def list_templates(self, call: Call) -> Json:
        """The templates that the caller may see."""
        found = await self.groups.templates(call.caller)
        return {"node_group_templates": [template_view(one) for one in found]}

    async def show_template(self, call: Call, template_id: str) -> Json:
        """One template."""
        found = await self.groups.template(call.caller, _id(template_id, ABSENT_TEMPLATE))
        return {"node_group_template": template_view(found)}

    async def create_template(self, call: Call) -> Json:
        """Makes a template."""
        given = _object(call, "node_group_template")
        made = await self.groups.create_template(_asked(call), given)
        return {"node_group_template": template_view(made)}

    async def alter_template(self, call: Call, template_id: str) -> Json:
        """Changes a template."""
        given = _object(call, "node_group_template")
        wanted = _id(template_id, ABSENT_TEMPLATE)
        new = await self.groups.alter_template(_asked(call), wanted, given)
        return {"node_group_template": template_view(new)}

    async def delete_template(self, call: Call, template_id: str) -> Json:
        """Deletes a template."""
        await self.groups.remove_template(_asked(call), _id(template_id, ABSENT_TEMPLATE))
        return {}


def _object(call: Call, name: str) -> Json:
    given: Json | None = call.body.get(name)
    if given is None:
        raise BadRequest(f'The body must be {{"{name}": {{...}}}}.')
    return given


def _asked(call: Call) -> Asked:
    return Asked(call.caller, call.request_id)


def _id(text: str, absent: str) -> str:
    if not is_uuid(text):
        raise NotFound(absent)
    return text


def group_view(group: NodeGroup) -> Json:
    """A group as JSON; of its secrets, only whether there are any."""
    return {
        "id": group.id,
        **_traits_view(group.traits),
        "members": [_member_view(member) for member in group.members],
        "hosts": list(group.hosts),
    }


def template_view(template: GroupTemplate) -> Json:
    """A template as JSON, without its secrets."""
    return {"id": template.id, **_traits_view(template.traits)}


def _traits_view(traits: Traits) -> Json:
    return {
        "name": traits.name,
        "project_id": traits.project_id,
        "is_proxy": traits.is_proxy,
        "user_name": traits.user_name,
        "key_file": traits.key_file,
        "has_private_key": traits.private_key is not None,
        "has_passphrase": traits.passphrase is not None,
        "known_hosts": list(traits.known_hosts),
        "proxy_group_id": traits.proxy_group_id,
    }


def _member_view(member: Member) -> Json:
    if member.instance_uuid is not None:
        return {"instance_id": member.instance_uuid, "port": member.port}
    return {"host": member.address, "port": member.port}
