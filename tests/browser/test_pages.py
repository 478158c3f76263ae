"""Every page in a real browser: axe, both themes, wide and narrow, by keyboard, still, quick and light."""

import re
from collections.abc import Callable
from pathlib import Path

import made_runs as made
import pytest
from app_server import PATIENCE_MS, AppServer, Theme, drawn, sideways
from playwright.sync_api import Browser, Page, expect

from lora_core.workspace import Workspace
from ui import layout

Visit = Callable[..., Page]
PATHS = ("/", "/Setup", "/Dataset", "/Training", "/Utilities", "/Help")
FILLED_PATHS = ("/", "/Training", "/Utilities")
THEMES: tuple[Theme, ...] = ("light", "dark")
MEMORY_MIB = 300


@pytest.fixture(scope="module")
def filled(start_app: Callable[[], AppServer]) -> AppServer:
    """A server with a finished and a failed run, and with one good and one broken LoRA file."""
    server = start_app()
    ws = Workspace.open(server.workspace)
    made.machine(ws)
    made.run(ws, "cat", "finished", steps=40)
    made.run(
        ws,
        "dog",
        "failed",
        steps=12,
        cause="The memory was full.",
        fix="Lower the batch size.",
        notes=["One."],
    )
    made.lora(ws, "cat")
    (ws.loras / "half.safetensors").write_bytes(b"\x10\x00\x00\x00")
    return server


@pytest.fixture(scope="module", autouse=True)
def machine_known(app: AppServer) -> None:
    """So that opening Setup starts no look at torch, which takes a core for ten seconds."""
    made.machine(Workspace.open(app.workspace))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("theme", THEMES)
def test_nothing_speaks_against_the_empty_pages(
    app: AppServer, visit: Visit, objections: Callable[[Page], list[str]], theme: Theme
) -> None:
    page = visit(app, theme=theme)
    for path in PATHS:
        page.goto(f"{app.url}{path}")
        drawn(page)
        assert objections(page) == [], path


@pytest.mark.timeout(900)
@pytest.mark.parametrize("theme", THEMES)
def test_nothing_speaks_against_home_after_a_failed_run(
    filled: AppServer, visit: Visit, objections: Callable[[Page], list[str]], theme: Theme
) -> None:
    page = visit(filled, theme=theme)
    expect(page.get_by_role("button", name="See what happened")).to_be_visible()
    assert objections(page) == []


def test_the_sidebar_is_the_same_on_every_page(filled: AppServer, visit: Visit) -> None:
    page = visit(filled)
    seen = {}
    for path in PATHS:
        page.goto(f"{filled.url}{path}")
        drawn(page)
        sidebar = page.get_by_test_id("stSidebar")
        seen[path] = [text.strip() for text in sidebar.inner_text().splitlines() if text.strip()]
        assert seen[path][-1] == "Help with this page"
    assert len({tuple(lines) for lines in seen.values()}) == 1, seen


def test_title_heading_and_sidebar_use_the_same_name(app: AppServer, visit: Visit) -> None:
    page = visit(app)
    for path in PATHS[1:5]:
        page.goto(f"{app.url}{path}")
        drawn(page)
        name = path.strip("/")
        assert page.get_by_role("heading", level=1).inner_text() == name
        expect(page).to_have_title(name)


def test_help_leads_to_the_part_about_the_page_one_comes_from(app: AppServer, visit: Visit) -> None:
    page = visit(app, "/Training")
    page.get_by_text("Help with this page").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Help")
    expect(page.get_by_role("heading", level=2).first).to_have_text("Training")


@pytest.mark.parametrize("path", FILLED_PATHS)
def test_a_narrow_phone_scrolls_only_down(filled: AppServer, visit: Visit, path: str) -> None:
    page = visit(filled, path, width=320, height=800)
    assert not sideways(page)


def test_wider_letters_and_lines_cut_nothing_off(filled: AppServer, visit: Visit) -> None:
    page = visit(filled, "/Training", width=320, height=800)
    page.add_style_tag(
        content="* { line-height: 1.5 !important; letter-spacing: .12em !important }"
        "* { word-spacing: .16em !important } p { margin-bottom: 2em !important }"
    )
    cut = page.evaluate(
        """() => [...document.querySelectorAll('[data-testid="stMain"] p, [data-testid="stMain"] button')]
            .filter(e => getComputedStyle(e).overflow === "hidden"
                && (e.scrollWidth > e.clientWidth + 1 || e.scrollHeight > e.clientHeight + 1))
            .map(e => e.innerText)"""
    )
    assert cut == []


def test_nothing_moves_while_the_page_works(filled: AppServer, visit: Visit) -> None:
    page = visit(filled, "/Training")
    boxes = page.get_by_test_id("stCheckbox").filter(has_text=re.compile("added .*at "))  # or: yesterday at
    for index in range(2):
        boxes.nth(index).locator("label").click()
        moving = [
            page.evaluate('document.getAnimations().filter(a => a.playState === "running").length')
            for _ in range(10)
            if page.wait_for_timeout(100) is None
        ]
        assert max(moving) == 0
    expect(page.locator(".js-plotly-plot")).to_have_count(3)


def test_a_server_that_is_gone_is_told_in_plain_words(
    start_app: Callable[[], AppServer], visit: Visit
) -> None:
    server = start_app()
    page = visit(server, "/Utilities")
    server.kill()
    told = page.get_by_role("dialog")
    expect(told.get_by_role("heading")).to_have_text(layout.NO_ANSWER, timeout=PATIENCE_MS)
    for says in layout.NO_ANSWER_SAYS:
        expect(told.get_by_text(says)).to_be_visible()
    expect(told.get_by_text("Streamlit")).to_be_hidden()


def test_a_page_left_alone_stays_as_it_is(filled: AppServer, visit: Visit) -> None:
    page = visit(filled, "/Training")
    page.wait_for_timeout(1_000)
    page.evaluate(
        """() => { window.shifted = 0; new PerformanceObserver(list => list.getEntries().forEach(
            e => { window.shifted += e.value })).observe({type: "layout-shift"}) }"""
    )
    before, address = page.get_by_test_id("stMain").inner_text(), page.url
    page.wait_for_timeout(6_000)
    assert page.get_by_test_id("stMain").inner_text() == before
    assert (page.url, page.evaluate("window.shifted")) == (address, 0)


def test_a_letter_key_does_nothing_by_itself(app: AppServer, visit: Visit) -> None:
    page = visit(app)
    sent: list[str] = []
    page.on("websocket", lambda socket: sent.append(socket.url))
    page.locator("body").press("r")
    page.wait_for_timeout(300)
    state = page.locator('[data-testid="stApp"]').get_attribute("data-test-script-state")
    assert state == "notRunning"
    assert sent == []


def test_one_gets_from_home_to_the_finished_lora_by_keyboard_alone(filled: AppServer, visit: Visit) -> None:
    page = visit(filled)
    for _ in range(40):
        page.keyboard.press("Tab")
        here = page.evaluate(
            """() => { const e = document.activeElement, box = e.getBoundingClientRect();
                const ring = getComputedStyle(e).outlineStyle !== "none"
                    || [...document.querySelectorAll("label, div")].some(
                        o => o.contains(e) && getComputedStyle(o).outlineStyle === "solid");
                const top = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
                return {text: e.matches("[data-testid=stMain]") ? "" : e.innerText || e.ariaLabel || "", ring,
                        covered: !(top && (e.contains(top) || top.contains(e)))} }"""
        )
        assert here["ring"], f"no focus ring on {here}"
        if "See what happened" in here["text"]:
            break
    else:
        pytest.fail("Tab never reached the main button")
    assert not here["covered"]
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Training")
    expect(page.get_by_text("ended with a problem").first).to_be_visible()


def test_a_choice_of_run_is_in_the_address_and_survives_a_reload(filled: AppServer, visit: Visit) -> None:
    page = visit(filled, "/Training")
    page.get_by_role("combobox", name=re.compile("Training to look at")).click()
    page.get_by_role("option", name=re.compile(": cat$")).click()
    expect(page.get_by_text("Training “cat” finished").first).to_be_visible()
    assert "run=" in page.url
    page.reload()
    drawn(page)
    expect(page.get_by_text("Training “cat” finished").first).to_be_visible()
    expect(page.get_by_role("button", name="Look at the finished LoRA")).to_be_visible()


def test_the_finished_file_comes_down_byte_by_byte(filled: AppServer, visit: Visit, tmp_path: Path) -> None:
    page = visit(filled, "/Utilities")
    page.get_by_role("combobox").click()
    page.get_by_role("option", name=re.compile(": cat$")).click()
    with page.expect_download() as coming:
        page.get_by_role("button", name="Download this LoRA file").click()
    coming.value.save_as(tmp_path / "got.safetensors")
    kept = filled.workspace / "loras" / "cat.safetensors"
    assert (tmp_path / "got.safetensors").read_bytes() == kept.read_bytes()


def test_the_server_stays_light_after_a_visit_to_every_page(
    start_app: Callable[[], AppServer], visit: Visit
) -> None:
    server = start_app()
    made.machine(Workspace.open(server.workspace))
    page = visit(server)
    for path in PATHS:
        page.goto(f"{server.url}{path}")
        drawn(page)
    loaded = Path(f"/proc/{server.pid}/maps").read_text("utf-8")
    assert "torch" not in loaded
    assert server.rss_mib() < MEMORY_MIB


def test_a_fresh_server_asked_for_one_page_draws_its_frame_too(
    start_app: Callable[[], AppServer], chromium: Browser
) -> None:
    server = start_app()
    context = chromium.new_context()
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.goto(f"{server.url}/Utilities?token={server.token}")  # no script has run on this server yet
    drawn(page)
    expect(page.get_by_role("heading", level=1)).to_have_text("Utilities")
    expect(page.get_by_test_id("stSidebarNav")).to_contain_text("Training")
    context.close()
