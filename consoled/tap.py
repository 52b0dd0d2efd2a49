"""``twistd consoled``: the command line, seen from the operator's side.

A configuration that cannot be used is one line on the standard error stream and
exit status 1, before anything listens.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from twisted.application.service import IService
from twisted.python import usage

from consoled import log
from consoled.errors import ConfigError
from consoled.options import SERIAL_CONSOLE_OPTIONS, expand_arguments, load
from consoled.settings import Settings


def _exit(error: object) -> NoReturn:
    raise SystemExit(f"consoled: {error}")


class Options(usage.Options):
    """The options of the twistd plugin.

    Each of ``[serial_console]`` has one of its own that wins over the files.
    """

    synopsis = "[options] --cell NAME --config FILE [--config FILE2]"
    longdesc = (
        "Serves the serial consoles of one cell: a REST API that hands out console URLs, and the "
        "WebSocket proxy that they lead to. etc/consoled.conf.sample has every option."
    )
    optParameters = [  # noqa: RUF012  # twisted.python.usage reads it from the class
        ["cell", None, None, "The cell's name."],
        *([option.name, None, None, option.help] for option in SERIAL_CONSOLE_OPTIONS),
    ]
    optFlags = [  # noqa: RUF012  # as above
        ["check-config", None, "Only check the configuration, then exit."],
    ]

    parent: Any

    def __init__(self) -> None:
        super().__init__()
        self.files: list[Path] = []

    def opt_config(self, path: str) -> None:
        """A configuration file; of several, a later one wins."""
        self.files.append(Path(path))

    def parseArgs(self, *words: str) -> None:
        """Takes no words without an option."""
        if words:
            raise usage.UsageError(f"{words[0]!r} is not an option; options begin with --")

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Takes flags and dashes as people write them; an error is one line."""
        try:
            super().parseOptions(expand_arguments(options or []))
        except usage.UsageError as error:
            _exit(f"{error}; see twistd consoled --help")

    def postOptions(self) -> None:
        """Reads the configuration and tells twistd what follows from it."""
        try:
            settings = self.read_settings()
            if self["check-config"]:
                from consoled.composition import check

                check(settings)
        except ConfigError as error:
            _exit(error)
        if self["check-config"]:
            print("consoled: the configuration can be used")
            raise SystemExit(0)
        self["settings"] = settings
        _instruct_twistd(self.parent, settings)

    def read_settings(self) -> Settings:
        """The settings as the files are now.

        :raises consoled.errors.ConfigError: one line for the operator.
        """
        if not self["cell"]:
            raise ConfigError("--cell NAME is needed: which cell this daemon serves")
        names = (option.name for option in SERIAL_CONSOLE_OPTIONS)
        overrides = {name: self[name] for name in names if self[name] is not None}
        return load(self["cell"], self.files, overrides)


def _instruct_twistd(parent: Any, settings: Settings) -> None:
    if parent is None:
        return
    if not settings.serial_console.daemon:
        parent["nodaemon"] = True
    state = settings.default.state_path
    if parent.get("pidfile") == "twistd.pid":
        parent["pidfile"] = str(state / "consoled.pid")
    if not parent.get("nodaemon") and not parent.get("logfile"):
        parent["logfile"] = str(state / "consoled.log")


def makeService(options: Options) -> IService:
    """The service that twistd runs.

    No thread is started and no connection stays open here: twistd may fork after it.
    """
    # Late: twistd's own options choose the reactor.
    from twisted.internet import reactor

    from consoled.composition import compose, make_state_folder
    from consoled.http import turning

    # A wall clock that steps back would stop every timer (Twisted's issue 2424).
    setattr(reactor, "seconds", time.monotonic)  # noqa: B010  # a method to mypy
    turning.install(reactor)
    log.adopt_standard_logging()
    settings = options["settings"]
    try:
        make_state_folder(settings.default.state_path)
        logfile = options.parent and options.parent["logfile"]
        observer = log.make_observer(settings.default.debug, logfile)
        return compose(settings, reactor, options.read_settings, observer)
    except ConfigError as error:
        _exit(error)
