"""Servers and versions in the words of the compute API: what its clients look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from attrs import frozen

from consoled.api.microversions import NEWEST, OLDEST
from consoled.errors import BadRequest
from consoled.model import Instance, InstanceState

Json = Mapping[str, Any]

UPDATED = "2013-07-23T11:33:21Z"
"""When the compute API's version 2.1 came, as nova tells it."""

_STATUS = {
    InstanceState.RUNNING: ("ACTIVE", 1),
    InstanceState.PAUSED: ("PAUSED", 3),
    InstanceState.STOPPED: ("SHUTOFF", 4),
}


@frozen
class Wanted:
    """Which servers a request's query asks for. What it does not know, it passes over.

    :ivar name: a part of the name, or all of it between ``^`` and ``$``.
    :ivar after: the id of the last one of the page before.
    """

    name: str = ""
    after: str | None = None
    limit: int | None = None

    @classmethod
    def of(cls, query: Mapping[bytes, Sequence[bytes]]) -> Self:
        """What a query asks for.

        :raises consoled.errors.BadRequest: its limit is no number.
        """

        def last(name: bytes) -> str | None:
            values = query.get(name)
            return values[-1].decode("utf-8", "replace") if values else None

        limit = last(b"limit")
        if limit is not None and not limit.removeprefix("-").isdecimal():
            raise BadRequest("The query's limit must be a whole number.")
        # novaclient means all of them by -1.
        most = None if limit is None or int(limit) < 0 else int(limit)
        return cls(last(b"name") or "", last(b"marker"), most)


def chosen(instances: Sequence[Instance], wanted: Wanted) -> Sequence[Instance]:
    """Those of the instances that are wanted, in their order.

    nova takes the name for a regular expression of its database. Clients look for a name or a
    part of one, and mark the ends of a whole one with ``^`` and ``$``: that is what counts here.

    :raises consoled.errors.BadRequest: the page before ended with one that is not there.
    """
    if wanted.after is not None:
        uuids = [instance.uuid for instance in instances]
        if wanted.after not in uuids:
            raise BadRequest("The query's marker is not the id of a server.")
        instances = instances[uuids.index(wanted.after) + 1 :]
    found = [instance for instance in instances if _named(instance.name, wanted.name)]
    return found if wanted.limit is None else found[: wanted.limit]


def _named(name: str, wanted: str) -> bool:
    part = wanted.removeprefix("^").removesuffix("$")
    if wanted.startswith("^"):
        return name == part if wanted.endswith("$") else name.startswith(part)
    return name.endswith(part) if wanted.endswith("$") else part in name


def brief(instance: Instance, base: str) -> Json:
    """A server in a list.

    :param base: where the API is reached.
    """
    links = [
        {"rel": "self", "href": f"{base}/v2.1/servers/{instance.uuid}"},
        {"rel": "bookmark", "href": f"{base}/servers/{instance.uuid}"},
    ]
    return {"id": instance.uuid, "name": instance.name, "links": links}


def full(instance: Instance, base: str) -> Json:
    """A server with what is known of it.

    :param base: where the API is reached.
    """
    status, power_state = _STATUS[instance.state]
    addresses = [
        {"addr": address, "version": 6 if ":" in address else 4} for address in instance.addresses
    ]
    return {
        **brief(instance, base),
        "status": status,
        "OS-EXT-STS:power_state": power_state,
        "OS-EXT-STS:task_state": None,
        "OS-EXT-STS:vm_state": status.lower().replace("shutoff", "stopped"),
        "tenant_id": instance.project_id,
        "addresses": {"internal": addresses} if addresses else {},
        "metadata": {},
    }


def version(base: str, *, described: bool = False) -> Json:
    """The one version that there is.

    :param base: where the API is reached.
    :param described: with the media types, as in the answer about one version.
    """
    view = {
        "id": "v2.1",
        "status": "CURRENT",
        "version": str(NEWEST),
        "min_version": str(OLDEST),
        "updated": UPDATED,
        "links": [{"rel": "self", "href": f"{base}/v2.1/"}],
    }
    if described:
        view["media-types"] = [
            {
                "base": "application/json",
                "type": "application/vnd.openstack.compute+json;version=2.1",
            }
        ]
    return view
