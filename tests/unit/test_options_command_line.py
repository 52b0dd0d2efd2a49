"""The options of [serial_console] as twistd plugin options."""

import pytest
from twisted.python import usage

from consoled.options import SERIAL_CONSOLE_OPTIONS, expand_arguments

NAMES = [
    *("enabled", "base_url", "ws_base_url", "listen", "port", "proxyclient_address", "port_range"),
    *("record", "daemon", "ssl_only", "source_is_ipv6", "cert", "key", "web"),
]
FLAGS = ["enabled", "record", "daemon", "ssl_only", "source_is_ipv6"]


def test_the_table_is_the_specifications() -> None:
    """Every option of the group is there, the specification's among them, with a help text."""
    assert [option.name for option in SERIAL_CONSOLE_OPTIONS] == NAMES
    assert [option.name for option in SERIAL_CONSOLE_OPTIONS if option.is_flag] == FLAGS
    assert all(option.help for option in SERIAL_CONSOLE_OPTIONS)


@pytest.mark.parametrize(
    ("given", "expanded"),
    [
        ("--port 1", "--port 1"),
        ("--port=1", "--port=1"),
        ("--port-range 1:2", "--port_range 1:2"),
        ("--base-url=http://a-b/", "--base_url=http://a-b/"),
        ("--ssl_only", "--ssl_only=true"),
        ("--ssl-only --port 1", "--ssl_only=true --port 1"),
        ("--ssl_only false", "--ssl_only=false"),
        ("--ssl_only=no", "--ssl_only=no"),
        ("--nossl_only --no-record", "--ssl_only=false --record=false"),
        ("--web --ssl_only", "--web --ssl_only"),
        ("--cell a --check-config --config x", "--cell a --check-config --config x"),
        ("-x -- --ssl-only", "-x -- --ssl-only"),
        ("--noport", "--noport"),
        ("--web", "--web"),
    ],
)
def test_arguments_take_one_form(given: str, expanded: str) -> None:
    """Dashes, bare flags and negated flags become what twisted.python.usage takes."""
    assert expand_arguments(given.split()) == expanded.split()


def test_twisted_takes_the_form() -> None:
    """The table and the expanded arguments fit a usage.Options class."""

    class Options(usage.Options):
        optParameters = [  # noqa: RUF012
            [option.name, None, None, option.help] for option in SERIAL_CONSOLE_OPTIONS
        ]

    options = Options()
    options.parseOptions(expand_arguments(["--ssl-only", "--port-range", "1:2", "--no-daemon"]))
    assert {name: options[name] for name in ("ssl_only", "port_range", "daemon", "web")} == {
        "ssl_only": "true",
        "port_range": "1:2",
        "daemon": "false",
        "web": None,
    }
