"""The commands that ask the API, over one that answers from a table."""

from __future__ import annotations

import json
from typing import Any

import click
import pytest
from cli_client import KEY, URL, FakeApi, ask, run

from consoled import __version__
from consoled.cli.root import root

ONE = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0001"
TWO = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0002"
THREE = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0003"
CONSOLE_URL = "http://127.0.0.1:6083/serial.html?token=abc"


def server(uuid: str, name: str, project: str | None = "demo") -> dict[str, Any]:
    return {
        "id": uuid,
        "name": name,
        "project_id": project,
        "status": "running",
        "addresses": ["10.0.0.5"],
    }


SERVERS = [server(ONE, "web-1"), server(TWO, "twin"), server(THREE, "twin", "other")]
CONSOLES = [{"index": 0, "type": "serial"}, {"index": 1, "type": "serial"}]
TOKEN = {
    "id": "2c26b46b68ff",
    "url": CONSOLE_URL,
    "expires_at": "2026-01-01T00:00:00Z",
    "role": "writer",
    "server_id": ONE,
    "console_index": 1,
    "console_type": "serial",
}


RECORD = {
    "id": "2c26b46b68ff",
    "server_id": ONE,
    "console_index": 1,
    "console_type": "serial",
    "role": "writer",
    "user_id": "mia",
    "project_id": "demo",
    "created_at": "2025-12-31T23:50:00Z",
    "expires_at": "2026-01-01T00:00:00Z",
    "used": False,
}


@pytest.fixture
def api() -> FakeApi:
    return FakeApi(
        {
            "GET /v1/servers": (200, {"servers": SERVERS}),
            f"GET /v1/servers/{ONE}/consoles": (200, {"consoles": CONSOLES}),
            f"POST /v3/servers/{ONE}/get-serial-console": (
                202,
                {"serial_console": {"url": CONSOLE_URL}},
            ),
            f"POST /v1/servers/{ONE}/consoles/1/tokens": (201, {"token": TOKEN}),
            f"POST /v1/servers/{ONE}/tokens": (201, {"token": TOKEN | {"console_index": 0}}),
            "GET /v1/tokens/2c26b46b68ff": (200, {"token": RECORD}),
            "DELETE /v1/tokens/2c26b46b68ff": (204, b""),
        }
    )


def test_version() -> None:
    """--version says which consoled this is."""
    result = run(["--version"])
    assert result.exit_code == 0
    assert result.stdout == f"consolectl, version {__version__}\n"


def test_every_command_explains_itself() -> None:
    """Each command has a help text, and --help needs neither address nor key."""
    words = [[], *([name] for name in root.commands)]
    for name, command in root.commands.items():
        if isinstance(command, click.Group):
            words += [[name, child] for child in command.commands]
    for path in words:
        result = run([*path, "--help"])
        assert result.exit_code == 0, path
        assert result.stdout.startswith(f"Usage: {' '.join(['consolectl', *path])}")


def test_server_list(api: FakeApi) -> None:
    """A table of what the API answers; the key travels as X-Auth-Token."""
    result = ask(["server", "list"], api)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["ID", "NAME", "STATUS", "PROJECT", "ADDRESSES"]
    assert lines[1].split() == [ONE, "web-1", "running", "demo", "10.0.0.5"]
    assert len(lines) == 4
    (sent,) = api.sent
    assert (sent.method, sent.url, sent.headers["X-Auth-Token"]) == (
        "GET",
        f"{URL}/v1/servers",
        KEY,
    )


@pytest.mark.parametrize(
    "words", [["--format", "json", "server", "list"], ["server", "list", "--format", "json"]]
)
def test_server_list_as_json(api: FakeApi, words: list[str]) -> None:
    """--format json, on either side of the command, is the API's own objects."""
    assert json.loads(ask(words, api).stdout) == SERVERS


def test_server_list_of_none(api: FakeApi) -> None:
    """No servers: an empty output and a word about it, or an empty list."""
    api.answers["GET /v1/servers"] = (200, {"servers": []})
    result = ask(["server", "list"], api)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "no servers" in result.stderr
    assert ask(["server", "list", "--format", "json"], api).stdout == "[]\n"


def test_names_cannot_command_the_terminal(api: FakeApi) -> None:
    """Escape sequences and line breaks in a name, a project or an error are written out."""
    evil = server(ONE, "\x1b]0;owned\x07\nweb", "\x1b[2J")
    api.answers["GET /v1/servers"] = (200, {"servers": [evil, evil]})
    shown = ask(["server", "list"], api).stdout
    assert "\\x1b]0;owned\\x07\\nweb" in shown
    errors = ask(["server", "consoles", "\x1b]0;owned\x07\nwex"], api).stderr
    ambiguous = ask(["server", "consoles", evil["name"]], api).stderr
    for text in (shown, errors, ambiguous):
        assert all(line.isprintable() for line in text.split("\n"))


def test_server_consoles_by_name_and_by_uuid(api: FakeApi) -> None:
    """A name is looked up first; a uuid in any usual form is asked for directly."""
    for name in ("web-1", ONE, ONE.upper(), ONE.replace("-", "")):
        result = ask(["server", "consoles", name], api)
        assert result.stdout == "INDEX  TYPE\n0      serial\n1      serial\n"
    assert [sent.url for sent in api.sent].count(f"{URL}/v1/servers") == 1


def test_ambiguous_name(api: FakeApi) -> None:
    """A name that several servers have lists them with uuid and project, and exits with 1."""
    result = ask(["get-serial-console", "twin"], api)
    assert (result.exit_code, result.stdout) == (1, "")
    first, heading, *candidates = result.stderr.splitlines()
    assert first == "consolectl: 2 servers have the name 'twin'; give the id of one:"
    assert heading.split() == ["ID", "PROJECT", "STATUS"]
    assert [line.split()[:2] for line in candidates] == [[TWO, "demo"], [THREE, "other"]]


@pytest.mark.parametrize(
    ("name", "hint"),
    [("WEB-2", "did you mean 'web-1'?"), ("database", "`consolectl server list`")],
)
def test_unknown_name(api: FakeApi, name: str, hint: str) -> None:
    """A name that no server has is answered with those that are near."""
    result = ask(["server", "consoles", name], api)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"consolectl: there is no server '{name}'")
    assert hint in result.stderr


def test_get_serial_console(api: FakeApi) -> None:
    """The URL alone is on the standard output, by the specification's route."""
    for words in (["web-1"], ["web-1", "serial"], [ONE, "serial"]):
        result = ask(["get-serial-console", *words], api)
        assert (result.exit_code, result.stdout, result.stderr) == (0, f"{CONSOLE_URL}\n", "")
    assert api.launched == []


def test_get_serial_console_by_index(api: FakeApi) -> None:
    """--index asks for that console; the JSON is the API's token object."""
    words = ["get-serial-console", "web-1", "--index", "1"]
    assert ask(words, api).stdout == f"{CONSOLE_URL}\n"
    assert json.loads(ask([*words, "--format", "json"], api).stdout) == TOKEN


@pytest.mark.parametrize(("words", "index"), [([], "0"), (["--index", "1"], "1")])
def test_token_issue(api: FakeApi, words: list[str], index: str) -> None:
    """A table with the token's id, its end and its URL; without --index the daemon chooses."""
    result = ask(["token", "issue", "web-1", *words], api)
    assert (result.exit_code, result.stderr) == (0, "")
    heading, line = result.stdout.splitlines()
    assert heading.split() == ["ID", "SERVER", "CONSOLE", "ROLE", "EXPIRES", "URL"]
    assert line.split() == [
        *("2c26b46b68ff", ONE, index, "writer"),
        *("2026-01-01T00:00:00Z", CONSOLE_URL),
    ]
    assert api.sent[-1].body is None


def test_token_issue_as_json(api: FakeApi) -> None:
    """For scripts it is the API's token object."""
    words = ["token", "issue", ONE, "--index", "1", "--format", "json"]
    assert json.loads(ask(words, api).stdout) == TOKEN


@pytest.mark.parametrize("words", [[], ["--index", "1"]])
def test_token_to_watch_with(api: FakeApi, words: list[str]) -> None:
    """--observe asks the same routes for an observer's token."""
    result = ask(["token", "issue", "web-1", "--observe", *words], api)
    assert result.exit_code == 0
    sent = api.sent[-1]
    assert sent.body is not None
    assert json.loads(sent.body) == {"token": {"role": "observer"}}
    assert sent.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("prefix", ["2c26b46b68ff", "2C26B46B68FF"])
def test_token_show(api: FakeApi, prefix: str) -> None:
    """What a token is for, by its id as logs have it."""
    result = ask(["token", "show", prefix], api)
    heading, line = result.stdout.splitlines()
    assert heading.split() == [
        *("ID", "SERVER", "CONSOLE", "ROLE", "USER", "PROJECT", "CREATED", "EXPIRES", "USED")
    ]
    assert line.split() == [
        *("2c26b46b68ff", ONE, "1", "writer", "mia", "demo"),
        *("2025-12-31T23:50:00Z", "2026-01-01T00:00:00Z", "no"),
    ]
    assert json.loads(ask(["token", "show", prefix, "--format", "json"], api).stdout) == RECORD


def test_token_revoke(api: FakeApi) -> None:
    """One line says that it is done."""
    result = ask(["token", "revoke", "2c26b46b68ff"], api)
    assert (result.exit_code, result.stdout) == (0, "Token 2c26b46b68ff is revoked.\n")
    assert api.sent[-1].method == "DELETE"
    words = ["token", "revoke", "2c26b46b68ff", "--format", "json"]
    assert json.loads(ask(words, api).stdout) == {"id": "2c26b46b68ff"}


def test_token_revoke_that_is_refused(api: FakeApi) -> None:
    """What the API says is the error, with exit status 1."""
    fault = {"itemNotFound": {"code": 404, "message": "Token x could not be found."}}
    api.answers["DELETE /v1/tokens/2c26b46b68ff"] = (404, fault)
    result = ask(["token", "revoke", "2c26b46b68ff"], api)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "consolectl: Token x could not be found. (404)\n"


@pytest.mark.parametrize("command", ["show", "revoke"])
@pytest.mark.parametrize("typed", ["2c26b46b68f", "c" * 65, "k8_uB2TLz", CONSOLE_URL])
def test_what_is_no_token_s_id_is_not_sent(api: FakeApi, command: str, typed: str) -> None:
    """Somebody who gives the token itself is told so; it goes nowhere, the error included."""
    result = ask(["token", command, typed], api)
    assert result.exit_code == 2
    assert "12 or more hex digits" in result.stderr
    assert typed not in result.output
    assert api.sent == []


def test_a_shell(api: FakeApi) -> None:
    """The type ssh asks for a shell, of which no index can be asked for."""
    route = f"POST /v1/servers/{ONE}/consoles/ssh/tokens"
    api.answers[route] = (201, {"token": {"url": CONSOLE_URL}})
    result = ask(["get-serial-console", "web-1", "ssh"], api)
    assert (result.exit_code, result.stdout) == (0, f"{CONSOLE_URL}\n")
    assert ask(["get-serial-console", "web-1", "ssh", "--index", "0"], api).exit_code == 2


def test_another_console_type(api: FakeApi) -> None:
    """A type that consoled has not is a usage error that names the one there is."""
    result = ask(["get-serial-console", "web-1", "novnc"], api)
    assert result.exit_code == 2
    assert "'novnc' is not a type of console; there are: serial, ssh" in result.stderr
    assert api.sent == []


def test_open(api: FakeApi) -> None:
    """--open gives the browser the URL that is printed, too."""
    result = ask(["get-serial-console", "web-1", "--open"], api)
    assert (result.exit_code, result.stdout) == (0, f"{CONSOLE_URL}\n")
    assert api.launched == [CONSOLE_URL]


def test_open_without_a_browser(api: FakeApi) -> None:
    """Where none can be started, the URL is still printed."""
    api.launch_status = 1
    result = ask(["get-serial-console", "web-1", "--open"], api)
    assert (result.exit_code, result.stdout) == (1, f"{CONSOLE_URL}\n")
    assert "no browser" in result.stderr


@pytest.mark.parametrize("url", ["ws://127.0.0.1:6083/?token=abc", "file:///etc/passwd", "-x"])
def test_open_what_is_no_page(api: FakeApi, url: str) -> None:
    """Nothing but a web address is ever handed to the desktop."""
    route = f"POST /v3/servers/{ONE}/get-serial-console"
    api.answers[route] = (202, {"serial_console": {"url": url}})
    assert ask(["get-serial-console", "web-1", "--open"], api).exit_code == 1
    assert api.launched == []


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            (404, {"itemNotFound": {"code": 404, "message": "Instance x\ncould not be found."}}),
            ["Instance x could not be found. (404)"],
        ),
        (
            (409, {"conflictingRequest": {"code": 409, "message": "Instance is stopped."}}),
            ["Instance is stopped. (409)"],
        ),
        ((401, {"unauthorized": {"code": 401, "message": "No."}}), ["key", "CONSOLED_KEY", URL]),
        ((401, b""), ["does not accept the key from CONSOLED_KEY"]),
        ((502, b"<html>"), ["answers status 502, and not as consoled does", "CONSOLED_API"]),
        ((200, b"<html>"), ["answers something else, and not as consoled does"]),
        ((200, {"consoles": {}}), ["answers something else"]),
        ((200, {"consoles": [1]}), ["answers something else"]),
        ((200, b"[" * 100_000), ["answers something else"]),
        ((302, b""), ["answers status 302"]),
        ("connection refused", [f"cannot reach the API at {URL} (from CONSOLED_API)", "refused"]),
    ],
)
def test_errors_are_one_line(api: FakeApi, answer: tuple[int, Any] | str, words: list[str]) -> None:
    """Whatever comes back, one line says what it is, the exit status is 1, and no key is shown."""
    api.answers[f"GET /v1/servers/{ONE}/consoles"] = answer
    result = ask(["server", "consoles", ONE], api)
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("consolectl: ")
    assert all(word in line for word in words), line
    assert KEY not in line


def test_retry_after(api: FakeApi) -> None:
    """Where the daemon says when to come back, so does the error."""
    api.headers["retry-after"] = "5"
    fault = {"serviceUnavailable": {"code": 503, "message": "The database is away."}}
    api.answers["GET /v1/servers"] = (503, fault)
    error = ask(["server", "list"], api).stderr
    assert error == "consolectl: The database is away. Try again in 5 s. (503)\n"


def test_key_on_the_command_line_is_warned_about(api: FakeApi) -> None:
    """--key works, with one line about who can see it, and never shows it."""
    result = run(["--api", URL, "--key", KEY, "server", "list"], api)
    assert result.exit_code == 0
    (warning,) = result.stderr.splitlines()
    assert warning.startswith("consolectl: --key shows the key to other users")
    assert KEY not in result.output
    assert api.endpoints[0].key_source == "--key"


@pytest.mark.parametrize(
    "words",
    [["server", "list"], ["--api", URL, "server", "list"], ["db", "current"], ["nonsense"]],
)
def test_usage_errors(words: list[str]) -> None:
    """What is missing or unknown on the command line exits with 2."""
    result = run(words)
    assert result.exit_code == 2
    assert result.stderr.startswith("Usage: consolectl")


def test_bad_configuration(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A configuration that cannot be used is the loader's own line, with exit status 1."""
    file = tmp_path_factory.mktemp("cli") / "consoled.conf"
    file.write_text("[api]\nprot = 1\n")
    for words in (["server", "list"], ["db", "check"]):
        result = run(["--config", str(file), *words])
        assert result.exit_code == 1
        assert result.stderr == (
            f"consolectl: {file}:2: [api] has no option 'prot'; did you mean 'port'?\n"
        )
