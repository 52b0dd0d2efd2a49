"""The way of a request: which instances a caller may see, and a URL for a console.

design.md: auth (who) -> policy (may they) -> driver (which console) ->
:func:`choose_console` -> token authority (issue; the hash is stored) -> URL.
The clear token is in that URL only, and in no log.

The order of the answers is nova's: the instance is looked up first (404), then
policy is asked (403, or 404 again where the existence itself is not to be
told), then the state of the service and of the instance (400, 409).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from urllib.parse import quote

from attrs import field, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from consoled.auth.policy import Rule
from consoled.choosing import choose_console, choose_watched
from consoled.errors import (
    BadRequest,
    ConsoleDisabled,
    Forbidden,
    InstanceNotRunning,
    NotFound,
    NotInThisCell,
)
from consoled.interfaces import Driver, Policy, SessionDirectory, TokenAuthority
from consoled.leasing.values import LeaseRow
from consoled.model import WRITER, Caller, Console, ConsoleAuthToken, Instance
from consoled.openstack.values import UserToken
from consoled.proxy.presence import BREAK, FORCE, SEE_HOLDER, TAKE
from consoled.reaching.behalf import Behalf
from consoled.shells import shell_of

log = Logger()

RIGHTS: Mapping[Rule, str] = MappingProxyType(
    {
        Rule.SESSIONS_LIST: SEE_HOLDER,
        Rule.SESSIONS_TAKE: TAKE,
        Rule.SESSIONS_FORCE: FORCE,
        Rule.CONSOLES_BREAK: BREAK,
    }
)
"""The rules that are judged when a token is issued, and the token's right by each.

A WebSocket comes with a token and no roles, so what its user may be told and do later is
decided here (docs: decisions/0014).
"""

WATCHING: Mapping[Rule, str] = MappingProxyType({Rule.SESSIONS_LIST: SEE_HOLDER})
"""Those of them that are of use to an observer, who takes nothing and sends nothing."""


@frozen
class IssuedConsole:
    """A console that its caller may now open.

    :ivar url: holds the clear token, and so is not part of ``repr``.
    :ivar token: what was stored of it: its hash, its expiry.
    """

    url: str = field(repr=False)
    instance: Instance
    console: Console
    token: ConsoleAuthToken


def _nobody(_instance: Instance) -> Deferred[frozenset[int]]:
    return succeed(frozenset())


def _keep_nothing(_token: ConsoleAuthToken, _caller: Caller) -> Deferred[None]:
    return succeed(None)


@frozen
class ConsoleIssuer:
    """What the REST API does for its callers.

    :ivar enabled: ``[serial_console] enabled``.
    :ivar base_url: ``[serial_console] base_url``; the token is appended to it.
    :ivar outsiders: the indexes of an instance's consoles that somebody outside of the cell
        holds now.
    :ivar shells: whether there is somewhere to log in for a shell on an instance; None where
        this cell has no shells.
    :ivar keep: keeps the caller's own token beside a console token, where it is needed again.
    """

    driver: Driver
    policy: Policy
    authority: TokenAuthority
    directory: SessionDirectory
    enabled: bool
    base_url: str
    outsiders: Callable[[Instance], Deferred[frozenset[int]]] = _nobody
    shells: Callable[[Instance, Behalf], Deferred[bool]] | None = None
    keep: Callable[[ConsoleAuthToken, Caller], Deferred[None]] = _keep_nothing

    def visible(self, caller: Caller, uuid: str, rule: Rule) -> Deferred[Instance]:
        """The instance, if the rule lets the caller do that with it.

        :param uuid: in the canonical form.
        :raises consoled.errors.NotFound: there is none, or it is another
            project's, in the same words.
        :raises consoled.errors.Forbidden: the rule says no, and it is the
            caller's own project or policy reveals the others.
        """
        return Deferred.fromCoroutine(self._visible(caller, uuid, rule))

    def visible_all(self, caller: Caller) -> Deferred[list[Instance]]:
        """All instances that the caller may list, by name.

        :raises consoled.errors.Forbidden: none, and not even in the own project.
        """
        return Deferred.fromCoroutine(self._visible_all(caller))

    def placed(self, caller: Caller, instances: Iterable[Instance]) -> Deferred[frozenset[str]]:
        """The uuids of those instances whose compute host and ports the caller may see."""
        return Deferred.fromCoroutine(self._placed(caller, instances))

    def visible_among(
        self, caller: Caller, uuids: Collection[str], rule: Rule
    ) -> Deferred[frozenset[str]]:
        """Those of the instances that there are and that the rule lets the caller act on.

        One question to the driver for all of them, and none where there is nothing to ask.

        :raises consoled.errors.Forbidden: there are none, and the rule lets the caller do so not
            even with their own project's.
        :raises consoled.errors.Unavailable: driver or policy are away.
        """
        return Deferred.fromCoroutine(self._visible_among(caller, uuids, rule))

    def issue(
        self,
        caller: Caller,
        uuid: str,
        index: int | None,
        request_id: str,
        *,
        role: str = WRITER,
    ) -> Deferred[IssuedConsole]:
        """A URL that opens a console of the instance.

        :param index: which one, or None for the one that :func:`choose_console` takes, or
            for an observer :func:`choose_watched`.
        :param request_id: for the audit line.
        :param role: :data:`consoled.model.WRITER` or ``OBSERVER``.
        :raises consoled.errors.NotFound: no such instance (for this caller) or console.
        :raises consoled.errors.Forbidden: policy says no.
        :raises consoled.errors.ConsoleDisabled: consoles are off in this cell.
        :raises consoled.errors.InstanceNotRunning: it has no live ports now.
        :raises consoled.errors.BadRequest: it has no serial port that can be opened, or the
            tokens are kept where there is no room for the role.
        :raises consoled.errors.Unavailable: driver, policy or database are away.
        """
        return Deferred.fromCoroutine(self._issue(caller, uuid, index, request_id, role))

    def issue_shell(self, caller: Caller, uuid: str, request_id: str) -> Deferred[IssuedConsole]:
        """A URL that opens a shell on the instance, over SSH.

        :param request_id: for the audit line.
        :raises consoled.errors.NotFound: no such instance (for this caller).
        :raises consoled.errors.Forbidden: policy says no.
        :raises consoled.errors.ConsoleDisabled: consoles are off in this cell.
        :raises consoled.errors.InstanceNotRunning: it does not run.
        :raises consoled.errors.BadRequest: nothing says how to log in there.
        :raises consoled.errors.Unavailable: driver, policy or database are away.
        """
        return Deferred.fromCoroutine(self._issue_shell(caller, uuid, request_id))

    def check_open(self, instance: Instance) -> None:
        """Nothing, where the instance has consoles that can be used now.

        :raises consoled.errors.ConsoleDisabled: consoles are off in this cell.
        :raises consoled.errors.InstanceNotRunning: it has no live ports now.
        """
        if not self.enabled:
            raise ConsoleDisabled(
                "Serial consoles are disabled in this cell; "
                "its operator can enable them with [serial_console] enabled."
            )
        if not instance.state.live:
            raise InstanceNotRunning(
                f"Instance {instance.uuid} is {instance.state.value}; start it, then ask again."
            )

    async def _visible(self, caller: Caller, uuid: str, rule: Rule) -> Instance:
        return (await self._judged(caller, uuid, rule))[0]

    async def _judged(
        self, caller: Caller, uuid: str, rule: Rule, besides: Iterable[Rule] = ()
    ) -> tuple[Instance, frozenset[str]]:
        """The instance if the rule lets the caller, and which of all the rules do."""
        absent = NotInThisCell(f"Instance {uuid} could not be found.")
        try:
            instance = await self.driver.instance(uuid)
        except NotFound as error:
            # One text for both, so that the words do not tell them apart.
            raise absent from error
        owner = instance.project_id
        allowed = await self.policy.allowed((rule, *besides), caller, owner)
        if rule in allowed:
            return instance, allowed
        own = owner is not None and owner == caller.project_id
        if own or await self.policy.allows(Rule.SERVERS_REVEAL, caller, owner):
            raise Forbidden(
                f"Policy does not allow {rule} on instance {uuid}; "
                "ask an administrator of the project for a role that does."
            )
        raise absent

    async def _visible_all(self, caller: Caller) -> list[Instance]:
        instances = await self.driver.instances()
        projects = await self._permitted(Rule.SERVERS_LIST, caller, instances)
        found = [instance for instance in instances if instance.project_id in projects]
        if not found:
            await self._check_own(Rule.SERVERS_LIST, caller)
        return sorted(found, key=lambda instance: (instance.name, instance.uuid))

    async def _placed(self, caller: Caller, instances: Iterable[Instance]) -> frozenset[str]:
        instances = list(instances)
        projects = await self._permitted(Rule.SERVERS_SHOW_PLACE, caller, instances)
        return frozenset(i.uuid for i in instances if i.project_id in projects)

    async def _visible_among(
        self, caller: Caller, uuids: Collection[str], rule: Rule
    ) -> frozenset[str]:
        known = await self.driver.instances() if uuids else ()
        instances = [i for i in known if i.uuid in uuids]
        projects = await self._permitted(rule, caller, instances)
        found = frozenset(i.uuid for i in instances if i.project_id in projects)
        if not found:
            await self._check_own(rule, caller)
        return found

    async def _check_own(self, rule: Rule, caller: Caller) -> None:
        """Who finds nothing is told whether that could be otherwise."""
        if not await self.policy.allows(rule, caller, caller.project_id):
            raise Forbidden(
                f"Policy does not allow {rule}; "
                "ask an administrator of the project for a role that does."
            )

    async def _permitted(
        self, rule: Rule, caller: Caller, instances: Iterable[Instance]
    ) -> set[str | None]:
        """The projects among the instances' where the rule lets the caller act."""
        # One question at a time: a long list does not keep others from the worker.
        projects = dict.fromkeys(instance.project_id for instance in instances)
        return {project for project in projects if await self.policy.allows(rule, caller, project)}

    async def _issue(
        self, caller: Caller, uuid: str, index: int | None, request_id: str, role: str
    ) -> IssuedConsole:
        writes = role == WRITER
        rule = Rule.TOKENS_CREATE if writes else Rule.TOKENS_OBSERVE
        of_use = RIGHTS if writes else WATCHING
        instance, allowed = await self._judged(caller, uuid, rule, of_use)
        self.check_open(instance)
        held: Sequence[LeaseRow] = ()
        outsiders: Collection[int] = ()
        if index is None:
            outsiders = await self.outsiders(instance)
            held = await self.directory.sessions(uuid)
        if writes or index is not None:
            console = choose_console(instance, index, held, caller, outsiders)
        else:
            console = choose_watched(instance, held, outsiders)
        rights = frozenset(right for rule, right in of_use.items() if rule in allowed)
        return await self._give_out(instance, console, caller, request_id, rights=rights, role=role)

    async def _issue_shell(self, caller: Caller, uuid: str, request_id: str) -> IssuedConsole:
        instance = await self.visible(caller, uuid, Rule.SHELLS_CREATE)
        self.check_open(instance)
        if self.shells is None:
            raise BadRequest(
                "This cell has no shells: they need tokens in its own database "
                "([DEFAULT] console_tokens_backend = database)."
            )
        if not await self.shells(instance, Behalf(UserToken.of(caller))):
            raise BadRequest(
                f"Nothing says how to log in at instance {uuid} over SSH: it needs an address, and "
                "a node group with a user, a key and host keys that it is in, or that leads to it."
            )
        # No rights: nobody else ever meets the session's shell, and it has no port for a BREAK.
        return await self._give_out(instance, shell_of(instance), caller, request_id)

    async def _give_out(
        self,
        instance: Instance,
        console: Console,
        caller: Caller,
        request_id: str,
        *,
        rights: frozenset[str] = frozenset(),
        role: str = WRITER,
    ) -> IssuedConsole:
        issued = await self.authority.issue(
            instance, console, caller, self.base_url, rights, role=role
        )
        await self.keep(issued.token, caller)
        log.info(
            "Token {token_id} issued to {user_id} for console {index} of {instance_uuid} as {role}",
            event="token_issued",
            token_id=issued.token.token_id,
            role=role,
            user_id=caller.user_id,
            project_id=caller.project_id,
            instance_uuid=instance.uuid,
            index=console.index,
            console_type=console.type,
            request_id=request_id,
        )
        url = console_url(self.base_url, issued.clear)
        return IssuedConsole(url, instance, console, issued.token)


def console_url(base_url: str, clear: str) -> str:
    """``base_url?token=...``, nova's form.

    :param clear: the clear token.
    """
    joint = "&" if "?" in base_url else "?"
    return f"{base_url}{joint}token={quote(clear, safe='')}"
