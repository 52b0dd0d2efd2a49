"""Images in Glance: what one says of itself, and how a file becomes one.

Everything here blocks, and is called with the adapter of :meth:`consoled.interfaces.Calls.ask`:
paths begin below ``/v2``. What Glance refuses is raised as keystoneauth has it, but where Glance's
answer needs words of our own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from attrs import frozen
from keystoneauth1.exceptions import HttpError, NotFound

from consoled.errors import ServiceRefused

if TYPE_CHECKING:
    from keystoneauth1.adapter import Adapter

ACTIVE = "active"
"""The status of an image whose data are all there."""

PATIENCE = 10.0, 300.0
"""Seconds to send a piece of an image, and from its last byte to Glance's answer."""

_GONE = (404, 410)
_CONFLICT = 409
_TOO_LARGE = 413

_BASE = frozenset(
    {
        *("id", "name", "status", "visibility", "protected", "owner", "tags", "os_hidden"),
        *("checksum", "os_hash_algo", "os_hash_value", "size", "virtual_size"),
        *("container_format", "disk_format", "min_ram", "min_disk", "created_at", "updated_at"),
        *("self", "file", "schema", "direct_url", "locations", "stores"),
    }
)


@frozen
class StoredImage:
    """What Glance has of an image.

    :ivar size: its bytes; None while there are none.
    :ivar algorithm: of ``digest``, as :mod:`hashlib` names it; None where Glance tells none.
    """

    id: str
    status: str
    size: int | None
    algorithm: str | None
    digest: str | None


class Body(Iterable[bytes], Protocol):
    """What is sent: of a known length, piece by piece."""

    def __len__(self) -> int:
        """Its bytes."""


def properties_of(image: Mapping[str, Any]) -> dict[str, str]:
    """The properties that somebody gave an image (``hw_serial_port_count``...), as strings.

    :param image: Glance's JSON. What every image has is left out, and what is no single value.
    """
    return {
        name: str(value)
        for name, value in image.items()
        if name not in _BASE and isinstance(value, str | int | float)
    }


def image_properties(adapter: Adapter, image_id: str) -> dict[str, str]:
    """The properties of an image, as of :func:`properties_of`.

    :raises keystoneauth1.exceptions.ClientException: Glance refuses, or does not answer.
    """
    found: Mapping[str, Any] = adapter.get(_path(image_id)).json()
    return properties_of(found)


def create_image(adapter: Adapter, image: Mapping[str, Any]) -> None:
    """An image that has no data yet.

    :param image: Glance's JSON, its ``id`` included: so it is known before it is there.
    :raises consoled.errors.ServiceRefused: no further image is taken.
    :raises keystoneauth1.exceptions.ClientException: Glance refuses, or does not answer.
    """
    try:
        adapter.post("/images", json=dict(image))
    except HttpError as error:
        if error.http_status == _TOO_LARGE:
            raise ServiceRefused(
                "Glance takes no further image: a quota of the project is used up."
            ) from error
        raise


def upload(adapter: Adapter, image_id: str, body: Body) -> None:
    """Sends an image's data, piece by piece, and once.

    :raises consoled.errors.ServiceRefused: Glance is full, or the image is gone.
    :raises keystoneauth1.exceptions.ClientException: Glance refuses, or does not answer.
    """
    try:
        adapter.put(
            f"{_path(image_id)}/file",
            data=body,
            headers={"Content-Type": "application/octet-stream"},
            timeout=PATIENCE,
            allow_reauth=False,
            redirect=False,
            log=False,
        )
    except HttpError as error:
        if error.http_status == _TOO_LARGE:
            raise ServiceRefused(
                "Glance does not take that many bytes: its storage, or a quota of the project, "
                "is used up."
            ) from error
        if error.http_status in (*_GONE, _CONFLICT):
            raise ServiceRefused("The image was deleted while it was sent.") from error
        raise


def look(adapter: Adapter, image_id: str) -> StoredImage | None:
    """What Glance has of an image; None where it has none of that id.

    :raises keystoneauth1.exceptions.ClientException: Glance refuses, or does not answer.
    """
    try:
        found: Mapping[str, Any] = adapter.get(_path(image_id)).json()
    except NotFound:
        return None
    return StoredImage(
        image_id,
        str(found.get("status")),
        found.get("size"),
        found.get("os_hash_algo"),
        found.get("os_hash_value"),
    )


def delete_image(adapter: Adapter, image_id: str) -> bool:
    """Deletes an image and its data.

    :returns: False where there is none of that id, or none that the asking user may see.
    :raises keystoneauth1.exceptions.ClientException: Glance refuses, or does not answer.
    """
    try:
        adapter.delete(_path(image_id))
    except NotFound:
        return False
    return True


def _path(image_id: str) -> str:
    return f"/images/{image_id}"
