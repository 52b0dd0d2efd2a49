"""The way of a request, from the caller to the URL, over fakes of what it asks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakes import (
    ABSENT,
    FOREIGN,
    KEYS,
    OWNERLESS,
    PORTLESS,
    STOPPED,
    WEB_1,
    FakeAuthority,
    FakeDirectory,
    FakeDriver,
    make_instance,
    result,
)
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from consoled.auth.policy import PolicyEnforcer, Rule
from consoled.errors import (
    BadRequest,
    Conflict,
    ConsoledError,
    ConsoleDisabled,
    Forbidden,
    InstanceNotRunning,
    NotFound,
    Unavailable,
)
from consoled.interfaces import Driver, TokenAuthority
from consoled.issuing import ConsoleIssuer, console_url
from consoled.leasing.values import ConsoleKey, Holder, LeaseRow
from consoled.model import OBSERVER, WRITER, Caller, InstanceState
from consoled.workers import InlineWorker

ADMIN = KEYS["admin-key"]
MEMBER = KEYS["member-key"]
READER = KEYS["reader-key"]
ROLELESS = KEYS["roleless-key"]
PROJECTLESS = KEYS["projectless-key"]

AWAY = Unavailable("It is away.")
BASE_URL = "http://127.0.0.1:6083/serial.html"


def make_issuer(
    driver: Driver | None = None,
    authority: TokenAuthority | None = None,
    policy_file: Path | None = None,
    enabled: bool = True,
    directory: FakeDirectory | None = None,
) -> ConsoleIssuer:
    return ConsoleIssuer(
        driver=driver or FakeDriver(),
        policy=PolicyEnforcer(InlineWorker(), policy_file),
        authority=authority or FakeAuthority(),
        directory=directory or FakeDirectory(),
        enabled=enabled,
        base_url=BASE_URL,
    )


@pytest.fixture
def revealing(tmp_path: Path) -> Path:
    """A policy file by which everybody is told of other projects' instances."""
    path = tmp_path / "policy.yaml"
    path.write_text('"consoled:servers:reveal": "@"\n')
    return path


def issue(
    issuer: ConsoleIssuer, caller: Caller, uuid: str, index: int | None = None, role: str = WRITER
) -> Any:
    return result(issuer.issue(caller, uuid, index, "req-1", role=role))


def test_a_url_holds_the_token_and_base_url() -> None:
    """The first console is taken, and the URL is base_url with the clear token, nova's form."""
    authority = FakeAuthority()
    issued = issue(make_issuer(authority=authority), MEMBER, WEB_1)
    assert issued.url == f"{BASE_URL}?token=clear-token-1"
    assert issued.console.index == 0
    assert issued.token is authority.issued[0].token
    assert (issued.token.access_url, issued.token.user_id) == (BASE_URL, "mia")


def test_an_index_chooses_the_console() -> None:
    """The token is for the console that was asked for."""
    issued = issue(make_issuer(), MEMBER, WEB_1, 1)
    assert (issued.console.index, issued.token.index, issued.token.port) == (1, 1, 10001)


def test_the_clear_token_shows_nowhere_but_in_the_url() -> None:
    """Neither repr nor the audit line holds the token; the line names what an auditor asks for."""
    with capturedLogs() as events:
        issued = issue(make_issuer(), MEMBER, WEB_1, 1)
    assert "clear-token" not in repr(issued)
    assert "clear-token" not in repr(events)
    (event,) = events
    fields = (
        "event",
        "token_id",
        "user_id",
        "project_id",
        "instance_uuid",
        "index",
        "role",
        "request_id",
    )
    assert [event[name] for name in fields] == [
        "token_issued",
        issued.token.token_id,
        "mia",
        "demo",
        WEB_1,
        1,
        "writer",
        "req-1",
    ]


@pytest.mark.parametrize(
    ("caller", "uuid", "error"),
    [
        (MEMBER, ABSENT, NotFound),
        (MEMBER, FOREIGN, NotFound),
        (MEMBER, OWNERLESS, NotFound),
        (PROJECTLESS, OWNERLESS, NotFound),
        (READER, FOREIGN, NotFound),
        (READER, WEB_1, Forbidden),
        (ROLELESS, WEB_1, Forbidden),
        (ADMIN, ABSENT, NotFound),
    ],
)
def test_who_gets_no_token(caller: Caller, uuid: str, error: type[ConsoledError]) -> None:
    """Unknown and other projects' instances do not exist; in the own project it is a 403."""
    authority = FakeAuthority()
    with pytest.raises(error) as caught:
        issue(make_issuer(authority=authority), caller, uuid)
    assert uuid in str(caught.value)
    assert not authority.issued


def test_the_words_do_not_tell_absent_from_hidden() -> None:
    """The text for another project's instance is the one for an instance that is not there."""
    texts = []
    for uuid in (ABSENT, FOREIGN, OWNERLESS):
        with pytest.raises(NotFound) as caught:
            issue(make_issuer(), MEMBER, uuid)
        texts.append(str(caught.value).replace(uuid, "X"))
    assert texts == ["Instance X could not be found."] * 3


@pytest.mark.parametrize("uuid", [FOREIGN, OWNERLESS])
def test_reveal_makes_it_forbidden(revealing: Path, uuid: str) -> None:
    """Whoever passes the reveal rule gets 403 for another project's instance, and no token."""
    with pytest.raises(Forbidden, match=str(Rule.TOKENS_CREATE)):
        issue(make_issuer(policy_file=revealing), MEMBER, uuid)
    with pytest.raises(NotFound):
        issue(make_issuer(policy_file=revealing), MEMBER, ABSENT)


@pytest.mark.parametrize("uuid", [WEB_1, FOREIGN, OWNERLESS])
def test_an_admin_opens_every_instance(uuid: str) -> None:
    """An admin acts on every project, and on what belongs to none."""
    assert issue(make_issuer(), ADMIN, uuid).instance.uuid == uuid


def test_disabled_is_a_400_after_the_look_up() -> None:
    """With [serial_console] enabled off a console is refused with 400, an unknown one with 404."""
    issuer = make_issuer(enabled=False)
    with pytest.raises(ConsoleDisabled, match="disabled") as caught:
        issue(issuer, MEMBER, WEB_1)
    assert caught.value.status == 400
    with pytest.raises(NotFound):
        issue(issuer, MEMBER, ABSENT)


def test_only_a_live_instance_has_consoles() -> None:
    """A stopped instance is a 409 with its state in it; a paused one keeps its ports."""
    with pytest.raises(InstanceNotRunning, match="is stopped; start it"):
        issue(make_issuer(), MEMBER, STOPPED)
    paused = FakeDriver([make_instance(WEB_1, "web-1", state=InstanceState.PAUSED)])
    assert issue(make_issuer(paused), MEMBER, WEB_1).console.index == 0


def test_no_serial_port_at_all_is_a_400() -> None:
    """Without serial ports the text says so, whether or not an index was asked for."""
    with pytest.raises(BadRequest, match="has no serial port; add"):
        issue(make_issuer(), MEMBER, PORTLESS)
    with pytest.raises(NotFound, match="no console 0; it has no serial port"):
        issue(make_issuer(), MEMBER, PORTLESS, 0)


def test_an_unknown_index_names_the_known_ones() -> None:
    """A console that does not exist is a 404 that says which do."""
    with pytest.raises(NotFound, match="no console 7; there are 0, 1"):
        issue(make_issuer(), MEMBER, WEB_1, 7)


def test_a_base_url_with_a_query_keeps_it() -> None:
    """The token joins an existing query, and is quoted."""
    assert console_url("http://h/x?a=1", "t&u") == "http://h/x?a=1&token=t%26u"


@pytest.mark.parametrize(
    "issuer",
    [
        make_issuer(driver=FakeDriver(error=AWAY)),
        make_issuer(authority=FakeAuthority(error=AWAY)),
    ],
    ids=["driver", "authority"],
)
def test_a_part_that_is_away_is_told(issuer: ConsoleIssuer) -> None:
    """What the driver or the database says of being away reaches the caller unchanged."""
    with pytest.raises(Unavailable, match="It is away"):
        issue(issuer, MEMBER, WEB_1)


@pytest.mark.parametrize(
    ("caller", "names"),
    [
        (MEMBER, ["portless", "stopped", "web-1"]),
        (READER, ["portless", "stopped", "web-1"]),
        (ADMIN, ["foreign", "ownerless", "portless", "stopped", "web-1"]),
        (Caller("zoe", "empty", frozenset({"reader"})), []),
    ],
)
def test_a_list_holds_what_its_caller_may_see(caller: Caller, names: list[str]) -> None:
    """Members and readers list their own project, admins everything, by name."""
    assert [i.name for i in result(make_issuer().visible_all(caller))] == names


@pytest.mark.parametrize("caller", [ROLELESS, PROJECTLESS])
def test_a_list_that_is_not_allowed_at_all_is_a_403(caller: Caller) -> None:
    """Somebody without a role in a project is told so, instead of seeing an empty list."""
    with pytest.raises(Forbidden, match=str(Rule.SERVERS_LIST)):
        result(make_issuer().visible_all(caller))


def test_places_are_shown_to_admins() -> None:
    """Compute hosts and ports are for admins; nobody else sees one."""
    issuer = make_issuer()
    everything = result(issuer.visible_all(ADMIN))
    assert len(result(issuer.placed(ADMIN, everything))) == 5
    assert not result(issuer.placed(MEMBER, everything))


def test_cancelling_reaches_the_driver() -> None:
    """A request that is cancelled cancels what it waits for, and issues nothing."""
    driver = FakeDriver(pending=[])
    authority = FakeAuthority()
    request: Deferred[Any] = make_issuer(driver, authority).issue(MEMBER, WEB_1, None, "req-1")
    request.addErrback(lambda failure: None)
    request.cancel()
    assert driver.cancelled == 1
    assert not authority.issued


@pytest.mark.parametrize(
    ("caller", "overrides", "rights"),
    [
        (MEMBER, "", {"see_holder", "take"}),
        (ADMIN, "", {"see_holder", "take", "force", "break"}),
        (MEMBER, '"consoled:sessions:list": "role:admin"', {"take"}),
        (MEMBER, '"consoled:sessions:take": "!"', {"see_holder"}),
        (MEMBER, '"consoled:sessions:force": "role:member"', {"see_holder", "take", "force"}),
        (ADMIN, '"consoled:sessions:list": "!"', {"take", "force", "break"}),
        (MEMBER, '"consoled:consoles:break": "role:member"', {"see_holder", "take", "break"}),
        (READER, '"consoled:tokens:create": "@"', {"see_holder", "take"}),
    ],
)
def test_rights_are_judged_at_issue(
    tmp_path: Path, caller: Caller, overrides: str, rights: set[str]
) -> None:
    """A token carries what policy allows its caller then; a WebSocket has no roles to judge."""
    policy = tmp_path / "policy.yaml"
    policy.write_text(overrides or "{}")
    assert issue(make_issuer(policy_file=policy), caller, WEB_1).token.rights == rights


@pytest.mark.parametrize("caller", [READER, MEMBER, ADMIN])
def test_an_observer_takes_nothing(caller: Caller) -> None:
    """Whoever may look may watch; a token to watch with has no right over anybody's session."""
    token = issue(make_issuer(), caller, WEB_1, 0, OBSERVER).token
    assert token.observes
    assert token.rights == {"see_holder"}


def test_the_rule_for_watching(tmp_path: Path) -> None:
    """Watching and typing are judged by rules of their own."""
    policy = tmp_path / "policy.yaml"
    policy.write_text('"consoled:tokens:observe": "rule:consoled:admin"\n')
    issuer = make_issuer(policy_file=policy)
    with pytest.raises(Forbidden, match=str(Rule.TOKENS_OBSERVE)):
        issue(issuer, MEMBER, WEB_1, 0, OBSERVER)
    assert issue(issuer, ADMIN, WEB_1, 0, OBSERVER).token.observes
    assert not issue(issuer, MEMBER, WEB_1, 0).token.observes


def held(index: int) -> LeaseRow:
    """Somebody else's session on that console of web-1."""
    key = ConsoleKey(WEB_1, index, "serial")
    return LeaseRow(key, 1, "replica", False, "session", Holder("noa", "demo"))


def test_watching_a_console_in_use() -> None:
    """Where others have every console there is still something to watch: no 409."""
    issuer = make_issuer(directory=FakeDirectory([held(0), held(1)]))
    assert issue(issuer, MEMBER, WEB_1, None, OBSERVER).console.index == 0
    with pytest.raises(Conflict):
        issue(issuer, MEMBER, WEB_1)


def test_nothing_to_watch() -> None:
    """An instance without a serial port is refused as for anybody else."""
    with pytest.raises(BadRequest, match="has no serial port; add"):
        issue(make_issuer(), MEMBER, PORTLESS, None, OBSERVER)


def test_visible_among() -> None:
    """Of several instances, those that are there and that the rule lets the caller act on."""
    issuer = make_issuer()
    uuids = {WEB_1, STOPPED, FOREIGN, OWNERLESS, ABSENT}
    among = result(issuer.visible_among(MEMBER, uuids, Rule.SESSIONS_LIST))
    assert among == {WEB_1, STOPPED}
    assert result(issuer.visible_among(ADMIN, uuids, Rule.SESSIONS_LIST)) == uuids - {ABSENT}
    assert result(issuer.visible_among(MEMBER, [], Rule.SESSIONS_LIST)) == set()
    for asked in (uuids, set()):
        with pytest.raises(Forbidden, match="sessions:list"):
            result(issuer.visible_among(ROLELESS, asked, Rule.SESSIONS_LIST))
