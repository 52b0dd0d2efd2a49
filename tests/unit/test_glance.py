"""What an image says of itself, and how one is made, sent and removed."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import pytest
from image_server import ImageServer, image_server
from keystoneauth1.exceptions import HttpError, Unauthorized

from consoled.errors import ServiceRefused
from consoled.openstack import glance
from consoled.recording.archive_folder import PIECE

ID = "5a7b0f5e-0000-4000-8000-000000000001"


@pytest.fixture(scope="module")
def running() -> Iterator[ImageServer]:
    with image_server() as server:
        yield server


@pytest.fixture
def server(running: ImageServer) -> ImageServer:
    running.images.clear()
    running.refused.clear()
    running.trouble.clear()
    running.asked.clear()
    return running


def made(server: ImageServer) -> None:
    """An image without data."""
    glance.create_image(server.adapter("user"), {"id": ID, "name": "web-1"})


def test_properties() -> None:
    """What somebody gave an image counts, as text; what every image has, and lists, do not."""
    image = {
        "id": ID,
        "name": "cirros",
        "status": "active",
        "tags": ["a"],
        "os_hidden": False,
        "min_ram": 0,
        "owner": "demo",
        "hw_serial_port_count": "2",
        "serial_ports": 3,
        "locations": [],
        "nothing": None,
    }
    assert glance.properties_of(image) == {"hw_serial_port_count": "2", "serial_ports": "3"}
    assert glance.properties_of({}) == {}


def test_image_properties(server: ImageServer) -> None:
    """They are asked for by the image's id; an image that is not there is keystoneauth's error."""
    glance.create_image(server.adapter("user"), {"id": ID, "hw_serial_port_count": "4"})
    assert glance.image_properties(server.adapter("user"), ID) == {"hw_serial_port_count": "4"}
    with pytest.raises(HttpError):
        glance.image_properties(server.adapter("somebody"), ID)


def test_from_nothing_to_an_image_and_back(server: ImageServer) -> None:
    """An image is made, looked at, given its data, and deleted once."""
    adapter = server.adapter("user")
    assert glance.look(adapter, ID) is None
    made(server)
    assert glance.look(adapter, ID) == glance.StoredImage(ID, "queued", None, None, None)
    glance.upload(adapter, ID, _Body())
    found = glance.look(adapter, ID)
    assert found is not None
    assert (found.status, found.size, found.algorithm) == (glance.ACTIVE, 3, "sha512")
    assert server.data[ID] == b"abc"
    assert glance.delete_image(adapter, ID)
    assert not glance.delete_image(adapter, ID)


def test_an_upload_is_never_in_memory(server: ImageServer) -> None:
    """Sixteen megabytes take some pieces' room."""

    class Large:
        def __len__(self) -> int:
            return 64 * PIECE

        def __iter__(self) -> Iterator[bytes]:
            for _ in range(64):
                yield bytes(PIECE)

    made(server)
    server.keeps = False
    tracemalloc.start()
    try:
        glance.upload(server.adapter("user"), ID, Large())
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        server.keeps = True
    assert most < 16 * PIECE


class _Body:
    def __len__(self) -> int:
        return 3

    def __iter__(self) -> Iterator[bytes]:
        yield from (b"ab", b"c")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (413, "does not take that many bytes"),
        (404, "was deleted while it was sent"),
        (410, "was deleted while it was sent"),
        (409, "was deleted while it was sent"),
    ],
)
def test_an_upload_that_is_refused(server: ImageServer, status: int, words: str) -> None:
    """Full, or the image gone: in words, as no other try would change it."""
    made(server)
    server.trouble["PUT"] = [status]
    with pytest.raises(ServiceRefused, match=words):
        glance.upload(server.adapter("user"), ID, _Body())


def test_a_quota_of_images(server: ImageServer) -> None:
    """Glance takes no further image."""
    server.trouble["POST"] = [413]
    with pytest.raises(ServiceRefused, match="quota"):
        made(server)


def test_other_errors_are_keystoneauth_s(server: ImageServer) -> None:
    """A refused token is, and nothing is sent a second time."""
    made(server)
    server.refused.add("user")
    server.asked.clear()
    with pytest.raises(Unauthorized):
        glance.upload(server.adapter("user"), ID, _Body())
    assert server.asked == [f"PUT /v2/images/{ID}/file"]
    server.trouble |= {"POST": [500], "PUT": [500]}
    server.refused.clear()
    with pytest.raises(HttpError):
        made(server)
    with pytest.raises(HttpError):
        glance.upload(server.adapter("user"), ID, _Body())
