"""From files and command line to Settings."""

import importlib
import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from consoled.compute.port_range import PortRange
from consoled.errors import ConfigError
from consoled.options import load
from consoled.options.groups import GROUPS
from consoled.settings import Settings
from tests.unit.test_options_tls import make_certificate, make_key


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Relative paths lead into a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def settings(text: str, overrides: Mapping[str, str] | None = None) -> Settings:
    path = Path("consoled.conf")
    path.write_text(text, encoding="utf-8")
    return load("cell1", [path], overrides or {})


def refusal(text: str, overrides: Mapping[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        settings(text, overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def keystone(*lines: str) -> str:
    """A file that has callers known by Keystone, and those lines in its section."""
    return "\n".join(["[api]", "auth_strategy = keystone", "[keystone_authtoken]", *lines, ""])


def serial(text: str) -> str:
    return f"[serial_console]\n{text}\n"


def make_pair(path: Path) -> None:
    key, pem = make_key()
    path.write_bytes(make_certificate(key) + pem)


def test_defaults_agree_with_settings() -> None:
    """Without a file or an override, load gives the defaults that settings.py states."""
    loaded = load("cell1", [], {})
    # The default folder is served where somebody has installed it.
    proxy = attrs.evolve(loaded.serial_console, web=None)
    assert attrs.evolve(loaded, serial_console=proxy) == Settings("cell1")


def test_every_field_has_an_option() -> None:
    """Options and Settings have the same groups and names."""
    options = {group.name: {option.dest for option in opts} for group, opts in GROUPS}
    fields = {
        "DEFAULT" if group.name == "default" else group.name: {
            "names" if field.name == "sites" else field.name  # of cells
            for field in attrs.fields(type(getattr(Settings("c"), group.name)))
            if field.name != "conf"
        }
        for group in attrs.fields(Settings)
        # keystonemiddleware has options of its own, and so has keystoneauth in service_user's conf.
        if group.name not in ("cell", "keystone")
    }
    assert options == fields


def test_settings_are_values() -> None:
    """Settings can be hashed and compared, and do not show the database's password."""
    one, two = (
        settings("[database]\nconnection = mysql+pymysql://u:sesame@h/d\n") for _ in range(2)
    )
    assert one == two
    assert hash(one) == hash(two)
    assert "sesame" not in repr(one)


def test_a_full_file_is_read() -> None:
    """Values of every kind reach their field."""
    read = settings(
        """
[DEFAULT]
driver = static
state_path = state
debug = on
[serial_console]
enabled = true
base_url = https://console.example.org/serial.html
listen = [::1]
port = 0
port_range = 5000:6000, 7000:7010
[console]
allowed_origins = https://Dash.example.org,
  other.example.org
frame_ancestors = self, https://dash.example.org
allow_missing_origin = no
[proxy]
stall_timeout = 2.5
trusted_proxies = 10.0.0.0/8
[libvirt]
default_project = demo
""",
    )
    assert read.default.driver == "static"
    assert read.default.state_path == Path.cwd() / "state"
    assert read.default.debug
    assert (read.serial_console.listen, read.serial_console.port) == ("::1", 0)
    assert read.serial_console.port_range == PortRange(((5000, 6000), (7000, 7010)))
    assert read.console.allowed_origins == ("https://dash.example.org", "other.example.org")
    assert read.console.frame_ancestors == ("'self'", "https://dash.example.org")
    assert not read.console.allow_missing_origin
    assert read.proxy.stall_timeout == 2.5
    assert read.proxy.trusted_proxies == ("10.0.0.0/8",)
    assert read.libvirt.default_project == "demo"


def test_paths_follow_state_path() -> None:
    """The database and the keys stand under state_path unless they are set."""
    read = settings("[DEFAULT]\nstate_path = here\n")
    assert read.database.connection == f"sqlite:///{Path.cwd()}/here/consoled.sqlite"
    assert read.api.keys_file == Path.cwd() / "here" / "keys.yaml"


def test_a_relative_database_is_made_absolute() -> None:
    """A relative SQLite path is taken from the current directory; other URLs stay as they are."""
    read = settings("[database]\nconnection = sqlite:///db.sqlite\n")
    assert read.database.connection == f"sqlite:///{Path.cwd()}/db.sqlite"
    for url in ("sqlite://", "sqlite:///:memory:", "postgresql+psycopg://u:p@h/d"):
        assert settings(f"[database]\nconnection = {url}\n").database.connection == url


def test_later_files_win() -> None:
    """Of two files the later one wins, and an error names the one with the value."""
    Path("one").write_text("[api]\nport = 1\nlisten = 127.0.0.2\n")
    Path("two").write_text("[api]\nport = 2\n")
    read = load("cell1", [Path("one"), Path("two")], {})
    assert (read.api.port, read.api.listen) == (2, "127.0.0.2")
    Path("one").write_text("[api]\nlisten = x\n")
    with pytest.raises(ConfigError, match=r"^one:2: \[api\] listen: 'x' is not an IP address"):
        load("cell1", [Path("one"), Path("two")], {})


def test_overrides_win_and_are_named() -> None:
    """A command-line value beats the file, and a bad one is named as an option."""
    assert settings(serial("port = 1"), {"port": "2"}).serial_console.port == 2
    assert settings(serial("port = x"), {"port": "2"}).serial_console.port == 2
    assert refusal("", {"port": "x"}) == ("--port: 'x' is not a whole number from 0 to 65535")
    assert "--web: '/nope' is not a folder" in refusal("", {"web": "/nope"})
    assert "no such option" in refusal("", {"prot": "1"})


def test_loads_do_not_share_overrides() -> None:
    """What one load is given on its command line is unknown to the next one (SIGHUP)."""
    assert settings("", {"port": "2", "source_is_ipv6": "true"}).serial_console.port == 2
    assert settings("") == settings("")
    assert settings("").serial_console.port == 6083


def test_the_environment_has_no_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """oslo.config's environment variables do not beat the file."""
    monkeypatch.setenv("OS_SERIAL_CONSOLE__PORT", "9")
    assert settings(serial("port = 1")).serial_console.port == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (serial("port = 70000"), ":2: [serial_console] port: '70000' is not a whole number"),
        (serial("port = 80 # web"), "(a comment needs a line of its own)"),
        (serial("listen = 127.0.0.1\n  port = 80"), "an indented line continues"),
        (serial("cert ="), "[serial_console] cert: '' is empty"),
        (serial("web = $nope/x"), "refers with $ to an option that does not exist"),
        (serial("web = /nope"), "'/nope' is not a folder that can be read"),
        (serial("web = a\x00b"), "control character"),
        (serial("base_url = http://u:sesame@h/"), "'http://***@h/' holds a user name"),
        ("[DEFAULT]\nstate_path = $state_path\n", "or to itself"),
        ("[DEFAULT]\nrecord = /var/x\n", ":2: [DEFAULT] record: '/var/x' is neither true nor"),
        ("[database]\nconnection = nonsense\n", "the value is not a SQLAlchemy URL"),
        ("[database]\nconnection = foo://h/d\n", "sqlite, postgresql, mysql, mariadb"),
        ("[api]\nkey = k.pem\n", "set [api] cert as well"),
        ("[api]\ncert = c.pem\n", "[api] cert: 'c.pem' cannot be read"),
        ("[api]\nauth_strategy = ldap\n", "is not one of static, keystone"),
        ("[api]\nauth_strategy = keystone\n", "needs [keystone_authtoken] auth_type"),
        (keystone("auth_type = password"), "needs [keystone_authtoken] auth_url"),
        (keystone("auth_type = passwort"), ":4: [keystone_authtoken] auth_type: 'passwort' is not"),
        (keystone("auth_urll = http://h"), "did you mean 'auth_url'?"),
        (keystone("token_cache_time = sesame"), "[keystone_authtoken]"),
        ("[consoleauth]\ntoken_ttl = 0\n", "seconds from 1"),
        ("[console]\nssl_ciphers = NOPE\n", "selects no cipher"),
        ("[nope]\n", "there is no section [nope]"),
    ],
)
def test_bad_configurations_are_one_line(text: str, problem: str) -> None:
    """Whatever is wrong is one line that names place and rule."""
    line = refusal(text)
    assert line.startswith("consoled.conf:")
    assert problem in line
    assert "sesame" not in line


@pytest.mark.parametrize(
    "url",
    ["foo://u:hunter2@h/d", "mysql://u:hunter2@h:x/d", "mysql://u:$hunter2@h/d", "hunter2"],
)
def test_a_bad_database_url_is_not_repeated(url: str) -> None:
    """The database's URL holds a password, so that no error shows it."""
    assert "hunter2" not in refusal(f"[database]\nconnection = {url}\n")


def test_cells_have_plain_names() -> None:
    """A cell's name goes into logs and tables, so that it is short and plain."""
    for cell in ("", "a b", "../x", "x" * 65):
        with pytest.raises(ConfigError, match=r"^--cell: "):
            load(cell, [], {})


def test_source_is_ipv6() -> None:
    """Under source_is_ipv6 the default address is ::, and an IPv4 address is an error."""
    assert settings(serial("source_is_ipv6 = 1")).serial_console.listen == "::"
    assert settings(serial("source_is_ipv6 = 1\nlisten = ::1")).serial_console.listen == "::1"
    line = refusal(serial("source_is_ipv6 = 1\nlisten = 0.0.0.0"))
    assert "listen: '0.0.0.0' is an IPv4 address" in line
    assert "--listen: " in refusal("", {"listen": "1.2.3.4", "source_is_ipv6": "true"})


def test_tls_is_on_where_it_is_asked_for(folder: Path) -> None:
    """cert and key are read under ssl_only or a cert that is set, and not otherwise."""
    assert not settings(serial("key = nope.pem")).serial_console.tls
    line = refusal(serial("ssl_only = true"))
    assert "[serial_console] cert (the default): 'self.pem' cannot be read" in line
    assert "ssl_only needs a certificate" in line
    make_pair(folder / "self.pem")
    assert settings(serial("ssl_only = true")).serial_console.cert == folder / "self.pem"
    assert not settings("").serial_console.tls
    make_pair(folder / "other.pem")
    read = settings(serial("cert = other.pem")).serial_console
    assert (read.cert, read.key, read.ssl_only) == (folder / "other.pem", None, False)
    assert "key: 'self.pem' is not the private key" in refusal(
        serial("cert = other.pem\nkey = self.pem")
    )
    assert settings("", {"cert": "other.pem"}).serial_console.tls


def test_web_is_a_folder_or_the_built_in_page(folder: Path) -> None:
    """A folder that is set must exist; an empty value means the built-in page."""
    (folder / "page").mkdir()
    assert settings(serial("web = page")).serial_console.web == folder / "page"
    assert settings(serial("web =")).serial_console.web is None
    (folder / "file").touch()
    assert "is not a folder" in refusal(serial("web = file"))


@pytest.mark.parametrize(
    ("proxy", "api", "clash"),
    [
        ("0.0.0.0", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.1", True),
        ("::", "127.0.0.1", True),
        ("127.0.0.2", "127.0.0.1", False),
        ("0.0.0.0", "::1", False),
    ],
)
def test_two_listeners_need_two_places(proxy: str, api: str, clash: bool) -> None:
    """The API on the proxy's port is refused where the addresses overlap."""
    text = serial(f"enabled = 1\nport = 7000\nlisten = {proxy}")
    text += f"[api]\nport = 7000\nlisten = {api}\n"
    if clash:
        assert "[api] port: '7000' is the proxy's port too" in refusal(text)
    else:
        settings(text)


def test_novas_names_are_taken_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """nova's names and its [DEFAULT] group still work, and the log says what to write instead."""
    # Where oslo.log is installed, it says each of them once in a process.
    with suppress(ImportError):
        importlib.import_module("oslo_log.versionutils")._deprecated_messages_sent.clear()
    with caplog.at_level(logging.WARNING):
        read = settings(
            "[serial_console]\nserialproxy_host = 127.0.0.9\nserialproxy_port = 7\n"
            "[DEFAULT]\nrecord = yes\n"
        )
    proxy = read.serial_console
    assert (proxy.listen, proxy.port, proxy.record) == ("127.0.0.9", 7, True)
    for name in ("serialproxy_host", "serialproxy_port", "record"):
        assert f'Option "{name}"' in caplog.text


VALUES = st.one_of(
    st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=30),
    st.sampled_from(
        ["", "1", "true", "$state_path", "$port", "::", "a:b", "http://x", "${", "\\$"]
    ),
)


@hypothesis_settings(deadline=None)
@given(st.data())
def test_arbitrary_values_are_taken_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """No value of any option makes load raise anything but one line."""
    group, options = data.draw(st.sampled_from(list(GROUPS)))
    option = data.draw(st.sampled_from(list(options)))
    path = tmp_path_factory.getbasetemp() / "value.conf"
    path.write_text(f"[{group.name}]\n{option.dest} = {data.draw(VALUES)}\n", encoding="utf-8")
    try:
        load("cell1", [path], {})
    except ConfigError as error:
        assert "\n" not in str(error)
