"""Which API and which key a call of consolectl means."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from attrs import evolve

from consoled.cli.endpoint import Given, check_url, find_endpoint, local_url
from consoled.cli.failure import Failure
from consoled.cli.keyfile import admin_key
from consoled.errors import ConfigError
from consoled.settings import Api, Settings

ADMIN = "admin-key-0123456789"
MEMBER = "member-key-0123456789"
KEYS = f"""\
- {{key: {MEMBER}, user_id: max, project_id: demo, roles: [member]}}
- {{key: {ADMIN}, user_id: ada, roles: [Admin]}}
"""
CONFIG = (Path("consoled.conf"),)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    keys = tmp_path / "keys.yaml"
    keys.touch(mode=0o600)
    keys.write_text(KEYS)
    return Settings("cell", api=Api(keys_file=keys))


def typed(**options: object) -> Given:
    """Options that all stand on the command line."""
    return Given(typed=frozenset(options), **options)  # type: ignore[arg-type]  # names as given


def test_configuration_alone(settings: Settings) -> None:
    """--config leads to the daemon's own address and an administrator's key."""
    endpoint = find_endpoint(typed(config=CONFIG), lambda: settings)
    assert endpoint.url == "http://127.0.0.1:8774"
    assert endpoint.key == ADMIN
    assert str(settings.api.keys_file) in endpoint.key_source
    assert ADMIN not in repr(endpoint)


def test_explicit_options_win_over_the_configuration(settings: Settings) -> None:
    """--key replaces the configuration's key; --api never gets it."""
    given = typed(config=CONFIG, key=MEMBER)
    assert find_endpoint(given, lambda: settings).key == MEMBER
    with pytest.raises(click.UsageError, match="no key for this API"):
        find_endpoint(typed(config=CONFIG, api="http://elsewhere:1"), lambda: settings)
    both = typed(config=CONFIG, api="http://elsewhere:1", key=MEMBER)
    assert find_endpoint(both, lambda: settings).url == "http://elsewhere:1"


def test_typed_configuration_wins_over_the_environment(settings: Settings) -> None:
    """With CONSOLED_API and CONSOLED_KEY for another daemon, --config still means this one."""
    elsewhere = Given(config=CONFIG, api="http://elsewhere:1", key=MEMBER, cacert=Path("x"))
    endpoint = find_endpoint(evolve(elsewhere, typed=frozenset({"config"})), lambda: settings)
    assert (endpoint.url, endpoint.key) == ("http://127.0.0.1:8774", ADMIN)
    assert endpoint.trust.authorities is None


def test_environment_alone(settings: Settings) -> None:
    """CONSOLED_API wins over CONSOLED_CONFIG, and the errors name the variables."""
    given = Given(config=CONFIG, api="http://elsewhere:1/", key=f" {MEMBER}\n")
    endpoint = find_endpoint(given, lambda: settings)
    assert (endpoint.url, endpoint.source) == ("http://elsewhere:1", "CONSOLED_API")
    assert (endpoint.key, endpoint.key_source) == (MEMBER, "CONSOLED_KEY")


def test_key_of_the_environment_for_a_configuration_of_it(settings: Settings) -> None:
    """CONSOLED_KEY counts beside CONSOLED_CONFIG."""
    given = Given(config=CONFIG, key=MEMBER)
    assert find_endpoint(given, lambda: settings).key == MEMBER


@pytest.mark.parametrize(
    ("listen", "cert", "url"),
    [
        ("127.0.0.1", None, "http://127.0.0.1:8774"),
        ("0.0.0.0", None, "http://127.0.0.1:8774"),
        ("::", None, "http://[::1]:8774"),
        ("10.1.2.3", Path("api.pem"), "https://10.1.2.3:8774"),
    ],
)
def test_local_address(listen: str, cert: Path | None, url: str) -> None:
    """An address that stands for all becomes loopback; a certificate makes it TLS."""
    assert local_url(Settings("cell", api=Api(listen=listen, cert=cert))) == url


def test_local_address_without_a_port() -> None:
    """A port of the daemon's own choice is not in the configuration."""
    with pytest.raises(Failure, match="--api"):
        local_url(Settings("cell", api=Api(port=0)))


def test_local_certificate_is_the_configuration_s(settings: Settings) -> None:
    """Over TLS the daemon's own certificate file is what is trusted, unless --cacert is given."""
    settings = evolve(settings, api=evolve(settings.api, cert=Path("api.pem")))
    trust = find_endpoint(typed(config=CONFIG), lambda: settings).trust
    assert (trust.authorities, trust.exactly) == (None, Path("api.pem"))
    given = typed(config=CONFIG, cacert=Path("ca.pem"))
    trust = find_endpoint(given, lambda: settings).trust
    assert (trust.authorities, trust.exactly) == (Path("ca.pem"), None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "api.test:8774",
        "ftp://api.test",
        "http://",
        "http://api.test:99999",
        "http://api.test:0",
        "http://user:secret@api.test",
        "http://api.test/?token=secret",
        "http://api.test/#x",
        "http://[::1",
        "http://api.test/\x1b",
    ],
)
def test_addresses_that_are_none(text: str) -> None:
    """A bad --api is a usage error that repeats nothing of it."""
    with pytest.raises(click.UsageError) as caught:
        check_url(text)
    assert "secret" not in caught.value.message


def test_addresses_with_a_path() -> None:
    """An API may live below a path of a load balancer."""
    assert check_url("https://cloud.test/consoled/") == "https://cloud.test/consoled"


def test_key_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The key alone in a file; one that others can read is warned about."""
    file = tmp_path / "key"
    file.touch(mode=0o600)
    file.write_text(f"{MEMBER}\n")
    given = typed(api="http://api.test", key_file=file)
    endpoint = find_endpoint(given, _no_settings)
    assert (endpoint.key, endpoint.key_source) == (MEMBER, f"--key-file {file}")
    assert capsys.readouterr().err == ""
    file.chmod(0o644)
    find_endpoint(given, _no_settings)
    assert "chmod 600" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content", ["", "two words of it", "- key: abc\n  roles: [x]\n", "schlüssel"]
)
def test_key_files_that_hold_none(tmp_path: Path, content: str) -> None:
    """What cannot be a key is refused without being repeated."""
    file = tmp_path / "key"
    file.touch(mode=0o600)
    file.write_text(content)
    with pytest.raises(Failure) as caught:
        find_endpoint(typed(api="http://api.test", key_file=file), _no_settings)
    assert str(file) in caught.value.message
    assert not content or content.strip() not in caught.value.message


def test_key_file_that_is_missing(tmp_path: Path) -> None:
    """The reason names the file."""
    given = typed(api="http://api.test", key_file=tmp_path / "key")
    with pytest.raises(Failure, match="No such file"):
        find_endpoint(given, _no_settings)


def test_two_keys() -> None:
    """--key and --key-file together are a usage error; CONSOLED_KEY gives way to --key-file."""
    with pytest.raises(click.UsageError, match="exclude"):
        find_endpoint(typed(api="http://api.test", key="k", key_file=Path("f")), _no_settings)


def test_nothing_given() -> None:
    """Without an address the error says both ways to give one."""
    with pytest.raises(click.UsageError, match="--config"):
        find_endpoint(Given(), _no_settings)


def test_keys_file_that_cannot_be_used(settings: Settings) -> None:
    """The keys file's own complaint, and the way round it."""
    settings.api.keys_file.chmod(0o644)
    with pytest.raises(Failure, match=r"chmod 600 .* --key-file"):
        find_endpoint(typed(config=CONFIG), lambda: settings)


def test_keys_file_without_an_administrator(settings: Settings) -> None:
    """A member's key is not taken for an administrator's."""
    settings.api.keys_file.write_text(KEYS.splitlines()[0])
    with pytest.raises(ConfigError, match="no key in this file has the role admin"):
        admin_key(settings.api.keys_file)


def _no_settings() -> Settings:
    raise AssertionError("the configuration was read")
