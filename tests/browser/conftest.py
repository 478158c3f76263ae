"""A real server with a fresh workspace, a real Chromium, and axe: to look at the app as a user does."""

import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import psutil
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

ROOT: Final = Path(__file__).resolve().parents[2]
CHROMIUM_NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "chrome")
AXE_TAGS: Final = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
AXE_VERSION: Final = "4.14.1"
UP_WITHIN_S: Final = 60.0
PATIENCE_MS: Final = 120_000  # a page takes a second; on a machine with ten times too much to do, this
TALL: Final = 6000  # axe checks contrast and target size only for what is inside the window

expect.set_options(timeout=60_000)

Theme = Literal["light", "dark"]


@dataclass
class AppServer:
    """The app as `streamlit run Home.py` starts it, on a free port of this machine."""

    workspace: Path
    log: Path
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    port: int = 0
    process: "subprocess.Popen[bytes] | None" = None
    cookie: str = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Start it on its port (the same one after a kill) and wait until it answers behind the gate."""
        self.port = self.port or _free_port()
        environment = {
            **os.environ,
            "LORA_WORKSPACE": str(self.workspace),
            "LORA_TOKEN": self.token,
            "LORA_NO_BROWSER": "1",
        }
        command = [sys.executable, "-m", "streamlit", "run", "Home.py", "--server.port", str(self.port)]
        with self.log.open("ab") as output:  # a pipe that nobody reads would fill and stop the server
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        until = time.monotonic() + UP_WITHIN_S
        while not self._answers():
            assert self.process.poll() is None, f"The server ended:\n{self.log.read_text()}"
            assert time.monotonic() < until, f"No answer in {UP_WITHIN_S} s:\n{self.log.read_text()}"
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)) as line:
                line.request("GET", f"/?token={self.token}")
                answer = line.getresponse()
                answer.read()
                self.cookie = (answer.getheader("Set-Cookie") or "").partition(";")[0]
            with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)) as line:
                line.request("GET", "/_stcore/health", headers={"Cookie": self.cookie})
                return line.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False

    def kill(self) -> None:
        """SIGKILL: the app gets no chance to tidy up."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> None:
        """End it as a service manager would."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()

    def rss_mib(self) -> float:
        """Memory that the server process holds."""
        return float(psutil.Process(self.pid).memory_info().rss) / 2**20


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The browser. Without one the test is skipped, in CI it is an error."""
    found = os.environ.get("LORA_CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    with sync_playwright() as playwright:
        bundled = Path(playwright.chromium.executable_path)
        path = found or (str(bundled) if bundled.is_file() else None)
        if path is None:
            message = "No Chromium: set LORA_CHROMIUM, or run `playwright install chromium`."
            if os.environ.get("CI") == "true":
                pytest.fail(message)
            pytest.skip(message)
        browser = playwright.chromium.launch(
            executable_path=path,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--disable-dev-shm-usage",
            ],
        )
        yield browser
        browser.close()


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
        page = context.new_page()
        page.goto(f"{server.url}/?token={server.token}")
        if path != "/":
            page.goto(f"{server.url}{path}")
        drawn(page)
        return page

    yield open_page
    for context in contexts:
        context.close()


def drawn(page: Page, timeout_ms: float = PATIENCE_MS) -> None:
    """Wait until the page has its title, the last item of the sidebar, and no script run going on."""
    expect(page.get_by_role("heading", level=1)).to_have_count(1, timeout=timeout_ms)
    expect(page.get_by_test_id("stSidebar").get_by_text("Help with this page")).to_have_count(
        1, timeout=timeout_ms
    )
    page.wait_for_function(
        """() => {
            const app = document.querySelector('[data-testid="stApp"]');
            return app && app.dataset.testScriptState === "notRunning"
                && !document.querySelector('[data-testid="stSkeleton"]');
        }""",
        timeout=timeout_ms,
    )


@pytest.fixture(scope="session")
def axe_source() -> str:
    """The text of axe: from LORA_AXE, or fetched once with npm and kept."""
    named = os.environ.get("LORA_AXE")
    if named:
        return Path(named).read_text("utf-8")
    kept = Path.home() / ".cache" / "lora-easy-trainer" / f"axe-{AXE_VERSION}.min.js"
    if not kept.is_file():
        if shutil.which("npm") is None:
            message = "No axe: set LORA_AXE to axe.min.js of the npm package axe-core, or install npm."
            if os.environ.get("CI") == "true":
                pytest.fail(message)
            pytest.skip(message)
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(
                ["npm", "pack", f"axe-core@{AXE_VERSION}"], cwd=folder, check=True, capture_output=True
            )
            with tarfile.open(next(Path(folder).glob("*.tgz"))) as packed:
                member = packed.extractfile("package/axe.min.js")
                assert member is not None
                source = member.read()
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = kept.with_suffix(f".{os.getpid()}.part")
        part.write_bytes(source)
        part.replace(kept)
    return kept.read_text("utf-8")


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


def sideways(page: Page) -> bool:
    """Whether one has to scroll sideways to see all of the page."""
    return bool(
        page.evaluate(
            """() => {
                const main = document.querySelector('[data-testid="stMain"]');
                return document.documentElement.scrollWidth > window.innerWidth
                    || main.scrollWidth > main.clientWidth;
            }"""
        )
    )
