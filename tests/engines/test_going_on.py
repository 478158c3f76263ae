"""Going on with a real run: with cheaper settings, or from an older state than the one asked for."""

from pathlib import Path
from typing import Any

import pytest
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from trainer_rig import Ears, Rig, Trained, records

from lora_core import jobs, runs
from lora_core.engines.diffusers import watch
from lora_core.jobs import control, look
from lora_core.jobs.kinds import Task
from lora_core.jobs.records import End, Status, write_status
from lora_core.jobs.states import complete_states
from lora_core.reporting import Ended
from lora_core.runs import ladder, work
from lora_core.runs.start import space_needed
from lora_core.settings import load_run
from lora_core.workspace import Workspace

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setattr(control, "ensure_runner", lambda _workspace: False)
    return Workspace.open(tmp_path / "ws")


def a_job(ws: Workspace, rig: Rig, **settings: Any) -> jobs.Job:
    job = runs.start_run(ws, load_run(rig.folder(**settings) / "config.toml"))
    look.engine_lock(job.folder).with_suffix(".json").write_text("{}")  # as a worker leaves it
    return job


def out_of_memory(job: jobs.Job) -> Status:
    """As the worker leaves a run that ran out of GPU memory."""
    status = Status(state="failed", end=End(cause="The GPU ran out of memory.", row=ladder.OUT_OF_MEMORY))
    write_status(job.folder, status)
    return status


def test_a_run_goes_on_from_its_save_with_every_rung_it_has(ws: Workspace, rig: Rig, train: Trained) -> None:
    job = a_job(ws, rig, max_train_steps=20, cache_latents=False, gradient_checkpointing=False)
    done, notes = 1, list[str]()
    with pytest.raises(Ended):
        train(job.folder, Ears(asks={done: "stop"}))
    while rungs := [rung for rung in ladder.offer(ws, job, out_of_memory(job)) if rung.by_itself]:
        ladder.take(ws, job, rungs[0])
        (state, *_) = complete_states(job.folder)
        assert state.step == done
        done += 1
        AcceleratorState._reset_state(reset_partial_state=True)  # a worker is a fresh process
        ears = Ears(asks={done: "stop"})
        with pytest.raises(Ended):
            train(job.folder, ears, resume=state.path)
        notes += ears.notes
    taken = [step.key for step in ladder.taken(job)]
    assert {"gradient_checkpointing", "batch_size"} <= set(taken)
    assert sum("not bit for bit" in note and "the settings changed" in note for note in notes) == len(taken)
    assert [record["step"] for record in records(job.folder)] == list(range(1, done + 1)), "one curve"


def test_a_damaged_state_costs_a_run_only_the_way_back_to_the_one_before(
    ws: Workspace, rig: Rig, train: Trained
) -> None:
    job = a_job(ws, rig, max_train_steps=6, save_every_n_steps=2, save_state=True)
    with pytest.raises(Ended):
        train(job.folder, Ears(asks={5: "stop"}))
    newest, before, *_ = complete_states(job.folder)
    assert (newest.step, before.step) == (5, 4)
    optimizer = newest.path / "optimizer.pt"
    optimizer.write_bytes(bytes(optimizer.stat().st_size))
    ears = Ears()
    lora = work.train(Task(workspace=ws, job=job, reporter=ears, resume_from=newest.path))  # type: ignore[arg-type]  # Ears listens to all
    assert load_file(lora)
    assert "optimizer.pt was changed" in ears.notes[0]
    assert before.name in ears.notes[1]
    assert records(job.folder, "start")[0]["resumed_from"] == 4
    assert [record["step"] for record in records(job.folder)] == [1, 2, 3, 4, 5, 6]


def test_a_run_writes_no_more_than_it_was_said_to_need(ws: Workspace, rig: Rig, train: Trained) -> None:
    job = a_job(
        ws, rig, max_train_steps=6, save_every_n_steps=1, save_state=True, save_last_n_steps=2, network_dim=32
    )
    needed = space_needed(runs.settings_of(job))
    train(job.folder)
    kept = [*job.folder.glob("checkpoints/*"), *job.folder.glob("states/*/*")]
    written = sum(file.stat().st_size for file in kept)
    assert needed is not None
    assert written < needed < 3 * written


def test_memory_that_spills_is_noted_recorded_and_offered(
    ws: Workspace, rig: Rig, train: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = iter(["", "Steps take 4 times as long as before."])
    monkeypatch.setattr(watch.Watch, "spilled", lambda _self, _step_s: next(told, ""))
    job = a_job(ws, rig, max_train_steps=4, gradient_checkpointing=False)
    ears = Ears()
    train(job.folder, ears)
    assert "Steps take 4 times as long as before." in ears.notes
    (record,) = records(job.folder, "spill")
    assert record["step"] == 2
    assert ladder.offer(ws, job, Status(state="paused", end=End(cause="It was paused.")))
