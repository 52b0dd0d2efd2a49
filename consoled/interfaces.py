"""The seams: what each room asks of the next one.

All methods that may wait return Deferreds; those without are answered at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.web.http_headers import Headers

from consoled.compute.reconciling import HostPorts
from consoled.leasing.values import Holder, LeaseRow, Watcher
from consoled.model import (
    SERIAL,
    WRITER,
    Caller,
    Console,
    ConsoleAuthToken,
    Instance,
    IssuedToken,
    TokenRecord,
)
from consoled.openstack.values import UserToken
from consoled.reaching.behalf import NOBODY, Behalf
from consoled.transports.ssh.values import ProxyNode, Route

if TYPE_CHECKING:
    from keystoneauth1.adapter import Adapter  # It takes a while to load, and few need it.

P = ParamSpec("P")
T = TypeVar("T")


class Worker(Protocol):
    """Runs blocking calls away from the reactor thread."""

    def run(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """The result of ``fn(*args, **kwargs)``, computed in the worker."""


class Database(Protocol):
    """The cell database, one transaction at a time."""

    def run(self, fn: Callable[..., T], /, *args: Any) -> Deferred[T]:
        """The result of ``fn(connection, *args)`` after COMMIT.

        :raises consoled.errors.Unavailable: when the database is away.
        """

    def read(self, fn: Callable[..., T], /, *args: Any) -> Deferred[T]:
        """As :meth:`run`, for a function that only reads: it waits for no writer.

        :raises consoled.errors.Unavailable: when the database is away.
        """


class Driver(Protocol):
    """Where instances and their consoles come from, live."""

    @property
    def name(self) -> str:
        """The word of ``[DEFAULT] driver``."""

    def instances(self) -> Deferred[Sequence[Instance]]:
        """All instances, with their consoles as they are now.

        :raises consoled.errors.Unavailable: when the hypervisor does not answer.
        """

    def instance(self, uuid: str) -> Deferred[Instance]:
        """One instance as it is now.

        :raises consoled.errors.NotFound: no such instance.
        :raises consoled.errors.Unavailable: when the hypervisor does not answer.
        """

    def start(self) -> None:
        """Called after twistd's fork, before anything is asked."""

    def stop(self) -> Deferred[None]:
        """Ends threads and connections."""

    def reload(self) -> Deferred[None]:
        """Reads its sources again (SIGHUP); bad ones leave the old in force.

        :raises consoled.errors.ConfigError: why the old ones stay.
        """


class PortControl(Protocol):
    """What a driver can know of, and do to, the clients of its guests' ports."""

    def free_port(self, instance_uuid: str, index: int) -> Deferred[bool]:
        """Closes whatever client the guest's port has.

        :returns: False where this driver, or this hypervisor, cannot.
        """

    def held_ports(self, instance_uuid: str) -> Deferred[frozenset[int]]:
        """The indexes of the consoles that have a client now, as far as that is known."""


class BreakControl(Protocol):
    """What some drivers can do to a guest's serial port besides bytes."""

    def send_break(self, instance_uuid: str, index: int) -> Deferred[None]:
        """Gives the guest's port a BREAK, whoever its client is; fires when the port has it.

        :raises consoled.errors.Conflict: there is no such port now, or the hypervisor refuses.
        :raises consoled.errors.Unavailable: the hypervisor does not answer in time.
        """


class PortNaming(Protocol):
    """A driver of a hypervisor whose domains' ports this cell gives out."""

    def compute_host(self) -> Deferred[str]:
        """The compute host's name: that of its instances, and of its ports.

        :raises consoled.errors.Unavailable: the hypervisor does not answer.
        """

    def ports_named(self, uuid: str | None = None) -> Deferred[HostPorts]:
        """The TCP ports that domains name, running or not.

        :param uuid: of this domain only; of none where it is gone.
        :raises consoled.errors.Unavailable: the hypervisor does not answer.
        """


class DomainDriver(Driver, Protocol):
    """A driver of one compute host, whose instances come and go by themselves."""

    def compute_host(self) -> Deferred[str]:
        """The compute host's name: that of its instances.

        :raises consoled.errors.Unavailable: the hypervisor does not answer.
        """

    def gone(self, uuids: Sequence[str]) -> Deferred[tuple[str, ...]]:
        """Those of which the hypervisor knows nothing, not even how to read them.

        :raises consoled.errors.Unavailable: the hypervisor does not answer.
        """


class ConsoleDriver(Driver, PortControl, Protocol):
    """A driver that says of its ports what it can."""

    @property
    def breaks(self) -> BreakControl | None:
        """Sends BREAK; None where this driver cannot."""


class TokenAuthority(Protocol):
    """Issues and checks the right to open a console."""

    def issue(
        self,
        instance: Instance,
        console: Console,
        caller: Caller,
        access_url: str,
        rights: frozenset[str] = frozenset(),
        *,
        role: str = WRITER,
    ) -> Deferred[IssuedToken]:
        """A new token for one console, stored as a hash.

        :param rights: what policy lets its user do with a session, kept where there is room.
        :param role: of its user's sessions, :data:`consoled.model.WRITER` or ``OBSERVER``.
        :raises consoled.errors.BadRequest: it has no room for that role.
        """

    def validate(self, clear: str) -> Deferred[ConsoleAuthToken]:
        """What the token opens.

        :raises consoled.errors.TokenInvalid: unknown or expired.
        """

    def spend(self, token: ConsoleAuthToken) -> Deferred[None]:
        """A session is about to open with it; where tokens open once, this was the time.

        :raises consoled.errors.TokenInvalid: it has been used before.
        """


class TokenStore(Protocol):
    """Where tokens can be looked at and taken back."""

    def named(self, prefix: str) -> Deferred[list[TokenRecord]]:
        """The tokens whose hash begins so, expired ones as long as they are kept.

        :param prefix: lower-case hex digits.
        :raises consoled.errors.Unavailable: the database is away.
        """

    def revoke(self, token: ConsoleAuthToken) -> Deferred[bool]:
        """Takes a token back: it opens no further session.

        :returns: False if it is gone already.
        :raises consoled.errors.Unavailable: the database is away.
        """


class Registrar(Protocol):
    """Makes the cell database know a console, so that it can be leased."""

    def register(self, instance: Instance, console: Console) -> Deferred[int]:
        """Records the console and its place.

        :returns: the generation of its place.
        :raises consoled.errors.Unavailable: the database is away.
        """


class Identity(Protocol):
    """Who sends a REST request."""

    def authenticate(self, headers: Headers) -> Deferred[Caller]:
        """The caller.

        :raises consoled.errors.Unauthorized: no, or a wrong, credential.
        """


class Policy(Protocol):
    """May this caller do that? Rules are oslo.policy's."""

    def allows(self, rule: str, caller: Caller, project_id: str | None) -> Deferred[bool]:
        """Whether the rule lets the caller act on something of that project."""

    def allowed(
        self, rules: Collection[str], caller: Caller, project_id: str | None
    ) -> Deferred[frozenset[str]]:
        """Those of the rules that let the caller act on something of that project."""


class Lease(Protocol):
    """The exclusive right to one console's wire."""

    @property
    def valid(self) -> bool:
        """Whether it still holds now; asked for each chunk, so it must be cheap."""

    @property
    def epoch(self) -> int:
        """A number that grows with each lease of that console."""

    @property
    def seized(self) -> bool:
        """Whether it was taken from a replica that died: its socket may still be open."""


class Leases(Protocol):
    """Hands out leases, one per console."""

    def take(
        self,
        instance_uuid: str,
        index: int,
        session_id: str,
        *,
        holder: Holder,
        console_type: str = SERIAL,
    ) -> Deferred[Lease]:
        """The console's lease for that session. Cancelling leaves nothing behind.

        :param holder: for whom; shown to others as far as policy lets them know.
        :raises consoled.errors.ConsoleBusy: another session holds it.
        :raises consoled.errors.NotFound: there is no such console any more.
        :raises consoled.errors.Unavailable: the database is away.
        """

    def release(self, lease: Lease) -> Deferred[None]:
        """Gives it back; called after the backend socket is closed."""

    def note(self, lease: Lease, session_id: str, holder: Holder, lingers: bool) -> Deferred[None]:
        """Tells the whole cell which session has the console now.

        :param lingers: whether it waits for its viewer, and yields to anybody.
        """

    def watch(self, lease: Lease, watchers: Sequence[Watcher]) -> Deferred[None]:
        """Tells the whole cell who watches the console now."""

    def elsewhere(
        self, instance_uuid: str | None, index: int, session_id: str | None
    ) -> Deferred[LeaseRow | None]:
        """The lease of that session, else of that console, if another living replica has it.

        :param instance_uuid: None asks for the session only.
        :raises consoled.errors.Unavailable: the database is away.
        """


class SessionDirectory(Protocol):
    """The sessions of the whole cell, whichever replica they are in."""

    def sessions(
        self, instance_uuid: str | None = None, session_id: str | None = None
    ) -> Deferred[list[LeaseRow]]:
        """What is held now, by all living replicas of the cell.

        :param instance_uuid: of this instance only.
        :param session_id: by this session only.
        :raises consoled.errors.Unavailable: the database is away.
        """

    def company(
        self, instance_uuid: str | None = None, session_id: str | None = None
    ) -> Deferred[list[LeaseRow]]:
        """As :meth:`sessions`, and those that only watch: of a console there may be several.

        :param instance_uuid: of this instance only.
        :param session_id: this session only.
        :raises consoled.errors.Unavailable: the database is away.
        """

    def request_disconnect(
        self,
        by: str,
        reason: str,
        *,
        session_id: str | None = None,
        instance_uuid: str | None = None,
    ) -> Deferred[list[LeaseRow]]:
        """Ends one session, or all of an instance.

        :param by: the user who asks.
        :param reason: what the disconnected viewer is told.
        :returns: the leases whose sessions end now.
        :raises consoled.errors.Unavailable: the database is away.
        """


class Addresses(Protocol):
    """Where an instance's own network interfaces can be reached, asked when somebody needs it."""

    def of(
        self, instance: Instance, behalf: Behalf = NOBODY, *, outside: bool = False
    ) -> Deferred[tuple[str, ...]]:
        """The addresses that are known, each once, the likeliest first; none where nobody knows.

        :param behalf: who wants to connect.
        :param outside: whether they are dialled from outside of the instance's networks.
        :raises consoled.errors.ConsoledError: who should know does not answer.
        """


class Routes(Protocol):
    """Ways over proxy nodes, for whoever wants to connect. Each list has the best way first;
    ``[()]`` is directly.
    """

    def to(self, instance: Instance, behalf: Behalf = NOBODY) -> Deferred[Sequence[Route]]:
        """Ways to the network of the instance's own addresses.

        :raises consoled.errors.BackendUnreachable: nodes lead there, and none can be used.
        :raises consoled.errors.Unavailable: database or hypervisor are away.
        """

    def to_host(self, instance: Instance, behalf: Behalf = NOBODY) -> Deferred[Sequence[Route]]:
        """Ways to the serial ports of the instance's compute host.

        :raises consoled.errors.ConsoledError: as of :meth:`to`.
        """

    def shells(self, instance: Instance, behalf: Behalf = NOBODY) -> Deferred[Sequence[ProxyNode]]:
        """Where to log in for a shell on the instance itself, one for each of its addresses.

        :returns: none where no node group says how to log in there, or no address is known.
        :raises consoled.errors.ConsoledError: as of :meth:`to`.
        """


class Transport(Protocol):
    """How bytes reach a console."""

    def endpoint(
        self, instance: Instance, console: Console, behalf: Behalf = NOBODY
    ) -> IStreamClientEndpoint:
        """Where to dial; cancelling its connect Deferred aborts the dial.

        :param instance: whose console it is; the way there may depend on its host and project.
        :param behalf: who wants to connect.
        """


class Calls(Protocol):
    """Asks OpenStack's services behind consoled: Glance, Cinder, Neutron."""

    def ask(
        self,
        service: str,
        user: UserToken | None,
        fn: Callable[[Adapter], T],
        *,
        repeat: bool = True,
    ) -> Deferred[T]:
        """The result of ``fn``, which runs in a worker thread and may block.

        :param service: its type in Keystone's catalog: ``image``, ``block-storage``, ``network``.
        :param user: on whose behalf; None asks as consoled's own user, with neither a user's
            token nor a service token.
        :param fn: gets an adapter whose paths begin below the service's version, such as
            ``/images/ID``.
        :param repeat: whether ``fn`` is called again after server errors and time-outs, for which
            it has to be idempotent. Without, it may take long, and has to send what cannot be
            sent twice with ``allow_reauth=False``.
        :raises consoled.errors.ServiceAbsent: it is not in the catalog.
        :raises consoled.errors.TokenRefused: it does not take the user's token.
        :raises consoled.errors.Forbidden: the user may not do that.
        :raises consoled.errors.NotFound: what ``fn`` asks for does not exist.
        :raises consoled.errors.ServiceRefused: it answers with another error of the client's.
        :raises consoled.errors.Unavailable: it, or Keystone, does not answer.
        """

    def has(self, service: str) -> Deferred[bool]:
        """Whether the service is in the catalog.

        :raises consoled.errors.Unavailable: Keystone does not answer.
        """
