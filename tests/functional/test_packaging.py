"""The package as an operator installs it: from source and from a wheel, outside the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tools.lab.daemon import Daemon, inventory

ROOT = Path(__file__).resolve().parents[2]
CONSTRAINTS = ROOT / "requirements" / "test.txt"


class Installed:
    """A virtual environment, outside the checkout."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)

    def pip(self, *words: str | Path, path: str | None = None) -> None:
        """Runs pip, with another PATH where one is given."""
        environment = {**os.environ, "PIP_NO_COMPILE": "1"} | ({"PATH": path} if path else {})
        environment.pop("PYTHONPATH", None)
        _run([self.folder / "bin" / "pip", *words], cwd=self.folder, env=environment)

    def check(self, place: Path) -> None:
        """twistd lists consoled, and a daemon of this environment serves its page."""
        twistd = self.folder / "bin" / "twistd"
        listed = _run([twistd, "--help"], cwd=self.folder)
        assert "consoled" in listed
        _run([self.folder / "bin" / "consolectl", "--version"], cwd=self.folder)
        (place / "inventory.yaml").write_text(inventory())
        config = {
            "DEFAULT": {"driver": "static"},
            "static": {"inventory": place / "inventory.yaml"},
        }
        with Daemon(place, config, twistd=twistd) as daemon:
            page = f"http://127.0.0.1:{daemon.port}/serial.html"
            with urllib.request.urlopen(page, timeout=60) as answer:
                assert answer.status == 200
                assert b"assets/app.js" in answer.read()
            script = f"http://127.0.0.1:{daemon.port}/assets/app.js"
            with urllib.request.urlopen(script, timeout=60) as answer:
                assert len(answer.read()) > 100_000


def _run(argv: list[str | Path], cwd: Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(argv, check=False, cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f"{argv} failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def _tools_without(names: set[str], folder: Path) -> str:
    """A folder of links to every command on the PATH but those."""
    folder.mkdir()
    for place in os.environ["PATH"].split(os.pathsep):
        for command in Path(place).glob("*"):
            link = folder / command.name
            if command.name not in names and not link.is_symlink():
                link.symlink_to(command)
    return str(folder)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What git knows of the checkout: no built page, no environment."""
    target = tmp_path_factory.mktemp("source")
    listing = _run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT)
    for name in filter(None, listing.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    assert not (target / "consoled" / "web" / "static").exists()
    return target


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """An environment with nothing in it, for all the tests of this file in their order."""
    return Installed(tmp_path_factory.mktemp("environment"))


@pytest.mark.timeout(600)
def test_from_source(environment: Installed, source: Path, tmp_path: Path) -> None:
    """``pip install .`` builds the page with npm and gives a working daemon."""
    environment.pip("install", "--quiet", "-c", CONSTRAINTS, source)
    environment.check(tmp_path)


@pytest.mark.timeout(600)
def test_from_a_wheel(environment: Installed, source: Path, tmp_path: Path) -> None:
    """The built wheel needs no npm, and the dependencies that it names are all there are."""
    wheels = tmp_path / "wheels"
    pip = [sys.executable, "-m", "pip"]
    _run([*pip, "wheel", "--quiet", "--no-deps", "-w", wheels, source], cwd=tmp_path)
    (wheel,) = wheels.glob("consoled-*.whl")
    path = _tools_without({"npm", "npx", "node"}, tmp_path / "tools")
    assert shutil.which("npm", path=path) is None
    # Off line: what the source needed is enough for the wheel.
    environment.pip("uninstall", "--quiet", "--yes", "consoled")
    environment.pip("install", "--quiet", "--no-index", wheel, path=path)
    environment.pip("check")
    environment.check(tmp_path)
