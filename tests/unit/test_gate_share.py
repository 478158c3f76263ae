"""The public link, with programs on PATH that print what the real ones print."""

import http.server
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from lora_core.errors import LoraError
from ui import share

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "token of the share test +/&"
IN_LINK = "token%20of%20the%20share%20test%20%2B%2F%26"

CLOUDFLARED = """
2026-11-11T19:57:55Z INF Thank you for trying Cloudflare Tunnel. Read https://developers.cloudflare.com/cloudflare-one/
2026-11-11T19:57:55Z INF Requesting new quick Tunnel on trycloudflare.com...
2026-11-11T19:57:58Z INF +----------------------------------------------------------------------------+
2026-11-11T19:57:58Z INF |  Your quick Tunnel has been created! Visit it at (it may take some time):  |
2026-11-11T19:57:58Z INF |  https://four-dashed-words-here.trycloudflare.com                          |
2026-11-11T19:57:58Z INF +----------------------------------------------------------------------------+
"""
CLOUDFLARED_FAILS = """
2026-11-11T19:57:55Z INF Requesting new quick Tunnel on trycloudflare.com...
failed to request quick Tunnel: Post "https://api.trycloudflare.com/tunnel": dial tcp: no such host
"""
LOCALHOST_RUN = """
Welcome to localhost.run! Follow your favourite reverse tunnel at https://twitter.com/localhost_run.
To set up and manage custom domains go to https://admin.localhost.run/
More details on custom domains at https://localhost.run/docs/custom-domains
authenticated as anonymous user
8beaa541ba3dc2.lhr.life tunneled with tls termination, https://8beaa541ba3dc2.lhr.life
"""

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the stand-ins for the programs are shell scripts")


class _Gated(http.server.BaseHTTPRequestHandler):
    status = 401

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Say nothing."""


class _Open(_Gated):
    status = 200


@pytest.fixture(params=[_Gated])
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), request.param)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


class Desk:
    """A PATH with stand-ins, and the command run under it."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.pid_file = folder / "pid"
        self.arguments = folder / "arguments"
        self.environ = {
            "PATH": str(self.bin),
            "LORA_WORKSPACE": str(folder / "workspace"),
            "LORA_TOKEN": TOKEN,
            "PYTHONPATH": str(ROOT),
        }

    def program(self, name: str, says: str, *, stays: bool = True) -> None:
        """A program that prints and then stays until it is ended, or fails."""
        path = self.bin / name
        end = "exec /bin/sleep 60" if stays else "exit 1"
        path.write_text(
            f"#!/bin/sh\necho $$ > '{self.pid_file}'\necho \"$0 $*\" > '{self.arguments}'\n"
            f"/bin/cat >&2 <<'END'\n{says}\nEND\n{end}\n"
        )
        path.chmod(0o755)

    def start(self, port: int) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "ui.share", str(port)],
            cwd=ROOT, env=self.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def gone(self) -> bool:
        """The program is not running (any more)."""
        pid = int(self.pid_file.read_text())
        return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def _link(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if "https://" in line:
            return line.rpartition(" ")[2].strip()
    raise AssertionError(process.communicate())


@pytest.mark.parametrize(
    ("name", "says", "host"),
    [
        ("cloudflared", CLOUDFLARED, "four-dashed-words-here.trycloudflare.com"),
        ("ssh", LOCALHOST_RUN, "8beaa541ba3dc2.lhr.life"),
    ],
)
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_the_link_is_printed_and_the_tunnel_ends_with_it(
    desk: Desk, port: int, name: str, says: str, host: str, stop: signal.Signals
) -> None:
    desk.program(name, says)
    process = desk.start(port)
    assert _link(process) == f"https://{host}/?token={IN_LINK}"
    arguments = desk.arguments.read_text()
    assert f"127.0.0.1:{port}" in arguments
    assert TOKEN not in arguments
    process.send_signal(stop)
    _, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, "")
    assert desk.gone()


def test_cloudflared_is_preferred(desk: Desk, port: int) -> None:
    desk.program("ssh", LOCALHOST_RUN)
    desk.program("cloudflared", CLOUDFLARED)
    process = desk.start(port)
    assert "trycloudflare" in _link(process)
    process.terminate()
    process.communicate(timeout=120)


def test_ssh_keeps_the_host_s_key_and_refuses_a_changed_one() -> None:
    command = share.choose(8501, lambda name: f"/bin/{name}" if name == "ssh" else None).command
    assert "StrictHostKeyChecking=accept-new" in command
    assert "BatchMode=yes" in command


def test_without_a_program_it_says_what_to_install(desk: Desk, port: int) -> None:
    process = desk.start(port)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "Neither cloudflared nor ssh is installed." in errors


def test_a_tunnel_that_fails_is_told_with_its_last_words(desk: Desk, port: int) -> None:
    desk.program("cloudflared", CLOUDFLARED_FAILS, stays=False)
    process = desk.start(port)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "no such host" in errors
    assert TOKEN not in output + errors
    assert "api.trycloudflare.com/?token" not in output


def test_a_tunnel_that_says_nothing_is_given_up(desk: Desk) -> None:
    desk.program("cloudflared", "starting")
    tunnel = share.Tunnel("cloudflared", (str(desk.bin / "cloudflared"),), share.CLOUDFLARED_SAYS)
    with (
        share.opened(tunnel) as (_, lines),
        pytest.raises(LoraError, match="named no address"),
    ):
        share.public_address(tunnel, lines, wait_s=0.3)
    assert desk.gone()


@pytest.mark.parametrize("port", [_Open], indirect=True)
def test_a_port_without_the_gate_is_never_shared(desk: Desk, port: int) -> None:
    desk.program("cloudflared", CLOUDFLARED)
    process = desk.start(port)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "asks for no token" in errors
    assert not desk.arguments.exists()


def test_a_port_where_nothing_answers_is_told() -> None:
    with pytest.raises(LoraError, match="Nothing answers on port 1 "):
        share.check_gate(1, wait_s=0.0)


def test_the_tunnel_ends_with_the_process_that_started_it(desk: Desk, port: int) -> None:
    desk.program("cloudflared", CLOUDFLARED)
    code = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-m', 'ui.share', '{port}'])\n"
        "print(child.pid, flush=True)\nchild.wait()"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, env=desk.environ, stdout=subprocess.PIPE, text=True
    )
    _link(starter)
    starter.kill()
    starter.communicate(timeout=120)
    until_s = time.monotonic() + 120
    while not desk.gone():
        assert time.monotonic() < until_s, "the tunnel outlived the app"
        time.sleep(0.05)


@pytest.mark.parametrize("arguments", [[], ["x"], ["0"], ["65536"], ["8501", "2"]])
def test_wrong_arguments_are_told(arguments: list[str]) -> None:
    assert share.main(arguments) == 2
