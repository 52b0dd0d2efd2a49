"""OpenStack's own command line client, novaclient and SDK, in the environment of OpenStack."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from tools.lab import openstack_environment
from tools.lab.environments import clean_environment
from tools.lab.keystone import REGION, Keystone, User

PATIENCE = 120


class Clients:
    """Run as a user of a Keystone.

    :raises tools.lab.errors.LabError: they cannot be installed.
    """

    def __init__(self, keystone: Keystone) -> None:
        self.keystone = keystone
        self._home = openstack_environment.install()

    def openstack(self, user: User, *words: str) -> subprocess.CompletedProcess[str]:
        """``openstack WORDS``."""
        return self._run(user, [self._home / "bin/openstack", *words])

    def python(self, user: User, code: str, *words: str) -> subprocess.CompletedProcess[str]:
        """A program, with the user's credentials in its environment."""
        return self._run(user, [self._home / "bin/python", "-c", code, *words])

    def _run(self, user: User, argv: list[str | Path]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            argv,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
            env=clean_environment(**self._credentials(user)),
        )

    def _credentials(self, user: User) -> Mapping[str, str]:
        return {
            "OS_AUTH_URL": self.keystone.url,
            "OS_USERNAME": user.name,
            "OS_PASSWORD": user.password,
            "OS_PROJECT_NAME": user.project,
            "OS_USER_DOMAIN_ID": "default",
            "OS_PROJECT_DOMAIN_ID": "default",
            "OS_IDENTITY_API_VERSION": "3",
            "OS_REGION_NAME": REGION,
        }
