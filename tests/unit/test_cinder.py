"""consoled.openstack.cinder: which volume an instance was booted from, and what its image is."""

from __future__ import annotations

from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import pytest
from attrs import define, field
from keystoneauth1.adapter import Adapter
from keystoneauth1.exceptions import Forbidden, NotFound

from consoled.openstack.cinder import BootVolume, boot_volume, root_of, volume_image_metadata

WEB = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0001"
OTHER = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0002"


def volume(name: str, device: str | None = "/dev/vda", **changes: Any) -> dict[str, Any]:
    """A bootable volume of web-1's, made from an image, as Cinder shows it."""
    at = f"2026-01-01T00:00:0{len(name)}.000000"
    shown = {
        "id": name,
        "bootable": "true",
        "attachments": [{"server_id": WEB, "device": device, "attached_at": at}],
        "volume_image_metadata": {"hw_serial_port_count": "2", "min_ram": 0},
    }
    return shown | changes


def attachment(name: str, of: str, **changes: Any) -> dict[str, Any]:
    """One of web-1's, as the list of them shows it."""
    return {"id": name, "volume_id": of, "instance": WEB, "status": "attached"} | changes


@define(eq=False)
class Cinder:
    """Answers like Cinder, a page at a time.

    :ivar asked: the paths that were asked for.
    """

    volumes: list[dict[str, Any]]
    pages: list[list[dict[str, Any]]]
    refused: Exception | None = None
    asked: list[str] = field(factory=list)

    def get(self, path: str, headers: dict[str, str]) -> Any:
        """What keystoneauth's adapter would give."""
        assert headers == {"OpenStack-API-Version": "volume 3.27"}
        self.asked.append(path)
        parts = urlsplit(path)
        if parts.path == "/attachments":
            query = parse_qs(parts.query)
            assert query["instance_id"] == [WEB]
            marker = query.get("marker", [None])[0]
            lasts = [None, *(page[-1]["id"] for page in self.pages)]
            number = lasts.index(marker)
            found = self.pages[number] if number < len(self.pages) else []
            return Shown({"attachments": found})
        if self.refused is not None:
            raise self.refused
        name = parts.path.removeprefix("/volumes/")
        for one in self.volumes:
            if one["id"] == name:
                return Shown({"volume": one})
        raise NotFound

    @property
    def adapter(self) -> Adapter:
        """As the calls get it."""
        return cast(Adapter, self)


@define
class Shown:
    """An answer."""

    body: Any

    def json(self) -> Any:
        """What is in it."""
        return self.body


def test_the_boot_volume() -> None:
    """The image's properties that Cinder has kept come as text, whatever they were."""
    cinder = Cinder([volume("root")], [[attachment("a", "root")]])
    found = boot_volume(cinder.adapter, WEB)
    assert found == BootVolume("root", {"hw_serial_port_count": "2", "min_ram": "0"})


def test_all_pages() -> None:
    """An instance may have more volumes than a page, and the root may be the last of them."""
    pages = [[attachment("a", "data1"), attachment("b", "data2")], [attachment("c", "root")]]
    data = [volume(name, device, bootable="false") for name, device in (("data1", "vdb"),)]
    cinder = Cinder([*data, volume("data2", "vdc"), volume("root", "vda")], pages)
    found = boot_volume(cinder.adapter, WEB)
    assert found is not None
    assert found.id == "root"
    assert [path for path in cinder.asked if "marker" in path] == [
        f"/attachments?instance_id={WEB}&all_tenants=1&marker={last}" for last in "bc"
    ]


def test_a_volume_is_asked_for_once() -> None:
    """While an instance migrates its volume has an attachment for each host."""
    twice = [attachment("a", "root"), attachment("b", "root", status="reserved")]
    cinder = Cinder([volume("root")], [twice])
    assert boot_volume(cinder.adapter, WEB) is not None
    assert cinder.asked.count("/volumes/root") == 1


@pytest.mark.parametrize(
    "listed",
    [
        [],
        [attachment("a", "root", instance=OTHER)],
        [attachment("a", "root", status="detached")],
        [attachment("a", "gone")],
    ],
)
def test_no_boot_volume(listed: list[dict[str, Any]]) -> None:
    """None is attached (any more), or it was deleted in between."""
    cinder = Cinder([volume("root")], [listed] if listed else [])
    assert boot_volume(cinder.adapter, WEB) is None


def test_what_cinder_refuses() -> None:
    """Its own error goes to whoever made the call."""
    cinder = Cinder([], [[attachment("a", "root")]], refused=Forbidden())
    with pytest.raises(Forbidden):
        boot_volume(cinder.adapter, WEB)
    with pytest.raises(Forbidden):
        volume_image_metadata(cinder.adapter, "root")


def test_a_volume_s_image() -> None:
    """That of one volume; a volume that is gone is an error there."""
    cinder = Cinder([volume("root"), volume("bare", volume_image_metadata=None)], [])
    assert volume_image_metadata(cinder.adapter, "root")["hw_serial_port_count"] == "2"
    assert volume_image_metadata(cinder.adapter, "bare") == {}
    with pytest.raises(NotFound):
        volume_image_metadata(cinder.adapter, "gone")


@pytest.mark.parametrize(
    ("devices", "root"),
    [
        (("/dev/vdb", "/dev/vda"), 1),
        (("/dev/vdaa", "/dev/vdz"), 1),
        (("sdb", "sda"), 1),
        (("/dev/xvda", None), 0),
        ((None, "/dev/vda1"), 1),
        ((None, "/dev/vdc"), 1),
    ],
)
def test_several_bootable_volumes(devices: tuple[str | None, ...], root: int) -> None:
    """The root is the one with the first letter; a device that is not known comes last."""
    volumes = [volume(str(number), device) for number, device in enumerate(devices)]
    found = root_of(volumes, WEB.upper())
    assert found is not None
    assert found.id == str(root)


def test_without_devices() -> None:
    """Among volumes whose devices nobody knows it is the one that was attached first."""
    later = volume("a", None)
    later["attachments"][0]["attached_at"] = "2026-01-02T00:00:00.000000"
    elsewhere = volume("b", "/dev/vda", attachments=[{"server_id": OTHER, "device": "/dev/vda"}])
    found = root_of([later, volume("earlier", None), elsewhere], WEB)
    assert found is not None
    assert found.id == "earlier"
    assert root_of([volume("data", bootable="false")], WEB) is None
