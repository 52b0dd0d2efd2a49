"""What nova's metadata in a domain says beyond its owner. Pure: an element in, facts out.

nova writes the properties of the image and the extra specs of the flavor there (older ones
do not), whatever version its namespace is in::

    <nova:flavor name="m1.small">
      <nova:extraSpecs><nova:extraSpec name="hw:serial_port_count">2</nova:extraSpec>...
    <nova:image uuid="...">
      <nova:properties><nova:property name="hw_serial_port_count">2</nova:property>...
"""

from __future__ import annotations

import re

from attrs import frozen
from lxml import etree

_INSTANCE = re.compile(r"\{http://openstack\.org/xmlns/libvirt/nova/[^}]*\}instance")


@frozen
class NovaFacts:
    """What nova says of a domain.

    :ivar managed: whether nova made it, and so makes its XML anew now and then.
    :ivar image: properties of its image.
    :ivar flavor: extra specs of its flavor.
    """

    managed: bool
    image: dict[str, str]
    flavor: dict[str, str]


def nova_facts(root: etree._Element) -> NovaFacts:
    """The facts in a domain's metadata; what is malformed there is as if it were absent."""
    for element in root.iterfind("metadata/*"):
        if isinstance(element.tag, str) and _INSTANCE.fullmatch(element.tag):
            return NovaFacts(
                managed=True,
                image=_named(element, "{*}image/{*}properties/{*}property"),
                flavor=_named(element, "{*}flavor/{*}extraSpecs/{*}extraSpec"),
            )
    return NovaFacts(managed=False, image={}, flavor={})


def _named(element: etree._Element, path: str) -> dict[str, str]:
    return {
        name: (found.text or "").strip()
        for found in element.iterfind(path)
        if (name := found.get("name"))
    }
