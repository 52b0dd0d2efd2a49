"""consoled.compute.libvirt.nova_metadata: who asked nova for a domain, and as what."""

from __future__ import annotations

import pytest
from lxml import etree

from consoled.compute.libvirt.nova_metadata import nova_identity
from consoled.compute.libvirt.xml import parse_domain

OWNER = """
<nova:owner>
  <nova:user uuid="u1">alice</nova:user><nova:project uuid="p1"> demo </nova:project>
</nova:owner>"""


def domain(inside: str, version: str = "1.1") -> str:
    """A domain's XML with that in its nova metadata."""
    return (
        "<domain><name>d</name><uuid>2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0001</uuid><metadata>"
        f'<nova:instance xmlns:nova="http://openstack.org/xmlns/libvirt/nova/{version}">'
        f"{inside}</nova:instance></metadata></domain>"
    )


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_everything_that_nova_says(version: str) -> None:
    """User and project with their names, flavor and image, in either version's words."""
    more = '<nova:flavor name="m1.tiny"/><nova:root type="image" uuid="i1"/>'
    found = parse_domain(domain(OWNER + more, version), proxyclient_address="192.0.2.7")
    assert found.project_id == "p1"
    assert found.nova == {
        "user_id": "u1",
        "user_name": "alice",
        "project_name": "demo",
        "flavor": "m1.tiny",
        "image_id": "i1",
    }


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        ("", {}),
        ("<nova:owner/>", {}),
        ("<nova:owner><nova:user/></nova:owner>", {}),
        ('<nova:root type="volume" uuid="v1"/>', {}),
        ('<nova:image uuid="i2"/>', {"image_id": "i2"}),
        ('<nova:flavor name="  "/>', {}),
        (f"<nova:owner><nova:user>{'x' * 999}</nova:user></nova:owner>", {"user_name": "x" * 255}),
    ],
)
def test_what_is_absent_or_odd_is_left_out(inside: str, expected: dict[str, str]) -> None:
    """Nothing of it is made up, and nothing is longer than a name."""
    assert nova_identity(etree.fromstring(domain(inside))) == expected


def test_a_domain_without_nova() -> None:
    """Says nothing of it."""
    assert nova_identity(etree.fromstring("<domain><metadata><a/></metadata></domain>")) == {}
