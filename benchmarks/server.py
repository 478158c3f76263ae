"""A Streamlit server with a fresh workspace, from its start until it answers, and its memory.

Covered: the app behind its gate, and any other script without one. Not covered: the browser.
"""

import http.client
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from benchmarks.processes import CannotMeasureError

_UP_WITHIN_S: Final = 120.0
_LOOK_EVERY_S: Final = 0.02
"""Short beside what is measured, which begins when the server is seen to be up."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers."""

    process: "subprocess.Popen[bytes]"
    port: int
    token: str

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def entry(self) -> str:
        """The link that a person opens; the gate's token is in it."""
        return f"{self.address}/?token={self.token}"

    def memory_mb(self) -> float:
        """Memory that the server process holds now, in millions of bytes."""
        return float(psutil.Process(self.process.pid).memory_info().rss) / 1e6


@contextmanager
def serving(script: Path, folder: Path) -> Iterator[Server]:
    """Run `streamlit run SCRIPT` with its workspace in `folder`, from the moment that it answers.

    Raises:
        CannotMeasureError: it ended, or did not answer within two minutes.
    """
    port, token, log = _free_port(), secrets.token_urlsafe(32), folder / "server.log"
    command = [sys.executable, "-m", "streamlit", "run", str(script), "--server.port", str(port)]
    # What the app sets for itself in .streamlit, a script in another folder has to be told.
    command += ["--server.address", "127.0.0.1", "--server.headless", "true"]
    command += ["--browser.gatherUsageStats", "false"]
    environment = {
        **os.environ,
        "LORA_WORKSPACE": str(folder / "workspace"),
        "LORA_TOKEN": token,
        "LORA_NO_BROWSER": "1",
    }
    with log.open("wb") as output:  # a pipe that nobody reads would fill and stop the server
        process = subprocess.Popen(
            command,
            cwd=script.parent,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        _wait_until_up(process, port, token, log)
        yield Server(process, port, token)
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_up(process: "subprocess.Popen[bytes]", port: int, token: str, log: Path) -> None:
    until = time.monotonic() + _UP_WITHIN_S
    while not _answers(port, token):
        if process.poll() is not None:
            raise CannotMeasureError(f"The server ended.\n{log.read_text('utf-8', 'replace')[-2000:]}")
        if time.monotonic() > until:
            raise CannotMeasureError(f"The server did not answer in {_UP_WITHIN_S:.0f} s.")
        time.sleep(_LOOK_EVERY_S)


def _answers(port: int, token: str) -> bool:
    """Whether it says that it is well, to somebody who has shown the token."""
    try:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as line:
            line.request("GET", f"/?token={token}")
            answer = line.getresponse()
            answer.read()
            cookie = (answer.getheader("Set-Cookie") or "").partition(";")[0]
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as line:
            line.request("GET", "/_stcore/health", headers={"Cookie": cookie})
            return line.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
