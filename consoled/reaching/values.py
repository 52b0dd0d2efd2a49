"""Node groups as frozen values (issue: the specification's nodegroup and nodegroup template)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from attrs import field, frozen

SSH_PORT = 22


@frozen
class Member:
    """One node of a group: an instance, or a host by its address.

    :ivar instance_uuid: the instance; None for a host.
    :ivar address: the host's IP address; None for an instance.
    :ivar port: where its SSH server listens.
    """

    instance_uuid: str | None = None
    address: str | None = None
    port: int = SSH_PORT


@frozen
class Traits:
    """What a group and a template have in common.

    :ivar project_id: whose it is, or None where it is the operator's.
    :ivar is_proxy: whether others are reached through its members (the specification's field).
    :ivar user_name: who logs in at the members.
    :ivar key_file: the name of the private key's file beneath ``[ssh_proxy] keys_dir``.
    :ivar private_key: the private key instead, encrypted.
    :ivar passphrase: of either key, encrypted.
    :ivar known_hosts: the members' host keys, as OpenSSH writes them.
    :ivar proxy_group_id: the group that leads to the members, or None.
    """

    name: str
    project_id: str | None = None
    is_proxy: bool = False
    user_name: str | None = None
    key_file: str | None = None
    private_key: str | None = field(default=None, repr=False)
    passphrase: str | None = field(default=None, repr=False)
    known_hosts: tuple[str, ...] = ()
    proxy_group_id: str | None = None


@frozen
class NodeGroup:
    """Some nodes that are logged in to alike.

    :ivar members: of a proxy group, the first is the proxy; the next ones stand in for it.
    :ivar hosts: the compute hosts that it leads to, by their names.
    """

    id: str
    traits: Traits
    members: tuple[Member, ...] = ()
    hosts: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its name, of which the cell has one."""
        return self.traits.name


@frozen
class GroupTemplate:
    """What new groups begin as."""

    id: str
    traits: Traits


@frozen
class Groups:
    """All node groups of the cell at one moment.

    :ivar turn: grows with each change.
    :ivar by_id: the groups.
    :ivar by_instance: the group that each instance is a member of.
    :ivar by_host: the group that leads to each compute host which names one.
    """

    turn: int
    by_id: Mapping[str, NodeGroup]
    by_instance: Mapping[str, NodeGroup]
    by_host: Mapping[str, NodeGroup]

    @classmethod
    def of(cls, turn: int, groups: Iterable[NodeGroup]) -> Groups:
        """The groups, indexed."""
        known = list(groups)
        return cls(
            turn,
            MappingProxyType({group.id: group for group in known}),
            MappingProxyType(
                {
                    member.instance_uuid: group
                    for group in known
                    for member in group.members
                    if member.instance_uuid is not None
                }
            ),
            MappingProxyType({host: group for group in known for host in group.hosts}),
        )

    def named(self, name: str) -> NodeGroup | None:
        """The group of that name, or None."""
        return next((group for group in self.by_id.values() if group.name == name), None)
