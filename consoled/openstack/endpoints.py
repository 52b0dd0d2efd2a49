"""Where a service is, by what the catalog says of it; pure."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

VERSIONS = {"image": "v2", "block-storage": "v3", "network": "v2.0"}
"""The version of each service's API that consoled speaks, as its path has it."""

_VERSION = re.compile(r"v(\d+)(?:\.\d+)?", re.ASCII)


def versioned_url(
    service: str, url: str, own_project: str | None, project: str | None
) -> str | None:
    """The base of a service's paths, without a slash at the end.

    A catalog has endpoints with and without a version, and Cinder's may have a project in it,
    which is that of whose catalog it is.

    :param service: the service's type; of another than in :data:`VERSIONS` nothing is known,
        and the URL stays as it is.
    :param url: the endpoint in the catalog of consoled's own user.
    :param own_project: the project of consoled's own user.
    :param project: the project to be asked about; None takes a project out.
    :returns: None where the endpoint is of another version only.
    """
    parts = urlsplit(url)
    segments = [one for one in parts.path.split("/") if one]
    if own_project and own_project != project:
        segments = [
            one.replace(own_project, project or "")
            for one in segments
            if project or own_project not in one
        ]
    wanted = VERSIONS.get(service)
    if wanted is not None:
        at = next((n for n, one in enumerate(segments) if _VERSION.fullmatch(one)), None)
        if at is None:
            segments.append(wanted)
        elif _major(segments[at]) == _major(wanted):
            segments[at] = wanted
        else:
            return None
    return "/".join([f"{parts.scheme}://{parts.netloc}", *segments])


def _major(version: str) -> str:
    found = _VERSION.fullmatch(version)
    return "" if found is None else found[1]
