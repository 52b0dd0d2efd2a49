"""A Neutron of plain tables, and calls that reach it at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from attrs import define, field
from keystoneauth1.exceptions import NotFound
from twisted.internet.defer import Deferred, fail, succeed

from consoled.openstack.values import UserToken

T = TypeVar("T")

NET, SUBNET = "net-1", "subnet-1"


def port(
    number: int, device_id: str, *addresses: str, project: str = "demo", **changes: Any
) -> dict[str, Any]:
    """A row of ports."""
    made = {
        "id": f"port-{number}",
        "project_id": project,
        "network_id": NET,
        "device_id": device_id,
        "device_owner": "compute:nova",
        "admin_state_up": True,
        "fixed_ips": [{"ip_address": address, "subnet_id": SUBNET} for address in addresses],
    }
    return made | changes


@define
class Answer:
    """What a response has of use."""

    body: Any

    def json(self) -> Any:
        """The body."""
        return self.body


@define(eq=False)
class FakeNeutron:
    """An adapter of keystoneauth1's, as far as it is asked.

    :ivar routers: whether it knows of floating addresses at all.
    :ivar asked: the paths.
    """

    ports: list[dict[str, Any]] = field(factory=list)
    floatingips: list[dict[str, Any]] = field(factory=list)
    subnets: list[dict[str, Any]] = field(factory=list)
    routers: bool = True
    asked: list[str] = field(factory=list)

    def float(self, number: int, address: str) -> None:
        """Gives a port a floating address."""
        self.floatingips.append({"port_id": f"port-{number}", "floating_ip_address": address})

    def get(self, path: str, params: Mapping[str, Any]) -> Answer:
        """The rows that the query is about, with the fields that it names."""
        self.asked.append(path)
        if path == "/floatingips" and not self.routers:
            raise NotFound
        name = path[1:]
        wanted = {key: _list(value) for key, value in params.items() if key != "fields"}
        return Answer(
            {
                name: [
                    {key: row[key] for key in params["fields"]}
                    for row in getattr(self, name)
                    if all(row[key] in values for key, values in wanted.items())
                ]
            }
        )


def _list(value: Any) -> Sequence[Any]:
    return [value] if isinstance(value, str) else value


@define(eq=False)
class FakeCalls:
    """Implements :class:`consoled.interfaces.Calls` over it.

    :ivar error: that all of them end with.
    :ivar silent: whether none is answered.
    :ivar users: on whose behalf it was asked.
    """

    neutron: FakeNeutron = field(factory=FakeNeutron)
    error: Exception | None = None
    silent: bool = False
    users: list[UserToken | None] = field(factory=list)
    given_up: int = 0

    def ask(
        self,
        service: str,
        user: UserToken | None,
        fn: Callable[[Any], T],
        *,
        repeat: bool = True,
    ) -> Deferred[T]:
        """The answer, at once."""
        assert (service, repeat) == ("network", True)
        self.users.append(user)
        if self.silent:
            return Deferred(self._give_up)
        if self.error is not None:
            return fail(self.error)
        try:
            return succeed(fn(self.neutron))
        except ValueError as error:
            return fail(error)

    def has(self, service: str) -> Deferred[bool]:
        """Whether it is there."""
        return succeed(True)

    def _give_up(self, _: object) -> None:
        self.given_up += 1
