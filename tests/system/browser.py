"""Opens pages in the Chromium that the machine has, and lets nothing pass that is wrong with one.

Playwright's synchronous interface keeps an event loop running in its thread, where no other could start: it lives in
a thread of its own, and tests hand it functions.
"""

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import Page, Playwright, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Without a sandbox, as root in a container; and with nothing that would talk to anybody.
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
NO_BROWSER = f"needs a browser: none of {', '.join(NAMES)} is on the path (Debian: apt-get install chromium)"
_NOT_DRAWN = "[data-figure]:not(:has(.main-svg))"

T = TypeVar("T")


class Browser:
    """One Chromium for all tests of a session; every page has a fresh profile."""

    def __init__(self, executable: str) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="browser")
        self._playwright, self._chromium = self._thread.submit(_launched, executable).result()

    def open(
        self,
        page: Path,
        see: Callable[[Page], T],
        *,
        width: int = 1280,
        dark: bool = False,
        scripts: bool = True,
        scale: float = 1,
    ) -> T:
        """What `see` makes of the page, once its plots are drawn.

        Fails for an error on the console, an exception in a script, a request that failed, and a request for anything
        but a file.
        """
        return self._thread.submit(self._open, page, see, width, dark, scripts, scale).result()

    def close(self) -> None:
        self._thread.submit(self._chromium.close).result()
        self._thread.submit(self._playwright.stop).result()
        self._thread.shutdown()

    def _open(self, path: Path, see: Callable[[Page], T], width: int, dark: bool, scripts: bool, scale: float) -> T:
        context = self._chromium.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if dark else "light",
            java_script_enabled=scripts,
            device_scale_factor=scale,
        )
        wrong: list[str] = []
        try:
            page = context.new_page()
            page.on("console", lambda said: wrong.append(f"console: {said.text}") if said.type == "error" else None)
            page.on("pageerror", lambda error: wrong.append(f"exception: {error}"))
            page.on("requestfailed", lambda request: wrong.append(f"failed: {request.url}"))
            page.on(
                "request",
                lambda request: None if request.url.startswith("file://") else wrong.append(f"asked: {request.url}"),
            )
            page.goto(path.as_uri())
            if scripts:
                page.locator(_NOT_DRAWN).first.wait_for(state="detached")
            seen = see(page)
        finally:
            context.close()
        assert wrong == [], f"{path.name}: {wrong}"
        return seen


def _launched(executable: str) -> tuple[Playwright, Chromium]:
    playwright = sync_playwright().start()
    return playwright, playwright.chromium.launch(executable_path=executable, args=list(ARGUMENTS))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A browser, or a skip that says what is missing."""
    executable = next((found for name in NAMES if (found := shutil.which(name))), None)
    if executable is None:
        pytest.skip(NO_BROWSER)
    browser = Browser(executable)
    yield browser
    browser.close()
