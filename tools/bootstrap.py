"""Sets up what the make targets need, and says what it does.

``python3 tools/bootstrap.py demo|test|bench`` with any Python from 3.11 on;
standard library only. What is in place is found in place, so a second run does
nothing and takes no time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tools.lab import image  # noqa: E402
from tools.lab.errors import LabError  # noqa: E402

BUILD = ROOT / ".build"
VENV = ROOT / ".venv"
LOCK = ROOT / "requirements/test.txt"
PEERS_LOCK = ROOT / "requirements/bench.txt"
WEB = ROOT / "consoled/web"
LOG = BUILD / "setup.log"
OPENSTACK_LOG = BUILD / "openstack.log"

OLDEST_PYTHON = (3, 11)
OLDEST_NODE = 18

HYPERVISOR = (
    "busybox-static",
    "libvirt-clients",
    "libvirt-daemon-driver-qemu",
    "libvirt-daemon-system",
    "qemu-system-x86",
)
COMPILER = ("gcc", "libc6-dev", "libvirt-dev", "pkg-config")
FURTHER: dict[str, tuple[str, ...]] = {
    "demo": (),
    "test": (
        "chromium",
        "fonts-dejavu-core",
        "haproxy",
        "iproute2",
        "mariadb-client-core",
        "mariadb-server-core",
        "memcached",
        "netcat-openbsd",
        "openssh-server",
        "postgresql",
    ),
    "bench": ("haproxy", "openssh-server"),
}
"""What each purpose needs besides; the keys are the purposes that there are."""

OPENSTACK: dict[str, tuple[str, ...]] = {
    "test": ("keystone", "nova", "glance", "cinder", "neutron"),
    "bench": ("keystone", "glance"),
}
"""The services of OpenStack that a purpose runs."""


class SetupError(Exception):
    """One line for the person who runs it: what failed, and what to do."""


class Steps:
    """Numbered lines on the screen, each with the time that it took."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._number = 0

    def run(self, title: str, work: Callable[[], str]) -> None:
        """Does one step; ``work`` returns what there is to say about it."""
        self._number += 1
        print(f"[{self._number}/{self._total}] {title} ...", end=" ", flush=True)
        started = time.monotonic()
        try:
            said = work()
        except BaseException:
            print("failed", flush=True)
            raise
        print(f"{said} ({time.monotonic() - started:.1f} s)", flush=True)


def main(purpose: str) -> int:
    """Sets everything up for ``purpose``; the exit status."""
    if purpose not in FURTHER:
        print(f"set-up: {purpose!r} is none of {', '.join(FURTHER)}", file=sys.stderr)
        return 2
    BUILD.mkdir(exist_ok=True)
    LOG.write_text("")
    services = OPENSTACK.get(purpose, ())
    steps = Steps(6 if services else 5)
    try:
        check_python()
        steps.run("system packages", partial(system_packages, purpose))
        with openstack_begun() if services else contextlib.nullcontext() as begun:
            steps.run("virtual environment", virtual_environment)
            steps.run("Python packages", partial(python_packages, purpose))
            steps.run("the page", page)
            steps.run("guest image", guest_image)
            if begun is not None:
                steps.run(
                    "OpenStack, in an environment of its own", partial(openstack, begun, services)
                )
    except (SetupError, LabError) as error:
        print(f"set-up: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("set-up: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


def check_python() -> None:
    """Refuses a Python that is too old to run consoled."""
    if sys.version_info < OLDEST_PYTHON:
        raise SetupError(
            f"{sys.executable} is Python {sys.version.split()[0]}, and consoled needs 3.11 or "
            "newer: install one, and name it with make PYTHON=/path/to/python3"
        )


def system_packages(purpose: str) -> str:
    """Installs the Debian packages that are missing."""
    wanted = [*HYPERVISOR, *COMPILER, *python_parts(), *node_parts(), *FURTHER[purpose]]
    missing = missing_packages(wanted)
    if not missing:
        return "all there"
    install(missing)
    return f"installed {' '.join(missing)}"


def python_parts() -> list[str]:
    """What Debian's Python lacks without further packages; another one has to bring it."""
    header = Path(sysconfig.get_path("include"), "Python.h")
    try:
        import ensurepip

        has_pip = Path(ensurepip.__file__).exists()
    except ImportError:
        has_pip = False
    parts = []
    if not has_pip:
        parts.append("python3-venv")
    if not header.exists():
        parts.append("python3-dev")
    if parts and not sys.executable.startswith("/usr/bin/"):
        raise SetupError(
            f"{sys.executable} has no {'ensurepip' if not has_pip else header}: "
            "name another Python, as in make PYTHON=/usr/bin/python3"
        )
    return parts


def node_parts() -> list[str]:
    """Debian's Node.js, unless a usable one is there."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None and npm is None:
        return ["nodejs", "npm"]
    if node is None or npm is None:
        raise SetupError(
            f"there is {node or npm} without its {'npm' if node else 'node'}: "
            "put both on PATH, or remove it so that Debian's can be installed"
        )
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    found = re.match(r"v(\d+)", version.stdout)
    if found is None or int(found[1]) < OLDEST_NODE:
        raise SetupError(
            f"{node} is {version.stdout.strip() or 'broken'}, and the page needs Node.js "
            f"{OLDEST_NODE} or newer: update it, or remove it so that Debian's can be installed"
        )
    return []


def missing_packages(wanted: Sequence[str]) -> list[str]:
    """Those of ``wanted`` that dpkg does not have installed."""
    if shutil.which("dpkg-query") is None:
        raise SetupError("this machine has no dpkg: the set-up knows Debian and its relatives only")
    listing = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *wanted],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    installed = {line.split()[0] for line in listing.splitlines() if line.endswith(" installed")}
    return [name for name in wanted if name not in installed]


def install(packages: Sequence[str]) -> None:
    """Installs Debian packages, as root or through sudo."""
    command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages]
    prefix: list[str] = []
    if os.geteuid() != 0:
        by_hand = f"apt-get update && {' '.join(command)}"
        if shutil.which("sudo") is None:
            raise SetupError(f"packages are missing; as root, run: {by_hand}")
        prefix = ["sudo", "env"]
        ask = [] if sys.stdin.isatty() else ["-n"]
        if subprocess.run(["sudo", *ask, "-v"], check=False).returncode:
            raise SetupError(f"packages are missing and sudo refuses; as root, run: {by_hand}")
    else:
        prefix = ["env"]
    prefix += ["DEBIAN_FRONTEND=noninteractive"]
    # A mirror may have moved on since the last update: the lists come first.
    logged([*prefix, "apt-get", "update", "-q"], "check the network and /etc/apt/sources.list")
    logged([*prefix, *command], "see the log; apt-get -f install may repair what is half done")


def virtual_environment() -> str:
    """Makes .venv, unless a working one is there."""
    python = VENV / "bin/python"
    if python.exists():
        probe = subprocess.run([python, "-c", "import pip"], capture_output=True, check=False)
        if probe.returncode == 0:
            return "there"
        shutil.rmtree(VENV)
    logged([sys.executable, "-m", "venv", str(VENV)], "see the log")
    return f"made with {sys.executable}"


def python_packages(purpose: str) -> str:
    """Installs exactly the locked versions, and this checkout in editable form."""
    pip = [str(VENV / "bin/python"), "-m", "pip", "--no-input", "--disable-pip-version-check"]
    pip += ["install", "--no-build-isolation", "--no-deps"]
    advice = "check the network and see the log"
    count = 0
    sources = [LOCK, ROOT / "pyproject.toml", ROOT / "setup.py", VENV / "pyvenv.cfg"]
    with unless_done(VENV / "consoled-inputs", sources) as wanted:
        if wanted:
            locked = LOCK.read_text().splitlines()
            count += len(locked)
            builders = [line for line in locked if re.match(r"(pip|setuptools|wheel)==", line)]
            logged([*pip, *builders], advice)
            logged([*pip, "-r", str(LOCK)], advice)
            # Finder-style editable installs hide twistd's plugins; a path entry does not.
            logged([*pip, "--config-settings", "editable_mode=compat", "-e", str(ROOT)], advice)
    if purpose == "bench":
        with unless_done(VENV / "consoled-bench-inputs", [*sources, PEERS_LOCK]) as wanted:
            if wanted:
                count += len(PEERS_LOCK.read_text().splitlines())
                logged([*pip, "-r", str(PEERS_LOCK)], advice)
    return f"{count} installed" if count else "up to date"


def page() -> str:
    """Builds the page's one bundle with npm."""
    if not (WEB / "package.json").exists():
        raise SetupError(f"{WEB} has no package.json: the checkout is not complete")
    generated = {"node_modules", "static", "test"}
    sources = [
        path
        for top in sorted(WEB.iterdir())
        if top.name not in generated
        for path in ([top] if top.is_file() else sorted(top.rglob("*")))
        if path.is_file() and path.suffix != ".py"
    ]
    done = "up to date"
    packages = [WEB / "package.json", WEB / "package-lock.json"]
    with unless_done(WEB / "node_modules/.consoled-inputs", packages) as wanted:
        if wanted:
            logged(["npm", "ci", "--no-audit", "--no-fund"], "check the network", cwd=WEB)
    stamp = BUILD / "page-inputs"
    if not (WEB / "static/serial.html").exists():
        stamp.unlink(missing_ok=True)
    with unless_done(stamp, sources) as wanted:
        if wanted:
            logged(["npm", "run", "build"], "see the log", cwd=WEB)
            done = "built"
    return done


def guest_image() -> str:
    """Makes the guest's kernel and first file system."""
    before = read(BUILD / "guest/inputs")
    image.build(BUILD / "guest")
    return "made" if read(BUILD / "guest/inputs") != before else "up to date"


@contextlib.contextmanager
def openstack_begun() -> Iterator[subprocess.Popen[bytes]]:
    """Installs OpenStack's own services and clients, outside of the checkout, while other steps
    go on; it waits for the network most of the time.
    """
    with OPENSTACK_LOG.open("wb") as log:
        installer = subprocess.Popen(
            [sys.executable, "-m", "tools.lab.openstack_environment"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=ROOT,
            start_new_session=True,
        )
    try:
        yield installer
    finally:
        if installer.poll() is None:
            os.killpg(installer.pid, signal.SIGTERM)
        installer.wait()


def openstack(installer: subprocess.Popen[bytes], services: Sequence[str]) -> str:
    """Waits until OpenStack is installed, and prepares its services' databases."""
    if installer.wait():
        raise SetupError(
            f"OpenStack cannot be installed:\n{read(OPENSTACK_LOG)[-2000:]}\n"
            f"What to do: check the network (all output is in {OPENSTACK_LOG})."
        )
    logged([str(VENV / "bin/python"), "-m", "tools.lab.openstack", *services], "see the log")
    return "there"


@contextlib.contextmanager
def unless_done(stamp: Path, sources: Iterable[Path]) -> Iterator[bool]:
    """Whether the work inside is to be done; afterwards the stamp says that it was.

    :param stamp: holds the fingerprint of the sources that the last work was done for.
    """
    inputs = fingerprint(sources)
    wanted = read(stamp) != inputs
    if wanted:
        stamp.unlink(missing_ok=True)
    yield wanted
    if wanted:
        stamp.write_text(inputs)


def fingerprint(paths: Iterable[Path]) -> str:
    """A digest of files, by name and content."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def read(path: Path) -> str:
    """A small file's text, or nothing where there is none."""
    with contextlib.suppress(OSError):
        return path.read_text()
    return ""


def logged(command: Sequence[str], advice: str, cwd: Path = ROOT) -> None:
    """Runs a command with its output in the log.

    :raises SetupError: when it fails, with the end of its output and ``advice``.
    """
    with LOG.open("a+b") as log:
        log.write(f"$ {' '.join(command)}\n".encode())
        log.flush()
        start = log.tell()
        try:
            status = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=cwd, check=False
            ).returncode
        except FileNotFoundError:
            raise SetupError(f"there is no program {command[0]}") from None
        if status:
            log.seek(start)
            end = b"\n".join(log.read().splitlines()[-20:]).decode(errors="replace")
            raise SetupError(
                f"this failed with status {status}: {' '.join(command)}\n{end}\n"
                f"What to do: {advice} (all output is in {LOG})."
            )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) == 2 else ""))
