"""A real Chromium, and what the tests ask of the console's page in it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
ARTIFACTS = ROOT / ".build" / "artifacts"
PATIENCE = 30_000
"""Milliseconds that an expectation may take on a busy machine."""

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
