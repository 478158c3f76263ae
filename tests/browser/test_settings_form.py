"""All settings in a real browser: sound in both themes, by keyboard, after a reload, in a second window."""

from collections.abc import Callable
from typing import Any

import pytest
from app_server import AppServer, Theme, drawn, sideways
from playwright.sync_api import Page, WebSocketRoute, expect

from lora_core import demo, projects
from lora_core.workspace import Workspace
from ui import project

Visit = Callable[..., Page]
NAME = "Demo"
GROUPS = ("The LoRA itself", "How it learns", "Captions and repeats")


@pytest.fixture(scope="module")
def server(start_app: Callable[[], AppServer]) -> AppServer:
    """A server whose open project could be trained."""
    started = start_app()
    ws = Workspace.open(started.workspace)
    project.save(ws, project.of_run(NAME, demo.create_demo(ws)))
    return started


def with_groups(page: Page, *titles: str) -> Page:
    """Open the box with all settings and these groups in it."""
    page.get_by_text("All settings", exact=True).click()
    for title in titles:
        page.get_by_text(title, exact=True).click()
        drawn(page)
    return page


def rank(page: Page) -> str:
    box = page.get_by_role("textbox", name="Rank", exact=True)
    expect(box).to_be_visible()
    return box.input_value()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_speaks_against_the_open_form(
    server: AppServer, visit: Visit, objections: Callable[[Page], list[str]], theme: Theme
) -> None:
    page = with_groups(visit(server, "/Training?step=review", theme=theme), *GROUPS)
    box = page.get_by_role("textbox", name="Alpha", exact=True)
    box.fill("many")  # so that there is a problem to look at, too
    box.press("Enter")
    expect(page.get_by_text("Alpha does not fit.")).to_be_visible()
    page.get_by_text("More about “Rank”", exact=True).click()
    for files in ("What the engine will receive", "The files as text"):
        page.get_by_text(files, exact=True).click()
    drawn(page)
    assert objections(page) == []
    page.set_viewport_size({"width": 320, "height": 800})
    assert not sideways(page)
    box.fill("8")
    box.press("Enter")
    expect(page.get_by_text("Alpha does not fit.")).to_have_count(0)


def test_what_is_typed_by_keyboard_alone_is_there_after_a_reload_and_in_a_second_window(
    server: AppServer, visit: Visit
) -> None:
    page = with_groups(visit(server, "/Training?step=review"), GROUPS[0])
    other = with_groups(visit(server, "/Training?step=review"), GROUPS[0])
    page.get_by_role("textbox", name="Rank", exact=True).focus()
    page.keyboard.press("Control+a")
    page.keyboard.type("37")
    page.keyboard.press("Tab")  # leaving a field saves it
    expect(page.get_by_text("to 37.").first).to_be_visible()
    other.get_by_role("textbox", name="Rank of convolutions", exact=True).fill("9")
    other.keyboard.press("Enter")
    expect(other.get_by_text("to 9.").first).to_be_visible()
    assert rank(other) == "37"
    page.reload()
    drawn(page)
    with_groups(page, GROUPS[0])
    assert rank(page) == "37"
    kept = projects.load(Workspace.open(server.workspace), NAME)
    assert (kept.value("network_dim"), kept.value("conv_dim")) == (37, 9)
    page.get_by_role("button", name="Undo the last change").focus()
    page.keyboard.press("Enter")  # the newest change is the other window's
    expect(page.get_by_role("textbox", name="Rank of convolutions", exact=True)).not_to_have_value("9")
    assert rank(page) == "37"


class Line:
    """The line from the server to a page, which can hold back what the server says."""

    def __init__(self) -> None:
        self.held: list[Any] | None = None
        self.page: WebSocketRoute | None = None

    def route(self, page: WebSocketRoute) -> None:
        self.page, server = page, page.connect_to_server()
        page.on_message(server.send)
        server.on_message(self._comes)

    def _comes(self, message: str | bytes) -> None:
        assert self.page is not None
        if self.held is None:
            self.page.send(message)
        else:
            self.held.append(message)

    def wait_for_some(self, page: Page) -> None:
        """Until the server has begun to answer, and says nothing more."""
        said = -1
        while not self.held or len(self.held) != said:
            said = len(self.held or ())
            page.wait_for_timeout(1000)

    def release(self) -> None:
        assert self.page is not None
        held, self.held = self.held or [], None
        for message in held:
            self.page.send(message)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("first", "then", "key"),
    [("", "rank", "network_dim"), ("dropout", "rank_dropout", "rank_dropout")],
    ids=["a group that was open", "a field that moves up"],
)
def test_what_is_typed_while_a_search_is_still_being_answered_is_kept(
    server: AppServer, visit: Visit, first: str, then: str, key: str
) -> None:
    page, line = visit(server), Line()
    page.route_web_socket("**/*", line.route)
    page.goto(f"{server.url}/Training?step=review")
    drawn(page)
    with_groups(page, *(() if first else GROUPS[:1]))
    search = page.get_by_label("Search the settings by name or meaning").first
    field = page.locator(f".st-key-run_{NAME}_{key} input").first
    if first:
        search.fill(first)
        search.press("Enter")
    expect(field).to_be_visible()
    drawn(page)
    line.held = []
    search.fill(then)
    search.press("Enter")
    field.fill("0.25" if key == "rank_dropout" else "41")
    typed = field.input_value()
    line.wait_for_some(page)
    line.release()
    expect(page.locator(f".st-key-run_{NAME}_seed, .st-key-run_{NAME}_module_dropout")).to_have_count(
        0
    )  # it is answered
    drawn(page)
    expect(field).to_have_value(typed)
    expect(field).to_be_focused()
    field.press("Enter")
    expect(page.get_by_text(f"to {typed}.").first).to_be_visible()
    assert str(projects.load(Workspace.open(server.workspace), NAME).value(key)) == typed


@pytest.mark.timeout(600)
def test_what_is_typed_into_a_field_that_its_own_search_takes_away_is_saved(
    server: AppServer, visit: Visit
) -> None:
    ws = Workspace.open(server.workspace)
    page, line = visit(server), Line()
    page.route_web_socket("**/*", line.route)
    page.goto(f"{server.url}/Training?step=review")
    drawn(page)
    with_groups(page, GROUPS[0])
    search = page.get_by_label("Search the settings by name or meaning").first
    field = page.locator(f".st-key-run_{NAME}_network_alpha input").first
    expect(field).to_be_visible()
    line.held = []
    search.fill("module_dropout")
    search.press("Enter")
    field.fill("2.75")
    line.wait_for_some(page)
    line.release()
    expect(page.get_by_text("to 2.75.").first).to_be_visible()
    assert projects.load(ws, NAME).value("network_alpha") == 2.75
    expect(page.locator(f".st-key-run_{NAME}_network_alpha")).to_have_count(0)


@pytest.mark.timeout(600)
def test_a_long_text_is_saved_after_a_pause_without_leaving_it(server: AppServer, visit: Visit) -> None:
    page = visit(server, "/Training?step=review")
    prompts = page.get_by_label("Prompts for samples").first
    expect(prompts).to_be_visible()
    prompts.fill("a cat that nobody has sent")
    ws = Workspace.open(server.workspace)
    for _ in range(60):
        if projects.load(ws, NAME).value("sample_prompts") == ["a cat that nobody has sent"]:
            break
        page.wait_for_timeout(1000)
    assert projects.load(ws, NAME).value("sample_prompts") == ["a cat that nobody has sent"]


def test_help_and_groups_open_by_keyboard(server: AppServer, visit: Visit) -> None:
    page = visit(server, "/Training?step=review")
    for name in ("All settings", "The LoRA itself", "More about “Rank”"):
        page.locator("summary", has_text=name).first.focus()
        page.keyboard.press("Enter")
        drawn(page)
    more = page.locator(".set-help details[open]")
    expect(more.get_by_text("Words used here")).to_be_visible()
    box = page.get_by_role("textbox", name="Rank", exact=True)
    box.fill("29")
    box.press("Enter")
    expect(page.get_by_text("to 29.").first).to_be_visible()
    expect(more.get_by_text("Words used here")).to_be_visible()
