"""Training runs as jobs, with the built-in trainer on a tiny model."""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from trainer_rig import Rig

from lora_core import jobs, loras, runs
from lora_core.errors import SettingsError
from lora_core.jobs import liveness, look, spawn
from lora_core.settings import load_run, with_values
from lora_core.workspace import Workspace

STEPS = 24
PATIENCE_S = 250.0
"""For a start of torch and a few steps on a machine that is busy with other things."""

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    """A workspace with the app's own runner; nothing of it runs afterwards."""
    workspace = Workspace.open(tmp_path / "ws")
    yield workspace
    for job in jobs.jobs(workspace):
        jobs.stop(workspace, job.id, force=True)
        until(lambda job=job: not jobs.status(workspace, job.id).active)  # type: ignore[misc]  # bound on purpose
    owner = liveness.read_owner(spawn.runner_lock(workspace))
    if owner is not None and owner.lives():
        psutil.Process(owner.pid).terminate()  # it would leave by itself in 10 s


def until(condition: Callable[[], object], timeout_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not so after {timeout_s:g} s"
        time.sleep(0.02)


def start(ws: Workspace, rig: Rig, **settings: Any) -> jobs.Job:
    folder = rig.folder(max_train_steps=STEPS, **settings)
    return runs.start_run(ws, load_run(folder / "config.toml"), name="tiny cat", project="cats")


def losses(job: jobs.Job) -> list[tuple[int, float]]:
    curve = runs.read_curve(job.folder)
    return list(zip(curve.steps, curve.loss, strict=True))


def test_a_training_run_ends_as_a_sound_lora_among_the_finished_ones(ws: Workspace, rig: Rig) -> None:
    job = start(ws, rig, sample_prompts=["a cat --w 32 --h 32 --s 2 --d 1"], sample_every_n_steps=12)
    status = jobs.wait(ws, job.id, PATIENCE_S)
    assert status.state == "finished", "\n".join(jobs.log_tail(ws, job.id))
    assert (status.step, status.total) == (STEPS, STEPS)
    facts = runs.describe(ws, job)
    assert facts.lora == ws.loras / "tiny.safetensors"
    assert facts.preview is not None
    (finished,) = loras.list_finished(ws)
    assert (finished.job, finished.problem) == (job.id, None)
    assert finished.preview is not None
    assert finished.preview.read_bytes() == facts.preview.read_bytes()
    curve = runs.read_curve(job.folder)
    assert curve.steps == list(range(1, STEPS + 1))
    assert len(curve.lr) == len(curve.smoothed) == STEPS
    assert runs.prompts_of(job) == ["a cat --w 32 --h 32 --s 2 --d 1"]
    record = json.loads((job.folder / "job.json").read_text("utf-8"))
    assert record["project"] == "cats"
    assert len(record["hashes"]["base_model"]) == len(record["hashes"]["dataset"]) == 64


@pytest.mark.skipif(os.name != "posix", reason="kills processes the POSIX way")
def test_a_run_killed_on_its_way_goes_on_to_the_same_losses(ws: Workspace, rig: Rig) -> None:
    saves = {"save_every_n_steps": 4, "save_state": True}
    whole = start(ws, rig, **saves)
    assert jobs.wait(ws, whole.id, PATIENCE_S).state == "finished"

    job = start(ws, rig, **saves)
    until(lambda: jobs.states(ws, job.id))
    owner = liveness.read_owner(look.engine_lock(job.folder))
    assert owner is not None
    psutil.Process(owner.pid).kill()
    ended = jobs.wait(ws, job.id, PATIENCE_S)
    assert ended.state == "failed"
    assert ended.end is not None
    assert "often for lack of memory" in ended.end.cause
    step = jobs.states(ws, job.id)[0].step
    assert f"go on from step {step}" in ended.end.fix

    jobs.resume(ws, job.id)
    again = jobs.wait(ws, job.id, PATIENCE_S)
    assert (again.state, again.attempt) == ("finished", 2), "\n".join(jobs.log_tail(ws, job.id))
    assert losses(job) == losses(whole), "the same to the last bit"
    assert {entry.name for entry in loras.list_finished(ws)} == {"tiny", "tiny 2"}


def test_a_stopped_run_has_saved_at_the_step_it_was_at(ws: Workspace, rig: Rig) -> None:
    folder = rig.folder(max_train_steps=100_000)
    job = runs.start_run(ws, load_run(folder / "config.toml"))
    until(lambda: len(runs.read_curve(job.folder)) > 2)
    jobs.stop(ws, job.id)
    status = jobs.wait(ws, job.id, PATIENCE_S)
    assert status.state == "stopped", "\n".join(jobs.log_tail(ws, job.id))
    assert [state.step for state in jobs.states(ws, job.id)] == [status.step]
    assert status.step == runs.read_curve(job.folder).steps[-1]
    assert loras.list_finished(ws) == []


def test_an_import_runs_as_a_job_and_names_its_dataset(ws: Workspace, rig: Rig) -> None:
    job = jobs.create(ws, "import", "cats", {"source": str(rig.pictures()), "name": "cats"})
    status = jobs.wait(ws, job.id, PATIENCE_S)
    assert status.state == "finished", "\n".join(jobs.log_tail(ws, job.id))
    assert status.end is not None
    assert status.end.result == "datasets/cats"
    assert len(list((ws.datasets / "cats").glob("*.png"))) == 5


def test_settings_that_the_engine_refuses_make_no_run(ws: Workspace, rig: Rig) -> None:
    run = load_run(rig.folder() / "config.toml")
    with pytest.raises(SettingsError):
        runs.start_run(ws, with_values(run, {"pretrained_model_name_or_path": str(ws.root / "nothing")}))
    assert jobs.jobs(ws) == []


def test_a_run_that_cannot_load_its_model_fails_with_the_reason(ws: Workspace, rig: Rig) -> None:
    folder = rig.folder()
    run = load_run(folder / "config.toml")
    job = runs.start_run(ws, run)
    jobs.stop(ws, job.id, force=True)
    jobs.wait(ws, job.id, PATIENCE_S)
    config = job.folder / "config.toml"
    config.write_text(config.read_text("utf-8").replace(str(rig.base), str(rig.root / "gone")), "utf-8")
    jobs.resume(ws, job.id)
    status = jobs.wait(ws, job.id, PATIENCE_S)
    assert status.state == "failed"
    assert status.end is not None
    assert "gone" in status.end.cause
    assert status.end.fix
