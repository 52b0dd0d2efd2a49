"""``make demo``: one guest, one daemon, one URL that opens the guest's console.

A private libvirt daemon, a guest with two serial ports and ``twistd consoled``
with an embedded database, until Ctrl-C. All of it ends with this process,
however that ends.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import select
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn

from tools.lab import image
from tools.lab.daemon import Daemon
from tools.lab.errors import LabError
from tools.lab.guest import Guest
from tools.lab.holders import holder, is_free
from tools.lab.kept import KeptProcess
from tools.lab.libvirtd import PrivateLibvirtd

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / ".build"
UUID = "0c1de6d0-5e71-4a1c-9d0e-7de300000001"
"""The guest's, the same in each demo."""

STEPS = 4
PR_SET_PDEATHSIG = 1
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Ended(Exception):
    """Somebody wants the demo to end."""


def main() -> int:
    """Runs the demo; the exit status is 0 when somebody ended it."""
    options = arguments()
    listen_to_signals()
    try:
        check_ports(PORT=options.port, API_PORT=options.api_port)
    except LabError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    try:
        with contextlib.ExitStack() as everything:
            try:
                demo = Demo(options.port, options.api_port, everything)
                demo.start()
                demo.serve()
            finally:
                # The rest is quick, and a second Ctrl-C would leave it half done.
                for number in ENDING:
                    signal.signal(number, signal.SIG_IGN)
                say("\nending the demo ...", end=" ")
    except Ended:
        say("ended")
        return 0
    except LabError as error:
        say("ended")
        with contextlib.suppress(OSError):
            print(f"demo: {error}", file=sys.stderr)
        return 1
    return 0


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--port", type=int, default=6083, help="of the console page")
    parser.add_argument("--api-port", type=int, default=8774, help="of the REST API")
    return parser.parse_args()


def check_ports(**ports: int) -> None:
    """Refuses ports that somebody listens on.

    :param ports: by the names that make knows them by.
    :raises LabError: who it is, and how to choose another port.
    """
    for name, number in ports.items():
        if not is_free(number):
            raise LabError(
                f"port {number} is in use by {holder(number)}: end it, or choose another "
                f"port, as in make demo {name}={number + 1}"
            )


def listen_to_signals() -> None:
    """Makes each ending signal an exception in the main thread, once set-up is through."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        raise Ended(signal.Signals(number).name)

    for number in ENDING:
        signal.signal(number, end)
    if "MAKELEVEL" in os.environ:
        # A make that is killed outright cannot tell us.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def say(text: str, end: str = "\n") -> None:
    """Prints at once; a terminal that is gone is no error."""
    with contextlib.suppress(OSError):
        print(text, end=end, flush=True)


class Demo:
    """The parts, in the order of their start.

    :param everything: ends them in the reverse order.
    """

    def __init__(self, port: int, api_port: int, everything: contextlib.ExitStack) -> None:
        self._everything = everything
        folder = everything.enter_context(
            tempfile.TemporaryDirectory(prefix="consoled-", dir="/tmp", ignore_cleanup_errors=True)
        )
        logs = BUILD / f"demo-{api_port}"
        logs.mkdir(parents=True, exist_ok=True)
        log = logs / "libvirtd.log"
        log.unlink(missing_ok=True)
        self.libvirtd = PrivateLibvirtd(Path(folder), "demo", log=log)
        self.guest = Guest(
            self.libvirtd, image.build(BUILD / "guest"), "demo", uuid=UUID, project="demo"
        )
        config = {"DEFAULT": {"driver": "libvirt"}, "libvirt": {"uri": self.libvirtd.uri}}
        state = logs / "state"
        # Fresh each time: an older checkout may have left a database of an older schema.
        shutil.rmtree(state, ignore_errors=True)
        state.mkdir(mode=0o700)
        self.daemon = Daemon(state, config, cell="demo", port=port, api_port=api_port, keys=None)

    def start(self) -> None:
        """Starts the parts, and says so."""
        with step(1, "private libvirt daemon"):
            self._everything.callback(self.libvirtd.stop)
            self.libvirtd.start()
        with step(2, "guest with two serial ports"):
            self.guest.start()
        with step(3, "twistd consoled --cell demo"):
            self._everything.callback(self.daemon.stop)
            self.daemon.start()
        with step(4, "the guest boots"):
            self.guest.wait_for_shells()

    def serve(self) -> NoReturn:
        """Shows a URL, and a fresh one for each Return, until a part ends or a signal comes."""
        self.show_url()
        self.show_help()
        parts = {"libvirtd": self.libvirtd.process, "consoled": self.daemon.process}
        watched = {process.ended: name for name, process in parts.items()}
        keyboard = owns_terminal()
        while True:
            inputs = [*watched, *([0] if keyboard else [])]
            ready, _, _ = select.select(inputs, [], [])
            for name in (watched[handle] for handle in ready if handle in watched):
                raise LabError(broken(name, parts[name]))
            if not os.isatty(0):
                raise Ended("the terminal was closed")
            keyboard = owns_terminal()
            if keyboard:
                if not os.read(0, 4096):
                    raise Ended("end of input")
                self.show_fresh_url()

    def show_url(self) -> None:
        """Prints one new console URL, after powering the guest on if somebody powered it off."""
        try:
            pid = self.guest.pid
            os.kill(pid, 0)
        except (LabError, ProcessLookupError):
            say("The guest was powered off; it boots again.")
            self.guest.start()
        say(f"Console: {self.daemon.console_url(self.guest.uuid, key=self.daemon.made_key())}")

    def show_fresh_url(self) -> None:
        """As show_url; what is in its way is said, and the demo goes on."""
        try:
            self.show_url()
        except (LabError, OSError) as error:
            say(f"No URL: {error}")

    def show_help(self) -> None:
        """Prints what else there is to know."""
        keys = os.path.relpath(self.daemon.keys_file)
        say(
            "Open it in a browser and press Return there: it is the guest's shell.\n"
            "It is good for 600 s; press Return here for another one, or ask the API:\n"
            f"  curl -X POST -H \"X-Auth-Token: $(sed -n 's/^- key: //p' {keys})\" "
            f"{self.daemon.api_url}/v3/servers/{self.guest.uuid}/get-serial-console\n"
            f"Logs are in {os.path.relpath(self.daemon.folder.parent)}. Ctrl-C ends it."
        )


@contextlib.contextmanager
def step(number: int, title: str) -> Iterator[None]:
    """A line on the screen with the time that the step took."""
    say(f"[{number}/{STEPS}] {title} ...", end=" ")
    started = time.monotonic()
    try:
        yield
    except BaseException:
        say("failed")
        raise
    say(f"ready ({time.monotonic() - started:.1f} s)")


def owns_terminal() -> bool:
    """Whether standard input is a terminal that is ours: a job in the background may not read."""
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False


def broken(name: str, process: KeptProcess) -> str:
    """What to say about a part that ended by itself."""
    return (
        f"{name} ended by itself (status {process.stop()}); its log {process.log} ends with:\n"
        f"{process.tail()}"
    )


if __name__ == "__main__":
    sys.exit(main())
