"""The HTTP transport of consolectl, over servers of a few bytes on loopback."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from consoled.cli.api import Answer, TransportError
from consoled.cli.endpoint import Endpoint, Trust
from consoled.cli.failure import Failure
from consoled.cli.transport import HttpTransport
from tools.lab.ports import free_ports

KEY = "transport-key-0123456789"


@contextmanager
def answering(data: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """A server that answers every request with these bytes, and what it was sent."""
    received: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, suppress(OSError):
                        received.append(connection.recv(65536))
                        connection.sendall(data)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", received
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def send(url: str, trust: Trust | None = None) -> Answer:
    endpoint = Endpoint(url, "--api", KEY, "--key", trust or Trust())
    headers = {"X-Auth-Token": KEY}
    return HttpTransport.to(endpoint).send("POST", f"{url}/v1/servers", headers, None)


def http(status: str, *headers: str, body: bytes = b"") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def test_request_and_answer() -> None:
    """Method, path and key go out; status, headers and body come back."""
    with answering(http("202 Accepted", "Retry-After: 5", body=b"{}")) as (url, received):
        answer = send(url)
    assert (answer.status, answer.headers["retry-after"], answer.body) == (202, "5", b"{}")
    assert received[0].startswith(b"POST /v1/servers HTTP/1.1\r\n")
    assert f"x-auth-token: {KEY}".encode() in received[0].lower()
    assert b"content-length: 0" in received[0].lower()


def test_refusals_are_answers() -> None:
    """A status of an error is an answer with its body."""
    with answering(http("409 Conflict", body=b"{}")) as (url, _):
        assert send(url) == Answer(409, {"content-length": "2", "connection": "close"}, b"{}")


def test_redirects_are_not_followed() -> None:
    """The key goes to the address that was given, and nowhere else."""
    with answering(http("200 OK")) as (other, received):
        with answering(http("307 Temporary Redirect", f"Location: {other}/")) as (url, _):
            assert send(url).status == 307
        assert received == []


def test_no_proxy_for_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon's own host is asked directly, whatever http_proxy says."""
    with answering(http("200 OK")) as (url, _), answering(http("200 OK")) as (proxy, received):
        monkeypatch.setenv("http_proxy", proxy)
        assert send(url).status == 200
        assert received == []


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "closed the connection without an answer"),
        (b"SSH-2.0-OpenSSH\r\n", "SSH-2.0-OpenSSH"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", "its answer broke off"),
    ],
)
def test_answers_that_are_none(data: bytes, words: str) -> None:
    """What breaks off, or is not HTTP, is an error in words."""
    with answering(data) as (url, _), pytest.raises(TransportError) as caught:
        send(url)
    assert words in str(caught.value)


def test_nobody_listens() -> None:
    """A refused connection asks the right question."""
    [port] = free_ports(1)
    with pytest.raises(TransportError, match="refused; is the daemon running"):
        send(f"http://127.0.0.1:{port}")


def test_tls_to_a_plain_port() -> None:
    """https:// where there is no TLS says so."""
    plain = answering(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with plain as (url, _), pytest.raises(TransportError, match="is it an http:// address"):
        send(url.replace("http", "https"))


@pytest.mark.parametrize("content", [None, "", "no certificate\n"])
def test_certificate_files_that_cannot_be_used(tmp_path: Path, content: str | None) -> None:
    """A file without a certificate is named before anything is sent."""
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    for trust in (Trust(authorities=file), Trust(exactly=file)):
        with pytest.raises(Failure) as caught:
            send("https://127.0.0.1:1", trust)
        assert caught.value.message.startswith(f"{file}: cannot read this certificate: ")
