"""A console token as a versioned object, in the form that nova's services exchange.

The specification wants an object that carries its version, so that services of different
ages understand each other. Its primitive is the one of nova's ``ConsoleAuthToken``
(reference: nova-contract, "Object primitive")::

    {"nova_object.name": "ConsoleAuthToken", "nova_object.namespace": "nova",
     "nova_object.version": "1.3", "nova_object.data": {...}, "nova_object.changes": []}

======= ======================================================================
version data
======= ======================================================================
1.0     id, console_type, host, port, internal_access_path, instance_uuid,
        access_url_base, token
1.1     the same (a method was added)
1.2     and expires
1.3     and tls_port
======= ======================================================================

Such an object says nothing of a generation, a user or a console's index: those are
consoled's own, and :class:`consoled.model.ConsoleAuthToken` has them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from attrs import Attribute, field, frozen

from consoled.errors import BadRequest
from consoled.model import NO_GENERATION, ConsoleAuthToken, FieldError, hash_token

NAME = "ConsoleAuthToken"
NAMESPACE = "nova"
VERSIONS = ("1.0", "1.1", "1.2", "1.3")
"""What is read and written, oldest first."""

NOVA_TEXT_LENGTH = 255
"""Characters that nova's columns hold, that of the base URL among them."""

_ENVELOPE = "nova_object."
_DATA_KEYS = {
    "id": "id",
    "console_type": "console_type",
    "host": "host",
    "port": "port",
    "tls_port": "tls_port",
    "internal_access_path": "internal_access_path",
    "instance_uuid": "instance_uuid",
    "access_url": "access_url_base",
    "clear": "token",
    "expires": "expires",
}
_SINCE = {"expires": "1.2", "tls_port": "1.3"}
_NULLABLE = frozenset({"tls_port", "internal_access_path", "access_url"})
_REQUIRED = ("instance_uuid", "console_type", "host")

_VERSION = re.compile(r"([0-9]{1,4})\.([0-9]{1,4})(\.[0-9]{1,4})?", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_DIGITS = re.compile(r"[0-9]{1,18}", re.ASCII)
_PORTS = range(1, 65536)
_MAX_URL = 1024  # the width of ours


def _whole(value: object) -> object:
    """Digits as the number that they are: services of some ages send ports as text."""
    return int(value) if isinstance(value, str) and _DIGITS.fullmatch(value) else value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _is_uuid(_object: object, attribute: Attribute[Any], value: object) -> None:
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        raise FieldError(attribute.name, "is not a UUID")


def _is_port(_object: object, attribute: Attribute[Any], value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value not in _PORTS:
        raise FieldError(attribute.name, "is neither null nor a port from 1 to 65535")


def _is_count(_object: object, attribute: Attribute[Any], value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise FieldError(attribute.name, "is neither null nor a whole number from 0 on")


def _is_word(_object: object, attribute: Attribute[Any], value: object) -> None:
    if not _printable(value, NOVA_TEXT_LENGTH):
        raise FieldError(
            attribute.name, f"is not a text of 1 to {NOVA_TEXT_LENGTH} characters without spaces"
        )


def _is_optional_word(_object: object, attribute: Attribute[Any], value: object) -> None:
    if value is None:
        return
    # It becomes a line of a CONNECT request, or of a page: nothing may end that line.
    if not _printable(value, _MAX_URL):
        raise FieldError(
            attribute.name,
            f"is neither null nor a text of 1 to {_MAX_URL} characters without spaces",
        )


def _printable(value: object, longest: int) -> bool:
    return (
        isinstance(value, str)
        and 1 <= len(value) <= longest
        and value.isprintable()
        and " " not in value
    )


@frozen
class TokenObject:
    """Where a token leads, validated; the fields of nova's ``ConsoleAuthToken``.

    :ivar host: the address to dial.
    :ivar port: its TCP port, or None where there is none.
    :ivar access_url: the base URL that the token was handed out with (no token in it), or None.
    :ivar internal_access_path: what a CONNECT exchange at the port names, or None.
    :ivar tls_port: a second port that speaks TLS (SPICE consoles), or None.
    :ivar expires: seconds since the epoch; None where the version has no such field.
    :ivar clear: the clear token, between issue and answer only; it is not part of ``repr``.
    :ivar id: the number of its row in nova's table, or None.
    :raises FieldError: a field that does not hold what it must.
    """

    instance_uuid: str = field(converter=_lower, validator=_is_uuid)
    console_type: str = field(validator=_is_word)
    host: str = field(validator=_is_word)
    port: int | None = field(default=None, converter=_whole, validator=_is_port)
    access_url: str | None = field(default=None, validator=_is_optional_word)
    internal_access_path: str | None = field(default=None, validator=_is_optional_word)
    tls_port: int | None = field(default=None, converter=_whole, validator=_is_port)
    expires: int | None = field(default=None, converter=_whole, validator=_is_count)
    clear: str | None = field(default=None, repr=False, validator=_is_optional_word)
    id: int | None = field(default=None, converter=_whole, validator=_is_count)

    @classmethod
    def of(cls, token: ConsoleAuthToken, clear: str | None = None) -> TokenObject:
        """The object of one of consoled's tokens.

        :param clear: the clear token, where it is to be sent on.
        :raises FieldError: a field that does not hold what it must, or ``clear`` is not
            this token's.
        """
        if clear is not None and hash_token(clear) != token.token_hash:
            raise FieldError("clear", "does not belong to the token's hash")
        return cls(
            instance_uuid=token.instance_uuid,
            console_type=token.console_type,
            host=token.host,
            port=token.port,
            access_url=token.access_url or None,
            internal_access_path=_text_option(token, "internal_access_path"),
            tls_port=_port_option(token, "tls_port"),
            expires=token.expires,
            clear=clear,
        )

    @property
    def options(self) -> Mapping[str, str | int | bool]:
        """What there is besides a host and a port, as the specification's ``options``."""
        named = {"internal_access_path": self.internal_access_path, "tls_port": self.tls_port}
        return {name: value for name, value in named.items() if value is not None}

    def bound(self, index: int, token_hash: str, left: float = 0.0) -> ConsoleAuthToken:
        """The token that consoled's other rooms take.

        :param index: of the console in its instance, as its driver knows it now.
        :param left: seconds until it expires.
        :raises FieldError: there is no port to dial, no expiry, or the hash is none.
        """
        if self.port is None:
            raise FieldError("port", "is null, so there is nothing to dial")
        if self.expires is None:
            raise FieldError("expires", "is null, and no token lasts for ever")
        return ConsoleAuthToken(
            token_hash=token_hash,
            instance_uuid=self.instance_uuid,
            index=index,
            host=self.host,
            port=self.port,
            generation=NO_GENERATION,
            access_url=self.access_url or "",
            expires=self.expires,
            console_type=self.console_type,
            options=self.options,
            left=left,
        )

    def primitive(self, version: str = VERSIONS[-1]) -> dict[str, Any]:
        """The primitive for a peer that knows this version; what it lacks is left out.

        :raises ValueError: a version that consoled does not write.
        """
        if version not in VERSIONS:
            raise ValueError(f"{version} is none of the versions {', '.join(VERSIONS)}")
        data = {}
        for name in _fields_of(version):
            value = getattr(self, name)
            if value is not None or name in _NULLABLE:
                data[_DATA_KEYS[name]] = value
        return {
            _ENVELOPE + "name": NAME,
            _ENVELOPE + "namespace": NAMESPACE,
            _ENVELOPE + "version": version,
            _ENVELOPE + "data": data,
            _ENVELOPE + "changes": [],
        }


def to_primitive(
    token: ConsoleAuthToken, version: str = VERSIONS[-1], clear: str | None = None
) -> dict[str, Any]:
    """The primitive of one of consoled's tokens.

    :param version: what the peer knows, of :data:`VERSIONS`.
    :param clear: the clear token, between issue and answer; without it the primitive has none.
    :raises ValueError: a version that consoled does not write, or a field that is not valid.
    """
    return TokenObject.of(token, clear).primitive(version)


def from_primitive(primitive: object) -> TokenObject:
    """Reads a primitive of any version up to the newest of :data:`VERSIONS`.

    :raises consoled.errors.BadRequest: it is another object's, of a newer version, or a
        field does not hold what it must; the text names the key and never the value.
    """
    envelope = _mapping(primitive, "the primitive of a console token")
    for key, wanted in (("name", NAME), ("namespace", NAMESPACE)):
        if envelope.get(_ENVELOPE + key) != wanted:
            raise BadRequest(f"{_ENVELOPE}{key} is not {wanted}: this is not a console token")
    version = _known_version(envelope.get(_ENVELOPE + "version"))
    data = _mapping(envelope.get(_ENVELOPE + "data"), _ENVELOPE + "data")
    values = {name: data[key] for name in _fields_of(version) if (key := _DATA_KEYS[name]) in data}
    for name in _REQUIRED:
        if name not in values:
            raise BadRequest(f"{_ENVELOPE}data lacks {_DATA_KEYS[name]}")
    try:
        return TokenObject(**values)
    except FieldError as error:
        key = _DATA_KEYS[error.field]
        raise BadRequest(f"{_ENVELOPE}data: {key} {error.fault}") from None


def _known_version(value: object) -> str:
    """The version that a reader of ours can take for the sender's."""
    match = _VERSION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise BadRequest(f"{_ENVELOPE}version is not a version such as {VERSIONS[-1]}")
    # A third number is a revision, which changes nothing for a reader.
    version = f"{int(match[1])}.{int(match[2])}"
    if version in VERSIONS:
        return version
    newest = VERSIONS[-1]
    if _numbers(version) > _numbers(newest):
        raise BadRequest(
            f"{_ENVELOPE}version {version} is newer than {newest}, the newest that this consoled "
            f"reads: upgrade it, or have the sender write {newest}"
        )
    raise BadRequest(
        f"{_ENVELOPE}version {version} is none of those that consoled reads: {', '.join(VERSIONS)}"
    )


def _fields_of(version: str) -> list[str]:
    known = _numbers(version)
    return [name for name in _DATA_KEYS if _numbers(_SINCE.get(name, VERSIONS[0])) <= known]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _mapping(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise BadRequest(f"{what} is not an object with keys")
    return value


def _text_option(token: ConsoleAuthToken, name: str) -> str | None:
    value = token.options.get(name)
    if value is None or isinstance(value, str):
        return value
    raise FieldError(name, "is not a text")


def _port_option(token: ConsoleAuthToken, name: str) -> int | None:
    value = token.options.get(name)
    if value is None or isinstance(value, int):
        return value
    raise FieldError(name, "is not a port")
