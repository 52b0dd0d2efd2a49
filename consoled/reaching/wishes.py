"""What somebody wants of a node group, from JSON to values: pure rules, told in words.

The shapes of the bodies are in :mod:`consoled.api.schemas`; here is what a shape cannot say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from attrs import field, frozen

from consoled.errors import BadRequest, ConfigError
from consoled.reaching.routes import KEYS
from consoled.reaching.values import SSH_PORT, Member
from consoled.transports.ssh.host_keys import HostKeys

MOST_MEMBERS = 128
MOST_HOSTS = 1000
MOST_KNOWN_HOSTS = 256
LONGEST_KEY = 16 * 1024
LONGEST_PASSPHRASE = 1024
LONGEST_KNOWN_HOSTS = 32 * 1024

_LENGTH = 255
_MAX_PORT = 65535
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
_USER = re.compile(r"[^\s\x00-\x1f\x7f:@-][^\s\x00-\x1f\x7f:]{0,254}")

Networks = Sequence[str]
"""``[ssh_proxy] allowed_networks``."""


@frozen
class Wish:
    """The fields that are given, each with its new value; what is not there stays.

    :ivar fields: of :class:`~consoled.reaching.values.Traits`, without the secrets; with
        ``members`` and ``hosts`` of a group.
    :ivar private_key: a private key's text, or None.
    :ivar passphrase: of the key, or None.
    """

    fields: Mapping[str, Any]
    private_key: str | None = field(default=None, repr=False)
    passphrase: str | None = field(default=None, repr=False)

    @property
    def key_given(self) -> bool:
        """Whether it says which key there shall be, none being one answer."""
        return not KEYS.isdisjoint(self.fields)


def wish_of(given: Mapping[str, Any], networks: Networks) -> Wish:
    """What a body wishes for.

    :param given: the members of its object, as the schema lets them be.
    :raises consoled.errors.BadRequest: which one is wrong, and how; no secret is in the text.
    """
    fields = {name: rule(given[name]) for name, rule in _RULES.items() if name in given}
    if "members" in given:
        fields["members"] = members(given["members"], networks)
    fields |= _key(given)
    return Wish(fields, given.get("private_key"), given.get("passphrase"))


def members(given: Sequence[Mapping[str, Any]], networks: Networks) -> tuple[Member, ...]:
    """The members of a group, in their order.

    :raises consoled.errors.BadRequest: which one is wrong, and how.
    """
    _refuse_many("members", given, MOST_MEMBERS)
    found = [_member(f"members.{at}", one, networks) for at, one in enumerate(given)]
    for name in ("instance_uuid", "address"):
        _refuse_twice("members", (getattr(one, name) for one in found))
    return tuple(found)


def allowed(address: str, networks: Networks) -> bool:
    """Whether ``[ssh_proxy] allowed_networks`` has the address."""
    literal = _literal(address)
    return literal is not None and any(literal in ip_network(one) for one in networks)


def reachable(address: str, networks: Networks) -> bool:
    """Whether an instance may be reached at what is said to be its address.

    A guest's agent says what its tenant likes; so this machine itself, and what is on its link
    only, is not taken for an instance unless ``allowed_networks`` has it.
    """
    literal = _literal(address)
    if literal is None or literal.is_unspecified or literal.is_multicast:
        return False
    return not (literal.is_loopback or literal.is_link_local) or allowed(address, networks)


def _literal(address: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(address)
    except ValueError:
        return None
    mapped = getattr(found, "ipv4_mapped", None)
    return mapped or found


def _member(where: str, given: Mapping[str, Any], networks: Networks) -> Member:
    uuid, address = given.get("instance_id"), given.get("host")
    port = given.get("port", SSH_PORT)
    if (uuid is None) == (address is None):
        raise BadRequest(f"{where} must have either an instance_id or a host.")
    if isinstance(port, float) or not 1 <= port <= _MAX_PORT:
        raise BadRequest(f"{where}.port must be a port from 1 to {_MAX_PORT}.")
    if uuid is not None:
        return Member(instance_uuid=_uuid(f"{where}.instance_id")(uuid), port=int(port))
    literal = _literal(str(address))
    if literal is None:
        raise BadRequest(f"{where}.host must be an IP address; names could lead elsewhere later.")
    if not allowed(str(literal), networks):
        raise BadRequest(
            f"{where}.host {literal} is not in a network of [ssh_proxy] allowed_networks; "
            "the cell's operator can add it there."
        )
    return Member(address=str(literal), port=int(port))


def _key(given: Mapping[str, Any]) -> dict[str, str | None]:
    """Nothing for all three where one is given: they are one key together."""
    if KEYS.isdisjoint(given):
        return {}
    names, text = given.get("key_file"), given.get("private_key")
    if names is not None and text is not None:
        raise BadRequest("key_file and private_key exclude each other; give one of them.")
    alone = "key_file" not in given and "private_key" not in given
    if alone or (given.get("passphrase") is not None and names is None and text is None):
        raise BadRequest("passphrase must come with the key_file or private_key that it is for.")
    for name, longest in (("private_key", LONGEST_KEY), ("passphrase", LONGEST_PASSPHRASE)):
        if len(given.get(name) or "") > longest:
            raise BadRequest(f"{name} must not be longer than {longest} characters.")
    none: dict[str, str | None] = dict.fromkeys(KEYS)
    return none | {"key_file": None if names is None else _file(names)}


def _text(name: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if not value or not value.isprintable() or value != value.strip() or len(value) > _LENGTH:
            raise BadRequest(
                f"{name} must be text of 1 to {_LENGTH} printable characters, "
                "without space at its ends."
            )
        return value

    return parse


def _uuid(name: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if not _UUID.fullmatch(value):
            raise BadRequest(f"{name} must be a UUID in lower case.")
        return value

    return parse


def _file(value: str) -> str:
    if not _FILE.fullmatch(value):
        raise BadRequest(
            "key_file must be the name of a file in [ssh_proxy] keys_dir, without a path: "
            "letters, digits and . _ -, the first a letter, a digit or _."
        )
    return value


def _user(value: str) -> str:
    if not _USER.fullmatch(value) or not value.isprintable():
        raise BadRequest("user_name must be a user's name, without space, : or a first - or @.")
    return value


def _known_hosts(value: Sequence[str]) -> tuple[str, ...]:
    _refuse_many("known_hosts", value, MOST_KNOWN_HOSTS)
    lines = [line.strip() for line in value]
    if sum(map(len, lines)) > LONGEST_KNOWN_HOSTS:
        raise BadRequest(f"known_hosts must not hold more than {LONGEST_KNOWN_HOSTS} characters.")
    for at, line in enumerate(lines):
        if not line.isprintable():
            raise BadRequest(f"known_hosts.{at} must be one line of printable characters.")
        try:
            keys = HostKeys.parse(line)
        except ConfigError as error:
            problem = str(error).removeprefix("line 1 of the known host keys ")
            raise BadRequest(f"known_hosts.{at} {problem}.") from None
        if not keys.keys:
            raise BadRequest(f"known_hosts.{at} has no key.")
    return tuple(lines)


def _hosts(value: Sequence[str]) -> tuple[str, ...]:
    _refuse_many("hosts", value, MOST_HOSTS)
    found = [_text(f"hosts.{at}")(host) for at, host in enumerate(value)]
    _refuse_twice("hosts", found)
    return tuple(sorted(found))


def _optional(rule: Callable[[str], str]) -> Callable[[str | None], str | None]:
    return lambda value: None if value is None else rule(value)


def _refuse_many(name: str, given: Sequence[Any], most: int) -> None:
    if len(given) > most:
        raise BadRequest(f"{name} must not have more than {most} items.")


def _refuse_twice(name: str, given: Iterable[str | None]) -> None:
    seen: set[str] = set()
    for one in given:
        if one is not None and one in seen:
            raise BadRequest(f"{name} must not have {one} twice.")
        if one is not None:
            seen.add(one)


def _as_it_is(value: bool) -> bool:
    return value


_RULES: Mapping[str, Callable[[Any], Any]] = {
    "name": _text("name"),
    "project_id": _optional(_text("project_id")),
    "is_proxy": _as_it_is,
    "user_name": _optional(_user),
    "known_hosts": _known_hosts,
    "proxy_group_id": _optional(_uuid("proxy_group_id")),
    "hosts": _hosts,
}
