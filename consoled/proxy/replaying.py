"""The way of a recording to the page that plays it.

``GET replay/content`` beside the page, with ``Authorization: Bearer <token>``: 200 with the
file, asciicast v3. The token is in a header because addresses end up in logs; no other
origin's page can send it, as nothing here answers a preflight. A refusal is a sentence.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from consoled.api.recordings import MEDIA_TYPE
from consoled.api.sending import send_file
from consoled.errors import ConsoledError, Unauthorized
from consoled.recording.replays import ReplayLinks

log = Logger()

Say = Callable[[Any, int, str], bytes]
"""Sets status and headers of an answer, and gives its body."""


@frozen
class ReplayContent:
    """Answers the replay page's requests.

    :ivar links: knows what a token opens.
    :ivar say: words a refusal.
    """

    links: ReplayLinks
    say: Say

    def take(self, request: Any, src: str) -> None:
        """Answers now or later.

        :param src: the client's address.
        """
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)
        request.setHeader("Cache-Control", "no-store")
        # Not ended with the client's connection: an opened file has to be closed again.
        Deferred.fromCoroutine(self._answer(request, src, gone)).addErrback(
            lambda failure: log.failure("sending a recording failed", failure)
        )

    async def _answer(self, request: Any, src: str, gone: list[object]) -> None:
        try:
            opened = await self.links.open(bearer(request), request.request_id, src)
        except ConsoledError as error:
            body = self._refuse(request, error)
        except Exception:
            log.failure("opening a recording failed")
            body = self._refuse(
                request, ConsoledError("Something went wrong inside consoled. Its log says what.")
            )
        else:
            if gone:
                opened.close()
                return
            content, worker = opened.content, opened.store.worker
            body = await send_file(request, worker, content.descriptor, content.size, MEDIA_TYPE)
        if not gone:
            request.write(body)
            request.finish()

    def _refuse(self, request: Any, error: ConsoledError) -> bytes:
        if isinstance(error, Unauthorized):
            request.setHeader("WWW-Authenticate", 'Bearer realm="consoled"')
        if error.retry_after is not None:
            request.setHeader("Retry-After", str(error.retry_after))
        return self.say(request, HTTPStatus(error.status), str(error))


def bearer(request: Any) -> str:
    """The token of an Authorization header, or ""."""
    values = request.requestHeaders.getRawHeaders("authorization") or [""]
    scheme, _, token = values[0].partition(" ")
    return token.strip() if len(values) == 1 and scheme.lower() == "bearer" else ""
