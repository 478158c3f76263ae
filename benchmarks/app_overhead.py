"""How much slower a training is under the app, with its page open in a browser, than as a bare command.

Timed: from the end of the first step to the end of the last, divided by the steps between, in turns: the demo
by `python -m lora_core.engines.diffusers`, and the same settings as a job, supervised by its runner, with the
app's server up and the Training page of that run polling in Chromium.

Not covered: starting (the job's process and the bare command load the same), a slow line.
"""

import argparse
import json
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.first_page import _ARGUMENTS, _IDLE, _PATIENCE_MS  # the same browser, the same wait
from benchmarks.machine import ROOT
from benchmarks.processes import CannotMeasureError, watched
from benchmarks.record import Measurement, emit, tell
from benchmarks.server import serving
from launcher.browser import installed_browser, named_browser

if TYPE_CHECKING:  # the list of benchmarks needs no browser, and this module no settings before it runs
    from playwright.sync_api import Browser

    from lora_core.settings import RunConfig

TARGET_RATIO: Final = 1 / 1.01
_BARE: Final = "python -m lora_core.engines.diffusers"
_PATIENCE_S: Final = 3600.0


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=5, help="turns of each; 5 unless told otherwise")
    parser.add_argument("--steps", type=int, default=200, help="steps of each run; 200 unless told otherwise")


def run(options: argparse.Namespace) -> None:
    from playwright.sync_api import sync_playwright

    bare: list[float] = []
    app: list[float] = []
    with sync_playwright() as playwright:
        path = named_browser(os.environ) or installed_browser(os.environ)
        browser = playwright.chromium.launch(executable_path=path, args=list(_ARGUMENTS))
        for number in range(options.rounds):
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                for which in ("bare", "app") if number % 2 == 0 else ("app", "bare"):
                    place = Path(folder) / which
                    place.mkdir()
                    if which == "bare":
                        bare.append(_bare(place, options.steps))
                    else:
                        app.append(_in_the_app(browser, place, options.steps))
            tell(
                f"{number + 1} of {options.rounds}: bare {bare[-1]:.4f} s, in the app {app[-1]:.4f} s a step"
            )
        settings = {"steps": options.steps, "browser": f"Chromium {browser.version}, headless"}
        browser.close()
    emit(
        Measurement(
            name="app_overhead",
            what="a step of the demo with the app's page polling, mean of a run",
            unit="s",
            values=app,
            against=_BARE,
            against_values=bare,
            target_ratio=TARGET_RATIO,
            settings=settings,
        )
    )


def _settings(workspace: Path, steps: int) -> "RunConfig":
    from lora_core.demo import create_demo
    from lora_core.settings import with_values
    from lora_core.workspace import Workspace

    run = create_demo(Workspace.open(workspace))
    changes = {"max_train_steps": steps, "sample_every_n_steps": None, "sample_at_first": False}
    return with_values(run, changes)


def _bare(folder: Path, steps: int) -> float:
    from lora_core.settings import CONFIG_NAME, run_files

    for name, text in run_files(_settings(folder / "workspace", steps)).items():
        (folder / name).write_text(text, "utf-8")
    command: list[str | Path] = [sys.executable, "-m", "lora_core.engines.diffusers", folder / CONFIG_NAME]
    watched([*command, "--out", folder / "out"])
    return _step_s(folder / "out")


def _in_the_app(browser: "Browser", folder: Path, steps: int) -> float:
    from lora_core import jobs, runs
    from lora_core.workspace import Workspace

    ws = Workspace.open(folder / "workspace")
    with ExitStack() as stack:
        server = stack.enter_context(serving(ROOT / "Home.py", folder))
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        stack.callback(context.close)
        context.set_default_timeout(_PATIENCE_MS)
        page = context.new_page()
        page.goto(server.entry)
        page.wait_for_function(_IDLE)
        job = runs.start_run(ws, _settings(ws.root, steps))
        page.goto(f"{server.address}/Training?run={job.id}")
        status = jobs.wait(ws, job.id, _PATIENCE_S)
        if status.state != "finished":
            raise CannotMeasureError(f"The run in the app is {status.state}: {status.message}")
    return _step_s(job.folder)


def _step_s(folder: Path) -> float:
    """Seconds a step from the end of the first to the end of the last, all that is between them included."""
    lines = (folder / "progress.jsonl").read_text("utf-8").splitlines()
    ends = [record["time"] for line in lines if (record := json.loads(line))["kind"] == "step"]
    return float((ends[-1] - ends[0]) / (len(ends) - 1))
