"""The measurements of service tokens: what they add to an upload, and to a short question
(specification: use service token for long running tasks, performance impact)."""

from __future__ import annotations

import secrets
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from bench.figures import Kind, percentiles
from bench.openstack import CountedKeystone, OpenStackScale
from tools.lab.errors import LabError
from tools.lab.glance import Glance

if TYPE_CHECKING:
    from keystoneauth1.adapter import Adapter

    from consoled.openstack.calls import ServiceCalls

PIECE = 1 << 16
"""Bytes that are sent at a time."""

WAYS = {"plain": False, "vouched": True}
_WORDS = {"plain": "the user's token alone", "vouched": "with a service token"}
_TITLES = {"upload": "recording of 4 MiB uploaded", "question": "image's properties asked for"}

KINDS = tuple(
    kind
    for what, title in _TITLES.items()
    for way, words in _WORDS.items()
    for kind in (
        Kind(f"{what}_{way}", f"{title}, {words}", "ms", False, "p50", plotted=False),
        Kind(
            f"{what}_{way}_asked",
            f"{title}: requests to Keystone, {words}",
            "1",
            False,
            plotted=False,
        ),
    )
)


def with_service_tokens(scale: OpenStackScale) -> Mapping[str, Mapping[str, float]]:
    """Operations on a real Glance through what consoled asks it with, and what they cost Keystone.

    Glance remembers nothing of what Keystone said, so each request of an operation is validated
    anew: what is added is the most that service tokens can add. consoled's own token and catalog
    are there before the counting begins.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp")))
        try:
            keystone = stack.enter_context(CountedKeystone(folder / "k"))
            glance = stack.enter_context(Glance(folder / "g", keystone))
        except LabError as error:
            print(f"service tokens are left out: {error}", file=sys.stderr)
            return {}
        mia = keystone.user("mia", "bench", keystone.project("bench"), ["member"])
        own = keystone.service_user("consoled")
        image_id = glance.image(mia, properties={"hw_serial_port_count": "2"})
        token = keystone.token(mia)
        found: dict[str, Mapping[str, float]] = {}
        for way, vouch in WAYS.items():
            section = keystone.login(own) | {"send_service_user_token": vouch}
            ways = _Operations(_calls(folder, section), token, mia.project_id, image_id, scale)
            for what, once, count in (
                ("question", ways.ask, scale.questions),
                ("upload", ways.upload, scale.uploads),
            ):
                once()
                before = keystone.asked
                found[f"{what}_{way}"] = percentiles([_milliseconds(once) for _ in range(count)])
                found[f"{what}_{way}_asked"] = {"value": (keystone.asked - before) / count}
        return found


class _Recording:
    """Bytes that are sent piece by piece."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __len__(self) -> int:
        return len(self._data)

    def __iter__(self) -> Iterator[bytes]:
        for start in range(0, len(self._data), PIECE):
            yield self._data[start : start + PIECE]


class _Operations:
    """What is timed."""

    def __init__(
        self, calls: ServiceCalls, token: str, project_id: str, image_id: str, scale: OpenStackScale
    ) -> None:
        from consoled.openstack.values import UserToken

        self._calls = calls
        self._user = UserToken(token, project_id, None)
        self._image_id = image_id
        self._recording = _Recording(secrets.token_bytes(scale.size))

    def ask(self) -> None:
        """The question of a migration that plans serial ports anew."""
        from consoled.openstack.glance import image_properties

        self._do(lambda glance: image_properties(glance, self._image_id))

    def upload(self) -> None:
        """As a recording is archived: an image is made, filled, and looked at."""
        from consoled.openstack import glance

        image = {
            "id": str(uuid.uuid4()),
            "name": "recording",
            "disk_format": "raw",
            "container_format": "bare",
        }

        def send(adapter: Adapter) -> None:
            glance.create_image(adapter, image)
            glance.upload(adapter, image["id"], self._recording)
            glance.look(adapter, image["id"])

        self._do(send)

    def _do(self, fn: Callable[[Adapter], Any]) -> None:
        outcome: list[Any] = []
        asked: Deferred[Any] = self._calls.ask("image", self._user, fn)
        asked.addBoth(outcome.append)
        if hasattr(outcome[0], "raiseException"):
            outcome[0].raiseException()


def _calls(folder: Path, section: Mapping[str, object]) -> ServiceCalls:
    """What consoled asks with, in this thread."""
    # These take a while to load.
    from consoled.openstack.calls import ServiceCalls
    from consoled.openstack.service_user import ServiceUser
    from consoled.options import load
    from consoled.workers import InlineWorker

    path = folder / "consoled.conf"
    lines = "".join(f"{name} = {value}\n" for name, value in section.items())
    path.write_text(f"[service_user]\n{lines}")
    settings = load("bench", [path], {})
    own = ServiceUser.of(settings, time.monotonic)
    assert own is not None
    vouch, worker = settings.service_user.send_service_user_token, InlineWorker()
    return ServiceCalls(own, vouch, worker, worker, Clock())


def _milliseconds(once: Callable[[], None]) -> float:
    began = time.perf_counter()
    once()
    return 1000 * (time.perf_counter() - began)
