"""A training that is stopped and gone on with: by keyboard alone, in two tabs at once."""

import re
from collections.abc import Callable

import made_runs as made
import pytest
from app_server import AppServer
from playwright.sync_api import Locator, Page, expect
from real_runs import LOADING_MS, held_at_a_step, steps_on_disk

from lora_core import demo, jobs, loras
from lora_core.jobs import Job
from lora_core.workspace import Workspace
from ui import project, run_actions

Visit = Callable[..., Page]
STEPS = 40
LOOK = "Look at the finished LoRA"


@pytest.fixture
def server(start_app: Callable[[], AppServer]) -> AppServer:
    """A server whose open project is the demo's, with few and small steps."""
    started = start_app()
    ws = Workspace.open(started.workspace)
    made.machine(ws)
    run = demo.create_demo(ws)
    (dataset,) = run.dataset.datasets
    small = dataset.model_copy(update={"batch_size": 2})
    run = run.model_copy(
        update={
            "schedule": run.schedule.model_copy(update={"max_train_steps": STEPS}),
            "sampling": run.sampling.model_copy(
                update={"sample_prompts": None, "sample_every_n_steps": None, "sample_at_first": False}
            ),
            "dataset": run.dataset.model_copy(update={"datasets": (small,)}),
        }
    )
    project.save(ws, project.of_run("Short", run))
    return started


def button(page: Page, name: str) -> Locator:
    found = page.get_by_role("button", name=name)
    expect(found).to_be_visible(timeout=LOADING_MS)
    return found


def tab_to(page: Page, wanted: Locator) -> None:
    """Press Tab until `wanted` has the focus."""
    for _ in range(80):
        if wanted.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    pytest.fail(f"Tab never reached {wanted}")


def press_by_keyboard(page: Page, name: str) -> None:
    tab_to(page, button(page, name))
    page.keyboard.press("Enter")


def says(page: Page, text: str) -> None:
    expect(page.get_by_test_id("stMain").get_by_text(text).first).to_be_visible(timeout=LOADING_MS)


def check_finished_in_one_piece(server: AppServer, job: Job) -> None:
    status = jobs.status(Workspace(server.workspace), job.id)
    assert (status.state, status.attempt) == ("finished", 2)
    assert steps_on_disk(job) == list(range(1, STEPS + 1))
    finished = loras.list_finished(Workspace(server.workspace))[0]
    assert (finished.job, finished.problem) == (job.id, None)
    assert finished.info is not None
    assert finished.info.steps == STEPS


@pytest.mark.timeout(900)
def test_a_training_is_stopped_and_gone_on_with_by_keyboard_and_two_tabs_tell_the_same(
    server: AppServer, visit: Visit
) -> None:
    page = visit(server, "/Training")
    press_by_keyboard(page, run_actions.START)
    page.wait_for_url(re.compile("run="))
    (job,) = jobs.jobs(Workspace(server.workspace), kind="train")
    other = visit(server, page.url.removeprefix(server.url))
    tabs = (page, other)

    # Both press stop, one a moment after the other.
    with held_at_a_step(job) as step:
        for tab in tabs:
            says(tab, f"{step} of {STEPS} steps done")
            tab_to(tab, button(tab, run_actions.STOP))
        for tab in tabs:
            tab.keyboard.press("Enter")
        for tab in tabs:
            says(tab, "Training “demo” is stopping and saving.")
            expect(tab.get_by_text("If it takes too long")).to_be_visible(timeout=LOADING_MS)
            expect(tab.get_by_role("button", name="End it now without saving")).to_be_hidden()
    for tab in tabs:
        says(tab, "Training “demo” was stopped at")
    at = steps_on_disk(job)[-1]
    assert 0 < at < STEPS
    for tab in tabs:
        says(tab, f"{at} of {STEPS} steps done")
        says(tab, f"Everything up to step {at} is saved.")
        button(tab, f"Go on from step {at}")

    # One goes on, and the other one sees it without being touched.
    press_by_keyboard(other, f"Go on from step {at}")
    for tab in tabs:
        button(tab, run_actions.STOP)
    for tab in tabs:
        button(tab, LOOK)
        says(tab, "Training “demo” finished")
        says(tab, f"{STEPS} of {STEPS} steps done")
    check_finished_in_one_piece(server, job)

    press_by_keyboard(page, LOOK)
    expect(page.get_by_role("heading", level=1)).to_have_text("Utilities", timeout=LOADING_MS)
    says(page, "What is inside demo")
