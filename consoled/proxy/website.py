"""The proxy port's website: the pages, and the ways to WebSocket and recordings."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from attrs import define, frozen
from twisted.logger import Logger
from twisted.web.iweb import IRequest
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from twisted.web.static import File

from consoled.proxy.paths import BadPath, Layout, split_path
from consoled.proxy.replaying import ReplayContent
from consoled.proxy.upgrade import UPGRADE_REQUIRED, Upgrades, wants_upgrade
from consoled.recording.replays import PAGE as REPLAY_PAGE
from consoled.recording.replays import ReplayLinks
from consoled.replicas.doors import Door
from consoled.replicas.hops import PATH as HOPS
from consoled.replicas.hops import TICKET

log = Logger()

# static.File fails on some of what is none of these, and repeats a file for each of many ranges.
_CONDITIONS = {
    b"range": re.compile(rb"bytes=[0-9]{1,15}-[0-9]{0,15}"),
    b"if-modified-since": re.compile(rb"[A-Za-z]{3}, [0-9]{2} [A-Za-z]{3} [0-9]{4} [0-9:]{8} GMT"),
}

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/vnd.microsoft.icon",
    ".woff2": "font/woff2",
    ".wasm": "application/wasm",
    ".json": "application/json",
    ".txt": "text/plain; charset=utf-8",
}


@frozen
class Website:
    """The folder that is served.

    :ivar folder: the built-in page's or the operator's.
    :ivar built_in: whether it is ours, and so takes the strict policy.
    """

    folder: Path
    built_in: bool

    def find(self, segments: Iterable[str]) -> Path | None:
        """The regular file of that name inside the folder, or None."""
        try:
            root = self.folder.resolve()
            path = root.joinpath(*segments).resolve()
            return path if path.is_relative_to(root) and path.is_file() else None
        except (OSError, RuntimeError, ValueError):
            # A name that is too long, a loop of links, characters that file names cannot have.
            return None


def built_in_website() -> Website:
    """The page that is built into the package."""
    import consoled

    return Website(Path(consoled.__file__).parent / "web" / "static", built_in=True)


def security_headers(built_in: bool, frame_ancestors: tuple[str, ...]) -> dict[str, str]:
    """The headers of every page and asset.

    :param built_in: the operator's own pages may load what they like.
    :param frame_ancestors: origins whose pages may frame ours.
    """
    framing = "frame-ancestors " + (" ".join(frame_ancestors) or "'none'")
    strict = (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    )
    headers = {
        "Content-Security-Policy": (strict if built_in else "") + framing,
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "no-cache",
    }
    if not frame_ancestors:
        headers["X-Frame-Options"] = "DENY"
    return headers


def policy_of(page: str, policy: str) -> str:
    """The Content-Security-Policy of one file.

    The player of recordings is WebAssembly, which a policy has to name (docs: decisions/0021).
    It runs in that page only, which has no console.

    :param page: the file's name.
    :param policy: what holds for all others.
    """
    if page != REPLAY_PAGE:
        return policy
    return policy.replace("script-src 'self'", "script-src 'self' 'wasm-unsafe-eval'")


@define
class Public:
    """What of the proxy port SIGHUP may swap.

    :ivar website: what is served.
    :ivar headers: of every page and asset.
    """

    website: Website
    headers: dict[str, str]


class ProxyResource(Resource):
    """The whole tree of the proxy port.

    :param layout: where the page and its WebSockets are.
    :param public: what is served there.
    :param upgrades: takes the WebSockets.
    :param replays: opens recordings for their page; None has none.
    :param doors: takes what other replicas ask for; None takes nothing.
    """

    isLeaf = True

    def __init__(
        self,
        layout: Layout,
        public: Public,
        upgrades: Upgrades,
        replays: ReplayLinks | None = None,
        doors: Door | None = None,
    ) -> None:
        super().__init__()
        self._layout = layout
        self._public = public
        self._upgrades = upgrades
        self._doors = doors
        self._replays = None if replays is None else ReplayContent(replays, self._word)

    def render(self, request: IRequest) -> Any:
        """Answers a request of whatever method."""
        return self._respond(request)

    def _respond(self, request: Any) -> Any:
        for name, value in self._public.headers.items():
            request.setHeader(name, value)
        if self._is_from_replica(request):
            # By the address that its operator gave us.
            return NOT_DONE_YET
        host = self._upgrades.asked_host(request)
        refusal = self._upgrades.rules.host_refusal(host)
        if refusal is not None:
            return self._say(request, 403, refusal)
        try:
            segments = split_path(request.path)
        except BadPath:
            return self._say(request, 400, "The path is malformed.")
        if wants_upgrade(request):
            if self._layout.is_socket(segments):
                self._upgrades.take(request, host)
                return NOT_DONE_YET
            return self._say(request, 404, "There is no console here.")
        return self._serve(request, segments)

    def _is_from_replica(self, request: Any) -> bool:
        """Whether another replica of the cell asks for something; then it is answered."""
        if request.path == HOPS and request.requestHeaders.hasHeader(TICKET):
            self._upgrades.take_hop(request)
            return True
        if self._doors is not None and self._doors.is_asked(request):
            self._log_when_done(request)
            self._doors.take(request)
            return True
        return False

    def _serve(self, request: Any, segments: tuple[str, ...]) -> Any:
        if request.method not in (b"GET", b"HEAD"):
            request.setHeader("Allow", "GET, HEAD")
            return self._say(request, 405, "Pages are only read here.")
        if self._replays is not None and self._layout.is_replay(segments):
            self._log_when_done(request)
            self._replays.take(request, self._upgrades.client(request))
            return NOT_DONE_YET
        paths = map(self._public.website.find, self._layout.files(segments))
        path = next(filter(None, paths), None)
        if path is None:
            if self._layout.is_socket(segments):
                request.setHeader("Upgrade", "websocket")
                request.setHeader("Connection", "Upgrade")
                return self._say(request, 426, "This address is for WebSockets.")
            return self._say(request, 404, "There is no such page.")
        for name, form in _CONDITIONS.items():
            if not form.fullmatch(b",".join(request.requestHeaders.getRawHeaders(name, []))):
                request.requestHeaders.removeHeader(name)
        policy = policy_of(path.name, self._public.headers["Content-Security-Policy"])
        request.setHeader("Content-Security-Policy", policy)
        page = File(str(path))
        page.type = _TYPES.get(path.suffix, "application/octet-stream")
        page.encoding = None
        self._log_when_done(request)
        return page.render_GET(request)

    def _say(self, request: Any, status: int, sentence: str) -> bytes:
        self._log_when_done(request)
        return self._word(request, status, sentence)

    def _word(self, request: Any, status: int, sentence: str) -> bytes:
        body = f"{sentence}\n".encode()
        request.setResponseCode(status, UPGRADE_REQUIRED if status == 426 else None)
        request.setHeader("Content-Type", "text/plain; charset=utf-8")
        request.setHeader("Content-Length", str(len(body)))
        # For a HEAD with a body twisted.web would log the whole URL.
        return b"" if request.method == b"HEAD" else body

    def _log_when_done(self, request: Any) -> None:
        src = self._upgrades.client(request)
        request.notifyFinish().addBoth(lambda _: self._log(request, src))

    def _log(self, request: Any, src: str) -> None:
        # Never the query: the token is in it.
        log.info(
            "{method} {path} {status}",
            event="page_request",
            method=request.method.decode("latin-1"),
            path=request.path.decode("latin-1"),
            status=request.code,
            request_id=request.request_id,
            src=src,
        )
