"""The heads of HTTP/1.1 messages: the request to an instance, and its answer. Pure.

Source: RFC 9112. The answer's body is framed anew for the client, so that nothing depends on
how the instance framed it; an answer that can be read in two ways is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from attrs import frozen

from consoled.forwarding.headers import Header

HEAD_LIMIT = 64 * 1024
"""Bytes of an answer's head."""

_STATUS = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_METHOD = re.compile(rb"[A-Z]{1,16}")
_TARGET = re.compile(rb"/[\x21\x22\x24-\x7e]*")
_BODILESS = (204, 304)


class BadAnswer(Exception):
    """The instance's answer is no HTTP/1.1; the text says why, for the log."""


@frozen
class AnswerHead:
    """The head of an answer.

    :ivar phrase: of the status line, perhaps empty.
    :ivar headers: all of them, framing included.
    :ivar chunked: whether the body comes in chunks.
    :ivar length: its bytes, else None for as long as the connection lasts.
    :ivar declared: what the client is told as Content-Length, also where there is no body (HEAD,
        304); None where nothing is.
    """

    status: int
    phrase: bytes
    headers: tuple[Header, ...]
    chunked: bool
    length: int | None
    declared: int | None = None


def request_head(
    method: bytes, target: bytes, headers: Iterable[Header], length: int | None, *, body: bool
) -> bytes:
    """The head of a request that ends its connection.

    :param length: the body's bytes; None sends it in chunks.
    :param body: whether there is one.
    :raises ValueError: method or target would not be one word of one line.
    """
    if not _METHOD.fullmatch(method) or not _TARGET.fullmatch(target):
        raise ValueError("neither method nor target may hold spaces or control characters")
    lines = [method + b" " + target + b" HTTP/1.1"]
    lines += [name + b": " + value for name, value in headers]
    if body:
        framing = (
            b"Transfer-Encoding: chunked" if length is None else b"Content-Length: %d" % length
        )
        lines.append(framing)
    elif method in (b"POST", b"PUT", b"PATCH"):
        lines.append(b"Content-Length: 0")
    lines.append(b"Connection: close")
    return b"\r\n".join(lines) + b"\r\n\r\n"


def parse_head(head: bytes, method: bytes) -> AnswerHead:
    """An answer's head, up to and without the blank line.

    :param method: of the request.
    :raises BadAnswer: it is not one of HTTP/1, or its length is ambiguous.
    """
    first, *lines = head.split(b"\r\n")
    match = _STATUS.fullmatch(first)
    if match is None:
        raise BadAnswer("its first line is not a status line of HTTP/1")
    status = int(match[1])
    headers = []
    for line in lines:
        found = _HEADER.fullmatch(line)
        if found is None:
            raise BadAnswer("one of its headers is malformed")
        headers.append((found[1], found[2]))
    codings = _values(headers, b"transfer-encoding")
    lengths = {value for text in _values(headers, b"content-length") for value in text.split(b",")}
    length = _length(lengths)
    if codings and (codings != [b"chunked"] or length is not None):
        raise BadAnswer("its Transfer-Encoding is not chunked alone, or a length stands beside it")
    bodiless = method == b"HEAD" or status in _BODILESS or status < 200
    return AnswerHead(
        status,
        match[2] or b"",
        tuple(headers),
        chunked=bool(codings) and not bodiless,
        length=0 if bodiless else length,
        declared=None if status == 204 else length,
    )


def _values(headers: Iterable[Header], name: bytes) -> list[bytes]:
    return [value.strip().lower() for key, value in headers if key.lower() == name]


def _length(found: set[bytes]) -> int | None:
    words = {word.strip() for word in found}
    if not words:
        return None
    if len(words) > 1 or not _LENGTH.fullmatch(min(words)):
        raise BadAnswer("its Content-Length is not one number")
    return int(min(words))
