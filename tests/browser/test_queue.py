"""The queue in a real browser: three trainings through a killed server; how the strip and the list look."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import made_runs as made
import pytest
from app_server import AppServer, Theme, drawn, sideways
from playwright.sync_api import Locator, Page, expect
from real_runs import LOADING_MS, held_at_a_step, steps_on_disk

from lora_core import demo, jobs, runs
from lora_core.jobs import Job
from lora_core.workspace import Workspace
from ui import queue_list, run_actions, state

Visit = Callable[..., Page]
Objections = Callable[[Page], list[str]]
LONG = "a_name_without_a_gap_that_somebody_typed_to_remember_all_of_it_2026_11_23 and more of it"
THEMES: tuple[Theme, ...] = ("light", "dark")
PATHS = ("/", "/Setup", "/Dataset", "/Training", "/Utilities", "/Help")
STEPS = 12


@dataclass
class Queued:
    server: AppServer
    ws: Workspace
    jobs: list[Job] = field(default_factory=list)

    def order(self) -> list[str]:
        return [queued.job.name for queued in jobs.queue(self.ws)]


def short_run(ws: Workspace, name: str, steps: int, *, held: bool = False) -> Job:
    """A training of the demo with small steps and without samples."""
    run = demo.create_demo(ws)
    (dataset,) = run.dataset.datasets
    small = dataset.model_copy(update={"batch_size": 1})
    run = run.model_copy(
        update={
            "schedule": run.schedule.model_copy(update={"max_train_steps": steps}),
            "sampling": run.sampling.model_copy(
                update={"sample_prompts": None, "sample_every_n_steps": None, "sample_at_first": False}
            ),
            "dataset": run.dataset.model_copy(update={"datasets": (small,)}),
        }
    )
    return runs.start_run(ws, run, name=name)


def strip(page: Page) -> Locator:
    return page.locator(".st-key-activity")


def rows(page: Page) -> Locator:
    return page.locator('[class*="st-key-queued_"]')


def press(page: Page, name: str) -> None:
    page.get_by_test_id("stMain").get_by_role("button", name=name, exact=False).click(timeout=LOADING_MS)


def look_at(page: Page, server: AppServer, job: Job) -> None:
    page.goto(f"{server.url}/Training?run={job.id}")
    drawn(page)


@pytest.mark.timeout(1200)
def test_three_trainings_are_arranged_paused_and_gone_on_with_through_a_killed_server(
    start_app: Callable[[], AppServer], visit: Visit
) -> None:
    server = start_app()
    ws = Workspace.open(server.workspace)
    made.machine(ws)
    first, second, third = (short_run(ws, name, STEPS) for name in ("one", "two", "three"))
    page = visit(server, f"/Training?run={first.id}")

    # One stands still while the others are arranged, so that no machine is too fast for this.
    with held_at_a_step(first):
        expect(strip(page)).to_contain_text(f"of {STEPS} steps done. ", timeout=LOADING_MS)
        expect(strip(page)).to_contain_text("2 wait.")
        press(page, "Move “three” up")
        expect(rows(page).first).to_contain_text("1. Training “three”", timeout=LOADING_MS)
        assert [queued.job.id for queued in jobs.queue(ws)] == [third.id, second.id]
        press(page, "Move “three” down")
        expect(rows(page).first).to_contain_text("1. Training “two”", timeout=LOADING_MS)
        press(page, run_actions.PAUSE)
        expect(page.get_by_text("The training was asked to pause.").first).to_be_visible(timeout=LOADING_MS)
    expect(page.get_by_text("Training “one” was paused").first).to_be_visible(timeout=LOADING_MS)
    at = steps_on_disk(first)[-1]
    assert 0 < at < STEPS

    with held_at_a_step(second):
        # The server dies in between; the trainings do not notice, and a new one shows the same.
        server.kill()
        server.start()
        look_at(page, server, first)
        expect(strip(page)).to_contain_text("Training “two”", timeout=LOADING_MS)
        expect(rows(page)).to_have_count(1)
        press(page, "Take “three” out")
        expect(page.get_by_text("Training “three” was taken out.").first).to_be_visible(timeout=LOADING_MS)
        assert jobs.status(ws, third.id).state == "stopped"
        press(page, f"Go on from step {at}")
        expect(rows(page).first).to_contain_text("1. Training “one”", timeout=LOADING_MS)

    # Both end with every step done once, and the third never began.
    expect(page.get_by_role("button", name="Look at the finished LoRA")).to_be_visible(timeout=LOADING_MS)
    for job, attempts in ((first, 2), (second, 1)):
        ended = jobs.wait(ws, job.id, LOADING_MS / 1000)
        assert (ended.state, ended.attempt) == ("finished", attempts)
        assert steps_on_disk(job) == list(range(1, STEPS + 1))
    assert steps_on_disk(third) == []


@pytest.fixture(scope="module")
def filled(start_app: Callable[[], AppServer]) -> Iterator[Queued]:
    """One at work and three that wait, all with long names; nothing changes by itself."""
    server = start_app()
    ws = Workspace.open(server.workspace)
    made.machine(ws)
    with made.no_runner(ws):
        working = {"phase": "Training", "steps_per_s": 0.4, "eta_s": 1500.0}
        run = made.run(ws, LONG, "running", steps=27, total=400, **working)
        waiting = [jobs.create(ws, "train", name, start=False) for name in (LONG, "dog", LONG)]
        jobs.hold(ws, waiting[1].id)
        with made.at_work(run):
            yield Queued(server, ws, [run, *waiting])


@pytest.mark.timeout(900)
@pytest.mark.parametrize("theme", THEMES)
def test_nothing_speaks_against_the_strip_and_the_queue(
    filled: Queued, visit: Visit, objections: Objections, theme: Theme
) -> None:
    page = visit(filled.server, f"/Training?run={filled.jobs[0].id}", theme=theme)
    expect(rows(page)).to_have_count(3)
    for words in ("Hold or release “dog”", run_actions.MORE):
        page.get_by_text(words).click()
    expect(page.locator('[class*="st-key-queue_release_"] button')).to_be_visible()
    expect(page.get_by_role("button", name="Save the training now")).to_be_visible()
    assert objections(page) == []
    page.goto(f"{filled.server.url}/Setup")
    drawn(page)
    for box in page.get_by_test_id("stMain").locator("summary").all():
        box.click()
    expect(page.get_by_label("Command at the end")).to_be_visible()
    assert objections(page) == []


def test_the_strip_is_the_same_on_every_page_and_takes_two_lines_at_most(
    filled: Queued, visit: Visit
) -> None:
    page = visit(filled.server)
    seen, heights = set(), set()
    for path in PATHS:
        page.goto(f"{filled.server.url}{path}")
        drawn(page)
        expect(strip(page).get_by_role("link")).to_be_visible()
        seen.add(strip(page).inner_text())
        page.set_viewport_size({"width": 390, "height": 900})
        assert not sideways(page), path
        heights.add(strip(page).bounding_box()["height"])  # type: ignore[index]  # it is visible
        page.set_viewport_size({"width": 1280, "height": 900})
    (line,) = seen
    assert "27 of 400 steps done. About 25 minutes left. 3 wait." in line
    assert max(heights) <= 64, "more than two lines"


def test_the_strip_takes_the_same_room_when_nothing_runs(
    filled: Queued, app: AppServer, visit: Visit
) -> None:
    for width in (1280, 390):
        tops = []
        for server in (filled.server, app):
            page = visit(server, "/Help", width=width)
            expect(strip(page)).to_be_visible()
            tops.append(page.get_by_role("heading", level=1).bounding_box()["y"])  # type: ignore[index]  # visible
        assert abs(tops[0] - tops[1]) < 1, f"{width} px: {tops}"


@pytest.mark.timeout(600)
def test_a_press_right_after_the_server_came_back_counts(filled: Queued, visit: Visit) -> None:
    """Also where updates are paused, so that nothing but the press itself would ask for the page."""
    state.pause_updates(filled.ws, paused=True)
    page = visit(filled.server, f"/Training?run={filled.jobs[0].id}")
    button = page.get_by_role("button", name="Move “dog” up")
    before = filled.order()
    filled.server.kill()
    expect(button).to_be_disabled()
    filled.server.start()
    button.click()  # as soon as the browser lets one
    expect(rows(page).first).to_contain_text("1. Training “dog”")
    expect(page.locator('[data-testid="stMain"][inert]')).to_have_count(0)
    jobs.reorder(filled.ws, filled.jobs[2].id, before=filled.jobs[3].id)
    assert filled.order() == before
    state.pause_updates(filled.ws, paused=False)


def test_one_click_on_the_strip_leads_to_the_run_and_a_reload_shows_the_same(
    filled: Queued, visit: Visit
) -> None:
    page = visit(filled.server, "/Help")
    strip(page).get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Training")
    page.wait_for_url(f"**/Training?run={filled.jobs[0].id}")
    line = strip(page).text_content() or ""
    page.reload()
    drawn(page)
    expect(strip(page)).to_have_text(line)
    assert queue_list.TITLE in page.get_by_test_id("stMain").inner_text()
