"""Every route of the API over fakes, real policy behind them, and one of each thing to ask for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from api_client import BASE_URL, WS_BASE_URL, Answer, Connection
from attrs import define, evolve, field
from cells import memory_database, outcome
from fakes import WEB_1, FakeAuthority, FakeDirectory, FakeDriver, FakeIdentity
from recordings import Studio, facts
from test_api_sessions import MINE, row
from test_api_tokens import MemoryStore
from twisted.internet.defer import Deferred, succeed
from twisted.internet.testing import MemoryReactorClock
from twisted.web.server import Site

from consoled.api.app import ApiParts, make_api, route_table
from consoled.api.compute import ComputeApi
from consoled.auth.policy import PolicyEnforcer, Rule
from consoled.breaking import ConsoleBreaker
from consoled.cells.directory import CellDirectory
from consoled.cells.handing import Handover
from consoled.cells.parts import CellParts
from consoled.cells.wishing import Wishes
from consoled.compute.port_range import PortRange
from consoled.db import node_groups as group_rows
from consoled.db import recordings as recording_rows
from consoled.forwarding.http import HttpForwarder
from consoled.forwarding.parts import ForwardingParts
from consoled.forwarding.places import Places
from consoled.forwarding.targets import Targets
from consoled.forwarding.tunnels import Tunnels
from consoled.issuing import ConsoleIssuer
from consoled.model import Caller
from consoled.reaching.book import GroupBook
from consoled.reaching.groups import NodeGroups
from consoled.reaching.values import GroupTemplate, NodeGroup, Traits
from consoled.recording.replays import ReplayLinks
from consoled.recording.store import RecordingStore
from consoled.recording.values import Ending
from consoled.revoking import TokenRegister
from consoled.workers import InlineWorker

GROUP, TEMPLATE = (f"4b6f6f3e-7c1e-4d5c-9d70-00000000000{n}" for n in (1, 2))
TOKEN = "clear-token-1"


@define
class NotedPolicy:
    """The real policy, and what it was asked.

    :ivar asked: the rules.
    """

    enforcer: PolicyEnforcer
    asked: set[Rule] = field(factory=set)

    def allows(self, rule: str, caller: Caller, project_id: str | None) -> Deferred[bool]:
        """Its answer."""
        self.asked.add(Rule(rule))
        return self.enforcer.allows(rule, caller, project_id)

    def allowed(
        self, rules: Collection[str], caller: Caller, project_id: str | None
    ) -> Deferred[frozenset[str]]:
        """Its answer."""
        self.asked.update(Rule(rule) for rule in rules)
        return self.enforcer.allowed(rules, caller, project_id)


class WholeApi:
    """The API.

    :param enforcer: judges, as the daemon's does.
    :param callers: by the keys that they send.
    :param folder: for the recording.
    """

    def __init__(
        self, enforcer: PolicyEnforcer, callers: Mapping[str, Caller], folder: Path
    ) -> None:
        self.clock = MemoryReactorClock()
        self.policy = NotedPolicy(enforcer)
        self.database = memory_database()
        parts = self._parts(FakeIdentity(callers), folder)
        self.table = route_table(parts)
        api = make_api(parts, seconds=self.clock.seconds)
        self.site = Site(api, reactor=self.clock, parsePOSTFormSubmission=False)

    def ask(self, method: str, path: str, key: str | None, body: bytes, version: str) -> Answer:
        """The answer to that caller; None sends no key."""
        headers = {} if key is None else {"X-Auth-Token": key}
        if body:
            headers["Content-Type"] = "application/json"
        if version:
            headers["OpenStack-API-Version"] = f"compute {version}"
        connection = Connection(self.site)
        connection.send(method, path, headers, body)
        answer = connection.answer(method)
        assert answer is not None, "no answer yet"
        return answer

    def close(self) -> None:
        """The end of the database."""
        self.database.stop()

    def _parts(self, identity: FakeIdentity, folder: Path) -> ApiParts:
        driver, authority = FakeDriver(), FakeAuthority()
        instance = outcome(driver.instance(WEB_1))
        outcome(authority.issue(instance, instance.consoles[0], _SOMEBODY, BASE_URL))
        directory = FakeDirectory([row(MINE, WEB_1)])
        issuer = ConsoleIssuer(
            driver=driver,
            policy=self.policy,
            authority=authority,
            directory=directory,
            enabled=True,
            base_url=BASE_URL,
            shells=lambda *_: succeed(False),
        )
        recordings = self._recordings(folder)
        return ApiParts(
            identity,
            issuer,
            TokenRegister(self.policy, MemoryStore()),
            recordings=recordings,
            replays=ReplayLinks(self.database, recordings, 600, False, True, BASE_URL),
            breaker=ConsoleBreaker(issuer, cast(Any, None), None, self.clock),
            groups=self._groups(driver),
            forwarding=_forwarding(issuer),
            compute=ComputeApi(evolve(issuer, base_url=WS_BASE_URL)),
            cells=self._cells(identity),
        )

    def _recordings(self, folder: Path) -> RecordingStore:
        studio = Studio(folder)
        recording, _ = studio.start()
        recording.output(b"hello")
        recording.close()
        studio.run()
        outcome(self.database.run(recording_rows.end, facts(), Ending(7, "d" * 64, True)))
        return RecordingStore(
            self.database, self.policy, studio.writer.folder, InlineWorker(), "node1"
        )

    def _groups(self, driver: FakeDriver) -> NodeGroups:
        traits = Traits(name="ours", project_id="demo")
        outcome(self.database.run(group_rows.create, NodeGroup(GROUP, traits)))
        mould = GroupTemplate(TEMPLATE, evolve(traits, name="mould"))
        outcome(self.database.run(group_rows.create_template, mould))
        book = GroupBook(self.database, self.clock)
        return NodeGroups(self.database, self.policy, driver, book, InlineWorker())

    def _cells(self, identity: FakeIdentity) -> CellParts:
        handover = Handover("cell1", [], identity, Wishes("cell1", lambda _: ""))
        return CellParts(identity, handover, CellDirectory("cell1", [], self.policy, 0.0), ())


_SOMEBODY = Caller("mia", "demo")


def _forwarding(issuer: ConsoleIssuer) -> ForwardingParts:
    """Both kinds, and no way to any instance."""
    nowhere: Any = SimpleNamespace()
    targets = Targets("forward", PortRange(((1, 65536),)))
    return ForwardingParts(
        HttpForwarder(issuer, nowhere, nowhere, targets, Places(1), 1.0),
        Tunnels(issuer, nowhere, nowhere, targets, Places(1), nowhere),
    )
