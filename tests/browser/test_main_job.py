"""The main job as a new user does it: one button, a real training, a killed server, the end."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from app_server import AppServer, drawn
from PIL import Image
from playwright.sync_api import Page, expect

from lora_core import jobs, loras
from lora_core.demo import SAMPLE_PROMPTS, TRIGGER, demo_run
from lora_core.demo.judge import judge
from lora_core.workspace import Workspace

Visit = Callable[..., Page]
SOON_MS = 300_000  # importing torch and loading the base on a busy machine
END_MS = 900_000
POINTS = "() => document.querySelector('.js-plotly-plot')?.data?.[0]?.x?.length ?? 0"
TOTAL = demo_run(Path()).schedule.max_train_steps


def steps_on_disk(server: AppServer) -> list[int]:
    (file,) = (server.workspace / "jobs").glob("*/progress.jsonl")
    records = [json.loads(line) for line in file.read_text("utf-8").splitlines() if line.endswith("}")]
    return [record["step"] for record in records if "loss" in record]


def concepts(server: AppServer, *, step: int) -> int:
    """How many samples of a step show the concept."""
    found = [
        judge(Image.open(path)) for path in (server.workspace / "jobs").glob(f"*/samples/*_{step:06d}_*.png")
    ]
    assert len(found) == len(SAMPLE_PROMPTS)
    return sum(verdict.shape == TRIGGER for verdict in found)


def points(page: Page, more_than: int, timeout_ms: float) -> int:
    page.wait_for_function(f"({POINTS})() > {more_than}", timeout=timeout_ms)
    return int(page.evaluate(POINTS))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_demo_trains_by_one_button_through_a_killed_server(
    start_app: Callable[[], AppServer], visit: Visit, objections: Callable[[Page], list[str]], tmp_path: Path
) -> None:
    server = start_app()
    page = visit(server)
    page.get_by_role("button", name="Train the demo LoRA").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Training", timeout=SOON_MS)
    assert "run=" in page.url

    # The plot gains points while the run goes on, and the samples from before the first step are there.
    first = points(page, 0, SOON_MS)
    later = points(page, first, SOON_MS)
    expect(page.get_by_text(f"of {TOTAL} steps done").first).to_be_visible()
    page.locator(".pictures").first.scroll_into_view_if_needed()  # a picture is fetched when it comes near
    page.wait_for_function(
        "() => [...document.querySelectorAll('.pictures img')].filter(i => i.naturalWidth > 0).length >= 4",
        timeout=SOON_MS,
    )
    dark = visit(server, page.url.removeprefix(server.url), theme="dark")
    expect(dark.get_by_role("button", name="Stop training and keep the result")).to_be_visible()
    assert objections(dark) == []
    home = visit(server)
    expect(home.get_by_role("button", name="Look at the training")).to_be_visible()
    assert objections(home) == []

    # The server dies without a word. The run does not notice.
    workspace = Workspace.open(server.workspace)
    (job,) = jobs.jobs(workspace, kind="train")
    server.kill()
    assert jobs.status(workspace, job.id).active
    at_kill = len(steps_on_disk(server))
    server.start()
    page.reload()
    drawn(page)
    again = points(page, max(later, at_kill), SOON_MS)
    assert again > later
    seen = jobs.status(workspace, job.id)
    assert (seen.active, seen.attempt) == (True, 1)

    # It finishes, and every step was done once.
    expect(page.get_by_role("button", name="Look at the finished LoRA")).to_be_visible(timeout=END_MS)
    expect(page.get_by_text("Training “demo” finished").first).to_be_visible()
    assert steps_on_disk(server) == list(range(1, TOTAL + 1))
    losses = page.evaluate("() => document.querySelector('.js-plotly-plot').data[1].y")
    tenth = len(losses) // 10  # the curve's first point is one step's loss, which chance decides
    assert sum(losses[-tenth:]) < 0.95 * sum(losses[:tenth]), "the smoothed loss did not fall"
    assert page.locator(".pictures figure").count() >= 4 * 4
    assert concepts(server, step=0) == 0, "the base alone drew the concept"
    assert concepts(server, step=TOTAL) > 0, "the concept is in none of the last samples"

    page.get_by_role("button", name="Look at the finished LoRA").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Utilities")
    expect(page.get_by_text("What is inside demo")).to_be_visible()
    expect(page.locator(".pictures img")).to_have_js_property("complete", True)
    (finished,) = loras.list_finished(workspace)
    assert finished.info is not None
    assert finished.info.steps == TOTAL
    with page.expect_download() as coming:
        page.get_by_role("button", name="Download this LoRA file").click()
    coming.value.save_as(tmp_path / "got.safetensors")
    assert (tmp_path / "got.safetensors").read_bytes() == finished.path.read_bytes()
