"""Requests that other cells answer: which of them are asked, and what comes of it."""

from __future__ import annotations

from typing import Any

import pytest
from api_client import ApiClient
from attrs import define, evolve
from fake_cells import FakeCell, cell_parts, fake_cell
from fakes import ABSENT, KEYS, FakeDriver, FakeIdentity, make_instance
from twisted.internet.defer import Deferred, fail, succeed
from twisted.web.http_headers import Headers

from consoled.cells.asking import CellAnswer
from consoled.cells.homes import Homes
from consoled.cells.parts import CellParts
from consoled.errors import Unauthorized, Unavailable
from consoled.model import Caller

ONE, TWO, THREE = (f"2f9e1b6e-3c43-4f6e-9b0a-0000000000{n}" for n in ("01", "02", "03"))
THEIRS = "2f9e1b6e-3c43-4f6e-9b0a-000000000004"


@define
class World:
    """A cell that is asked, and two others."""

    api: ApiClient
    parts: CellParts
    two: FakeCell
    three: FakeCell

    def heard(self) -> list[tuple[str, str]]:
        """Which cell was asked what, since this was looked at last."""
        found = [
            (cell.name, f"{wish.method.decode()} {wish.target.decode()}")
            for cell in (self.two, self.three)
            for wish in cell.heard
        ]
        for cell in (self.two, self.three):
            cell.heard.clear()
        return found


def world(**more: Any) -> World:
    """Three cells with one instance each, and one of another project in the third."""
    two = fake_cell("cell2", make_instance(TWO, "b-two"))
    theirs = make_instance(THEIRS, "theirs", project_id="other")
    three = fake_cell("cell3", make_instance(THREE, "c-three"), theirs)
    parts = cell_parts("cell1", [two, three], **more)
    identity = more.get("identity") or FakeIdentity()
    driver = FakeDriver([make_instance(ONE, "a-one")])
    return World(ApiClient(driver=driver, identity=identity, cells=parts), parts, two, three)


def test_found_elsewhere_and_remembered() -> None:
    """The first request asks all cells, the next one the cell that has it; own ones ask nobody."""
    cells = world()
    path = f"/v1/servers/{TWO}"
    assert cells.api.ask("GET", path).json["server"]["name"] == "b-two"
    assert cells.heard() == [("cell2", f"GET {path}"), ("cell3", f"GET {path}")]
    assert cells.api.ask("POST", path + "/consoles/1/tokens").status == 201
    assert cells.heard() == [("cell2", f"POST {path}/consoles/1/tokens")]
    assert cells.api.ask("GET", f"/v1/servers/{ONE}").status == 200
    assert cells.heard() == []


def test_the_request_as_it_was() -> None:
    """Method, query, body and the client's own tokens go on; what it claims to be does not."""
    cells = world()
    answer = cells.api.ask(
        "POST",
        f"/v1/servers/{TWO}/tokens?a=b",
        b'{"token": {"role": "writer"}}',
        {
            "Content-Type": "application/json",
            "X-Service-Token": "a-service-of-theirs",
            "X-Roles": "admin",
            "Cookie": "a=b",
        },
    )
    assert answer.status == 201
    [wish] = cells.two.heard
    sent = {name.decode().lower(): values for name, values in wish.headers.getAllRawHeaders()}
    assert (wish.method, wish.target) == (b"POST", f"/v1/servers/{TWO}/tokens?a=b".encode())
    assert wish.body == b'{"token": {"role": "writer"}}'
    assert sent == {
        "x-auth-token": [b"member-key"],
        "x-service-token": [b"a-service-of-theirs"],
        "content-type": [b"application/json"],
        "x-consoled-cell": [b"cell1"],
        "x-openstack-request-id": [answer.headers["X-Openstack-Request-Id"].encode()],
        "x-forwarded-for": [b"192.0.2.77"],
        "x-forwarded-host": [b"api.test:8774"],
        "x-forwarded-proto": [b"http"],
    }
    assert "member-key" not in repr(wish)


def test_a_head_is_the_head_of_the_answer() -> None:
    """HEAD says how long the body would be."""
    cells = world()
    answer = cells.api.ask("HEAD", f"/v1/servers/{TWO}")
    length = len(cells.api.ask("GET", f"/v1/servers/{TWO}").body)
    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.headers["Content-Length"]) == length


def test_nowhere() -> None:
    """404 in this cell's words when every cell has said no; ids that are none ask nobody."""
    cells = world()
    answer = cells.api.ask("GET", f"/v1/servers/{ABSENT}")
    assert (answer.status, answer.message) == (404, f"Instance {ABSENT} could not be found.")
    assert len(cells.heard()) == 2
    for path in ("/v1/servers/x", "/v1/sessions/x", "/v1/node-groups/x", "/v1/nothing"):
        assert cells.api.ask("DELETE" if "sessions" in path else "GET", path).status == 404
    assert cells.heard() == []
    masked = cells.api.ask("GET", f"/v1/servers/{THEIRS}")
    assert (masked.status, masked.message) == (404, f"Instance {THEIRS} could not be found.")


def test_sessions_and_tokens() -> None:
    """A session, and a token by the digits of its hash, are looked for in all cells."""
    cells = world()
    assert cells.api.ask("DELETE", f"/v1/sessions/{ABSENT}").status == 404
    assert [what for _, what in cells.heard()] == [f"DELETE /v1/sessions/{ABSENT}"] * 2
    cells.two.api.ask("POST", f"/v1/servers/{TWO}/tokens")
    headers = {"OpenStack-API-Version": "compute 2.31"}
    cells.api.key = "admin-key"
    path = "/v2.1/os-console-auth-tokens/clear-token-1"
    answer = cells.api.ask("GET", path, headers=headers)
    assert answer.json["console"]["instance_uuid"] == TWO
    assert answer.headers["OpenStack-API-Version"] == "compute 2.31"
    assert "clear-token-1" not in repr(cells.two.heard)


def test_away() -> None:
    """503 for what a cell that is away has or may have, and nothing else suffers."""
    cells = world()
    assert cells.api.ask("GET", f"/v1/servers/{TWO}").status == 200
    cells.two.away = True
    answer = cells.api.ask("GET", f"/v1/servers/{TWO}")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    assert answer.message == f"{TWO} is in cell cell2, which does not answer now; try again."
    unknown = cells.api.ask("GET", f"/v1/servers/{ABSENT}")
    assert (unknown.status, unknown.headers["Retry-After"]) == (503, "5")
    assert "cell cell2 does not answer now: it may be there" in unknown.message
    # A stranger learns nothing of what there is: it is the same to them.
    masked = cells.api.ask("GET", f"/v1/servers/{THEIRS}")
    assert masked.json == unknown.json
    cells.heard()
    assert cells.api.ask("GET", f"/v1/servers/{THREE}").status == 200
    assert cells.heard() == [("cell3", f"GET /v1/servers/{THREE}")]
    assert cells.api.ask("GET", f"/v1/servers/{ONE}").status == 200
    assert cells.api.ask("GET", "/v1/nothing").status == 404


def test_it_has_moved() -> None:
    """What is remembered is forgotten where it is wrong, also while the cell is away."""
    cells = world()
    assert cells.api.ask("GET", f"/v1/servers/{TWO}").status == 200
    [moving] = cells.two.api.driver.known
    cells.two.api.driver.known.clear()
    cells.three.api.driver.known.append(moving)
    assert cells.api.ask("GET", f"/v1/servers/{TWO}").status == 200
    cells.heard()
    assert cells.api.ask("GET", f"/v1/servers/{TWO}").status == 200
    assert [name for name, _ in cells.heard()] == ["cell3"]
    cells.three.api.driver.known.remove(moving)
    cells.three.away = True
    cells.api.driver.known.append(moving)
    assert cells.api.ask("GET", f"/v1/servers/{TWO}").status == 200
    assert cells.parts.handover.homes.find(TWO) is None


def test_a_stranger_makes_nothing_forgotten() -> None:
    """A 404 to one caller does not tell that the instance is gone."""
    cells = world()
    cells.api.key = "admin-key"
    assert cells.api.ask("GET", f"/v1/servers/{THEIRS}").status == 200
    cells.api.key = "member-key"
    assert cells.api.ask("GET", f"/v1/servers/{THEIRS}").status == 404
    assert cells.parts.handover.homes.find(THEIRS) == "cell3"


def test_asked_by_a_cell() -> None:
    """A cell's request is never handed on, and its answer says whose it is."""
    cells = world()
    answer = cells.api.ask("GET", f"/v1/servers/{TWO}", headers={"X-Consoled-Cell": "cell9"})
    assert (answer.status, answer.headers["X-Consoled-Cell"]) == (404, "cell1")
    assert cells.heard() == []
    assert cells.api.ask("GET", "/").headers["X-Consoled-Cell"] is None


def test_nobody_unknown_is_heard_elsewhere() -> None:
    """Without a credential that counts here nothing leaves this cell."""
    cells = world()
    assert cells.api.ask("GET", f"/v1/servers/{TWO}").status == 200
    cells.heard()
    cells.api.key = "no-such-key"
    assert cells.api.ask("GET", f"/v1/servers/{TWO}").status == 401
    assert cells.api.ask("GET", f"/v1/servers/{ABSENT}").status == 401
    assert cells.api.ask("GET", "/v1/servers").status == 401
    assert cells.heard() == []


def test_a_key_that_is_unknown_elsewhere() -> None:
    """It finds nothing there; of an instance that is known to be there the refusal is told."""
    cells = world()
    cells.two.api.identity.keys = {k: v for k, v in KEYS.items() if k != "member-key"}
    assert cells.api.ask("GET", f"/v1/servers/{TWO}").status == 404
    cells.parts.handover.homes.learn(TWO, "cell2")
    assert cells.api.ask("GET", f"/v1/servers/{TWO}").status == 401


def test_what_it_has_not_got() -> None:
    """A 404 about something of the instance's is the answer of the cell that has it."""
    cells = world()
    for _ in range(2):
        answer = cells.api.ask("POST", f"/v1/servers/{TWO}/consoles/7/tokens")
        assert answer.status == 404
        assert answer.message == f"Instance {TWO} has no console 7; there are 0, 1."
        cells.parts.handover.homes.learn(TWO, "cell2")


@pytest.mark.parametrize("status", [400, 500])
def test_an_answer_to_anything(status: int) -> None:
    """What a cell says before it has looked counts only where no other has the id."""
    cells = world()
    headers = Headers({"Content-Type": ["application/json"]})
    cells.two.fixed = CellAnswer(status, headers, b'{"x": 1}', "1")
    assert cells.api.ask("GET", f"/v1/servers/{THREE}").status == 200
    answer = cells.api.ask("GET", f"/v1/servers/{ABSENT}")
    assert (answer.status, answer.body) == (status, b'{"x": 1}')
    cells.three.away = True
    assert cells.api.ask("GET", f"/v1/servers/{ABSENT}").status == 503


def test_not_here() -> None:
    """A cell says to others that it has no such route or id; to a client it does not."""
    cells = world()
    hop = {"X-Consoled-Cell": "cell9"}

    def said(method: str, path: str) -> tuple[int, str | None]:
        answer = cells.api.ask(method, path, headers=hop)
        return answer.status, answer.headers["X-Consoled-Not-Here"]

    assert said("GET", "/v1/nothing") == (404, "true")
    assert said("GET", f"/v1/servers/{ABSENT}") == (404, "true")
    assert said("GET", f"/v1/servers/{ONE}") == (200, None)
    assert said("POST", f"/v1/servers/{ONE}/consoles/7/tokens") == (404, None)
    answer = cells.api.ask("GET", f"/v1/servers/{ABSENT}")
    assert (answer.status, answer.headers["X-Consoled-Not-Here"]) == (404, None)


@pytest.mark.parametrize("status", [403, 409, 502])
def test_refusals_are_answers(status: int) -> None:
    """What the cell that has it says is the answer, whatever it is."""
    cells = world()
    headers = Headers({"Content-Type": ["application/json"]})
    cells.two.fixed = CellAnswer(status, headers, b'{"x": 1}', "1")
    answer = cells.api.ask("GET", f"/v1/servers/{TWO}")
    assert (answer.status, answer.body) == (status, b'{"x": 1}')


def test_a_cell_that_cannot_tell() -> None:
    """503 of a cell is no no: what may be there is not gone."""
    cells = world()
    cells.two.api.driver.error = Unavailable("libvirt is away")
    assert cells.api.ask("GET", f"/v1/servers/{ABSENT}").status == 503
    assert cells.api.ask("GET", f"/v1/servers/{THREE}").status == 200


def test_this_cell_cannot_tell() -> None:
    """While this cell's hypervisor is away, what others have is found all the same."""
    cells = world()
    cells.api.driver.error = Unavailable("libvirt is away")
    assert cells.api.ask("GET", f"/v1/servers/{TWO}").status == 200
    answer = cells.api.ask("GET", f"/v1/servers/{ABSENT}")
    assert (answer.status, answer.message) == (503, "libvirt is away")


def test_the_first_that_knows_is_enough() -> None:
    """Nobody waits for a slow cell when another one has the answer; a client may leave."""
    cells = world()
    cells.three.pending = []
    assert cells.api.ask("GET", f"/v1/servers/{TWO}").status == 200
    assert [waiting.called for waiting in cells.three.pending] == [True]
    connection = cells.api.start("GET", f"/v1/servers/{ABSENT}")
    assert connection.answer("GET") is None
    connection.leave()
    assert [waiting.called for waiting in cells.three.pending] == [True, True]


def test_vouching() -> None:
    """Our service token goes along where the client sends none, and gives no service's rights."""
    seen: list[Headers] = []

    class Services(FakeIdentity):
        def authenticate(self, headers: Headers) -> Deferred[Caller]:
            seen.append(headers.copy())
            found = super().authenticate(headers)
            roles = frozenset({"service"} if headers.hasHeader("X-Service-Token") else ())
            return found.addCallback(lambda caller: evolve(caller, service_roles=roles))

    tokens: list[str | None] = ["our-word"]
    cells = world(service_token=lambda: succeed(tokens[0]))
    judged = cell_parts("cell2", identity=Services())
    cells.two.api = ApiClient(driver=cells.two.api.driver, cells=judged)
    path = f"/v1/servers/{TWO}"
    assert cells.api.ask("GET", path).status == 200
    assert seen[-1].getRawHeaders("X-Service-Token") == ["our-word"]
    [caller] = [_roles(judged, headers) for headers in seen[-1:]]
    assert caller.service_roles == frozenset()
    assert cells.api.ask("GET", path, headers={"X-Service-Token": "theirs"}).status == 200
    assert seen[-1].getRawHeaders("X-Service-Token") == ["theirs"]
    assert _roles(judged, seen[-1]).service_roles == {"service"}
    tokens[0] = None
    assert cells.api.ask("GET", path).status == 200
    assert not seen[-1].hasHeader("X-Service-Token")
    assert seen[-1].getRawHeaders("X-Consoled-Cell") == ["cell1"]


def test_our_own_word_is_refused() -> None:
    """A service token of ours that another cell refuses does not shut the user out."""

    class Sceptical(FakeIdentity):
        def authenticate(self, headers: Headers) -> Deferred[Caller]:
            if headers.hasHeader("X-Service-Token"):
                return fail(Unauthorized("no such service"))
            return super().authenticate(headers)

    cells = world(service_token=lambda: succeed("our-old-word"))
    judged = cell_parts("cell2", identity=Sceptical())
    cells.two.api = ApiClient(driver=cells.two.api.driver, cells=judged)
    assert cells.api.ask("POST", f"/v1/servers/{TWO}/tokens").status == 201
    assert [wish.plain is None for wish in cells.two.heard] == [False, True]
    found = cells.api.ask("GET", "/v1/servers").json
    assert TWO in [server["id"] for server in found["servers"]]


def _roles(parts: CellParts, headers: Headers) -> Caller:
    found: list[Caller] = []
    parts.identity.authenticate(headers).addCallback(found.append)
    return found[0]


def test_homes_are_bounded() -> None:
    """The one that was not asked for for longest is forgotten first."""
    homes = Homes(most=2)
    homes.learn("a", "cell2")
    homes.learn("b", "cell2")
    assert homes.find("a") == "cell2"
    homes.learn("c", "cell3")
    assert (homes.find("a"), homes.find("b"), homes.find("c")) == ("cell2", None, "cell3")
    assert len(homes) == 2
