"""An engine whose job was taken from it: it finds out, writes nothing more, and ends.

Covered: the token of each ownership, what looks at it before it writes, others that do not touch a job that
changed hands. Not covered: a real process that goes on at the old owner (test_jobs_hosts_live.py).
"""

import time
from pathlib import Path
from typing import Any

import pytest

from lora_core import jobs, workspace
from lora_core.engines import manifest
from lora_core.jobs import control, fencing, hosts, liveness, look, platform, publish, settle, spawn, worker
from lora_core.jobs.records import Status, changing, read_status, write_status
from lora_core.jobs.reporter import FolderReporter
from lora_core.reporting import Progress
from lora_core.workspace import Workspace, write_json

THERE = "there"


class LeftError(BaseException):
    """Stands for the end of the process."""


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace in which no runner is ever started; leaving raises instead of ending the tests."""

    def leave(code: int) -> None:
        raise LeftError(code)

    for module in (control, spawn):
        monkeypatch.setattr(module, "ensure_runner", lambda _workspace: False)
    monkeypatch.setattr(fencing, "LET_GO_S", 0.0)
    monkeypatch.setattr(hosts, "WATCH_S", 0.0)
    monkeypatch.setattr(platform, "leave", leave)
    monkeypatch.setattr(workspace, "_guards", [])
    monkeypatch.setenv("LORA_HOST", "here")
    return Workspace.open(tmp_path / "ws")


def at_work(ws: Workspace) -> tuple[jobs.Job, fencing.Fence]:
    """A job that runs here, and what its process knows of its right to write."""
    job = jobs.create(ws, "train", "my LoRA", start=False)
    write_status(job.folder, Status(state="running", updated=time.time()))
    with liveness.Lock.acquire(look.engine_lock(job.folder)) as lock:
        liveness.write_owner(lock, attempt=1)
    return job, fencing.Fence(job.folder)


def taken_over(ws: Workspace, job: jobs.Job, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as other:
        other.setenv("LORA_HOST", THERE)
        hosts.take_over(ws, job.id, anyway=True)


def test_each_change_of_hands_gives_another_token(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    job, _ = at_work(ws)
    seen = [fencing.token(job.folder)]
    for host in (THERE, "here", THERE):
        monkeypatch.setenv("LORA_HOST", host)
        hosts.take_over(ws, job.id, anyway=True) if host != "here" else jobs.resume(ws, job.id)
        seen.append(fencing.token(job.folder))
    assert seen[0] is None
    assert [found[0] for found in seen[1:] if found] == [THERE, "here", THERE]
    assert len(set(seen)) == 4


def test_a_token_that_is_gone_or_rubbish_fences_nobody(ws: Workspace) -> None:
    job, fence = at_work(ws)
    fence.check()
    for rubbish in ("", "{", "[]", '{"host": 5}'):
        (job.folder / "host.json").write_text(rubbish)
        fence.check()
    fencing.put(job.folder)
    fence.check()  # our own, which could not be read before


WRITES: dict[str, Any] = {
    "its status": lambda reporter, _folder: reporter.phase("Training"),
    "its progress": lambda reporter, _folder: reporter.progress(Progress(step=9)),
    "the end of a save": lambda reporter, folder: reporter.saved(folder / "x", 9),
    "a file": lambda _reporter, folder: write_json(folder / "checkpoints.json", {}),
    "a state": lambda _reporter, folder: manifest.put_in_place(folder / "part", folder / "s-state"),
    "an old state that goes": lambda _reporter, folder: manifest.remove(folder / "old-state"),
    "its end": lambda reporter, _folder: worker._end(
        reporter, reporter._job, "finished", worker.End(cause="It is finished.")
    ),
    "a request": lambda reporter, _folder: reporter.take("save"),
    "its LoRA": lambda reporter, folder: publish.publish(
        reporter._workspace, reporter._job, folder / "job.json"
    ),
}


@pytest.mark.parametrize("what", WRITES)
def test_an_engine_that_was_fenced_leaves_before_it_writes(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr("lora_core.jobs.reporter.WRITE_EVERY_S", 0.0)
    job, fence = at_work(ws)
    for name in ("part", "old-state"):
        (job.folder / name).mkdir()
    fence.guard()
    with liveness.Lock.acquire(look.engine_lock(job.folder)) as lock:
        reporter = FolderReporter(ws, job, lock, Status(state="running", step=9), fence)
        reporter.phase("Loading")
        monkeypatch.setattr(hosts, "_still_there", lambda *_, **__: None)  # that lock is not seen from there
        monkeypatch.setattr(workspace, "_guards", [])
        taken_over(ws, job, monkeypatch)
        fence.guard()
        (job.folder / "requests" / "save.json").write_text("{}")
        before = {path: path.read_bytes() for path in ws.root.rglob("*") if path.is_file()}
        with pytest.raises(LeftError):
            WRITES[what](reporter, job.folder)
    told = fencing.log_of(job.folder)
    assert f"taken over by {THERE}" in told.read_text("utf-8")
    after = {path: path.read_bytes() for path in ws.root.rglob("*") if path.is_file() and path != told}
    assert after == before
    assert (job.folder / "old-state").is_dir()


# --- the others ------------------------------------------------------------------------------------


def test_a_runner_that_looked_before_does_not_end_what_another_computer_has_begun(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, _ = at_work(ws)  # and dead: its runner is about to write that down
    taken_over(ws, job, monkeypatch)
    write_status(job.folder, Status(state="starting", attempt=2, updated=time.time()))
    assert settle.settle(job, exit_code=-9) is None
    now = read_status(job.folder)
    assert now is not None
    assert now.state == "starting"


def test_a_process_that_begins_late_does_not_take_the_job_from_its_new_owner(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, _ = at_work(ws)
    taken_over(ws, job, monkeypatch)
    write_status(job.folder, Status(state="starting", attempt=2, updated=time.time()))
    with liveness.Lock.acquire(look.engine_lock(job.folder)) as lock:
        assert worker._begin(job, lock) is None
    assert not look.engine_lock(job.folder).with_suffix(".json").exists()


def test_whoever_takes_over_lets_a_write_that_had_begun_come_to_its_end(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, _ = at_work(ws)

    def the_last_write(_s: float) -> None:
        write_status(job.folder, Status(state="running", step=41, updated=time.time()))

    monkeypatch.setattr("lora_core.jobs.hosts.time.sleep", the_last_write)
    taken_over(ws, job, monkeypatch)
    now = read_status(job.folder)
    assert now is not None
    assert (now.state, fencing.token(job.folder) is not None) == ("lost", True)
    with changing(job.folder):
        pass
