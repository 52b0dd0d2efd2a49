"""What nova's metadata in a domain says beyond its owner. Pure: an element in, facts out.

nova writes the properties of the image and the extra specs of the flavor there (older ones
do not), whatever version its namespace is in::

    <nova:flavor name="m1.small">
      <nova:extraSpecs><nova:extraSpec name="hw:serial_port_count">2</nova:extraSpec>...
    <nova:owner>
      <nova:user uuid="...">alice</nova:user><nova:project uuid="...">demo</nova:project>...
    <nova:root type="image" uuid="..."/>
    <nova:image uuid="...">
      <nova:properties><nova:property name="hw_serial_port_count">2</nova:property>...
"""

from __future__ import annotations

import re

from attrs import frozen
from lxml import etree

_LONGEST = 255
_ID = re.compile(r"[0-9A-Fa-f-]{32,36}")
_INSTANCE = re.compile(r"\{http://openstack\.org/xmlns/libvirt/nova/[^}]*\}instance")


@frozen
class NovaFacts:
    """What nova says of a domain.

    :ivar managed: whether nova made it, and so makes its XML anew now and then.
    :ivar image: properties of its image.
    :ivar flavor: extra specs of its flavor.
    :ivar image_id: its image's; None for one that was booted from a volume.
    """

    managed: bool
    image: dict[str, str]
    flavor: dict[str, str]
    image_id: str | None = None


def nova_facts(root: etree._Element) -> NovaFacts:
    """The facts in a domain's metadata; what is malformed there is as if it were absent."""
    for element in root.iterfind("metadata/*"):
        if isinstance(element.tag, str) and _INSTANCE.fullmatch(element.tag):
            return NovaFacts(
                managed=True,
                image=_named(element, "{*}image/{*}properties/{*}property"),
                flavor=_named(element, "{*}flavor/{*}extraSpecs/{*}extraSpec"),
                image_id=found if _ID.fullmatch(found := _image_id(element)) else None,
            )
    return NovaFacts(managed=False, image={}, flavor={})


def nova_identity(root: etree._Element) -> dict[str, str]:
    """Who asked nova for a domain, and as what: the names as consoled keeps them with it.

    :returns: ``user_id``, ``user_name``, ``project_name``, ``flavor`` and ``image_id``, as
        far as they are there; cut where they are too long for a name.
    """
    for element in root.iterfind("metadata/*"):
        if isinstance(element.tag, str) and _INSTANCE.fullmatch(element.tag):
            break
    else:
        return {}
    user, project = element.find("{*}owner/{*}user"), element.find("{*}owner/{*}project")
    found = {
        "user_id": _attribute(user, "uuid"),
        "user_name": _text(user),
        "project_name": _text(project),
        "flavor": _attribute(element.find("{*}flavor"), "name"),
        "image_id": _image_id(element),
    }
    return {name: text[:_LONGEST] for name, text in found.items() if text}


def _image_id(element: etree._Element) -> str:
    # nova's older name for it, and the one that it has now (empty where it boots a volume).
    return _attribute(element.find("{*}root[@type='image']"), "uuid") or _attribute(
        element.find("{*}image"), "uuid"
    )


def _attribute(element: etree._Element | None, name: str) -> str:
    return "" if element is None else element.get(name, "").strip()


def _text(element: etree._Element | None) -> str:
    return "" if element is None else (element.text or "").strip()


def _named(element: etree._Element, path: str) -> dict[str, str]:
    return {
        name: (found.text or "").strip()
        for found in element.iterfind(path)
        if (name := found.get("name"))
    }
