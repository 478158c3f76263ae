"""A disk that runs full during a run: nothing is cut off, the run is paused with the cause, and goes on."""

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import disks
import psutil
import pytest
from safetensors.torch import load_file
from trainer_rig import Ears, Rig, Trained, records

from lora_core import jobs, runs
from lora_core.engines import manifest
from lora_core.engines.diffusers import watch
from lora_core.errors import DiskFullError
from lora_core.jobs import liveness, space, spawn
from lora_core.jobs.states import complete_states
from lora_core.reporting import Ended, Progress
from lora_core.settings import load_run
from lora_core.workspace import Workspace

PATIENCE_S = 250.0
"""For a start of torch and a few steps on a machine that is busy with other things."""

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 24 MB."""
    with disks.small(tmp_path / "disk", "24m") as place:
        yield place


def fill(disk: Path, *, leave: int = 0) -> Path:
    """Take all room on `disk` but `leave` bytes; returns the file that takes it."""
    filler = disk / "filler"
    with suppress(OSError), filler.open("ab", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    if leave:
        with filler.open("rb+") as file:
            file.truncate(filler.stat().st_size - leave)
    return filler


class Filling(Ears):
    """Fills the disk when the run reports a step."""

    def __init__(self, disk: Path, at: int, leave: int = 0) -> None:
        super().__init__()
        self._disk, self._at, self._leave = disk, at, leave

    def progress(self, progress: Progress) -> None:
        super().progress(progress)
        if progress.step == self._at and progress.loss is not None:
            fill(self._disk, leave=self._leave)


def run_on(disk: Path, rig: Rig, **settings: Any) -> Path:
    folder = rig.folder(**{"max_train_steps": 6, **settings})
    target = disk / "run"
    target.mkdir()
    for name in ("config.toml", "dataset.toml"):
        (target / name).write_bytes((folder / name).read_bytes())
    return target


def nothing_is_cut_off(folder: Path) -> None:
    """Every file that claims to be complete is, and no temporary one is left."""
    for file in (folder / "checkpoints").glob("*.safetensors"):
        assert load_file(file)
    for state in complete_states(folder):
        assert manifest.damage(state.path) == ""
    lines = (folder / "progress.jsonl").read_bytes().split(b"\n")
    assert lines.pop() == b""
    for line in lines:
        json.loads(line)
    assert [entry for entry in folder.rglob("*") if ".part" in entry.name] == []


# TensorBoard writes from a thread of its own, which ends with the error that the run then reports.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_record_that_does_not_fit_is_not_half_written(
    disk: Path, rig: Rig, train: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch.Watch, "no_room", lambda _self: "")
    folder = run_on(disk, rig, max_train_steps=40)
    ears = Filling(disk, at=3)
    ears.takes[2] = "save"
    with pytest.raises(Ended) as caught, space.pausing_when_full(folder):
        train(folder, ears)  # the last page of a file has room for a few more records
    assert caught.value.request == "pause"
    assert 3 <= caught.value.step < 40
    assert "The disk is full" in caught.value.cause
    assert "progress" in caught.value.cause
    nothing_is_cut_off(folder)
    assert [state.step for state in complete_states(folder)] == [2]
    assert [record["step"] for record in records(folder)] == list(range(1, caught.value.step + 1))


@pytest.mark.parametrize("states", [False, True], ids=["LoRA file", "state"])
def test_a_save_that_does_not_fit_leaves_what_was_there(
    disk: Path, rig: Rig, train: Trained, monkeypatch: pytest.MonkeyPatch, states: bool
) -> None:
    monkeypatch.setattr(watch.Watch, "no_room", lambda _self: "")
    # Without states the file of step 4 does not fit; with them it does, and its state does not.
    folder = run_on(disk, rig, save_every_n_steps=2, save_state=states, save_precision="fp16")
    with pytest.raises(DiskFullError, match="state" if states else "safetensors"):
        train(folder, Filling(disk, at=3, leave=90_000 if states else 20_000))
    nothing_is_cut_off(folder)
    assert [state.step for state in complete_states(folder)] == ([2] if states else [])


def test_a_run_is_paused_with_a_state_while_one_still_fits(disk: Path, rig: Rig, train: Trained) -> None:
    folder = run_on(disk, rig)
    with pytest.raises(Ended) as caught:
        train(folder, Filling(disk, at=3, leave=watch.MARGIN_BYTES))
    assert caught.value.request == "pause"
    assert caught.value.cause.startswith("The disk is full: the next save needs")
    assert [state.step for state in complete_states(folder)] == [caught.value.step]
    nothing_is_cut_off(folder)


def test_a_run_on_a_disk_that_fills_up_is_paused_with_the_cause_and_goes_on(disk: Path, rig: Rig) -> None:
    """The real thing: worker, status and log on the full disk."""
    ws = Workspace.open(disk / "ws")
    folder = rig.folder(max_train_steps=400, save_every_n_steps=4, save_state=True, save_last_n_steps_state=4)
    job = runs.start_run(ws, load_run(folder / "config.toml"), name="tiny cat")
    try:
        _until(lambda: jobs.states(ws, job.id))
        filler = fill(disk)
        status = jobs.wait(ws, job.id, PATIENCE_S)
        assert status.state == "paused", status
        assert status.end is not None
        assert status.end.cause.startswith("The disk is full")
        assert "Free some space" in status.end.fix
        assert "saved" in status.end.fix
        nothing_is_cut_off(job.folder)
        jobs.resume(ws, job.id)
        again = jobs.wait(ws, job.id, PATIENCE_S)
        assert again.state == "paused", "the disk is still full"
        filler.unlink()
        before = jobs.states(ws, job.id)[0].step
        jobs.resume(ws, job.id)
        _until(lambda: jobs.states(ws, job.id)[0].step > before)
        jobs.stop(ws, job.id)
        assert jobs.wait(ws, job.id, PATIENCE_S).state == "stopped"
        nothing_is_cut_off(job.folder)
    finally:
        (disk / "filler").unlink(missing_ok=True)
        jobs.stop(ws, job.id, force=True)
        _until(lambda: not jobs.status(ws, job.id).active)
        owner = liveness.read_owner(spawn.runner_lock(ws))
        if owner is not None and owner.lives():
            psutil.Process(owner.pid).terminate()


def _until(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
