"""Smoke runs and what trainings leave for estimates, with the built-in trainer on a tiny model."""

import json
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from trainer_rig import Ears, Rig, Trained, records

from lora_core import jobs, loras, planning, runs
from lora_core.engines.diffusers.network import Network
from lora_core.errors import SettingsError
from lora_core.jobs import Job, liveness, spawn
from lora_core.jobs.kinds import KINDS, Task, load
from lora_core.planning import recorded
from lora_core.planning.layers import layers_of
from lora_core.planning.lora_size import lora_size
from lora_core.reporting import Ended
from lora_core.settings import RunConfig, load_run, with_values
from lora_core.workspace import Workspace


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "ws")


def a_run(rig: Rig, **settings: Any) -> RunConfig:
    return load_run(rig.folder(**settings) / "config.toml")


def smoke(
    ws: Workspace, run: RunConfig, monkeypatch: pytest.MonkeyPatch, ears: Ears | None = None
) -> tuple[Job, Ears]:
    """A smoke job, worked on in this process."""
    monkeypatch.setattr("lora_core.jobs.control.ensure_runner", lambda _: False)
    job = runs.start_smoke(ws, run, project="cats")
    (job.folder / "engine.json").write_text("{}")  # what the worker writes first
    heard = ears or Ears()
    load(KINDS[job.kind])(Task(workspace=ws, job=job, reporter=heard, resume_from=None))
    return job, heard


def test_two_steps_are_done_and_only_what_they_took_is_kept(
    ws: Workspace, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts: dict[str, Any] = {
        "sample_prompts": ["a cat"],
        "sample_at_first": True,
        "sample_every_n_steps": 1,
    }
    run = a_run(rig, max_train_steps=500, save_every_n_steps=1, save_state=True, **prompts)
    before = planning.estimate(run, "diffusers", ws)
    assert [before.line(kind).verdict for kind in ("time",)] == ["not measured"]  # type: ignore[union-attr]  # it is there
    started = time.time()
    job, heard = smoke(ws, run, monkeypatch)
    assert len(records(job.folder)) == 2
    assert (heard.steps[-1].step, heard.steps[-1].total) == (2, 2)
    assert heard.files == []
    assert {path.name for path in job.folder.iterdir()} & {
        "checkpoints",
        "states",
        "samples",
        "tensorboard",
    } == set()
    assert runs.runs(ws) == []
    assert loras.list_finished(ws) == []
    (one,) = planning.measured(ws)
    assert (one.kind, one.job, one.steps, one.device) == ("smoke", job.id, 2, "cpu")
    assert one.ram_mib is not None
    assert one.ram_mib > 100
    assert 0.4 < (one.ratio("ram") or 0) < 2.5, "the count is of the right size, even for so small a model"
    assert planning.took(ws, job.id) == one
    assert 0 < one.step_s[1] < time.time() - started
    after = planning.estimate(run, "diffusers", ws)
    assert after.seconds is not None
    assert after.seconds.smoke_only
    assert after.seconds.low <= 500 * after.seconds.step + 60
    assert "two tried steps" in after.line("time").sentence  # type: ignore[union-attr]  # it is there
    assert after.line("memory").basis == "measured"  # type: ignore[union-attr]  # it is there


def test_a_smoke_job_runs_in_a_process_of_its_own(ws: Workspace, rig: Rig) -> None:
    job = runs.start_smoke(ws, a_run(rig, max_train_steps=50))
    status = jobs.wait(ws, job.id, 250)
    assert status.state == "finished", "\n".join(jobs.log_tail(ws, job.id))
    assert (status.step, status.total, jobs.states(ws, job.id)) == (2, 2, [])
    assert status.end is not None
    assert status.end.result is None
    (one,) = planning.measured(ws)
    assert one.start_s is not None
    assert one.start_s > one.step_s[1]
    owner = liveness.read_owner(spawn.runner_lock(ws))
    if owner is not None and owner.lives():
        psutil.Process(owner.pid).terminate()  # it would leave by itself in 10 s


def test_a_finished_training_tells_about_the_next_one_and_only_if_it_is_like_it(
    ws: Workspace, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lora_core.jobs.control.ensure_runner", lambda _: False)
    run = a_run(rig, max_train_steps=8)
    job = runs.start_run(ws, run)
    (job.folder / "engine.json").write_text("{}")
    load(KINDS["train"])(Task(workspace=ws, job=job, reporter=Ears(), resume_from=None))
    (one,) = planning.measured(ws)
    assert (one.kind, one.steps, one.rank) == ("train", 8, 4)
    assert one.start_s is not None
    known = planning.estimate(run, "diffusers", ws)
    assert known.seconds is not None
    assert not known.seconds.smoke_only
    assert known.seconds.high >= known.seconds.low >= 8 * one.step_s[0]
    assert planning.estimate(with_values(run, {"batch_size": 1}), "diffusers", ws).seconds is None
    other = planning.estimate(with_values(run, {"batch_size": 1}), "diffusers", ws).line("memory")
    assert other is not None
    assert other.basis == "corrected"
    assert planning.alike(ws, run, "diffusers") == [one]


def test_a_stop_before_two_steps_ends_a_smoke_run_as_stopped(
    ws: Workspace, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    ears = Ears(asks={1: "stop"})
    with pytest.raises(Ended):
        smoke(ws, a_run(rig, max_train_steps=50), monkeypatch, ears)
    assert planning.measured(ws) == []


def test_a_run_of_one_step_is_tried_without_an_error(
    ws: Workspace, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    smoke(ws, a_run(rig, max_train_steps=1), monkeypatch)
    assert planning.measured(ws) == []


def test_settings_that_the_engine_refuses_are_not_tried(ws: Workspace, rig: Rig) -> None:
    run = with_values(a_run(rig), {"pretrained_model_name_or_path": str(ws.root / "nothing")})
    with pytest.raises(SettingsError):
        runs.start_smoke(ws, run)
    assert jobs.jobs(ws) == []


def test_lines_that_are_cut_off_or_of_another_machine_do_not_count(ws: Workspace) -> None:
    path = ws.root / recorded.FILE
    path.write_text(
        '{"format": 1, "host": "elsewhere", "kind": "train"}\n{"format": 1, "ki\n[]\n"x"\n', "utf-8"
    )
    assert planning.measured(ws) == []


def test_an_attempt_ends_with_its_peak(rig: Rig, train: Trained) -> None:
    folder = rig.folder(max_train_steps=3)
    train(folder)
    (peak,) = records(folder, "peak")
    assert (peak["step"], peak["device"], peak["gpu_mib"]) == (3, "cpu", None)
    assert peak["ram_mib"] >= records(folder)[-1]["memory_mib"] * 0.9
    assert json.loads((folder / "progress.jsonl").read_text("utf-8").splitlines()[0])["kind"] == "start"


KINDS_OF_NETWORKS: list[dict[str, Any]] = [
    {},
    {"network_train_unet_only": False},
    {"network_args": ["conv_dim=4", "conv_alpha=1"]},
    {"network_module": "lycoris.kohya", "network_args": ["algo=locon"]},
    {"network_module": "lycoris.kohya", "network_args": ["algo=loha", "preset=attn-mlp"]},
    {"network_module": "lycoris.kohya", "network_args": ["algo=lokr", "factor=4"]},
    {"network_module": "lycoris.kohya", "network_args": ["algo=lokr", "full_matrix=True"]},
    {"network_module": "lycoris.kohya", "network_args": ["algo=lora", "dora_wd=True"]},
]


@pytest.mark.parametrize("network", KINDS_OF_NETWORKS, ids=str)
def test_the_weights_that_are_counted_are_those_that_are_trained(rig: Rig, network: dict[str, Any]) -> None:
    from lora_core.engines.diffusers.model import load_base

    run = a_run(rig, **network)
    shapes = layers_of(rig.base)
    assert shapes is not None
    base = load_base(run.model, run.precision)
    assert shapes.unet_weights == base.unet.num_parameters()
    trained = sum(weight.numel() for weight in Network(base, run.network, 0).parameters)
    counted = lora_size(shapes, run.network)
    assert counted.weights - counted.layers == trained


def test_the_file_has_the_size_that_was_counted(rig: Rig, train: Trained) -> None:
    folder = rig.folder(max_train_steps=2)
    run = load_run(folder / "config.toml")
    shapes = layers_of(rig.base)
    assert shapes is not None
    counted = lora_size(shapes, run.network).file_bytes(run.precision.save_precision)
    assert train(folder).stat().st_size == pytest.approx(counted, rel=0.1)
