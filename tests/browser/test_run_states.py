"""The Training page in each state of a run, and Utilities with files: axe, both themes, wide and narrow."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import made_runs as made
import pytest
from app_server import AppServer, Theme, drawn, sideways
from playwright.sync_api import Page, expect

from lora_core.jobs import Job, requests
from lora_core.workspace import Workspace
from ui import run_actions

Visit = Callable[..., Page]
Objections = Callable[[Page], list[str]]
LONG = "a_name_without_a_gap_that_somebody_typed_to_remember_all_of_it_2026_11_23 and more of it"
THEMES: tuple[Theme, ...] = ("light", "dark")
STATES = {
    "running": "is running",
    "stopping": "is stopping and saving",
    "stopped": "was stopped",
    "failed": "ended with a problem",
    "finished": "finished",
}
"""Each state with the words that the page must have for it."""


@dataclass
class Filled:
    server: AppServer
    runs: dict[str, str]
    """Id of the run in each state."""


@pytest.fixture(scope="module")
def filled(start_app: Callable[[], AppServer]) -> Iterator[Filled]:
    server = start_app()
    ws = Workspace.open(server.workspace)
    with made.no_runner(ws):
        runs = made_in_each_state(ws)
        with made.at_work(runs["running"], runs["stopping"]):
            yield Filled(server, {state: job.id for state, job in runs.items()})


def made_in_each_state(ws: Workspace) -> dict[str, Job]:
    made.machine(ws)
    working = {"phase": "Training", "steps_per_s": 0.4, "eta_s": 1500.0}
    stopped = "It was stopped at step 27, as asked."
    runs = {
        "running": made.run(ws, "cat", "running", steps=27, **working),
        "stopping": made.run(ws, "dog", "running", steps=27, **working),
        "stopped": made.run(ws, "bird", "stopped", steps=27, cause=stopped, fix="It can go on."),
        "failed": made.run(ws, LONG, "failed", steps=12, cause="The memory was full.", notes=[LONG]),
        "finished": made.run(ws, LONG, "finished", steps=40),
    }
    runs["failed"].log.write_text("\n".join(f"{line} {LONG * 3}" for line in range(60)), "utf-8")
    requests.ask(runs["stopping"].folder, "stop", grace_s=3600)
    for name in ("cat", LONG, *(f"style {number}" for number in range(6))):
        made.lora(ws, name)
    return runs


def opened(page: Page, filled: Filled, state: str) -> None:
    page.goto(f"{filled.server.url}/Training?run={filled.runs[state]}")
    drawn(page)
    expect(page.get_by_test_id("stMain").get_by_text(STATES[state]).first).to_be_visible()
    expect(page.locator(".js-plotly-plot")).to_have_count(2)


def open_all_boxes(page: Page) -> None:
    for box in page.get_by_test_id("stMain").locator("summary").all():
        box.click()
    drawn(page)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("theme", THEMES)
def test_nothing_speaks_against_a_training_in_any_state(
    filled: Filled, visit: Visit, objections: Objections, theme: Theme
) -> None:
    page = visit(filled.server, theme=theme)
    for state in STATES:
        opened(page, filled, state)
        assert objections(page) == [], state
    opened(page, filled, "failed")
    open_all_boxes(page)
    expect(page.get_by_text(f"59 {LONG}")).to_be_visible()
    assert objections(page) == [], "all boxes open"


@pytest.mark.timeout(900)
@pytest.mark.parametrize("theme", THEMES)
def test_nothing_speaks_against_utilities_with_finished_files(
    filled: Filled, visit: Visit, objections: Objections, theme: Theme
) -> None:
    page = visit(filled.server, "/Utilities", theme=theme)
    open_all_boxes(page)
    expect(page.get_by_text("All finished LoRA files")).to_be_visible()
    assert objections(page) == []


def test_the_list_of_files_ends_inside_a_narrow_window(filled: Filled, visit: Visit) -> None:
    page = visit(filled.server, "/Utilities", width=390)
    table = page.get_by_test_id("stTable")
    expect(table.get_by_text(LONG)).to_be_visible()
    cut_off = table.locator("*").evaluate_all(
        "all => all.filter(e => e.getBoundingClientRect().right > window.innerWidth).map(e => e.outerHTML)"
    )
    assert cut_off == []
    assert not sideways(page)


def test_what_was_the_stop_button_a_moment_ago_loses_nothing_at_a_second_press(
    filled: Filled, visit: Visit
) -> None:
    page = visit(filled.server)
    opened(page, filled, "running")
    stop = page.get_by_role("button", name=run_actions.STOP).bounding_box()
    opened(page, filled, "stopping")
    page.get_by_text("If it takes too long").click()
    force = page.get_by_role("button", name="End it now without saving")
    expect(force).to_be_visible()
    box = force.bounding_box()
    assert stop is not None
    assert box is not None
    assert box["y"] > stop["y"] + stop["height"]


PLACES = """
    name => {
        const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), lefts = {};
        for (let node; (node = walk.nextNode());) {
            if (!node.data.includes(name) || !node.data.includes("38 files")) continue;
            for (const part of [name, "38 files"]) {
                const range = document.createRange(), at = node.data.indexOf(part);
                range.setStart(node, at);
                range.setEnd(node, at + part.length);
                lefts[part] = range.getBoundingClientRect().left;
            }
        }
        return lefts;
    }
"""
"""Where a name and the words after it begin on the screen."""


def test_a_browser_shows_names_as_they_are(filled: Filled, visit: Visit) -> None:
    ws, hebrew = Workspace.open(filled.server.workspace), "אבג"
    name = "*x* <b>b $y$ &copy; -> [a](b) www.a.b"
    run = made.run(ws, name, "finished", steps=20, notes=[f"“{hebrew}” 38 files"])
    other = made.run(ws, hebrew, "finished", steps=20)
    page = visit(filled.server, f"/Training?run={run.id}")
    labels = [page.locator(f".st-key-compare_{job.id} label") for job in (run, other)]
    for label in labels:
        label.click()
    expect(page.get_by_text("The chart compares 2 trainings.")).to_be_visible()
    assert f"“{name}”, added" in labels[0].inner_text().replace("\u200b", "")
    expect(labels[0].locator("a")).to_have_count(0)
    expect(page.locator(".legendtext").get_by_text(name)).to_have_count(1)
    where = page.evaluate(PLACES, hebrew)
    assert where[hebrew] < where["38 files"], "the number stays behind the name"
