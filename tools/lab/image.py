"""The guest: Debian's cloud kernel, and a first file system of busybox alone.

``python3 tools/lab/image.py FOLDER`` makes both files, ``vmlinuz`` and
``initrd.gz``, unless they are there and made from the same inputs. Standard
library and Debian's own tools only; root is not needed.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.lab.cpio import Cpio
from tools.lab.errors import LabError

KERNEL_PACKAGE = "linux-image-cloud-amd64"
"""Debian's package that depends on its current kernel for virtual machines."""

COMMAND_LINE = (
    "console=ttyS0 quiet loglevel=3 rdinit=/init 8250.nr_uarts=4 "
    "i8042.noaux i8042.nokbd no_timer_check mitigations=off nokaslr random.trust_cpu=on panic=1"
)

INIT = """\
#!/bin/busybox sh
# The first process of the guest: a shell on each serial port that exists.
/bin/busybox mkdir -p /proc /sys /dev /tmp /bin /sbin /usr/bin /usr/sbin
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev
/bin/busybox --install -s
export PATH=/sbin:/usr/sbin:/bin:/usr/bin
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
ip link set lo up
name=guest
for word in $(cat /proc/cmdline); do
    case $word in guest.name=*) name=${word#guest.name=} ;; esac
done
hostname "$name"
for number in 0 1 2 3; do
    if grep -q "^$number: uart:16" /proc/tty/driver/serial; then
        echo "ttyS$number::respawn:-/bin/sh" >> /etc/inittab
    fi
done
echo "::ctrlaltdel:/sbin/reboot" >> /etc/inittab
exec /sbin/init
"""

PROFILE = """\
export HOME=/root TERM=xterm-256color
export PS1='\\u@\\h:\\w\\$ '
cd
echo
echo "Hello from $(hostname), on $(tty). This is $(uname -sr) with a busybox shell."
echo
"""


@dataclass(frozen=True)
class Image:
    """A kernel and its first file system.

    :ivar command_line: what the kernel wants to hear; ``guest.name=NAME`` sets the host name.
    """

    kernel: Path
    initrd: Path
    command_line: str = COMMAND_LINE


def build(folder: Path) -> Image:
    """The guest image in ``folder``, made where it is missing or made of other inputs.

    :raises LabError: what is missing, and how to get it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _build(folder)


def _build(folder: Path) -> Image:
    image = Image(folder / "vmlinuz", folder / "initrd.gz")
    busybox = _busybox()
    stamp = folder / "inputs"
    inputs = _fingerprint(busybox)
    fresh = stamp.exists() and stamp.read_text() == inputs
    if not image.kernel.exists():
        _put(image.kernel, _kernel())
    if not (fresh and image.initrd.exists()):
        _put(image.initrd, gzip.compress(file_system(busybox.read_bytes()), mtime=0))
        stamp.write_text(inputs)
    return image


def file_system(busybox: bytes) -> bytes:
    """The archive with ``busybox`` as its one program."""
    archive = Cpio()
    for name in ("bin", "dev", "etc", "root"):
        archive.folder(name)
    archive.device("dev/console", 5, 1)
    archive.device("dev/null", 1, 3, 0o666)
    archive.file("bin/busybox", busybox, 0o755)
    archive.file("init", INIT.encode(), 0o755)
    archive.file("etc/profile", PROFILE.encode())
    archive.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")
    archive.file("etc/group", b"root:x:0:\n")
    return archive.content()


def _busybox() -> Path:
    for folder in ("/bin", "/usr/bin"):
        path = Path(folder, "busybox")
        if path.exists():
            return path
    raise LabError("busybox is not installed: run apt-get install busybox-static")


def _fingerprint(busybox: Path) -> str:
    """A digest of all that goes into the first file system."""
    here = Path(__file__)
    sources = (here, here.with_name("cpio.py"), busybox)
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


def _put(path: Path, content: bytes) -> None:
    """Writes a file at once or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    part.replace(path)


def _kernel() -> bytes:
    """The kernel's file, out of Debian's package, which is not installed."""
    package = _kernel_package()
    with tempfile.TemporaryDirectory(prefix="kernel-") as name:
        # apt drops its rights for a download; it may write here all the same.
        Path(name).chmod(0o777)
        _run(["apt-get", "download", "-q", package], Path(name))
        (archive,) = Path(name).glob("*.deb")
        with (
            subprocess.Popen(
                ["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE
            ) as unpacking,
            tarfile.open(fileobj=unpacking.stdout, mode="r|") as files,
        ):
            for member in files:
                if "/boot/vmlinuz-" in member.name and (found := files.extractfile(member)):
                    content = found.read()
                    unpacking.kill()
                    return content
    raise LabError(f"the package {package} holds no /boot/vmlinuz-*: report this, please")


def _kernel_package() -> str:
    """The package with the kernel that Debian has now."""
    listing = _run(["apt-cache", "depends", "--important", KERNEL_PACKAGE], Path.cwd())
    names = re.findall(r"Depends: (linux-image-\S+)", listing)
    if not names:
        raise LabError(
            f"apt knows no package {KERNEL_PACKAGE}: run apt-get update; "
            "the guest is Debian's kernel for amd64, so this wants a Debian machine of that kind"
        )
    return str(names[0])


def _run(argv: list[str], cwd: Path) -> str:
    if shutil.which(argv[0]) is None:
        raise LabError(f"there is no {argv[0]} on this machine: this wants a Debian")
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(
            f"{' '.join(argv)} failed (run apt-get update if the package is outdated):\n"
            f"{done.stderr.strip()}"
        )
    return done.stdout


if __name__ == "__main__":
    try:
        made = build(Path(sys.argv[1]))
    except LabError as error:
        sys.exit(f"guest image: {error}")
    print(made.kernel, made.initrd)
