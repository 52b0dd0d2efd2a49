"""Node groups and the routes over them, put together from the settings."""

from __future__ import annotations

import os
from typing import Any, Self

from attrs import frozen
from twisted.internet.defer import Deferred

from consoled.errors import ConfigError
from consoled.interfaces import Addresses, Database, Driver, Policy, Worker
from consoled.reaching.book import GroupBook
from consoled.reaching.filling import Networks
from consoled.reaching.finding import CellWay, RouteFinder, Rules
from consoled.reaching.groups import NodeGroups
from consoled.reaching.logins import Logins, login_of_nodes
from consoled.reaching.members import Stands, always
from consoled.reaching.secrets import SecretBox
from consoled.service import Part
from consoled.settings import SSHProxy
from consoled.transports.ssh.values import Login, Method, ProxyNode, place_of


@frozen
class RouteFiles:
    """What the files of ``[ssh_proxy]`` hold.

    :ivar cell: how the configuration reaches what no node group leads to.
    :ivar box: for secrets in the database, or None.
    """

    cell: CellWay
    box: SecretBox | None

    @classmethod
    def read(cls, group: SSHProxy) -> Self:
        """Reads them all, as a start does.

        :raises consoled.errors.ConfigError: one cannot be used, and why; no secret is in the text.
        """
        if group.keys_dir is not None and not group.keys_dir.is_dir():
            raise ConfigError(
                f"[ssh_proxy] keys_dir {group.keys_dir} is not a folder; make it, mode 0700"
            )
        box = None if group.secret_key_file is None else SecretBox.open(group.secret_key_file)
        return cls(cell_way(group), box)


def cell_way(group: SSHProxy) -> CellWay:
    """How the configuration reaches what no node group leads to.

    :raises consoled.errors.ConfigError: a file cannot be used, and why.
    """
    if not group.nodes:
        return CellWay(group=group.group)
    keys, known, agent = login_of_nodes(group, agent_socket())
    method = Method(group.method)
    for node in group.nodes:
        if not known.types(node.host, node.port):
            raise ConfigError(
                f"[ssh_proxy] known_hosts {group.known_hosts} has no key of "
                f"{place_of(node.host, node.port)}; `consolectl ssh scan` shows what to put there"
            )
    return CellWay(
        tuple(
            ProxyNode(node.host, node.port, Login(node.user, keys, known, agent), method)
            for node in group.nodes
        )
    )


def agent_socket() -> str:
    """The socket of an SSH agent that this process was told of; empty is none."""
    return os.environ.get("SSH_AUTH_SOCK", "")


@frozen
class RouteParts:
    """What the composition needs of routes.

    :ivar routes: says which way leads to an instance or its compute host.
    :ivar groups: for the REST API.
    :ivar part: to be started after the database, and so stopped before it.
    """

    routes: RouteFinder
    groups: NodeGroups
    part: Part

    @classmethod
    def of(
        cls,
        group: SSHProxy,
        files: RouteFiles,
        *,
        reactor: Any,
        database: Database,
        policy: Policy,
        driver: Driver,
        addresses: Addresses,
        worker: Worker,
        networks: Networks | None = None,
        stands: Stands = always,
    ) -> Self:
        """All of them; nothing is started.

        :param files: as of :meth:`RouteFiles.read`.
        :param addresses: of all who know any.
        :param worker: where files are read and keys decrypted.
        :param networks: Neutron, or None.
        :param stands: whether an SSH connection to a place stands.
        """
        book = GroupBook(database, reactor)
        routes = RouteFinder(
            book=book,
            driver=driver,
            addresses=addresses,
            logins=Logins(group.keys_dir, files.box, agent_socket()),
            rules=Rules(Method(group.method), group.proxy_command, group.allowed_networks),
            cell=files.cell,
            seconds=reactor.seconds,
            networks=networks,
            stands=stands,
        )
        groups = NodeGroups(
            database=database,
            policy=policy,
            driver=driver,
            book=book,
            worker=worker,
            keys_dir=group.keys_dir,
            box=files.box,
            networks=group.allowed_networks,
        )
        return cls(routes, groups, Part(book.start, book.stop))

    def reload(self, group: SSHProxy) -> Deferred[None]:
        """Reads the known host keys and the key of ``nodes`` again (SIGHUP).

        :param group: the settings of the start: which nodes there are needs a restart.
        :raises consoled.errors.ConfigError: why the old ones stay in force.
        """

        def take(cell: CellWay) -> None:
            self.routes.cell = cell

        return self.groups.worker.run(cell_way, group).addCallback(take)
