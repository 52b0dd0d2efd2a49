"""consolectl over an API that answers from a table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define, field, frozen
from click.testing import CliRunner, Result

from consoled.cli.api import Answer, TransportError
from consoled.cli.endpoint import Endpoint
from consoled.cli.invocation import Outside
from consoled.cli.root import PROGRAM, root

URL = "http://api.test:8774"
KEY = "cli-unit-key-0123456789"

VARIABLES = ("CONSOLED_CONFIG", "CONSOLED_API", "CONSOLED_KEY", "CONSOLED_CACERT")


@frozen
class Sent:
    """A request as the transport got it."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None = None


@define
class FakeApi:
    """The endpoint's other side: answers by method and path, and keeps what was asked.

    :ivar answers: (status, body) by ``"GET /path"``; a text instead of both is why there is none.
    :ivar launched: the URLs that the browser was given.
    :ivar launch_status: what starting the browser gives.
    """

    answers: dict[str, tuple[int, Any] | str] = field(factory=dict)
    headers: dict[str, str] = field(factory=dict)
    endpoints: list[Endpoint] = field(factory=list)
    sent: list[Sent] = field(factory=list)
    launched: list[str] = field(factory=list)
    launch_status: int = 0

    def connect(self, endpoint: Endpoint) -> FakeApi:
        """Itself, as a transport."""
        self.endpoints.append(endpoint)
        return self

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        """The answer of the table."""
        self.sent.append(Sent(method, url, dict(headers), body))
        path = url.removeprefix(self.endpoints[-1].url)
        answer = self.answers[f"{method} {path}"]
        if isinstance(answer, str):
            raise TransportError(answer)
        status, body = answer
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return Answer(status, self.headers, data)

    def launch(self, url: str) -> int:
        """Starts no browser."""
        self.launched.append(url)
        return self.launch_status


def run(
    words: Sequence[str], api: FakeApi | None = None, env: Mapping[str, str] | None = None
) -> Result:
    """The outcome of ``consolectl WORDS``, in an environment with nothing of consoled's but env."""
    fake = api or FakeApi()
    variables: dict[str, str | None] = dict.fromkeys(VARIABLES)
    outside = Outside(fake.connect, fake.launch)
    result = CliRunner().invoke(
        root, list(words), prog_name=PROGRAM, obj=outside, env=variables | dict(env or {})
    )
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


def ask(words: Sequence[str], api: FakeApi) -> Result:
    """As :func:`run`, with an address and a key in the environment."""
    return run(words, api, {"CONSOLED_API": URL, "CONSOLED_KEY": KEY})
