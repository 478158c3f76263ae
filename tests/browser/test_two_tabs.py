"""Two tabs at once: one that rests sees what the other one starts, and until then nothing in it moves."""

import time
from collections.abc import Callable

import made_runs as made
import pytest
from app_server import PATIENCE_MS, AppServer, drawn
from playwright.sync_api import Page, WebSocket, expect

from lora_core.workspace import Workspace
from ui import activity

Visit = Callable[..., Page]
WATCH = """() => {
    window.moved = 0;
    window.ran = [];
    new PerformanceObserver(list => list.getEntries().forEach(e => { window.moved += e.value }))
        .observe({type: "layout-shift"});
    new MutationObserver(() => document.querySelectorAll(
        '[data-testid="stStatusWidget"], [data-testid="stSpinner"], [data-testid="stSkeleton"]'
    ).forEach(e => e.checkVisibility() && window.ran.push(e.outerHTML)))
        .observe(document.body, {subtree: true, childList: true, attributes: true});
}"""


@pytest.mark.timeout(600)
def test_a_tab_that_rests_sees_what_another_one_starts_and_nothing_moves_until_then(
    start_app: Callable[[], AppServer], visit: Visit
) -> None:
    server = start_app()
    ws = Workspace.open(server.workspace)
    with made.no_runner(ws):
        made.machine(ws)
        run = made.run(ws, "cat", "stopped", steps=12)
        resting = visit(server, "/Training?step=goal")
        sent: list[bytes | str] = []

        def went_out(frame: bytes | str) -> None:
            sent.append(frame)

        def heard(socket: WebSocket) -> None:
            socket.on("framesent", went_out)

        resting.on("websocket", heard)
        resting.reload()
        drawn(resting)
        field = resting.get_by_test_id("stMain").get_by_role("textbox").first
        field.fill("half a na")  # and not Enter: nobody was asked to take it yet
        resting.evaluate(WATCH)
        before, frames = resting.locator("body").inner_text(), len(sent)
        until = time.monotonic() + PATIENCE_MS / 1000
        while len(sent) == frames:
            assert time.monotonic() < until, "The tab does not look by itself."
            resting.wait_for_timeout(100)  # lets the browser tell what it sent
        drawn(resting)
        assert resting.locator("body").inner_text() == before
        assert (resting.evaluate("window.moved"), resting.evaluate("window.ran")) == (0, [])

        other = visit(server, f"/Training?run={run.id}")
        other.get_by_role("button", name="Start this training again").click()
        strip = resting.locator(f".st-key-{activity.KEY}")
        expect(strip).to_contain_text("Training “cat”")
        expect(resting.get_by_test_id("stSidebar")).to_contain_text("Now: Training “cat”")
        assert field.input_value() == "half a na"
