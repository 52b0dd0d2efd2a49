"""The twistd plugin's options, and what follows from them for twistd."""

from __future__ import annotations

from pathlib import Path

import pytest
from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins
from twisted.scripts.twistd import ServerOptions

from consoled.options import SERIAL_CONSOLE_OPTIONS
from consoled.tap import Options


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration file that can be used."""
    path = tmp_path / "consoled.conf"
    path.write_text(f"[DEFAULT]\nstate_path = {tmp_path}/state\n")
    return path


def parse(config: Path, *arguments: str, twistd: tuple[str, ...] = ()) -> ServerOptions:
    """twistd's options after its command line was read."""
    options = ServerOptions()
    options.parseOptions([*twistd, "consoled", "--cell", "c1", "--config", str(config), *arguments])
    return options


def refusal(config: Path, *arguments: str) -> str:
    """The one line with which a start is refused."""
    with pytest.raises(SystemExit) as caught:
        parse(config, *arguments)
    assert "\n" not in str(caught.value.code)
    return str(caught.value.code)


def test_plugin_is_found() -> None:
    """twistd lists consoled."""
    assert "consoled" in {plugin.tapname for plugin in getPlugins(IServiceMaker)}


@pytest.mark.parametrize(
    "name",
    [
        *("enabled", "base_url", "ws_base_url", "listen", "port", "proxyclient_address"),
        *("port_range", "record"),
        *("daemon", "ssl_only", "source_is_ipv6", "cert", "key", "web"),
    ],
)
def test_every_option_has_its_own(name: str) -> None:
    """Every option of ``[serial_console]`` can be overridden on the command line."""
    assert name in {option.name for option in SERIAL_CONSOLE_OPTIONS}
    assert name in Options().keys()  # noqa: SIM118  # its ``in`` looks at defaults only


def test_command_line_wins(config: Path) -> None:
    """The command line wins over the file, in the words of other tools too."""
    config.write_text(config.read_text() + "[serial_console]\nport = 1234\n")
    settings = parse(config, "--port", "4321", "--enabled", "--no-record").subOptions["settings"]
    assert (settings.serial_console.port, settings.serial_console.enabled) == (4321, True)


def test_later_file_wins(config: Path, tmp_path: Path) -> None:
    """Of two files the later one wins."""
    later = tmp_path / "later.conf"
    later.write_text("[serial_console]\nport = 7\n")
    settings = parse(config, "--config", str(later)).subOptions["settings"]
    assert settings.serial_console.port == 7


def test_foreground(config: Path, tmp_path: Path) -> None:
    """``daemon`` false is the foreground, with the log on the standard error stream."""
    options = parse(config)
    assert options["nodaemon"]
    assert options["logfile"] is None
    assert options["pidfile"] == f"{tmp_path}/state/consoled.pid"


def test_background(config: Path, tmp_path: Path) -> None:
    """``daemon`` true is twistd's own background, with files below state_path."""
    options = parse(config, "--daemon")
    assert not options["nodaemon"]
    assert options["logfile"] == f"{tmp_path}/state/consoled.log"


def test_twistds_own_options_win(config: Path) -> None:
    """-n, --pidfile and --logfile of twistd are respected."""
    options = parse(
        config, "--daemon", twistd=("-n", "--pidfile=/run/own.pid", "--logfile=/run/own.log")
    )
    assert options["nodaemon"]
    assert (options["pidfile"], options["logfile"]) == ("/run/own.pid", "/run/own.log")


def test_check_config(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``--check-config`` says that all is well, and has written nothing."""
    with pytest.raises(SystemExit) as caught:
        parse(config, "--check-config")
    assert caught.value.code == 0
    assert "can be used" in capsys.readouterr().out
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--port", "nine"], "--port"),
        (["--sparkle"], "option --sparkle not recognized"),
        (["stray"], "stray"),
        (["--config", "/absent.conf"], "/absent.conf"),
    ],
)
def test_refusals(config: Path, arguments: list[str], words: str) -> None:
    """A bad command line is one line that names the option."""
    assert words in refusal(config, *arguments)


def test_cell_is_needed(config: Path) -> None:
    """Which cell it serves must be said."""
    with pytest.raises(SystemExit) as caught:
        ServerOptions().parseOptions(["consoled", "--config", str(config)])
    assert "--cell" in str(caught.value.code)
