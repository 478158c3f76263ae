"""The app behind a tunnel: without the token nothing passes, with it everything works.

Four ways of a reverse proxy (Host kept or rewritten, http or https), and one that adds no headers at all.
"""

import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gate_tools import Server, Tunnel, Way, self_signed, served, small_app
from playwright.sync_api import Browser, Request, expect
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

pytestmark = pytest.mark.browser

TOKEN = "token-of-the-tunnel-test"
PATIENT_MS = 120_000  # a machine that trains beside the test answers slowly
WAYS = [
    Way("kept", "http"),
    Way("kept", "https"),
    Way("rewritten", "http"),
    Way("rewritten", "https"),
    Way("rewritten", "http", headers=False),  # to a browser the same as the third
]
PATHS = [
    "/",
    "/Dataset",
    "/_stcore/health",
    "/_stcore/host-config",
    "/_stcore/metrics",
    "/_stcore/stream",
    "/app/static/b.svg",
    "/static/index.html",
    "/favicon.png",
    "/media/a.png",
    "/component/st_aggrid.AgGrid.agGrid/index.html",
    "/thumbs/a.svg",
    "//thumbs/a.svg",
    "/%2e%2e/thumbs/a.svg",
    "/robots.txt",
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("tunnel")
    environ = {
        "LORA_TOKEN": TOKEN,
        "LORA_WORKSPACE": str(folder / "workspace"),
        "STREAMLIT_SERVER_ENABLE_STATIC_SERVING": "true",
    }
    with served(small_app(folder), folder / "log", environ) as running:
        yield running


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    return self_signed(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(params=WAYS, ids=str)
def tunnel(request: pytest.FixtureRequest, server: Server, certificate: Path | None) -> Iterator[Tunnel]:
    tunnel = Tunnel(server.port, request.param, certificate)
    yield tunnel
    tunnel.close()


def _client(tunnel: Tunnel, **more: Any) -> httpx.Client:
    return httpx.Client(base_url=tunnel.url, verify=False, trust_env=False, timeout=PATIENT_MS / 1000, **more)  # noqa: S501 - the test's own certificate


def _socket_status(tunnel: Tunnel, headers: dict[str, str]) -> int:
    """101 when the websocket opens, else the status of the refusal."""
    context = ssl._create_unverified_context() if tunnel.url.startswith("https") else None  # noqa: S323 - as above
    address = tunnel.url.replace("http", "ws", 1) + "/_stcore/stream"
    try:
        with connect(
            address, additional_headers=headers, ssl=context, proxy=None, open_timeout=PATIENT_MS / 1000
        ):
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


def test_without_the_token_nothing_passes(tunnel: Tunnel) -> None:
    with _client(tunnel) as client:
        for path in PATHS:
            answer = client.get(path)
            assert answer.status_code == 401, path
            assert b"<svg" not in answer.content, path
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
            answer = client.request(method, "/_stcore/upload_file/a/b", content=b"x" * 100_000)
            assert answer.status_code == 401, method
        assert not client.cookies
    assert _socket_status(tunnel, {}) == 403
    assert _socket_status(tunnel, {"Cookie": "lora_access_00000000=v1.1.." + "0" * 64}) == 403
    assert _socket_status(tunnel, {"Origin": tunnel.url}) == 403


@pytest.mark.parametrize("tunnel", WAYS[:4], ids=str, indirect=True)
def test_with_the_token_everything_works_in_a_browser(tunnel: Tunnel, chromium: Browser) -> None:
    context = chromium.new_context(ignore_https_errors=True)
    context.set_default_timeout(PATIENT_MS)
    page = context.new_page()
    asked: list[Request] = []
    page.on("request", lambda request: asked.append(request))  # noqa: PLW0108 - no builtin will do
    refused: list[str] = []
    page.on("response", lambda r: refused.append(f"{r.status} {r.url}") if r.status >= 400 else None)
    page.goto(f"{tunnel.url}/?a=1&token={TOKEN}")
    assert page.url == f"{tunnel.url}/?a=1"
    (cookie,) = [c for c in context.cookies() if c["name"].startswith("lora_access_")]
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Lax"
    assert cookie["secure"] is tunnel.url.startswith("https")
    assert TOKEN not in json.dumps(context.cookies())

    expect(page.get_by_role("heading", name="Behind the gate")).to_be_visible(timeout=PATIENT_MS)
    page.get_by_role("button", name="Count").click()  # through the websocket and back
    expect(page.get_by_text("Counted 1")).to_be_visible(timeout=PATIENT_MS)
    page.locator("input[type=file]").set_input_files(
        {"name": "a.bin", "mimeType": "application/octet-stream", "buffer": b"x" * 300_000}
    )
    expect(page.get_by_text("Got 300000 bytes of a.bin")).to_be_visible(timeout=PATIENT_MS)
    for name in ("thumb", "static", "media"):
        page.wait_for_function(f"document.querySelector('img[alt={name}]')?.naturalWidth === 9")
    assert not refused
    elsewhere = [request.failure for request in asked if "elsewhere.example" in request.url]
    assert set(elsewhere) <= {"csp"}  # a picture in a text stays unfetched
    context.close()


def test_a_page_of_another_port_cannot_use_the_browser_s_cookie(
    server: Server, chromium: Browser, certificate: Path | None
) -> None:
    # The same site to the browser: it sends the cookie along. Only the gate can tell the two apart.
    tunnel = Tunnel(server.port, Way("rewritten", "http"), certificate)
    context = chromium.new_context()
    context.set_default_timeout(PATIENT_MS)
    page = context.new_page()
    page.goto(f"{tunnel.url}/?token={TOKEN}")
    expect(page.get_by_role("heading", name="Behind the gate")).to_be_visible(timeout=PATIENT_MS)
    page.route(
        "http://127.0.0.1:1999/",
        lambda route: route.fulfill(body="<title>evil</title>", content_type="text/html"),
    )
    page.goto("http://127.0.0.1:1999/")
    sent: list[str] = []
    for address in (tunnel.netloc, f"127.0.0.1:{server.port}"):
        opened = page.evaluate(
            """address => new Promise(done => {
                const socket = new WebSocket(`ws://${address}/_stcore/stream`);
                socket.onopen = () => done("open"); socket.onerror = () => done("refused");
            })""",
            address,
        )
        assert opened == "refused"
        read = page.evaluate(
            """async address => {
                const image = new Image();
                const shown = new Promise(done => {
                    image.onload = () => done("shown"); image.onerror = () => done("hidden"); });
                image.src = `http://${address}/thumbs/a.svg`;
                const put = fetch(`http://${address}/_stcore/upload_file/a/b`,
                    {method: "POST", mode: "no-cors", credentials: "include", body: "x"});
                await put.catch(() => null);
                return await shown;
            }""",
            address,
        )
        assert read == "hidden"
        sent.append(address)
    assert len(sent) == 2
    context.close()
    tunnel.close()


def test_shared_caches_are_told_to_keep_nothing(server: Server) -> None:
    with httpx.Client(base_url=server.url, trust_env=False, timeout=PATIENT_MS / 1000) as client:
        client.get(f"/?token={TOKEN}")
        for path in ("/", "/thumbs/a.svg", "/app/static/b.svg", "/favicon.png"):
            answer = client.get(path)
            assert answer.status_code == 200, path
            assert "private" in answer.headers["cache-control"], path
            assert "public" not in answer.headers["cache-control"], path


def test_the_gate_never_answers_with_an_error_of_its_own(server: Server) -> None:
    with httpx.Client(base_url=server.url, trust_env=False, timeout=PATIENT_MS / 1000) as client:
        odd = [
            client.get("/", headers={"Cookie": "=; ;;\x01; a=b; lora_access_=" + "x" * 8000}),
            client.get("/?" + "a=%ff&" * 5000),
            client.get("/", headers={"X-Forwarded-For": "[::1", "Host": "[", "Origin": "http://["}),
            client.post(
                "/", content=b"x" * 10_000, headers={"Content-Type": "application/x-www-form-urlencoded"}
            ),
        ]
        assert [answer.status_code for answer in odd] == [401, 401, 401, 413]
    assert "Traceback" not in server.log.read_text()
