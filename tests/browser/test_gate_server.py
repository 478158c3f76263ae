"""Plain `streamlit run Home.py`: where it listens, what it sends out, and how one signs in."""

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from gate_tools import ROOT, Server, family, served
from playwright.sync_api import Browser, Page, Request, expect
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

pytestmark = pytest.mark.browser

PATIENT_MS = 120_000  # a machine that trains in the next test draws slowly

# Runs in the server and in every Python that it starts, before anything else of theirs.
WATCH = """
import os, sys

def _watch(event, args):
    by_address, by_name = ("connect", "sendto", "sendmsg"), ("getaddrinfo", "gethostbyname")
    if event in {f"socket.{name}" for name in by_address + by_name}:
        where = args[0 if event.endswith(by_name) else 1]
        with open(os.environ["LORA_TEST_WATCH"], "a") as log:
            log.write(f"{event} {where!r}\\n")

sys.addaudithook(_watch)
"""
LOCAL = re.compile(r"'(127\.[\d.]+|::1|localhost|0\.0\.0\.0|/[^']*)'|None|^socket\.\w+ b?''$")


@dataclass
class Plain:
    """The app as somebody starts it who sets nothing but the workspace."""

    server: Server
    workspace: Path
    watch: Path

    @property
    def link(self) -> str:
        found = re.search(r"http://127\.0\.0\.1:\d+/\?token=(\S+)", self.server.log.read_text())
        assert found, self.server.log.read_text()
        return found[0]

    @property
    def token(self) -> str:
        return self.link.partition("token=")[2]

    def signed_in(self) -> str:
        answer = httpx.get(self.link, trust_env=False, timeout=PATIENT_MS / 1000)
        return answer.headers["set-cookie"].partition(";")[0]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plain]:
    folder = tmp_path_factory.mktemp("plain")
    (folder / "watch").mkdir()
    (folder / "watch" / "sitecustomize.py").write_text(WATCH)
    environ = {
        "LORA_WORKSPACE": str(folder / "workspace"),
        "LORA_TEST_WATCH": str(folder / "calls"),
        "PYTHONPATH": str(folder / "watch"),
    }
    with served(ROOT / "Home.py", folder / "log", environ) as server:
        yield Plain(server, folder / "workspace", folder / "calls")


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    context = chromium.new_context()
    context.set_default_timeout(PATIENT_MS)
    yield context.new_page()
    context.close()


def _opens(address: str, headers: dict[str, str]) -> bool:
    try:
        with connect(address, additional_headers=headers, proxy=None, open_timeout=PATIENT_MS / 1000):
            return True
    except InvalidStatus:
        return False


def test_it_listens_on_loopback_alone(plain: Plain) -> None:
    sockets = [
        c for process in family(plain.server.process) for c in process.net_connections() if not c.raddr
    ]
    assert {c.laddr.ip for c in sockets if c.status == psutil.CONN_LISTEN} == {"127.0.0.1"}


def test_it_sends_nothing_out_whatever_is_asked_of_it(plain: Plain, page: Page) -> None:
    asked: list[Request] = []
    page.on("request", lambda request: asked.append(request))  # noqa: PLW0108 - no builtin will do
    page.goto(plain.link)
    expect(page.get_by_test_id("stAppViewContainer")).to_be_visible(timeout=PATIENT_MS)
    expect(page.get_by_role("heading", level=1)).to_have_count(1, timeout=PATIENT_MS)
    cookie = plain.signed_in()
    address = plain.server.url.replace("http", "ws", 1) + "/_stcore/stream"
    # Streamlit by itself asks a public service for its own address when it meets a foreign Origin.
    foreign = {"Cookie": cookie, "Origin": "https://lora.example"}
    assert not _opens(address, foreign)
    assert _opens(address, {**foreign, "X-Forwarded-Host": "lora.example"})
    # What the page wanted from elsewhere was stopped in the browser, by the policy that the gate adds.
    sent = {request.url for request in asked if request.failure != "csp"}
    assert [url for url in sent if not url.startswith(plain.server.url)] == []
    calls = plain.watch.read_text().splitlines() if plain.watch.exists() else []
    assert [call for call in calls if not LOCAL.search(call)] == []
    connected = [
        c for process in family(plain.server.process) for c in process.net_connections(kind="inet") if c.raddr
    ]
    assert {c.raddr.ip for c in connected} <= {"127.0.0.1"}


def test_the_watch_itself_sees_an_attempt(plain: Plain, tmp_path: Path) -> None:
    environ = {
        **os.environ,
        "PYTHONPATH": str(plain.watch.parent / "watch"),
        "LORA_TEST_WATCH": str(tmp_path / "calls"),
    }
    code = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('203.0.113.1', 9))"
    subprocess.run([sys.executable, "-c", code], env=environ, check=False, capture_output=True)
    assert [call for call in (tmp_path / "calls").read_text().splitlines() if not LOCAL.search(call)]


def test_the_link_is_printed_and_printed_again(plain: Plain) -> None:
    token = plain.workspace / ".access" / "token"
    assert token.read_text().strip() == plain.token
    if os.name == "posix":
        assert stat.S_IMODE(token.stat().st_mode) == 0o600
    environ = {**os.environ, "LORA_WORKSPACE": str(plain.workspace), "LORA_PORT": str(plain.server.port)}
    again = subprocess.run(
        [sys.executable, "-m", "ui.gate", "link"],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert again.stdout.strip() == plain.link


def test_nothing_of_the_app_is_shown_without_the_token(plain: Plain) -> None:
    with httpx.Client(base_url=plain.server.url, trust_env=False, timeout=PATIENT_MS / 1000) as client:
        for path in (
            "/",
            "/_stcore/health",
            "/static/index.html",
            "/Dataset",
            "/app/static/calm.css",
            "/favicon.png",
        ):
            answer = client.get(path)
            assert answer.status_code == 401, path
            assert "streamlit" not in answer.text.lower(), path
    assert not _opens(plain.server.url.replace("http", "ws", 1) + "/_stcore/stream", {})


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_on_the_sign_in_page(
    plain: Plain, chromium: Browser, axe_source: str, theme: Any
) -> None:
    context = chromium.new_context(
        color_scheme=theme, bypass_csp=True
    )  # axe is a script; the page allows none
    context.set_default_timeout(PATIENT_MS)
    page = context.new_page()
    page.goto(f"{plain.server.url}/Dataset")
    for _ in range(2):  # the page as it is, and after a wrong token
        page.evaluate(axe_source)
        found: dict[str, Any] = page.evaluate("() => axe.run(document)")
        assert found["passes"]
        assert not found["violations"], json.dumps(found["violations"])[:2000]
        page.get_by_label("Access token").fill("wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_be_visible(timeout=PATIENT_MS)
    dark = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert dark == ("rgb(29, 31, 33)" if theme == "dark" else "rgb(245, 242, 234)")
    context.close()


def test_one_signs_in_with_the_keyboard_and_lands_where_one_wanted_to_go(plain: Plain, page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{plain.server.url}/?shown=1")
    assert len(asked) == 1  # the page is all: no picture, no script, no font
    assert page.evaluate("document.activeElement.id") == "token"
    page.keyboard.insert_text(f"  {plain.link}  ")  # as pasted
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("stApp")).to_be_visible(timeout=PATIENT_MS)
    assert page.url == f"{plain.server.url}/?shown=1"
    assert plain.token not in page.content()


def test_the_token_is_in_no_command_line_and_in_no_log_but_the_link(plain: Plain) -> None:
    for process in family(plain.server.process):
        assert plain.token not in " ".join(process.cmdline())
    assert plain.server.log.read_text().count(plain.token) == 1
