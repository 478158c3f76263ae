"""The app's server as tests start, kill and ask it, and when a page of it is drawn."""

import http.client
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import psutil
from playwright.sync_api import Page, expect

ROOT: Final = Path(__file__).resolve().parents[2]
UP_WITHIN_S: Final = 240.0
PATIENCE_MS: Final = 120_000  # a page takes a second; on a machine with ten times too much to do, this

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
            with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as line:
                line.request("GET", f"/?token={self.token}")
                answer = line.getresponse()
                answer.read()
                self.cookie = (answer.getheader("Set-Cookie") or "").partition(";")[0]
            with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as line:
                line.request("GET", "/_stcore/health", headers={"Cookie": self.cookie})
                return line.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False

    def kill(self) -> None:
        """SIGKILL: the app gets no chance to tidy up."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(60)

    def stop(self) -> None:
        """End it as a service manager would."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.kill()

    def rss_mib(self) -> float:
        """Memory that the server process holds."""
        return float(psutil.Process(self.pid).memory_info().rss) / 2**20


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
