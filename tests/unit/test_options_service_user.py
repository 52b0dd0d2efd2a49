"""``[service_user]``: keystoneauth's options and consoled's own, or one line that says why not."""

from __future__ import annotations

from pathlib import Path

import pytest

from consoled.errors import ConfigError
from consoled.options import load
from consoled.settings import ServiceUser

LOGIN = """\
auth_type = password
auth_url = http://keystone:5000/v3
username = consoled
password = sesame
project_name = service
user_domain_id = default
project_domain_id = default
"""


def found(tmp_path: Path, text: str) -> ServiceUser:
    """What the file gives."""
    path = tmp_path / "c.conf"
    path.write_text(text)
    return load("cell1", [path], {}).service_user


def test_nothing() -> None:
    """Service tokens are not sent unless they are switched on, as the specification wants it."""
    given = load("cell1", [], {}).service_user
    assert (given.send_service_user_token, given.token_secret_file, given.conf) == (
        False,
        None,
        None,
    )


def test_all(tmp_path: Path) -> None:
    """keystoneauth's options stand beside ours, and the password is in no repr."""
    given = found(
        tmp_path,
        f"[service_user]\nsend_service_user_token = true\ntoken_secret_file = /k\n{LOGIN}"
        "region_name = one\nvalid_interfaces = public\ntimeout = 9\ncafile = /ca\n"
        "insecure = false\ncertfile = /c\nkeyfile = /k\n",
    )
    assert given.send_service_user_token
    assert given.token_secret_file == Path("/k")
    assert (given.region_name, given.valid_interfaces, given.timeout) == ("one", ("public",), 9.0)
    assert given.conf.service_user.cafile == "/ca"
    assert "sesame" not in repr(given)


def test_how_services_are_reached_alone(tmp_path: Path) -> None:
    """A section that says nothing of a user has none."""
    given = found(tmp_path, "[service_user]\nregion_name = one\ncafile = /ca\ntimeout = 3\n")
    assert (given.conf, given.region_name) == (None, "one")


def test_the_user_of_another_section(tmp_path: Path) -> None:
    """``auth_section`` spares an operator the second copy of a password."""
    given = found(
        tmp_path,
        "[service_user]\nsend_service_user_token = true\nauth_section = keystone_authtoken\n"
        f"[keystone_authtoken]\n{LOGIN}",
    )
    assert given.conf is not None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "[service_user]\nsend_service_user_token = true\n",
            "needs a user to log in as; give auth",
        ),
        ("[service_user]\nsend_service_user_token = maybe\n", "c.conf:2: .*'maybe' is neither"),
        ("[service_user]\nusername = c\n", r"c.conf:1: \[service_user\] needs auth_type"),
        ("[service_user]\nauth_type = passwort\n", ":2: .*'passwort' is not a way to log in"),
        ("[service_user]\nauth_type = password\n", r"\[service_user\] (needs auth_url|cannot be)"),
        ("[service_user]\nauth_type = admin_token\n", "does not log in at Keystone|cannot be used"),
        (f"[service_user]\n{LOGIN}pasword = x\n", "did you mean 'password'"),
        (f"[service_user]\n{LOGIN}insecure = sesame\n", "has a value of the wrong kind$"),
        (f"[service_user]\n{LOGIN}auth_section = nova\n", "neither empty nor keystone_authtoken"),
        (
            "[service_user]\nauth_section = keystone_authtoken\n",
            r"needs auth_type in \[keystone_authtoken\]",
        ),
        ("[service_user]\nvalid_interfaces = outer\n", "'outer' is not|is not one of"),
        ("[service_user]\ntimeout = 0\n", "'0'"),
    ],
)
def test_refused(tmp_path: Path, text: str, problem: str) -> None:
    """What is incomplete or wrong is told in one line, without a password."""
    with pytest.raises(ConfigError, match=problem) as caught:
        found(tmp_path, text)
    assert "\n" not in str(caught.value)
    assert "sesame" not in str(caught.value)
