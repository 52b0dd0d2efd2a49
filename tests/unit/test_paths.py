"""Request paths: what they name, and that they never lead elsewhere (faults.md H3)."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from consoled.errors import ConfigError
from consoled.proxy.paths import BadPath, Layout, split_path

LAYOUT = Layout.of("http://127.0.0.1:6083/serial.html")


@pytest.mark.parametrize(
    ("raw", "segments"),
    [
        (b"/", ()),
        (b"/serial.html", ("serial.html",)),
        (b"/assets/app.js", ("assets", "app.js")),
        (b"/assets/", ("assets", "")),
        (b"/a%20b", ("a b",)),
        (b"/%C3%BC", ("ü",)),
        (b"/a%zz", ("a%zz",)),
        (b"/...", ("...",)),
        (b"/a;b=c", ("a;b=c",)),
        (b"/%252e%252e", ("%2e%2e",)),
    ],
)
def test_segments(raw: bytes, segments: tuple[str, ...]) -> None:
    """A path is taken apart, then decoded once."""
    assert split_path(raw) == segments


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"serial.html",
        b"*",
        b"//",
        b"//evil.example",
        b"//evil.example/%2F..",
        b"/\\evil.example",
        b"/%5cevil.example",
        b"/a//b",
        b"/a//",
        b"/.",
        b"/..",
        b"/../etc/passwd",
        b"/a/../b",
        b"/a/..",
        b"/%2e%2e/etc/passwd",
        b"/%2E%2e",
        b"/.%2e",
        b"/%2e",
        b"/a%2fb",
        b"/%2F",
        b"/a%00",
        b"/a\x00",
        b"/a%0d%0aSet-Cookie:x",
        b"/a%0a",
        b"/%09",
        b"/%ff",
        b"/%c0%ae%c0%ae",
        b"/\xff",
    ],
)
def test_hostile_paths(raw: bytes) -> None:
    """Empty, dot, dot-dot, encoded separators, controls and bad UTF-8 are refused."""
    with pytest.raises(BadPath):
        split_path(raw)


PIECES = st.sampled_from(
    [b"/", b"//", b"..", b".", b"%2e", b"%2F", b"%5C", b"\\", b"%00", b"a", b"%", b"%25", b"\xc3"]
)


@given(st.binary(max_size=40) | st.lists(PIECES, max_size=10).map(b"".join))
@example(b"/%2e%2e/%2e%2e")
def test_any_path(tail: bytes) -> None:
    """No path whatever yields a separator, a dot-dot, a control or an empty inner segment."""
    for raw in (tail, b"/" + tail):
        try:
            segments = split_path(raw)
        except BadPath:
            continue
        assert "" not in segments[:-1]
        for segment in segments:
            assert segment not in (".", "..")
            assert not set("/\\\0") & set(segment)
            assert all(ord(character) >= 0x20 for character in segment)
        for name in LAYOUT.files(segments):
            assert ".." not in name


@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=4))
def test_encoded_names_come_back(names: list[str]) -> None:
    """A path made of harmless names yields these names."""
    hostile = [n for n in names if n in (".", "..") or set(n) & set("/\\") or min(n) < " "]
    raw = "/".join(["", *(quote(name, safe="", errors="replace") for name in names)]).encode()
    if not hostile and all(name.isprintable() for name in names):
        assert split_path(raw) == tuple(names)


@pytest.mark.parametrize(
    ("base_url", "sockets", "pages"),
    [
        ("http://h/serial.html", ["/", "/websockify", "/serial.html"], {"/serial.html": 1}),
        ("ws://h/", ["/", "/websockify", "/serial.html"], {"/": 1, "/serial.html": 1}),
        ("ws://h", ["/"], {"/": 1}),
        (
            "http://h/console/",
            ["/", "/websockify", "/serial.html", "/console/"],
            {"/console/": 1, "/console/serial.html": 1, "/": 0},
        ),
        ("http://h/console", ["/console"], {"/console": 1, "/console/": 0}),
        ("http://h/a/b/page.html", ["/a/b/page.html"], {"/a/b/page.html": 1, "/a/b/": 0}),
        ("http://h/my%20console/x", ["/my%20console/x"], {"/my%20console/x": 1}),
    ],
)
def test_layouts(base_url: str, sockets: list[str], pages: dict[str, int]) -> None:
    """The page and its WebSocket are at base_url's path, whatever it is."""
    layout = Layout.of(base_url)
    for path in sockets:
        assert layout.is_socket(split_path(path.encode()))
    for path, is_page in pages.items():
        found = ("serial.html",) in layout.files(split_path(path.encode()))
        assert found == bool(is_page)


@pytest.mark.parametrize(
    ("base_url", "path", "names"),
    [
        ("http://h/serial.html", "/assets/app.js", [("assets", "app.js")]),
        ("http://h/serial.html", "/", []),
        ("http://h/", "/assets/app.js", [("assets", "app.js")]),
        ("http://h/console/", "/console/assets/app.js", [("assets", "app.js")]),
        ("http://h/console/", "/assets/app.js", [("assets", "app.js")]),
        ("http://h/console/page.html", "/console/page.html", [("page.html",), ("serial.html",)]),
        ("http://h/console", "/console", [("console",), ("serial.html",)]),
        ("http://h/console/", "/console", [("console",)]),
    ],
)
def test_files(base_url: str, path: str, names: list[tuple[str, ...]]) -> None:
    """Assets are beside the page; a folder's own file at base_url goes before serial.html."""
    assert list(Layout.of(base_url).files(split_path(path.encode()))) == names


@pytest.mark.parametrize(
    "path", ["/other", "/websockify/", "/websockify/x", "/serial.html/", "/SERIAL.HTML"]
)
def test_no_socket_elsewhere(path: str) -> None:
    """WebSockets are taken nowhere else."""
    assert not LAYOUT.is_socket(split_path(path.encode()))


@pytest.mark.parametrize("path", ["//x", "/../x", "/a%2fb", "/a/./b", "/%00"])
def test_useless_base_urls(path: str) -> None:
    """A base_url that no request could reach is an error of the configuration."""
    with pytest.raises(ConfigError, match="base_url"):
        Layout.of(f"http://h{path}")


@pytest.mark.parametrize(
    ("base_url", "path", "there"),
    [
        ("http://h/serial.html", "/replay/content", True),
        ("http://h/", "/replay/content", True),
        ("http://h/a/b/serial.html", "/a/b/replay/content", True),
        ("http://h/a/b/serial.html", "/replay/content", False),
        ("http://h/serial.html", "/replay/content/", False),
        ("http://h/serial.html", "/replay/", False),
        ("http://h/serial.html", "/x/replay/content", False),
    ],
)
def test_recordings_are_beside_the_page(base_url: str, path: str, there: bool) -> None:
    """The page that plays recordings asks for them in its own folder, and nowhere else."""
    assert Layout.of(base_url).is_replay(split_path(path.encode())) is there
