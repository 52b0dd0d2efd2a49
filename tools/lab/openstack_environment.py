"""The one environment with all of OpenStack that the tests run: services, clients, tempest.

They are of one release and share nearly all of what they need, so that one environment takes
a third of the time and of the disk of one for each. Standard library only: the set-up
installs it before there is anything else.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tools.lab.environments import environment
from tools.lab.errors import LabError

REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements/openstack.txt"


def install() -> Path:
    """Its folder; the first who asks installs it.

    :raises tools.lab.errors.LabError: something cannot be installed.
    """
    return environment("openstack", REQUIREMENTS)


def version_of(package: str) -> str:
    """Which version of a package that is."""
    lines = REQUIREMENTS.read_text().splitlines()
    return next(line.split("==")[1] for line in lines if line.startswith(f"{package}=="))


def main() -> int:
    """``python -m tools.lab.openstack_environment``; the exit status."""
    try:
        print(install())
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
