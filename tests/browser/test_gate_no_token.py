"""`--no-token` on a real server, and the starts that it refuses."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from gate_tools import ROOT, Server, Tunnel, Way, free_port, served, small_app
from playwright.sync_api import Browser, expect
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

pytestmark = pytest.mark.browser

PATIENT_MS = 120_000  # a machine that trains in the next test draws slowly
PATIENT_S = PATIENT_MS / 1000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("no-token")
    environ = {"LORA_NO_TOKEN": "1", "LORA_WORKSPACE": str(folder / "workspace")}
    with served(small_app(folder), folder / "log", environ) as running:
        yield running


def test_a_browser_on_this_computer_needs_no_sign_in(server: Server, chromium: Browser) -> None:
    context = chromium.new_context()
    context.set_default_timeout(PATIENT_MS)
    page = context.new_page()
    page.goto(f"http://localhost:{server.port}/")
    expect(page.get_by_role("heading", name="Behind the gate")).to_be_visible(timeout=PATIENT_MS)
    page.get_by_role("button", name="Count").click()
    expect(page.get_by_text("Counted 1")).to_be_visible(timeout=PATIENT_MS)
    context.close()
    assert "Sign-in is off (--no-token)" in server.log.read_text()


@pytest.mark.parametrize("host", ["kept", "rewritten"])
def test_a_tunnel_gets_nothing(server: Server, host: str) -> None:
    tunnel = Tunnel(server.port, Way(host, "http"), None)  # type: ignore[arg-type]  # one of the two it takes
    for path in ("/", "/_stcore/health", "/thumbs/a.svg"):
        answer = httpx.get(
            f"{tunnel.url}{path}", headers={"Accept": "text/html"}, trust_env=False, timeout=PATIENT_S
        )
        assert answer.status_code == 403
        assert "through a proxy or a tunnel" in answer.text
    with pytest.raises(InvalidStatus):
        connect(f"ws://{tunnel.netloc}/_stcore/stream", proxy=None, open_timeout=PATIENT_S)
    tunnel.close()


def test_a_name_that_was_made_to_lead_here_gets_nothing(server: Server) -> None:
    headers = {"Host": f"rebound.example:{server.port}", "Origin": f"http://rebound.example:{server.port}"}
    assert httpx.get(server.url, headers=headers, trust_env=False, timeout=PATIENT_S).status_code == 403
    address = f"ws://127.0.0.1:{server.port}/_stcore/stream"
    with pytest.raises(InvalidStatus):
        connect(address, origin="http://localhost:9999", proxy=None, open_timeout=PATIENT_S)  # type: ignore[arg-type]  # a plain text will do
    with connect(address, proxy=None, open_timeout=PATIENT_S):
        pass


@pytest.mark.parametrize(
    ("environ", "arguments", "told"),
    [
        ({"LORA_LISTEN": "0.0.0.0"}, (), "Leave out --no-token"),  # noqa: S104 - it is refused
        ({"LORA_SHARE": "1"}, (), "Leave out --no-token"),
        ({}, ("--server.address", "0.0.0.0"), "this server listens to others"),  # noqa: S104 - as above
    ],
)
def test_it_does_not_start_where_strangers_could_come_in(
    tmp_path: Path, environ: dict[str, str], arguments: tuple[str, ...], told: str
) -> None:
    import os

    script = small_app(tmp_path)
    command = [
        sys.executable,
        "-m",
        "streamlit",
        "run",
        script.name,
        "--server.port",
        str(free_port()),
        *arguments,
    ]
    ended = subprocess.run(
        [*command, "--logger.hideWelcomeMessage", "true"],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "LORA_WORKSPACE": str(tmp_path),
            "LORA_NO_TOKEN": "1",
            **environ,
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode != 0
    assert told in ended.stderr + ended.stdout
