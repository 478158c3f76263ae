"""A real server with a fresh workspace, a real Chromium, and axe: to look at the app as a user does."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NoReturn

import pytest
from app_server import PATIENCE_MS, AppServer, Theme, drawn, sideways
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from launcher import browser
from launcher.environment import Environment

AXE_TAGS: Final = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
ENVIRONMENT: Final = Environment(Path(sys.prefix))
TALL: Final = 6000  # axe checks contrast and target size only for what is inside the window

expect.set_options(timeout=PATIENCE_MS)


def _missing(message: str) -> NoReturn:
    """What the machine lacks: in CI an error, elsewhere a reason to skip."""
    if browser.in_ci(os.environ):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The browser that `start.py test` would take, or Playwright's own."""
    found = browser.named_browser(os.environ) or browser.installed_browser(os.environ)
    with sync_playwright() as playwright:
        path = found or Path(playwright.chromium.executable_path)
        if not path.is_file():
            _missing(browser.missing_browser(ENVIRONMENT))
        started = playwright.chromium.launch(
            executable_path=str(path),
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--disable-dev-shm-usage",
            ],
        )
        yield started
        started.close()


@pytest.fixture(scope="session")
def start_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], AppServer]]:
    """Starts servers, each with a fresh workspace; all of them and their jobs are ended with the session."""
    servers: list[AppServer] = []

    def start() -> AppServer:
        folder = tmp_path_factory.mktemp("app")
        server = AppServer(workspace=folder / "workspace", log=folder / "server.log")
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.stop()
        _end_jobs(server.workspace)


def _end_jobs(root: Path) -> None:
    from lora_core import jobs
    from lora_core.workspace import Workspace

    workspace = Workspace.open(root)
    for job in jobs.jobs(workspace):
        if not jobs.status(workspace, job.id).ended:
            jobs.stop(workspace, job.id, force=True)
            jobs.wait(workspace, job.id, 120)


@pytest.fixture(scope="session")
def app(start_app: Callable[[], AppServer]) -> AppServer:
    """A server with an empty workspace. Tests that fill it start one of their own."""
    return start_app()


@pytest.fixture
def visit(chromium: Browser) -> Iterator["Callable[..., Page]"]:
    """Opens a page of a server in a browser of its own, signed in, and waits until it is drawn."""
    contexts: list[BrowserContext] = []

    def open_page(
        server: AppServer, path: str = "/", *, width: int = 1280, height: int = 900, theme: Theme = "light"
    ) -> Page:
        context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=theme)
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        # The cookie that the server gave for its link: signing in anew would draw Home before each page.
        name, _, value = server.cookie.partition("=")
        context.add_cookies([{"name": name, "value": value, "url": server.url}])
        page = context.new_page()
        page.goto(f"{server.url}{path}")
        drawn(page)
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def axe_source() -> str:
    """The text of axe, as `start.py test` finds it."""
    found = browser.find_axe(ENVIRONMENT, os.environ)
    if found is None:
        _missing("No axe: set LORA_AXE to axe.min.js of the npm package axe-core, or install npm.")
    return found.read_text("utf-8")


@pytest.fixture
def axe(axe_source: str) -> Callable[[Page], list[str]]:
    """Finds what axe objects to on the whole page, one line a finding; an empty list is the pass."""

    def findings(page: Page) -> list[str]:
        before = page.viewport_size
        assert before is not None
        page.set_viewport_size({"width": before["width"], "height": TALL})
        drawn(page)
        page.evaluate(axe_source)
        result: dict[str, Any] = page.evaluate(
            "tags => axe.run(document, {runOnly: {type: 'tag', values: tags}})", AXE_TAGS
        )
        page.set_viewport_size(before)
        assert result["passes"], "axe checked nothing"
        return [
            f"{found['id']} ({found['impact']}): {node['html'][:160]} "
            + json.dumps([check["message"] for check in node["any"] + node["all"] + node["none"]])
            for found in result["violations"]
            for node in found["nodes"]
        ]

    return findings


WIDTHS: Final = (1280, 390)


@pytest.fixture
def objections(axe: Callable[[Page], list[str]]) -> Callable[[Page], list[str]]:
    """All that speaks against a page as it stands, wide and narrow: axe, sideways scrolling, main buttons."""

    def found(page: Page) -> list[str]:
        listed: list[str] = []
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            listed += [f"{width} px: {finding}" for finding in axe(page)]
            if sideways(page):
                listed.append(f"{width} px: it scrolls sideways")
            main = page.locator('[data-testid^="stBaseButton-primary"]:visible').count()
            if main > 1:
                listed.append(f"{width} px: {main} main buttons")
        return listed

    return found
