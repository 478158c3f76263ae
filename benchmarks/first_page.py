"""How long the first page takes once the server is up, and how much memory the server holds.

Timed: from the moment that a fresh server with an empty workspace answers behind its gate to the
moment that Chromium shows the title of the first page. The alternative in the same run is a
Streamlit app of one line, so that one sees how much of it is Streamlit itself. Each time has a
server of its own; app and alternative take turns.

Not covered: the start of the server before it answers, and pages with much in them.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.machine import ROOT
from benchmarks.record import Measurement, emit, tell
from benchmarks.server import Server, serving
from launcher.browser import installed_browser, named_browser

if TYPE_CHECKING:  # the list of benchmarks needs no browser
    from playwright.sync_api import Browser, Page

TARGET_S: Final = 2.5
TARGET_MB: Final = 300.0
_PAGES: Final = ("Setup", "Dataset", "Training", "Utilities", "Help")
_ALTERNATIVE: Final = "streamlit one-line app"
_ONE_LINE: Final = 'import streamlit as st; st.title("Hello world")\n'
_PATIENCE_MS: Final = 120_000
_ARGUMENTS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
)
_IDLE: Final = """() => {
    const app = document.querySelector('[data-testid="stApp"]');
    return app && app.dataset.testScriptState === "notRunning" && document.querySelector("h1");
}"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--times", type=int, default=5, help="fresh servers of each kind; 5 unless told otherwise"
    )


@dataclass(slots=True)
class _Seen:
    seconds: list[float] = field(default_factory=list)
    first_mb: list[float] = field(default_factory=list)
    """Memory after the first page."""
    all_mb: list[float] = field(default_factory=list)
    """Memory after a visit of every page."""

    def newest(self) -> str:
        return f"{self.seconds[-1]:.2f} s, {self.first_mb[-1]:.0f} MB"


def run(options: argparse.Namespace) -> None:
    from playwright.sync_api import sync_playwright

    app, other = _Seen(), _Seen()
    with sync_playwright() as playwright, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = named_browser(os.environ) or installed_browser(os.environ)
        browser = playwright.chromium.launch(executable_path=path, args=list(_ARGUMENTS))
        one_line = Path(folder, "hello.py")
        one_line.write_text(_ONE_LINE, "utf-8")
        for number in range(options.times):
            _look(browser, ROOT / "Home.py", app, _every_page)
            _look(browser, one_line, other, _no_more_pages)
            tell(f"{number + 1} of {options.times}: the app {app.newest()}; one line {other.newest()}")
        settings = {"browser": f"Chromium {browser.version}, headless"}
        browser.close()
    for name, what, unit, values, others, target in (
        ("first_page", "server up to first page drawn", "s", app.seconds, other.seconds, TARGET_S),
        ("first_page_memory", "server after the first page", "MB", app.first_mb, other.first_mb, TARGET_MB),
        ("every_page_memory", "server after every page", "MB", app.all_mb, other.all_mb, TARGET_MB),
    ):
        emit(
            Measurement(
                name=name,
                what=what,
                unit="s" if unit == "s" else "MB",
                values=values,
                against=_ALTERNATIVE,
                against_values=others,
                target=target,
                settings=settings,
            )
        )


def _look(browser: "Browser", script: Path, seen: _Seen, go_on: Callable[[Server, "Page"], None]) -> None:
    """One fresh server and one fresh visitor."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        context.set_default_timeout(_PATIENCE_MS)
        page = context.new_page()  # made before, for the browser's own start is not the app's
        with serving(script, Path(folder)) as server:
            started = time.perf_counter()
            page.goto(server.entry, wait_until="commit")
            page.wait_for_selector("h1", state="visible")
            seen.seconds.append(time.perf_counter() - started)
            page.wait_for_function(_IDLE)
            seen.first_mb.append(server.memory_mb())
            go_on(server, page)
            seen.all_mb.append(server.memory_mb())
            context.close()


def _every_page(server: Server, page: "Page") -> None:
    for name in _PAGES:
        page.goto(f"{server.address}/{name}")
        page.wait_for_function(_IDLE)


def _no_more_pages(server: Server, page: "Page") -> None:
    """The alternative has one page."""
