"""The retry ladder: which change comes next, what is written down, and that nothing is changed in silence."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lora_core import engines, jobs, runs
from lora_core.engines import manifest
from lora_core.errors import JobError, Problem
from lora_core.jobs import control
from lora_core.jobs.records import End, Status, read_status, write_status
from lora_core.planning import fit
from lora_core.runs import ladder
from lora_core.settings import RunConfig, loads_run
from lora_core.workspace import Workspace

CONFIG = """
pretrained_model_name_or_path = "{base}"
output_name = "cat"
max_train_steps = 10
cache_latents = false
gradient_checkpointing = false
optimizer_type = "AdamW"
gradient_accumulation_steps = 1
mixed_precision = "bf16"
sample_prompts = ["a cat", "a dog --w 64"]
"""
DATASET = """
[[datasets]]
resolution = 512
batch_size = 4
[[datasets.subsets]]
image_dir = "{images}"
"""


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No runner, an engine that refuses nothing, and a card with bitsandbytes."""
    monkeypatch.setattr(control, "ensure_runner", lambda _workspace: False)
    monkeypatch.setattr(type(engines.get("diffusers")), "check", lambda _self, _run: list[Problem]())
    real = ladder.free
    monkeypatch.setattr(ladder, "free", lambda ws: replace(real(ws), device="cuda", bf16=True))
    monkeypatch.setattr(fit, "find_spec", lambda _name: object())


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "ws")


def a_run(ws: Workspace) -> RunConfig:
    images = ws.datasets / "cats"
    images.mkdir(exist_ok=True)
    Image.new("RGB", (64, 64)).save(images / "one.png")
    base = (ws.checkpoints / "base").as_posix()
    return loads_run(CONFIG.format(base=base), DATASET.format(images=images.as_posix()))


def failed(ws: Workspace, *, row: str = ladder.OUT_OF_MEMORY, saved: int = 0, **options: Any) -> jobs.Job:
    """A run that ran out of GPU memory, as its files show it."""
    job = runs.start_run(ws, a_run(ws), **options)
    if saved:
        state = job.folder / "states" / f"cat-step{saved:08d}-state"
        state.mkdir(parents=True)
        (state / "lora.safetensors").write_bytes(b"numbers")
        manifest.seal(state, {"step": saved, "epoch": 1})
    end = End(cause="The GPU ran out of memory.", row=row, step=saved + 1)
    write_status(job.folder, Status(state="failed", step=saved + 1, end=end))
    return job


def status_of(job: jobs.Job) -> Status:
    status = read_status(job.folder)
    assert status is not None
    return status


def offered(ws: Workspace, job: jobs.Job) -> list[str]:
    return [rung.key for rung in ladder.offer(ws, job, status_of(job))]


def test_the_least_harmful_change_comes_first_and_smaller_pictures_last(ws: Workspace) -> None:
    keys = offered(ws, failed(ws))
    assert keys == [key for key in ladder.RUNGS if key in keys], "in the order of the table"
    assert keys[0] == "cache_latents"
    assert keys[-1] == "resolution"
    assert {"gradient_checkpointing", "optimizer_type", "batch_size", "fp8_base"} <= set(keys)


def test_every_change_of_the_one_list_has_a_rung(ws: Workspace) -> None:
    run = a_run(ws)
    known = ladder.Known(ladder.RunImages(()), ladder.free(ws), ())
    assert {changes[0].key for changes in fit.cheaper(run, known, "diffusers")} <= set(ladder.RUNGS)


def test_after_a_save_the_optimizer_stays(ws: Workspace) -> None:
    assert "optimizer_type" not in offered(ws, failed(ws, saved=5))


def test_smaller_batches_keep_the_pictures_of_a_step(ws: Workspace) -> None:
    (rung,) = [
        each for each in ladder.rungs(a_run(ws), "diffusers", ws, saved=False) if each.key == "batch_size"
    ]
    assert {change.key: change.after for change in rung.changes} == {
        "batch_size": 2,
        "gradient_accumulation_steps": 2,
    }


@pytest.mark.parametrize(
    ("status", "found"),
    [
        (Status(state="failed", end=End(cause="", row="cuda_oom")), True),
        (
            Status(state="failed", end=End(cause="", evidence="torch.OutOfMemoryError: CUDA out of memory.")),
            True,
        ),
        (
            Status(state="failed", end=End(cause="The system ended it: memory was short.", row="oom_killer")),
            False,
        ),
        (Status(state="lost", end=End(cause="", row="cuda_oom")), False),
        (Status(state="stopped", end=End(cause="CUDA out of memory")), False),
    ],
)
def test_only_a_run_that_failed_for_lack_of_gpu_memory_is_offered_anything(
    ws: Workspace, status: Status, found: bool
) -> None:
    job = failed(ws)
    assert bool(ladder.offer(ws, job, status)) is found


def test_taking_a_rung_changes_the_settings_and_is_written_down(ws: Workspace) -> None:
    job = failed(ws, saved=5)
    before = {name: (job.folder / name).read_bytes() for name in ("config.toml", "dataset.toml")}
    rung = next(r for r in ladder.offer(ws, job, status_of(job)) if r.key == "batch_size")
    assert ladder.take(ws, job, rung) == job
    now = runs.settings_of(job)
    assert (now.dataset.datasets[0].batch_size, now.batch.gradient_accumulation_steps) == (2, 2)
    assert now.sampling.sample_prompts is not None
    assert runs.prompts_of(job) == ["a cat", "a dog --w 64"]
    for name, content in before.items():
        stem, _, ending = name.partition(".")
        assert (job.folder / f"{stem}.1.{ending}").read_bytes() == content
    status = status_of(job)
    assert (status.state, status.resume_from) == ("queued", "states/cat-step00000005-state")
    assert any("smaller batches, as asked: batch_size from 4 to 2" in note for note in status.notes)
    (taken,) = ladder.taken(job)
    assert (taken.key, taken.from_step, taken.beforehand) == ("batch_size", 5, False)
    assert taken.changes[0]["before"] == 4


def test_the_ladder_is_gone_down_rung_by_rung_to_its_end(ws: Workspace) -> None:
    job = failed(ws, retry_ladder=True)
    while ladder.take_if_chosen(ws, job, status_of(job)) is not None:
        assert status_of(job).state == "queued"
        write_status(job.folder, Status(state="failed", end=End(cause="", row="cuda_oom")))
    keys = [step.key for step in ladder.taken(job)]
    assert len(keys) > 4
    assert keys.count("batch_size") == 2, "from 4 to 2 to 1"
    assert "resolution" not in keys, "only offered"
    assert offered(ws, job) == ["resolution"]
    assert all(step.beforehand for step in ladder.taken(job))
    assert len(list(job.folder.glob("config.*.toml"))) == len(keys)


def test_nothing_is_taken_unless_it_was_chosen_beforehand(ws: Workspace) -> None:
    job = failed(ws)
    assert ladder.take_if_chosen(ws, job, status_of(job)) is None
    assert status_of(job).state == "failed"
    assert ladder.taken(job) == ()


def test_a_rung_that_another_tab_took_is_not_taken_twice(ws: Workspace) -> None:
    job = failed(ws)
    rung = ladder.offer(ws, job, status_of(job))[0]
    ladder.take(ws, job, rung)
    with pytest.raises(JobError, match="queued"):
        ladder.take(ws, job, rung)
    write_status(job.folder, Status(state="failed", end=End(cause="", row="cuda_oom")))
    with pytest.raises(JobError, match="changed meanwhile"):
        ladder.take(ws, job, rung)
    assert len(ladder.taken(job)) == 1


def test_a_change_that_was_interrupted_between_its_two_files_is_finished(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = failed(ws)
    rung = next(r for r in ladder.offer(ws, job, status_of(job)) if r.key == "batch_size")
    real = ladder.write_atomic

    def killed(path: Path, content: Any) -> None:
        if path.name == "dataset.toml":
            raise KeyboardInterrupt
        real(path, content)

    monkeypatch.setattr(ladder, "write_atomic", killed)
    with pytest.raises(KeyboardInterrupt):
        ladder.take(ws, job, rung)
    assert json.loads((job.folder / "ladder.json").read_text())["steps"][0]["done"] is False
    monkeypatch.setattr(ladder, "write_atomic", real)
    ladder.finish_begun(job)
    now = runs.settings_of(job)
    assert (now.dataset.datasets[0].batch_size, now.batch.gradient_accumulation_steps) == (2, 2)
    ladder.finish_begun(job)
    assert len(ladder.taken(job)) == 1


def test_memory_that_spills_is_offered_the_same_ladder_until_a_rung_was_taken(ws: Workspace) -> None:
    job = failed(ws)
    stopped = Status(state="stopped", end=End(cause="It was stopped."))
    assert ladder.offer(ws, job, stopped) == ()
    (job.folder / "progress.jsonl").write_text(
        '{"kind": "spill", "step": 30, "step_s": 9.0, "time": 100.0}\n'
    )
    assert ladder.offer(ws, job, stopped)
    write_status(job.folder, stopped)
    ladder.take(ws, job, ladder.offer(ws, job, stopped)[0])
    assert ladder.offer(ws, job, stopped) == (), "what was noticed before the change no longer counts"


def test_the_settings_that_the_ladder_may_change_survive_a_rubbish_record(ws: Workspace) -> None:
    job = failed(ws)
    (job.folder / "ladder.json").write_text("rubbish")
    assert ladder.taken(job) == ()
    ladder.finish_begun(job)
    assert offered(ws, job)
