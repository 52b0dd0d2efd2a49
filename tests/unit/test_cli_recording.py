"""consolectl recording."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
from cli_client import FakeApi, ask, run
from recordings import INSTANCE, SESSION, Studio

from consoled.cli import recording as module
from consoled.cli.api import Answer
from consoled.recording.chain import verify

ROUTE = f"/v1/recordings/{SESSION}"


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    """A recording of a guest that is not friendly."""
    studio = Studio(tmp_path)
    recording, _ = studio.start()
    recording.output(b"hello \x1b]52;c;eA==\x07\x1b[6nworld\r\n")
    studio.now += 3600.0
    recording.output(b"the end\r\n")
    recording.close()
    studio.run()
    return studio


class RangedApi(FakeApi):
    """An endpoint that sends ranges of one file."""

    def send(self, method: str, url: str, headers: Any, body: bytes | None) -> Answer:
        if not url.endswith("/content"):
            return super().send(method, url, headers, body)
        data: bytes = self.answers["content"]  # type: ignore[assignment]  # only here
        first, last = headers["Range"].removeprefix("bytes=").split("-")
        piece = data[int(first) : int(last) + 1]
        self.ranges = [*getattr(self, "ranges", []), first]
        last = int(first) + len(piece) - 1
        return Answer(206, {"content-range": f"bytes {first}-{last}/{len(data)}"}, piece)


def api_of(studio: Studio, digest: str | None = None) -> RangedApi:
    """An API that has the studio's recording."""
    digest = digest or verify(studio.lines()).digest
    api = RangedApi()
    api.answers[f"GET {ROUTE}"] = (200, {"recording": {"id": SESSION, "digest": digest}})
    api.answers["content"] = studio.file().read_bytes()  # type: ignore[assignment]  # see above
    return api


def test_the_list() -> None:
    """The options become the query; the table has what the API says."""
    row = {"id": SESSION, "server_name": "web-1", "console_index": 0, "user_id": "mia"}
    query = f"?user=mia&limit=5&since=2026-01-01&server={INSTANCE}"
    api = FakeApi({f"GET /v1/recordings{query}": (200, {"recordings": [row]})})
    words = ["recording", "list", "--server", INSTANCE, "--user", "mia", "--limit", "5"]
    result = ask([*words, "--since", "2026-01-01"], api)
    assert result.exit_code == 0, result.output
    assert SESSION in result.stdout
    assert "web-1" in result.stdout


def test_one() -> None:
    """One recording is shown with all that is known of it, its archive's reason included."""
    row = {"id": SESSION, "archive": "failed", "image_id": None, "archive_reason": "Glance is full"}
    api = FakeApi({f"GET {ROUTE}": (200, {"recording": row})})
    result = ask(["recording", "show", SESSION], api)
    assert result.exit_code == 0, result.output
    assert "ARCHIVE" in result.stdout
    assert "Glance is full" in result.stdout


def test_playing_a_file(studio: Studio) -> None:
    """A file is played without any API, and cannot command the terminal."""
    result = run(["recording", "play", "--idle-limit", "0", str(studio.file())])
    assert result.exit_code == 0, result.output
    assert result.stdout_bytes == b"hello world\r\nthe end\r\n"


def test_playing_an_id(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """An id is read from the API, piece by piece."""
    monkeypatch.setattr(module, "PIECE", 100)
    api = api_of(studio)
    result = ask(["recording", "play", "--idle-limit", "0", SESSION], api)
    assert result.stdout_bytes == b"hello world\r\nthe end\r\n"
    assert api.ranges == [str(n) for n in range(0, len(studio.file().read_bytes()), 100)]


def test_pauses(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are as long as they were, by the speed."""
    pauses: list[float] = []
    monkeypatch.setattr(module.time, "sleep", pauses.append)
    run(["recording", "play", "--speed", "10", str(studio.file())])
    assert pauses == [360.0]


@pytest.mark.parametrize(
    ("text", "why"),
    [(None, "No such file"), (b"nonsense", "line 1 is not JSON"), (b"{}\n", "not the header")],
)
def test_what_is_no_recording(tmp_path: Path, text: bytes | None, why: str) -> None:
    """One line says why."""
    path = tmp_path / "x.cast"
    if text is not None:
        path.write_bytes(text)
    result = run(["recording", "play", str(path)])
    assert result.exit_code == 1
    assert why in result.stderr


def test_verifying_a_file(studio: Studio) -> None:
    """Whole is 0; cut and altered are 1, with the line."""
    path = studio.file()
    assert run(["recording", "verify", str(path)]).exit_code == 0
    data = path.read_bytes()
    path.write_bytes(data.replace(b"hello", b"HELLO"))
    result = run(["recording", "verify", str(path)])
    assert result.exit_code == 1
    assert "altered at line 1 to 5" in result.stderr
    path.write_bytes(data[:-90])
    result = run(["recording", "verify", "--format", "json", str(path)])
    assert result.exit_code == 1
    assert '"outcome": "cut"' in result.stdout


def test_verifying_with_a_key(studio: Studio, tmp_path: Path) -> None:
    """A file without a key's chain is not proven by the key."""
    key = tmp_path / "key"
    key.write_text("k" * 40)
    key.chmod(0o600)
    result = run(["recording", "verify", "--key-file", str(key), str(studio.file())])
    assert result.exit_code == 1
    assert "its chain has no key" in result.stderr


def test_verifying_an_id(studio: Studio) -> None:
    """A chain that was computed anew is found by the digest in the database."""
    result = ask(["recording", "verify", SESSION], api_of(studio))
    assert result.exit_code == 0, result.output
    assert "as the cell database has it" in result.stdout
    result = ask(["recording", "verify", SESSION], api_of(studio, "0" * 64))
    assert result.exit_code == 1
    assert "its last digest is not the one in the cell database" in result.stderr


def test_downloading(studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file comes whole, for its owner only, and over nothing that is there."""
    monkeypatch.setattr(module, "PIECE", 64)
    target = tmp_path / "mine.cast"
    result = ask(["recording", "download", SESSION, str(target)], api_of(studio))
    assert result.exit_code == 0, result.output
    assert target.read_bytes() == studio.file().read_bytes()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    result = ask(["recording", "download", SESSION, str(target)], api_of(studio))
    assert result.exit_code == 1
    assert "File exists" in result.stderr


def test_a_download_that_is_refused(tmp_path: Path) -> None:
    """Nothing is left where the API says no."""
    target = tmp_path / "mine.cast"
    fault = {"itemNotFound": {"code": 404, "message": "There is no such recording."}}
    api = FakeApi({f"GET {ROUTE}/content": (404, fault)})
    result = ask(["recording", "download", SESSION, str(target)], api)
    assert result.exit_code == 1
    assert "There is no such recording. (404)" in result.stderr
    assert not target.exists()


def test_deleting() -> None:
    """An id is deleted; a file's name is not taken for one."""
    api = FakeApi({f"DELETE {ROUTE}": (204, b"")})
    assert ask(["recording", "delete", SESSION], api).exit_code == 0
    assert ask(["recording", "delete", "x.cast"], FakeApi()).exit_code == 2
