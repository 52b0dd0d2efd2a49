"""The routes that configure a domain's serial ports: who may, what they take and answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from api_client import ApiClient
from domain_lab import ListedPorts, configurator, domain_xml, hypervisor, xml_of
from fakes import ABSENT, FOREIGN, KEYS, WEB_1, FakeIdentity
from image_lab import FakeImages
from twisted.logger import capturedLogs

from consoled.compute.image_source import Said
from consoled.errors import TokenRefused, Unavailable
from consoled.model import Caller
from consoled.openstack.values import UserToken

ROUTE = f"/v1/servers/{WEB_1}/consoles"


def client(key: str = "admin-key", **more: Any) -> ApiClient:
    """An API over libvirt's test hypervisor."""
    domains = configurator(ListedPorts())
    return ApiClient(key=key, domains=lambda _: domains, **more)


def body(**members: Any) -> bytes:
    """The members of a wish."""
    return json.dumps({"consoles": members}).encode()


def test_configure_and_restore() -> None:
    """POST gives the ports and says so; DELETE takes them back; both are in the log."""
    api = client()
    with hypervisor(domain_xml(uuid=WEB_1)) as connection:
        before = xml_of(connection, WEB_1)
        with capturedLogs() as events:
            answer = api.post(ROUTE, body(ports=2))
            again = api.post(ROUTE, body(ports=2))
            undone = api.ask("DELETE", ROUTE)
        assert xml_of(connection, WEB_1) == before
    assert (answer.status, again.status, undone.status) == (200, 200, 200)
    told = answer.json["configuration"]
    assert [port["port"] for port in told["ports"]] == [10000, 10001]
    assert told["changed"]
    assert "hunter2" not in answer.body.decode()
    assert not again.json["configuration"]["changed"]
    assert undone.json["configuration"]["ports"] == []
    logged = [event for event in events if "serial_ports" in str(event.get("event"))]
    assert [(event["event"], event["user_id"], event["ports"]) for event in logged] == [
        ("serial_ports_enabled", "ada", "10000, 10001"),
        ("serial_ports_disabled", "ada", "none"),
    ]
    assert logged[0]["instance_uuid"] == WEB_1
    assert logged[0]["request_id"].startswith("req-")


@pytest.mark.parametrize("sent", [b"", b"{}", b"null", b'{"consoles": null}', b'{"consoles": {}}'])
def test_a_body_that_wishes_nothing(sent: bytes) -> None:
    """One port, as nobody says more."""
    with hypervisor(domain_xml(uuid=WEB_1)):
        assert len(client().post(ROUTE, sent).json["configuration"]["ports"]) == 1


def test_a_dry_run_with_the_image_s_properties() -> None:
    """The image's properties count, nothing changes, and nothing is logged as if it had."""
    wish = body(image_properties={"serial_ports": "3", "os_type": "linux"}, dry_run=True)
    with hypervisor(domain_xml(uuid=WEB_1)) as connection, capturedLogs() as events:
        before = xml_of(connection, WEB_1)
        told = client().post(ROUTE, wish).json["configuration"]
        assert xml_of(connection, WEB_1) == before
    assert len(told["ports"]) == 3
    assert told["diff"]
    assert not [event for event in events if event.get("event") == "serial_ports_enabled"]


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ({"ports": "2"}, "consoles.ports must be a whole number, not a string."),
        ({"ports": True}, "consoles.ports must be a whole number, not a boolean."),
        ({"ports": 9}, "ports is 9; there can be 1 to 4 serial ports."),
        ({"log": 1}, "consoles.log must be a boolean, not a number."),
        ({"image_properties": []}, "consoles.image_properties must be an object, not an array."),
        (
            {"image_properties": {"serial_ports": True}},
            'consoles.image_properties."serial_ports" must be a string or a whole number.',
        ),
        ({"image_properties": {"serial_ports": "7"}}, "the image's serial_ports is 7; there can"),
        ({"port": 2}, 'consoles has the unknown member "port"; it may hold "ports"'),
    ],
)
def test_what_is_wrong_with_a_body(sent: dict[str, Any], words: str) -> None:
    """400 with the field and what it should be."""
    with hypervisor(domain_xml(uuid=WEB_1)):
        answer = client().post(ROUTE, body(**sent))
    assert answer.status == 400
    assert words in answer.message


@pytest.mark.parametrize(
    ("key", "uuid", "status"),
    [
        ("member-key", WEB_1, 403),
        ("reader-key", WEB_1, 403),
        ("member-key", FOREIGN, 404),
        ("admin-key", ABSENT, 404),
        ("admin-key", "web-1", 404),
    ],
)
def test_who_may(key: str, uuid: str, status: int) -> None:
    """Administrators alone, by default, and others learn of no foreign instance by it."""
    route = f"/v1/servers/{uuid}/consoles"
    with hypervisor(domain_xml(uuid=WEB_1)) as connection:
        before = xml_of(connection, WEB_1)
        assert client(key).post(route, b"").status == status
        assert client(key).ask("DELETE", route).status == status
        assert xml_of(connection, WEB_1) == before


def test_policy_may_allow_members(tmp_path: Path) -> None:
    """The rule is consoled:consoles:configure."""
    rules = tmp_path / "policy.yaml"
    rules.write_text('"consoled:consoles:configure": "rule:consoled:project-member"\n')
    with hypervisor(domain_xml(uuid=WEB_1)):
        assert client("member-key", policy_file=rules).post(ROUTE, b"").status == 200


def test_nova_s_domain() -> None:
    """409 with what to do instead; force goes on."""
    with hypervisor(domain_xml(uuid=WEB_1, nova=True)):
        refused = client().post(ROUTE, b"")
        assert refused.status == 409
        assert "hw:serial_port_count" in refused.message
        assert client().post(ROUTE, body(force=True)).status == 200


def test_a_driver_without_domains() -> None:
    """It is named, and nothing can be configured."""
    answer = ApiClient(key="admin-key").post(ROUTE, b"")
    assert answer.status == 400
    assert "(fake) has no domains" in answer.message


def test_the_image_is_asked_on_the_caller_s_behalf() -> None:
    """With their own token of Keystone's; with a key there is none, and nobody is asked."""
    images = FakeImages(Said({"serial_ports": "2"}))
    ada = Caller("ada", "ops", frozenset({"admin"}), token="ada-s")
    identity = FakeIdentity(keys={**KEYS, "ada-s": ada})
    with hypervisor(domain_xml(uuid=WEB_1)):
        answer = client("ada-s", identity=identity, images=images.asking).post(ROUTE, b"")
        assert len(answer.json["configuration"]["ports"]) == 2
        assert client(images=images.asking).post(ROUTE, b"").status == 200
    assert images.users == [UserToken("ada-s", "ops", "ada"), None]
    assert images.asked == [(WEB_1, None)]


@pytest.mark.parametrize(
    ("error", "status"), [(Unavailable("Cinder is away."), 503), (TokenRefused("Not yours."), 401)]
)
def test_the_image_cannot_be_asked(error: Exception, status: int) -> None:
    """The status says whether trying again helps, and who says a number needs nobody."""
    ada = Caller("ada", "ops", frozenset({"admin"}), token="ada-s")
    identity = FakeIdentity(keys={**KEYS, "ada-s": ada})
    api = client("ada-s", identity=identity, images=FakeImages(error).asking)
    with hypervisor(domain_xml(uuid=WEB_1)) as connection:
        before = xml_of(connection, WEB_1)
        refused = api.post(ROUTE, b"")
        assert (refused.status, refused.message) == (status, str(error))
        assert xml_of(connection, WEB_1) == before
        assert api.post(ROUTE, body(ports=2)).status == 200
