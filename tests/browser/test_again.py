"""What follows a first training, watched to its end: the same one for longer, and two steps to try."""

import time
from collections.abc import Callable

import made_runs as made
import pytest
from app_server import AppServer
from playwright.sync_api import Locator, Page, expect
from real_runs import LOADING_MS, steps_on_disk

from lora_core import demo, jobs, loras, runs, settings
from lora_core.jobs import Job
from lora_core.workspace import Workspace
from ui import project

Visit = Callable[..., Page]
STEPS = 4
PER_EPOCH = 8
"""Steps in one epoch: the 16 pictures of the demo's concept twice, four at a time."""
WAIT_S = LOADING_MS / 1000


@pytest.fixture(scope="module")
def server(start_app: Callable[[], AppServer]) -> AppServer:
    """A server whose open project is the demo's, with few steps and a state at the end."""
    started = start_app()
    ws = Workspace.open(started.workspace)
    made.machine(ws)
    values = {"max_train_steps": STEPS, "save_state_on_train_end": True, "sample_every_n_steps": None}
    run = settings.with_values(demo.create_demo(ws), {**values, "sample_at_first": False})
    (dataset,) = run.dataset.datasets
    few = (dataset.subsets[0].model_copy(update={"num_repeats": 2}),)
    short = run.dataset.model_copy(update={"datasets": (dataset.model_copy(update={"subsets": few}),)})
    run = run.model_copy(update={"dataset": short})
    project.save(ws, project.of_run("Short", run))
    return started


@pytest.fixture(scope="module")
def first(server: AppServer) -> Job:
    """A training of the project that has finished."""
    ws = Workspace.open(server.workspace)
    job = runs.start_run(ws, project.run_of(project.open_or_new(ws, "Short")), project="Short")
    assert jobs.wait(ws, job.id, WAIT_S).state == "finished", "\n".join(jobs.log_tail(ws, job.id))
    return job


def button(page: Page, name: str) -> Locator:
    return page.get_by_test_id("stMain").get_by_role("button", name=name)


def newer(ws: Workspace, first: Job) -> Job:
    """The training that was asked for after `first`; waits for it."""
    until = time.monotonic() + WAIT_S
    while (newest := jobs.jobs(ws, kind="train", limit=1)[0]).id == first.id:
        assert time.monotonic() < until, "It was never started."
        time.sleep(0.05)
    return newest


@pytest.mark.timeout(900)
def test_a_finished_training_goes_on_for_an_epoch_as_a_training_of_its_own(
    server: AppServer, first: Job, visit: Visit
) -> None:
    ws = Workspace.open(server.workspace)
    page = visit(server, f"/Training?run={first.id}")
    page.locator(".stExpander summary").filter(has_text="Train longer").click()
    epochs = page.get_by_role("textbox", name="How many epochs more")
    epochs.fill("1")
    epochs.press("Enter")
    told = f"It goes on at step {STEPS} and ends at step {STEPS + PER_EPOCH}."
    expect(page.get_by_text(told)).to_be_visible()
    button(page, "Train 1 epoch longer").click()
    second = newer(ws, first)
    says = page.get_by_test_id("stMain").get_by_text(f"{STEPS + PER_EPOCH} of {STEPS + PER_EPOCH} steps done")
    expect(says.first).to_be_visible(timeout=LOADING_MS)
    status = jobs.wait(ws, second.id, WAIT_S)
    assert (status.state, status.step, second.parent) == ("finished", STEPS + PER_EPOCH, first.id)
    assert steps_on_disk(second) == list(range(STEPS + 1, STEPS + PER_EPOCH + 1))
    assert {finished.job for finished in loras.list_finished(ws)} == {first.id, second.id}


@pytest.mark.timeout(900)
def test_two_steps_are_tried_and_their_figures_take_the_place_of_estimates(
    server: AppServer, first: Job, visit: Visit
) -> None:
    ws = Workspace.open(server.workspace)
    page = visit(server, "/Training?step=review")
    button(page, "Try two steps").click()
    expect(page.get_by_text("Two steps were tried")).to_be_visible(timeout=LOADING_MS)
    expect(page.get_by_text("Time: measured.")).to_be_visible()
    expect(button(page, "Try two steps")).to_be_visible()
    (tried,) = jobs.jobs(ws, kind="smoke")
    assert jobs.status(ws, tried.id).state == "finished"
    assert not list((tried.folder).glob("checkpoints/*.safetensors")), "it keeps no LoRA"
