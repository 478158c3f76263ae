"""All settings in a real browser: sound in both themes, by keyboard, after a reload, in a second window."""

from collections.abc import Callable

import pytest
from app_server import AppServer, Theme, drawn, sideways
from playwright.sync_api import Page, expect

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


def test_help_and_groups_open_by_keyboard(server: AppServer, visit: Visit) -> None:
    page = visit(server, "/Training?step=review")
    for name in ("All settings", "The LoRA itself", "More about “Rank”"):
        page.locator("summary", has_text=name).first.focus()
        page.keyboard.press("Enter")
        drawn(page)
    expect(page.get_by_text("Words used here").first).to_be_visible()
