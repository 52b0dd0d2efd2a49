"""Microversions of the compute API: which one a request is for (reference: nova-contract)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import ClassVar

from attrs import frozen

from consoled.errors import BadRequest, ConsoledError

HEADER = "OpenStack-API-Version"
LEGACY_HEADER = "X-OpenStack-Nova-API-Version"
SERVICE = "compute"

_VERSION = re.compile(r"([1-9][0-9]{0,3})\.(0|[1-9][0-9]{0,4})", re.ASCII)


class VersionNotAcceptable(ConsoledError):
    """The request is for a version that there is not."""

    status: ClassVar[int] = HTTPStatus.NOT_ACCEPTABLE


@frozen(order=True)
class Microversion:
    """Such as 2.6."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


OLDEST = Microversion(2, 1)
NEWEST = Microversion(2, 104)


def requested(headers: Sequence[str], legacy: Sequence[str]) -> Microversion:
    """The version that a request is for; the oldest where it names none.

    :param headers: the values of ``OpenStack-API-Version``, which may name several services.
    :param legacy: the values of ``X-OpenStack-Nova-API-Version``, which counts without the other.
    :raises consoled.errors.BadRequest: it is not written as a version.
    :raises VersionNotAcceptable: there is no such version.
    """
    named = [
        words[1]
        for entry in ",".join(headers).split(",")
        if len(words := entry.split()) == 2 and words[0].lower() == SERVICE
    ]
    wanted = [*named, *(value.strip() for value in legacy)]
    if not wanted:
        return OLDEST
    if wanted[0] == "latest":
        return NEWEST
    parts = _VERSION.fullmatch(wanted[0])
    if parts is None:
        raise BadRequest(
            f"The microversion of this request is not written as a version; write {HEADER}: "
            f"{SERVICE} {OLDEST}, or latest."
        )
    version = Microversion(int(parts[1]), int(parts[2]))
    if not OLDEST <= version <= NEWEST:
        raise VersionNotAcceptable(
            f"Version {version} is not supported by the API. Minimum is {OLDEST} and maximum is "
            f"{NEWEST}."
        )
    return version
