"""Lists of all cells, and the list of the cells themselves."""

from __future__ import annotations

from typing import Any

from api_client import ApiClient
from attrs import evolve
from fake_cells import FakeCell, cell_parts, fake_cell
from fakes import FakeDriver, make_instance
from twisted.internet.task import Clock
from twisted.web.http_headers import Headers

from consoled.cells.asking import CellAnswer
from consoled.cells.merging import LISTINGS, Page, target
from consoled.cells.parts import CellParts
from consoled.errors import Unavailable

IDS = [f"2f9e1b6e-3c43-4f6e-9b0a-00000000000{n}" for n in range(5)]


def world(clock: Clock | None = None) -> tuple[ApiClient, FakeCell, FakeCell, CellParts]:
    """A cell with the instances b and e, and two others with c and a, and with d."""
    two = fake_cell("cell2", make_instance(IDS[2], "c"), make_instance(IDS[0], "a"))
    three = fake_cell("cell3", make_instance(IDS[3], "d"))
    parts = cell_parts("cell1", [two, three], clock=clock)
    driver = FakeDriver([make_instance(IDS[1], "b"), make_instance(IDS[4], "e")])
    return ApiClient(driver=driver, cells=parts), two, three, parts


def names(answer: Any) -> str:
    """Those of the servers."""
    return "".join(server["name"] for server in answer.json["servers"])


def test_one_list() -> None:
    """All servers in one order; each is then known to be where it is."""
    api, two, three, parts = world()
    answer = api.ask("GET", "/v1/servers")
    assert names(answer) == "abcde"
    assert answer.json["missing_cells"] == []
    assert [len(cell.heard) for cell in (two, three)] == [1, 1]
    assert parts.handover.homes.find(IDS[3]) == "cell3"
    assert api.ask("GET", f"/v1/servers/{IDS[3]}").status == 200
    assert [len(cell.heard) for cell in (two, three)] == [1, 2]


def test_pages() -> None:
    """No cell is asked for a page: where it begins and ends is seen in the whole list."""
    api, two, _, _ = world()
    for route in ("/v2.1/servers", "/v2.1/servers/detail"):
        assert names(api.ask("GET", f"{route}?limit=2")) == "ab"
        assert names(api.ask("GET", f"{route}?limit=2&marker={IDS[1]}")) == "cd"
        assert names(api.ask("GET", f"{route}?marker={IDS[3]}&limit=-1")) == "e"
        assert names(api.ask("GET", f"{route}?name=%5Ec%24&limit=5")) == "c"
        assert api.ask("GET", f"{route}?marker=nobody").status == 400
        assert api.ask("GET", f"{route}?limit=many").status == 400
    targets = {wish.target for wish in two.heard}
    assert targets == {
        f"/v2.1/servers{path}{query}".encode()
        for path in ("", "/detail")
        for query in ("", "?name=%5Ec%24")
    }


def test_compute_lists_have_no_member_of_ours() -> None:
    """Clients of the compute API are told by a header which cells are missing."""
    api, two, _, _ = world()
    two.away = True
    answer = api.ask("GET", "/v2.1/servers")
    assert set(answer.json) == {"servers"}
    assert answer.headers["X-Consoled-Missing-Cells"] == "cell2"
    assert answer.headers["OpenStack-API-Version"] == "compute 2.1"


def test_missing() -> None:
    """What is away, or answers nonsense, is missing; what refuses the caller is not."""
    api, two, three, _ = world()
    two.fixed = CellAnswer(200, Headers(), b'{"servers": [1]}', "1")
    three.fixed = CellAnswer(401, Headers(), b"{}", "1")
    answer = api.ask("GET", "/v1/servers")
    assert (names(answer), answer.json["missing_cells"]) == ("be", ["cell2"])
    assert answer.headers["X-Consoled-Missing-Cells"] == "cell2"
    two.fixed = CellAnswer(200, Headers(), b"[" * 100_000, "1")
    assert api.ask("GET", "/v1/servers").json["missing_cells"] == ["cell2"]


def test_this_cell_is_missing() -> None:
    """While this cell's hypervisor is away the others' lists are an answer; without them none."""
    api, two, three, _ = world()
    api.driver.error = Unavailable("libvirt is away")
    answer = api.ask("GET", "/v1/servers")
    assert (names(answer), answer.json["missing_cells"]) == ("acd", ["cell1"])
    two.away = three.away = True
    answer = api.ask("GET", "/v1/servers")
    assert (answer.status, answer.message) == (503, "libvirt is away")


def test_sessions_and_recordings_have_orders_of_their_own() -> None:
    """Sessions by console; recordings the newest first, and no more than are asked for."""
    sessions, recordings = LISTINGS["/v1/sessions"], LISTINGS["/v1/recordings"]
    consoles = [{"id": n, "server_id": "s", "console_index": i} for n, i in (("x", 10), ("y", 2))]
    assert [view["id"] for view in sessions.merged([consoles], Page())] == ["y", "x"]
    of_two = [
        [{"id": "old", "started_at": "2026-01-01T00:00:00Z"}],
        [
            {"id": "new", "started_at": "2026-01-03T00:00:00Z"},
            {"id": "mid", "started_at": "2026-01-02T00:00:00Z"},
        ],
    ]
    page = recordings.page({b"limit": [b"2"]})
    assert [view["id"] for view in recordings.merged(of_two, page)] == ["new", "mid"]
    assert recordings.page({}) == Page(limit=100)


def test_what_two_cells_claim() -> None:
    """An id that two cells have is listed once, as the first has it."""
    listing = LISTINGS["/v1/servers"]
    found = listing.merged([[{"id": "1", "name": "own"}], [{"id": "1", "name": "x"}]], Page())
    assert found == [{"id": "1", "name": "own"}]
    assert target(b"/v1/servers", {b"name": [b"a b", b"&"]}) == b"/v1/servers?name=a+b&name=%26"


def test_the_cells() -> None:
    """Operators see each cell with its state; others do not."""
    clock = Clock()
    api, two, _, parts = world(clock)
    assert api.ask("GET", "/v1/cells").status == 403
    api = evolve(api, key="admin-key")
    for neighbour in parts.handover.neighbours:
        neighbour.start()
    two.away = True
    clock.advance(5.0)
    own, second, third = api.ask("GET", "/v1/cells").json["cells"]
    assert own | {"version": "v"} == {
        "name": "cell1",
        "own": True,
        "api_url": None,
        "state": "up",
        "since": "2026-01-01T12:00:00Z",
        "latency_ms": 0.0,
        "version": "v",
        "reason": None,
    }
    assert second == {
        "name": "cell2",
        "own": False,
        "api_url": "http://cell2.test:8774",
        "state": "away",
        "since": "2026-01-01T12:00:00Z",
        "latency_ms": None,
        "version": None,
        "reason": "it is asleep",
    }
    assert (third["state"], third["version"]) == ("up", own["version"])
    for neighbour in parts.handover.neighbours:
        neighbour.stop()


def test_a_cell_alone() -> None:
    """Without other cells there is one, and lists are what they were."""
    api = ApiClient(cells=cell_parts("cell1"), key="admin-key")
    assert [cell["name"] for cell in api.ask("GET", "/v1/cells").json["cells"]] == ["cell1"]
    assert set(api.ask("GET", "/v1/servers").json) == {"servers"}
