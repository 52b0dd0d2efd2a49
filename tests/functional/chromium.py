"""A real Chromium, and what the tests ask of the console's page in it."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
ARTIFACTS = ROOT / ".build" / "artifacts"
PATIENCE = 60_000
"""Milliseconds that an expectation may take on a busy machine."""

LOOK = 50
"""Milliseconds between two looks at what is drawn."""

SETTLED = 200
"""Milliseconds, many frames, after which a size that has not changed is the last one."""

_SWITCHES = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, headless."""
    path = shutil.which("chromium")
    assert path, "Chromium is missing; `make test` installs it"
    with sync_playwright() as playwright:
        expect.set_options(timeout=PATIENCE)
        browser = playwright.chromium.launch(executable_path=path, args=list(_SWITCHES))
        yield browser
        browser.close()


class ConsolePage:
    """The console's page in a tab of its own context.

    :ivar complaints: errors and refused loads that the browser's console showed.
    """

    def __init__(self, browser: Browser, width: int, height: int, **options: Any) -> None:
        size: Any = {"width": width, "height": height}
        self.context = browser.new_context(viewport=size, **options)
        self.context.set_default_timeout(PATIENCE)
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", self._complain)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _complain(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def open(self, url: str) -> None:
        """Opens a console URL."""
        self.page.goto(url)

    def expect_state(self, words: str | re.Pattern[str]) -> None:
        """Waits until the page says that of the connection."""
        expect(self.page.locator("#state")).to_have_text(words)

    def type(self, text: str) -> None:
        """Types into the terminal, as a person does."""
        self.page.locator("#terminal").click()
        self.page.keyboard.type(text)

    def press(self, key: str) -> None:
        """Presses a key in the terminal."""
        self.page.locator(".xterm-helper-textarea").press(key)

    def expect_text(self, words: str | re.Pattern[str]) -> None:
        """Waits until the terminal's screen shows it."""
        pattern = words if isinstance(words, re.Pattern) else re.compile(re.escape(words))
        expect(self.page.locator(".xterm-rows")).to_contain_text(pattern)

    def expect_rows(self, last: list[str]) -> None:
        """Waits until these are the last rows of the terminal's screen that are not empty."""
        self.until(lambda: self._rows()[-len(last) :] == last, lambda: f"{self._rows()}")

    def expect_screen(self, rows: list[str]) -> None:
        """Waits until these are all rows of the terminal's screen that are not empty."""
        self.until(lambda: self._rows() == rows, lambda: f"{self._rows()}")

    def _rows(self) -> list[str]:
        rows = self.page.locator(".xterm-rows > div").all_inner_texts()
        return [text for row in rows if (text := row.replace("\xa0", " ").strip())]

    def rows(self) -> int:
        """How many rows the terminal has, when it has taken the window's size."""
        place, counts = self.page.locator(".xterm-rows > div"), [0]

        def settled() -> bool:
            counts.append(place.count())
            return counts[-1] == counts[-2] > 0

        self.until(settled, lambda: f"{counts}", SETTLED)
        return counts[-1]

    def expect_no_wider(self) -> None:
        """Waits until nothing reaches beyond the window's width: a page is drawn in steps."""
        assert self.page.viewport_size is not None
        self.page.wait_for_function(
            "width => document.documentElement.scrollWidth <= width",
            arg=self.page.viewport_size["width"],
        )

    def said(self, place: Locator, words: re.Pattern[str]) -> re.Match[str]:
        """The words as they stand there, as soon as they do."""
        found: list[re.Match[str]] = []

        def look() -> bool:
            found.extend(words.finditer(" ".join(place.all_inner_texts())))
            return bool(found)

        self.until(look, lambda: f"{place.all_inner_texts()}")
        return found[0]

    def until(
        self, true: Callable[[], bool], told: Callable[[], str] = str, step: int = LOOK
    ) -> None:
        """Waits until that is true; meanwhile the browser's events are heard.

        :param told: what is there instead, for the error.
        :param step: milliseconds between two looks.
        """
        deadline = time.monotonic() + PATIENCE / 1000
        while not true():
            assert time.monotonic() < deadline, told()
            self.page.wait_for_timeout(step)

    def screenshot(self, name: str) -> Path:
        """Keeps a picture as a test artifact."""
        ARTIFACTS.mkdir(parents=True, exist_ok=True)
        path = ARTIFACTS / f"{name}.png"
        self.page.screenshot(path=path)
        return path

    def close(self) -> None:
        """Closes the tab and forgets everything."""
        self.context.close()


@contextmanager
def console_page(
    browser: Browser, width: int = 1100, height: int = 640, **options: Any
) -> Iterator[ConsolePage]:
    """A fresh page; its context, which gets the options, ends with it."""
    page = ConsolePage(browser, width, height, **options)
    try:
        yield page
    finally:
        page.close()
