"""What Cinder knows of the volume that an instance was booted from.

Which volumes an instance has is asked by their attachments (microversion 3.27), which can be
asked for one instance alone; the volumes themselves are listed by project only. What is asked
is idempotent and only reads. The calls block: a worker makes them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from attrs import frozen
from keystoneauth1.adapter import Adapter
from keystoneauth1.exceptions import NotFound

_VERSION = {"OpenStack-API-Version": "volume 3.27"}
_LETTERS = re.compile(r"(?:/dev/)?(?:xvd|vd|sd|hd)([a-z]{1,3})[0-9]*")
_OVER = frozenset({"detached", "deleted", "error_attaching"})
_LAST = "~"


@frozen
class BootVolume:
    """The volume that an instance was booted from.

    :ivar image: the properties of the image that it was made from, as Cinder has kept them;
        none where it was made from something else.
    """

    id: str
    image: Mapping[str, str]


def boot_volume(adapter: Adapter, instance_uuid: str) -> BootVolume | None:
    """The volume that the instance was booted from; None where it was booted from none.

    An administrator finds those of all projects, others those of their own.

    :raises keystoneauth1.exceptions.ClientException: Cinder's answer, as of
        :meth:`consoled.interfaces.Calls.ask`.
    """
    ids = {one["volume_id"]: None for one in _attachments(adapter, instance_uuid)}
    return root_of(list(_there(adapter, ids)), instance_uuid)


def volume_image_metadata(adapter: Adapter, volume_id: str) -> dict[str, str]:
    """The properties of the image that a volume was made from.

    :raises keystoneauth1.exceptions.ClientException: as of :func:`boot_volume`; ``NotFound``
        where there is no such volume.
    """
    return _image(_volume(adapter, volume_id))


def root_of(volumes: Sequence[Mapping[str, Any]], instance_uuid: str) -> BootVolume | None:
    """Which of an instance's volumes it was booted from. Pure.

    It is a bootable one, and of several the one with the first letter of all: nova calls the
    root device ``vda`` or ``sda``, and gives data disks the letters after it.

    :param volumes: as ``GET /volumes/{id}`` shows them.
    """
    bootable = [one for one in volumes if str(one.get("bootable", "")).lower() == "true"]
    if not bootable:
        return None
    root = min(bootable, key=lambda one: (*_place(one, instance_uuid), str(one["id"])))
    return BootVolume(str(root["id"]), _image(root))


def _place(volume: Mapping[str, Any], instance_uuid: str) -> tuple[int, str, str]:
    """What sorts devices: vda before vdb, vdz before vdaa; unknown ones last, the oldest first."""
    for one in volume.get("attachments") or ():
        if str(one.get("server_id", "")).lower() == instance_uuid.lower():
            known = _LETTERS.fullmatch(str(one.get("device") or ""))
            letters = known[1] if known else _LAST * 4
            return len(letters), letters, str(one.get("attached_at") or _LAST)
    return len(_LAST * 4), _LAST * 4, _LAST


def _image(volume: Mapping[str, Any]) -> dict[str, str]:
    kept = volume.get("volume_image_metadata") or {}
    return {str(name): str(value) for name, value in kept.items()}


def _attachments(adapter: Adapter, instance_uuid: str) -> Iterator[Mapping[str, Any]]:
    """All pages of an instance's attachments.

    While it migrates, a volume has one for each host.
    """
    marker = ""
    while True:
        # Who is no administrator may say all_tenants, too: it does not count then.
        path = f"/attachments?instance_id={instance_uuid}&all_tenants=1{marker}"
        page = adapter.get(path, headers=_VERSION).json()["attachments"]
        if not page:
            return
        # An older service that knows no such filter would answer with those of others, too.
        yield from (
            one
            for one in page
            if str(one.get("instance", "")).lower() == instance_uuid.lower()
            and one.get("status") not in _OVER
        )
        marker = f"&marker={page[-1]['id']}"


def _there(adapter: Adapter, ids: Iterable[str]) -> Iterator[Mapping[str, Any]]:
    """Those of the volumes that are still there, and the user's to see."""
    for volume_id in ids:
        with suppress(NotFound):
            yield _volume(adapter, volume_id)


def _volume(adapter: Adapter, volume_id: str) -> Mapping[str, Any]:
    volume: Mapping[str, Any] = adapter.get(f"/volumes/{volume_id}", headers=_VERSION).json()[
        "volume"
    ]
    return volume
