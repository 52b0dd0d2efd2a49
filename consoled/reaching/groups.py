"""What the REST API does with node groups and their templates: who may, what is checked, what is
told afterwards. No secret leaves it: keys go into the database encrypted, and nowhere else."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from attrs import evolve, frozen
from twisted.logger import Logger

from consoled.auth.policy import Rule
from consoled.db import node_groups as rows
from consoled.errors import (
    BadRequest,
    ConfigError,
    Conflict,
    Forbidden,
    NotFound,
    Unavailable,
)
from consoled.interfaces import Database, Driver, Policy, Worker
from consoled.model import Caller
from consoled.reaching.book import GroupBook
from consoled.reaching.logins import load_named, load_text
from consoled.reaching.routes import merged
from consoled.reaching.secrets import SecretBox
from consoled.reaching.values import GroupTemplate, NodeGroup, Traits
from consoled.reaching.wishes import Wish, wish_of

log = Logger()

Given = Mapping[str, Any]
Kind = TypeVar("Kind", NodeGroup, GroupTemplate)

ABSENT = "There is no such node group."
ABSENT_TEMPLATE = "There is no such node group template."


@frozen
class Asked:
    """Who asks, in which request."""

    caller: Caller
    request_id: str


@frozen
class NodeGroups:
    """The node groups and templates of a cell.

    :ivar worker: where keys are read and decrypted.
    :ivar keys_dir: the folder of the keys that groups may name, or None.
    :ivar box: encrypts keys that go to the database; None takes none.
    :ivar networks: where hosts may be that are members.
    """

    database: Database
    policy: Policy
    driver: Driver
    book: GroupBook
    worker: Worker
    keys_dir: Path | None = None
    box: SecretBox | None = None
    networks: tuple[str, ...] = ()

    async def groups(self, caller: Caller) -> list[NodeGroup]:
        """The groups that the caller may see, by name.

        :raises consoled.errors.Forbidden: policy lets the caller see none.
        """
        found = await self.database.read(rows.every)
        return await self._visible(caller, Rule.NODE_GROUPS_SHOW, found)

    async def group(
        self, caller: Caller, group_id: str, rule: Rule = Rule.NODE_GROUPS_SHOW
    ) -> NodeGroup:
        """One group, if the rule lets the caller do that with it.

        :raises consoled.errors.NotFound: there is none (for this caller).
        :raises consoled.errors.Forbidden: it is the own project's, and policy says no.
        """
        found = await self.database.read(rows.find, group_id)
        return await self._judged(caller, rule, found, ABSENT)

    async def create(self, asked: Asked, given: Given, template_id: str | None) -> NodeGroup:
        """Makes a group.

        :param given: the members of the request's object.
        :param template_id: the template whose fields it has where none are given.
        :raises consoled.errors.BadRequest: which member is wrong, and how.
        :raises consoled.errors.Conflict: a name, an instance or a host is another group's.
        :raises consoled.errors.Forbidden: policy says no.
        """
        fields = await self._fields(asked.caller, given)
        parts = _parts(fields)
        if template_id is not None:
            template = await self._template_to_use(asked.caller, template_id)
            fields = merged(template.traits, fields)
        group = NodeGroup(str(uuid.uuid4()), _traits(fields), **parts)
        await self._may(asked.caller, Rule.NODE_GROUPS_CHANGE, group.traits)
        made = await self.database.run(rows.create, group)
        await self._tell(asked, "node_group_created", "made node group", made)
        return made

    async def alter(self, asked: Asked, group_id: str, given: Given) -> NodeGroup:
        """Changes those fields of a group that are given.

        :raises consoled.errors.ConsoledError: as of :meth:`create` and :meth:`group`.
        """
        old = await self.group(asked.caller, group_id, Rule.NODE_GROUPS_CHANGE)
        fields = await self._fields(asked.caller, given)
        parts = _parts(fields)
        change = _change(old, fields, parts)
        await self._may(asked.caller, Rule.NODE_GROUPS_CHANGE, change(old).traits)
        new = await self.database.run(rows.alter, group_id, change)
        if new is None:
            raise NotFound(ABSENT)
        what = f"changed {', '.join(sorted(given)) or 'nothing'} of node group"
        await self._tell(asked, "node_group_changed", what, new)
        return new

    async def remove(self, asked: Asked, group_id: str) -> None:
        """Deletes a group.

        :raises consoled.errors.Conflict: another group or a template names it.
        :raises consoled.errors.ConsoledError: as of :meth:`group`.
        """
        old = await self.group(asked.caller, group_id, Rule.NODE_GROUPS_CHANGE)
        if not await self.database.run(rows.remove, group_id):
            raise NotFound(ABSENT)
        await self._tell(asked, "node_group_deleted", "deleted node group", old)

    async def templates(self, caller: Caller) -> list[GroupTemplate]:
        """The templates that the caller may see, by name.

        :raises consoled.errors.Forbidden: policy lets the caller see none.
        """
        found = await self.database.read(rows.every_template)
        return await self._visible(caller, Rule.NODE_GROUP_TEMPLATES_SHOW, found)

    async def template(
        self, caller: Caller, template_id: str, rule: Rule = Rule.NODE_GROUP_TEMPLATES_SHOW
    ) -> GroupTemplate:
        """One template, as :meth:`group` gives a group."""
        found = await self.database.read(rows.find_template, template_id)
        return await self._judged(caller, rule, found, ABSENT_TEMPLATE)

    async def create_template(self, asked: Asked, given: Given) -> GroupTemplate:
        """Makes a template, as :meth:`create` makes a group."""
        template = GroupTemplate(
            str(uuid.uuid4()), _traits(await self._fields(asked.caller, given))
        )
        await self._may(asked.caller, Rule.NODE_GROUP_TEMPLATES_CHANGE, template.traits)
        made = await self.database.run(rows.create_template, template)
        what = "made node group template"
        await self._tell(asked, "node_group_template_created", what, made)
        return made

    async def alter_template(self, asked: Asked, template_id: str, given: Given) -> GroupTemplate:
        """Changes those fields of a template that are given; groups made with it stay."""
        rule = Rule.NODE_GROUP_TEMPLATES_CHANGE
        old = await self.template(asked.caller, template_id, rule)
        change = _change(old, await self._fields(asked.caller, given), {})
        await self._may(asked.caller, rule, change(old).traits)
        new = await self.database.run(rows.alter_template, template_id, change)
        if new is None:
            raise NotFound(ABSENT_TEMPLATE)
        what = f"changed {', '.join(sorted(given)) or 'nothing'} of node group template"
        await self._tell(asked, "node_group_template_changed", what, new)
        return new

    async def remove_template(self, asked: Asked, template_id: str) -> None:
        """Deletes a template; groups made with it stay."""
        rule = Rule.NODE_GROUP_TEMPLATES_CHANGE
        old = await self.template(asked.caller, template_id, rule)
        if not await self.database.run(rows.remove_template, template_id):
            raise NotFound(ABSENT_TEMPLATE)
        what = "deleted node group template"
        await self._tell(asked, "node_group_template_deleted", what, old)

    async def _visible(self, caller: Caller, rule: Rule, found: Iterable[Kind]) -> list[Kind]:
        judged: dict[str | None, bool] = {}
        visible: list[Kind] = []
        for one in found:
            project = one.traits.project_id
            if project not in judged:
                judged[project] = await self.policy.allows(rule, caller, project)
            if judged[project]:
                visible.append(one)
        if not visible and not await self.policy.allows(rule, caller, caller.project_id):
            raise _forbidden(rule)
        return visible

    async def _judged(self, caller: Caller, rule: Rule, found: Kind | None, absent: str) -> Kind:
        if found is not None:
            owner = found.traits.project_id
            if await self.policy.allows(rule, caller, owner):
                return found
            if owner is not None and owner == caller.project_id:
                raise _forbidden(rule)
        raise NotFound(absent)

    async def _may(self, caller: Caller, rule: Rule, traits: Traits) -> None:
        if not await self.policy.allows(rule, caller, traits.project_id):
            raise _forbidden(rule)

    async def _template_to_use(self, caller: Caller, template_id: str) -> GroupTemplate:
        try:
            return await self.template(caller, template_id)
        except (NotFound, Forbidden):
            raise BadRequest("node_group_template_id names no node group template.") from None

    async def _fields(self, caller: Caller, given: Given) -> dict[str, Any]:
        """The values of what is given, checked as far as one can without the other groups."""
        wish = wish_of(given, self.networks)
        fields = dict(wish.fields)
        await self._check_operator(caller, fields)
        for member in fields.get("members", ()):
            if member.instance_uuid is not None:
                await self._check_instance(caller, member.instance_uuid)
        via = fields.get("proxy_group_id")
        if via is not None:
            try:
                await self.group(caller, via)
            except (NotFound, Forbidden):
                raise BadRequest("proxy_group_id names no node group.") from None
        if wish.key_given:
            fields |= await self._key(wish)
        return fields

    async def _check_operator(self, caller: Caller, fields: Given) -> None:
        """What reaches beyond a project is for those who may change the operator's own groups."""
        beyond = {
            "hosts": bool(fields.get("hosts")),
            "key_file": fields.get("key_file") is not None,
            "members by address": any(m.address is not None for m in fields.get("members", ())),
        }
        named = [name for name, is_given in beyond.items() if is_given]
        rule = Rule.NODE_GROUPS_CHANGE
        if named and not await self.policy.allows(rule, caller, None):
            raise Forbidden(
                f"Policy does not allow {rule} on what is the operator's: {', '.join(named)}."
            )

    async def _check_instance(self, caller: Caller, uuid: str) -> None:
        try:
            instance = await self.driver.instance(uuid)
            visible = await self.policy.allows(Rule.SERVERS_SHOW, caller, instance.project_id)
        except NotFound:
            visible = False
        if not visible:
            raise BadRequest(f"members must be instances that exist; {uuid} could not be found.")

    async def _key(self, wish: Wish) -> dict[str, Any]:
        """The key's fields, after a look whether it can be used."""
        name = wish.fields["key_file"]
        if (wish.private_key is not None or wish.passphrase is not None) and self.box is None:
            raise BadRequest(
                "This cell keeps no private_key and no passphrase: its operator can enable that "
                "with [ssh_proxy] secret_key_file. Or name a key_file."
            )
        passphrase = wish.passphrase or ""
        try:
            if wish.private_key is not None:
                await self.worker.run(load_text, wish.private_key, passphrase)
            elif name is not None:
                if self.keys_dir is None:
                    raise BadRequest(
                        "key_file: this cell has no folder of keys; its operator can name one "
                        "with [ssh_proxy] keys_dir."
                    )
                await self.worker.run(load_named, self.keys_dir, name, passphrase)
        except ConfigError as error:
            where = "key_file" if wish.private_key is None else "private_key"
            raise BadRequest(f"{where}: {error}.") from None
        return {
            "private_key": self._sealed(wish.private_key),
            "passphrase": self._sealed(wish.passphrase),
        }

    def _sealed(self, clear: str | None) -> str | None:
        if clear is None:
            return None
        assert self.box is not None
        return self.box.seal(clear)

    async def _tell(
        self, asked: Asked, event: str, what: str, about: NodeGroup | GroupTemplate
    ) -> None:
        log.info(
            "{user_id} {what} {name} ({id})",
            event=event,
            what=what,
            name=about.traits.name,
            id=about.id,
            user_id=asked.caller.user_id,
            project_id=asked.caller.project_id,
            request_id=asked.request_id,
        )
        # It has come about; the book's next look finds it if this one does not.
        with suppress(Unavailable):
            await self.book.refresh()


def _parts(fields: dict[str, Any]) -> dict[str, Any]:
    """What only a group has, taken out of the fields."""
    return {name: fields.pop(name) for name in ("members", "hosts") if name in fields}


def _traits(fields: Mapping[str, Any]) -> Traits:
    if fields.get("name") is None:
        raise BadRequest("name must be given.")
    return Traits(**fields)


def _change(
    old: Kind, fields: Mapping[str, Any], parts: Mapping[str, Any]
) -> Callable[[Kind], Kind]:
    """What makes the new one of the one that is there when the change comes about."""
    was = old.traits.project_id

    def change(there: Kind) -> Kind:
        if there.traits.project_id != was:
            raise Conflict("It went to another project just now; look at it and try again.")
        return evolve(there, traits=evolve(there.traits, **fields), **parts)

    return change


def _forbidden(rule: Rule) -> Forbidden:
    return Forbidden(f"Policy does not allow {rule}; ask an administrator for a role that does.")
