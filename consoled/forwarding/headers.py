"""Which headers go on to an instance, and which come back. Pure.

Both ways the headers of one connection stay there (RFC 9110, section 7.6.1). What is consoled's
own does not reach an instance, and what would command the browser of all that consoled serves
does not come from one.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

Header = tuple[bytes, bytes]

VIA = b"1.1 consoled"
"""Says of an answer that it is the instance's: consoled's own have none."""

SANDBOX = b"sandbox"

_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-authentication-info",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"trailers",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
    )
)
_FRAMING = frozenset((b"content-length", b"expect", b"host"))

_OURS = frozenset(
    (
        # Credentials of consoled and of what stands around it.
        b"x-auth-token",
        b"x-service-token",
        b"x-subject-token",
        b"x-storage-token",
        b"x-consoled-ticket",
        b"x-consoled-arrival",
        # A browser's cookies here are those of consoled's own host.
        b"cookie",
        b"cookie2",
        # What consoled says itself.
        b"forwarded",
        b"x-real-ip",
    )
)
_OURS_BEGIN = (b"x-forwarded-",)

_REFUSED = frozenset(
    (
        # They would hold for everything on consoled's host, or for all of its browsers.
        b"set-cookie",
        b"set-cookie2",
        b"strict-transport-security",
        b"public-key-pins",
        b"public-key-pins-report-only",
        b"expect-ct",
        b"alt-svc",
        b"clear-site-data",
        b"service-worker-allowed",
        b"nel",
        b"report-to",
        b"reporting-endpoints",
        b"content-security-policy-report-only",
        b"accept-ch",
        b"critical-ch",
        b"origin-agent-cluster",
        b"timing-allow-origin",
        b"login-status",
        b"activate-storage-access",
        # They lead elsewhere, the key along with the client.
        b"refresh",
        b"content-location",
        # An answer is for one key: nobody keeps it for others.
        b"cache-control",
        b"expires",
        b"pragma",
        b"surrogate-control",
        b"cdn-cache-control",
        # Set by consoled, or for nobody but it.
        b"x-content-type-options",
        b"x-openstack-request-id",
        b"x-accel-redirect",
        b"x-sendfile",
        b"x-consoled-location",
        b"location",
        b"content-length",
    )
)
_REFUSED_BEGIN = (b"access-control-", b"x-accel-")


@frozen
class Client:
    """Who asks, as an instance is told.

    :ivar address: the client's.
    :ivar host: the Host that it asked for.
    :ivar scheme: ``http`` or ``https``.
    :ivar prefix: the path of the route in front of the instance's own path.
    """

    address: str
    host: bytes
    scheme: str
    prefix: str


def request_headers(sent: Iterable[Header], client: Client, authority: str) -> list[Header]:
    """What an instance gets of a request's headers.

    ``Authorization`` goes on: consoled does not use it, so it is for the instance.

    :param sent: names in any case.
    :param authority: ``host`` or ``host:port`` of the instance.
    """
    pairs = list(sent)
    named = _named_by_connection(pairs)
    kept = [(b"Host", authority.encode("ascii"))]
    for name, value in pairs:
        # A server that makes variables of headers does not tell "_" from "-".
        word = name.lower().replace(b"_", b"-")
        if word in _HOP or word in _FRAMING or word in named or word in _OURS:
            continue
        if not word.startswith(_OURS_BEGIN):
            kept.append((name, value))
    return [
        *kept,
        (b"X-Forwarded-For", client.address.encode("ascii", "replace")),
        (b"X-Forwarded-Host", client.host),
        (b"X-Forwarded-Proto", client.scheme.encode("ascii")),
        (b"X-Forwarded-Prefix", client.prefix.encode("ascii")),
        (b"Via", VIA),
    ]


def response_headers(sent: Iterable[Header]) -> list[Header]:
    """What a client gets of an instance's headers, besides Location and the length.

    :param sent: names in any case.
    """
    pairs = list(sent)
    named = _named_by_connection(pairs)
    kept = [
        (name, value)
        for name, value in pairs
        if (word := name.lower()) not in _HOP
        and word not in named
        and word not in _REFUSED
        and not word.startswith(_REFUSED_BEGIN)
    ]
    return [
        *kept,
        (b"Content-Security-Policy", SANDBOX),
        (b"X-Content-Type-Options", b"nosniff"),
        (b"Cache-Control", b"no-store"),
        (b"Via", VIA),
    ]


def header(pairs: Iterable[Header], name: bytes) -> bytes | None:
    """The first value of a header, or None.

    :param name: in lower case.
    """
    return next((value for key, value in pairs if key.lower() == name), None)


def _named_by_connection(pairs: Iterable[Header]) -> frozenset[bytes]:
    return frozenset(
        word.strip().lower().replace(b"_", b"-")
        for name, value in pairs
        if name.lower() == b"connection"
        for word in value.split(b",")
    )
