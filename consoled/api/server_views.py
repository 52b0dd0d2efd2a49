"""Servers and versions in the words of the compute API: what its clients look at."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Self

from attrs import frozen

from consoled.api.microversions import NEWEST, OLDEST, Microversion
from consoled.errors import BadRequest
from consoled.model import Instance, InstanceState

Json = Mapping[str, Any]

UPDATED = "2013-07-23T11:33:21Z"
"""When the compute API's version 2.1 came, as nova tells it."""

UNKNOWN_TIME = "1970-01-01T00:00:00Z"
"""For when a server was made and changed: consoled does not know."""

_LATER: Sequence[tuple[Microversion, Json]] = (
    (Microversion(2, 9), {"locked": False}),
    (Microversion(2, 19), {"description": None}),
    (Microversion(2, 26), {"tags": []}),
    (Microversion(2, 63), {"trusted_image_certificates": None}),
    (Microversion(2, 73), {"locked_reason": None}),
    (Microversion(2, 96), {"pinned_availability_zone": None}),
    (Microversion(2, 100), {"scheduler_hints": {}}),
)
"""What a microversion adds to a server, as it is where there is nothing to tell."""

_GROUPS_FROM = Microversion(2, 71)
"""From here on a server by itself tells its groups; one in a list never does."""

_FLAVOR_FROM = Microversion(2, 47)
"""From here on a server tells its flavor's contents, not its id."""

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


def alone(instance: Instance, base: str, asked: Microversion) -> Json:
    """The one server that was asked for, as in :func:`full`."""
    groups: Json = {"server_groups": []} if asked >= _GROUPS_FROM else {}
    return {**full(instance, base, asked), **groups}


def full(instance: Instance, base: str, asked: Microversion) -> Json:
    """A server with what is known of it; the rest of what clients count on is empty.

    :param base: where the API is reached.
    :param asked: the request's microversion.
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
        "tenant_id": instance.project_id or "",
        "user_id": "",
        "hostId": _host_id(instance),
        "image": "",
        "flavor": _flavor(asked),
        "created": UNKNOWN_TIME,
        "updated": UNKNOWN_TIME,
        "addresses": {"internal": addresses} if addresses else {},
        "metadata": {},
        **{name: value for since, more in _LATER if asked >= since for name, value in more.items()},
    }


def _host_id(instance: Instance) -> str:
    """What tells a project whether two of its servers share a host, and not which; as nova's."""
    return hashlib.sha224(f"{instance.project_id or ''}{instance.host}".encode()).hexdigest()


def _flavor(asked: Microversion) -> Json:
    if asked < _FLAVOR_FROM:
        return {"id": "", "links": []}
    return {"original_name": "", "vcpus": 0, "ram": 0, "disk": 0, "ephemeral": 0, "swap": 0}


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
