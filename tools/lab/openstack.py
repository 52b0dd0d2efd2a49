"""``python -m tools.lab.openstack [SERVICE...]`` prepares what the services of OpenStack start
from, once; all of them by default.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tools.lab import cinder, glance, keystone, neutron, nova, openstack_environment
from tools.lab.errors import LabError

SERVICES = {
    "keystone": keystone.install,
    "nova": nova.install,
    "glance": glance.install,
    "cinder": cinder.install,
    "neutron": neutron.install,
}
"""Each has a database of its own."""


def main(names: Sequence[str]) -> int:
    """Prepares what is missing, two at a time; the exit status."""
    try:
        print(openstack_environment.install())
        with ThreadPoolExecutor(2) as workers:
            for data in workers.map(lambda name: SERVICES[name](), names or SERVICES):
                print(data)
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
