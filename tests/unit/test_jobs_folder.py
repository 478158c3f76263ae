"""What the process of a job writes into its folder, and where its result goes."""

import hashlib
import os
import struct
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from killed import killed_at
from safetensors.numpy import save_file

from lora_core import jobs
from lora_core.errors import DiskFullError, EngineError, LoraFileError
from lora_core.jobs import control, publish, reporter, requests, runner
from lora_core.jobs.liveness import Lock
from lora_core.jobs.records import Status, read_status
from lora_core.jobs.reporter import FolderReporter
from lora_core.jobs.samples import latest_of_first_prompt, samples
from lora_core.loras import check_sound
from lora_core.reporting import Progress
from lora_core.workspace import Workspace, read_json


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setattr(control, "ensure_runner", lambda _workspace: False)
    return Workspace.open(tmp_path / "ws")


@pytest.fixture
def job(ws: Workspace) -> jobs.Job:
    return jobs.create(ws, "train", "my LoRA")


@pytest.fixture
def report(ws: Workspace, job: jobs.Job, monkeypatch: pytest.MonkeyPatch) -> FolderReporter:
    monkeypatch.setattr(reporter, "ensure_runner", lambda _workspace: False)
    lock = Lock.acquire(job.folder / "engine.lock")
    return FolderReporter(ws, job, lock, Status(state="running", attempt=1))


def written(job: jobs.Job) -> Status:
    record = read_status(job.folder)
    assert record is not None
    return record


# --- reporting --------------------------------------------------------------------------------------


def test_progress_is_written_a_few_times_a_second_at_most(
    job: jobs.Job, report: FolderReporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[int] = []
    monkeypatch.setattr(reporter, "write_status", lambda _folder, status, **_: writes.append(status.step))
    clock = iter([n / 100 for n in range(1000, 2000)])  # a step each 10 ms
    monkeypatch.setattr(reporter.time, "monotonic", lambda: next(clock))
    report._written_at = report._healed_at = 9.99
    for step in range(200):
        report.progress(Progress(step=step))
    assert len(writes) == 8, "2 s of steps at 4 writes a second"


def test_a_phase_is_written_at_once_with_the_newest_figures(job: jobs.Job, report: FolderReporter) -> None:
    report.progress(Progress(step=3, total=9, loss=0.5, steps_per_s=2.0, eta_s=3.0))
    report.phase("Drawing samples")
    now = written(job)
    assert (now.state, now.phase, now.step, now.total) == ("running", "Drawing samples", 3, 9)
    assert (now.loss, now.steps_per_s, now.eta_s) == (0.5, 2.0, 3.0)


def test_requests_are_heard_and_shown(job: jobs.Job, report: FolderReporter) -> None:
    assert report.request() is None
    requests.ask(job.folder, "pause", grace_s=60)
    assert report.request() == "pause"
    assert written(job).state == "pausing"
    requests.ask(job.folder, "stop", grace_s=60)
    assert report.request() == "stop"
    assert written(job).state == "stopping"


def test_a_request_to_save_is_taken_once(job: jobs.Job, report: FolderReporter) -> None:
    requests.ask(job.folder, "save")
    assert [report.take("save"), report.take("save"), report.take("sample")] == [True, False, False]


def test_a_term_signal_asks_to_stop_unless_a_pause_was_asked_for(
    job: jobs.Job, report: FolderReporter
) -> None:
    requests.ask(job.folder, "pause", grace_s=60)
    report.terminated = True
    assert report.request() == "pause"
    requests.take(job.folder, "pause")
    assert report.request() == "stop"


def test_a_save_is_shown_by_its_place_in_the_workspace(
    ws: Workspace, job: jobs.Job, report: FolderReporter
) -> None:
    report.saved(job.folder / "states" / "x-state", 40)
    saved = written(job).saved
    assert saved is not None
    assert (saved.step, saved.path) == (40, f"jobs/{job.id}/states/x-state")


def test_a_full_disk_does_not_end_the_work_for_a_figure(
    job: jobs.Job, report: FolderReporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: Any, **_rest: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(reporter, "write_status", full)
    report.phase("Training")
    monkeypatch.undo()
    report.phase("Training on")
    assert written(job).phase == "Training on"


def test_the_lock_is_taken_anew_when_its_file_is_removed(
    job: jobs.Job, report: FolderReporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job.folder / "engine.lock").unlink()
    monkeypatch.setattr(reporter, "_HEAL_EVERY_S", 0.0)
    report.phase("Training")
    assert (job.folder / "engine.lock").exists()


# --- samples -------------------------------------------------------------------------


def test_samples_are_read_from_the_file_names_of_sd_scripts(tmp_path: Path) -> None:
    folder = tmp_path / "samples"
    folder.mkdir()
    for name in (
        "my_LoRA_000100_00_20260102030405_42.png",
        "my_LoRA_000100_01_20260102030405_42.png",
        "my_LoRA_000000_00_20260102030400_42.png",
        "my_LoRA_e000003_00_20260102030500.png",
        ".my_LoRA_000200_00_20260102030600_42.png.part",
        "notes.txt",
    ):
        (folder / name).touch()
    assert [(s.step, s.epoch, s.prompt, s.seed) for s in samples(tmp_path)] == [
        (0, None, 0, 42),
        (100, None, 0, 42),
        (100, None, 1, 42),
        (None, 3, 0, None),
    ]
    latest = latest_of_first_prompt(tmp_path)
    assert latest is not None
    assert latest.name == "my_LoRA_e000003_00_20260102030500.png"


# --- the finished LoRA --------------------------------------------------------------------------------


def lora_file(job: jobs.Job, name: str = "my LoRA", value: float = 1.0) -> Path:
    path = job.folder / "checkpoints" / f"{name}.safetensors"
    path.parent.mkdir(exist_ok=True)
    module = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    save_file(
        {
            f"{module}.alpha": np.array(4.0, np.float32),
            f"{module}.lora_down.weight": np.full((4, 8), value, np.float32),
            f"{module}.lora_up.weight": np.full((8, 4), value, np.float32),
        },
        path,
    )
    return path


def test_a_lora_of_this_attempt_that_is_sound_passes(job: jobs.Job) -> None:
    publish.check_made(lora_file(job), not_before_ns=0)


def test_a_missing_lora_is_no_success(job: jobs.Job) -> None:
    with pytest.raises(EngineError, match="ended without its LoRA file"):
        publish.check_made(job.folder / "checkpoints" / "x.safetensors", not_before_ns=0)


def test_a_lora_of_an_earlier_attempt_is_no_success(job: jobs.Job) -> None:
    lora = lora_file(job)
    with pytest.raises(EngineError, match="older than the start"):
        publish.check_made(lora, not_before_ns=lora.stat().st_mtime_ns + 1)


@pytest.mark.parametrize("damage", ["cut", "nan", "header"])
def test_a_damaged_lora_is_no_success(job: jobs.Job, damage: str) -> None:
    lora = lora_file(job, value=float("nan") if damage == "nan" else 1.0)
    if damage == "cut":
        os.truncate(lora, lora.stat().st_size - 8)
    if damage == "header":
        lora.write_bytes(struct.pack("<Q", 10**12) + lora.read_bytes()[8:])
    with pytest.raises(LoraFileError):
        publish.check_made(lora, not_before_ns=0)


def test_a_finished_lora_lies_among_the_others_with_its_preview_and_its_job(
    ws: Workspace, job: jobs.Job
) -> None:
    lora = lora_file(job)
    (job.folder / "samples").mkdir()
    (job.folder / "samples" / "my LoRA_000001_00_20260102030405_1.png").write_bytes(b"old")
    (job.folder / "samples" / "my LoRA_000002_00_20260102030406_1.png").write_bytes(b"new")
    target = publish.publish(ws, job, lora)
    assert target == ws.loras / "my LoRA.safetensors"
    assert target.read_bytes() == lora.read_bytes()
    assert target.with_suffix(".png").read_bytes() == b"new"
    assert read_json(target.with_suffix(".json"))["job"] == job.id


def test_a_name_that_is_taken_is_not_overwritten(ws: Workspace, job: jobs.Job) -> None:
    (ws.loras / "my LoRA.safetensors").write_bytes(b"of somebody else")
    target = publish.publish(ws, job, lora_file(job))
    assert target.name == "my LoRA 2.safetensors"
    assert (ws.loras / "my LoRA.safetensors").read_bytes() == b"of somebody else"


def test_the_same_job_published_again_takes_its_own_place(ws: Workspace, job: jobs.Job) -> None:
    first = publish.publish(ws, job, lora_file(job))
    again = publish.publish(ws, job, lora_file(job, value=2.0))
    assert again == first
    assert len(list(ws.loras.glob("*.safetensors"))) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="hard links are made differently there")
def test_a_disk_without_links_gets_a_copy(
    ws: Workspace, job: jobs.Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish.os, "link", no_links)
    lora = lora_file(job)
    (ws.loras / "my LoRA.safetensors").write_bytes(b"of somebody else")
    target = publish.publish(ws, job, lora)
    assert target.name == "my LoRA 2.safetensors"
    assert target.read_bytes() == lora.read_bytes()


def test_a_copy_that_fails_leaves_no_empty_lora(
    ws: Workspace, job: jobs.Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(publish.os, "link", no_links)
    monkeypatch.setattr(publish.shutil, "copyfile", full)
    with pytest.raises(DiskFullError):
        publish.publish(ws, job, lora_file(job))
    assert list(ws.loras.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="kills a forked process between two file operations")
@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
@pytest.mark.parametrize("again", [False, True], ids=["first", "again"])
def test_a_kill_at_any_point_of_publishing_is_completed_and_never_doubled(
    ws: Workspace, job: jobs.Job, monkeypatch: pytest.MonkeyPatch, links: bool, again: bool
) -> None:
    if not links:
        monkeypatch.setattr(publish.os, "link", no_links)
    (job.folder / "samples").mkdir()
    (job.folder / "samples" / "my LoRA_000002_00_20260102030406_1.png").write_bytes(b"new")
    died, operations = True, 0
    while died:
        for file in ws.loras.iterdir():
            file.unlink()
        if again:
            publish.publish(ws, job, lora_file(job, value=1.0))
        lora = lora_file(job, value=2.0)
        died = killed_at(operations, ws.loras, partial(publish.publish, ws, job, lora))
        for placed in ws.loras.glob("*.safetensors"):
            check_sound(placed)  # what is to be seen is whole, at any time
        newest = lora_file(job, value=3.0)
        target = publish.publish(ws, job, newest)
        assert list(ws.loras.glob("[!.]*.safetensors")) == [target], operations
        empty = any(file.stat().st_size == 0 for file in ws.loras.glob("*.json"))
        assert target.stem == "my LoRA" or (empty and not links), operations
        assert target.read_bytes() == newest.read_bytes()
        digest = hashlib.sha256(newest.read_bytes()).hexdigest()
        assert read_json(target.with_suffix(".json")) == {"format": 1, "job": job.id, "sha256": digest}
        operations += 1
    assert operations > 8, "the hook saw the file operations"


def no_links(*_arguments: Any) -> None:
    raise OSError(95, "Operation not supported")


def test_a_file_that_somebody_put_in_the_place_of_a_published_one_stays(ws: Workspace, job: jobs.Job) -> None:
    first = publish.publish(ws, job, lora_file(job))
    first.unlink()
    first.write_bytes(b"of somebody else")
    assert publish.publish(ws, job, lora_file(job)).name == "my LoRA 2.safetensors"
    assert first.read_bytes() == b"of somebody else"


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_two_jobs_that_end_at_once_never_share_a_name(
    ws: Workspace, job: jobs.Job, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:
        monkeypatch.setattr(publish.os, "link", no_links)
    other = jobs.create(ws, "train", "my LoRA")
    both = {job.id: lora_file(job, value=1.0), other.id: lora_file(other, value=2.0)}
    with ThreadPoolExecutor() as pool:
        placed = list(pool.map(lambda one: publish.publish(ws, one, both[one.id]), [job, other]))
    assert {path.name for path in placed} == {"my LoRA.safetensors", "my LoRA 2.safetensors"}
    for one, path in zip((job, other), placed, strict=True):
        assert path.read_bytes() == both[one.id].read_bytes()
        assert read_json(path.with_suffix(".json"))["job"] == one.id


def test_what_a_kill_left_of_a_copy_goes_after_an_hour(ws: Workspace) -> None:
    old, young = ws.loras / ".my LoRA.safetensors.1.part", ws.loras / ".my LoRA.safetensors.2.part"
    for part in (old, young):
        part.write_bytes(b"half")
    os.utime(old, (1, 1))
    runner._tidy(ws)
    assert list(ws.loras.iterdir()) == [young]
