"""Real parts for the functional tests: a libvirt daemon, a guest.

Each process that runs tests has its own; the tests of one file run in one process
(``--dist loadfile``), so that a file's ports are its own.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))

from tools.lab import image as images  # noqa: E402
from tools.lab.daemon import Daemon  # noqa: E402
from tools.lab.guest import Guest  # noqa: E402
from tools.lab.image import Image  # noqa: E402
from tools.lab.libvirtd import PrivateLibvirtd  # noqa: E402
from tools.lab.nursery import Nursery  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Daemons are forked from a process that has loaded all that they need."""
    with Nursery(tmp_path_factory.mktemp("nursery") / "log") as Daemon.nursery:
        yield
    Daemon.nursery = None


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A temporary folder whose path is short enough for Unix sockets."""
    with tempfile.TemporaryDirectory(prefix="lab-", dir="/tmp") as name:
        yield Path(name)


@pytest.fixture(scope="session")
def guest_image() -> Image:
    """The guest's kernel and first file system, kept between runs."""
    return images.build(ROOT / ".build/guest")


@pytest.fixture(scope="session")
def libvirtd() -> Iterator[PrivateLibvirtd]:
    """A private libvirt daemon for this worker."""
    with (
        tempfile.TemporaryDirectory(prefix="lab-", dir="/tmp") as name,
        PrivateLibvirtd(Path(name)) as daemon,
    ):
        yield daemon


@pytest.fixture(scope="session")
def guest(libvirtd: PrivateLibvirtd, guest_image: Image) -> Iterator[Guest]:
    """A running guest with two serial ports and a shell on each.

    Its ports serve one client at a time: close what you open.
    """
    with Guest(libvirtd, guest_image, "guest-1", project="demo") as running:
        running.wait_for_shells()
        yield running
