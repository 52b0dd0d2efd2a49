"""``python -m tools.lab.openstack`` installs all of OpenStack that the tests run, once."""

from __future__ import annotations

import sys

from tools.lab import keystone, nova, openstack_clients
from tools.lab.errors import LabError


def main() -> int:
    """Installs what is missing; the exit status."""
    try:
        for part in (nova, keystone, openstack_clients):
            print(part.install())
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
