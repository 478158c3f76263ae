"""Which computer a job belongs to, what others see of it, and how it changes hands."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from lora_core import jobs
from lora_core.errors import JobError
from lora_core.jobs import control, fencing, hosts, liveness, look, records, requests, runner, spawn
from lora_core.jobs.records import Status, read_status, write_status
from lora_core.workspace import Workspace, read_json, write_json

ANOTHER = "another"


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace in which no runner is ever started."""
    monkeypatch.setattr(control, "ensure_runner", lambda _workspace: False)
    monkeypatch.setattr(spawn, "ensure_runner", lambda _workspace: False)
    monkeypatch.setattr(hosts, "WATCH_S", 0.1)
    monkeypatch.setattr(fencing, "LET_GO_S", 0.0)
    monkeypatch.setenv("LORA_HOST", "here")
    return Workspace.open(tmp_path / "ws")


def of_another(ws: Workspace, state: str, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> jobs.Job:
    """A job of the other computer whose process cannot be seen from here."""
    monkeypatch.setenv("LORA_HOST", ANOTHER)
    job = jobs.create(ws, "train", "my LoRA")
    status: dict[str, Any] = {"state": state, "updated": time.time() - 3600} | changes
    write_status(job.folder, Status(**status))
    if state in records.ACTIVE:
        with liveness.Lock.acquire(look.engine_lock(job.folder)) as lock:
            liveness.write_owner(lock, attempt=status.get("attempt", 1))
    monkeypatch.setenv("LORA_HOST", "here")
    return job


def seen(job: jobs.Job) -> Status:
    record = read_status(job.folder)
    assert record is not None
    return record


# --- whose it is -----------------------------------------------------------------------------------


def test_the_environment_may_name_this_computer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORA_HOST", "render box")
    assert hosts.here() == "render box"
    monkeypatch.delenv("LORA_HOST")
    assert hosts.here()


def test_a_job_belongs_to_the_computer_that_created_it(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = jobs.create(ws, "train", "x")
    assert job.host == "here"
    assert hosts.elsewhere(job, seen(job)) is None
    monkeypatch.setenv("LORA_HOST", ANOTHER)
    assert hosts.elsewhere(job, seen(job)) == "here"


def test_a_running_job_belongs_to_the_computer_of_its_process(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = jobs.create(ws, "train", "x")
    monkeypatch.setenv("LORA_HOST", ANOTHER)
    with liveness.Lock.acquire(look.engine_lock(job.folder)) as lock:
        liveness.write_owner(lock, attempt=2)
    monkeypatch.setenv("LORA_HOST", "here")
    running = Status(state="running", attempt=2)
    assert hosts.elsewhere(job, running) == ANOTHER
    assert hosts.elsewhere(job, Status(state="starting", attempt=3)) is None, "that was an earlier attempt"
    assert hosts.elsewhere(job, None) == ANOTHER, "without a status the last process tells"


def test_a_job_that_names_no_computer_belongs_to_this_one(ws: Workspace) -> None:
    job = jobs.create(ws, "train", "x")
    record = read_json(job.folder / "job.json") | {"host": ""}
    write_json(job.folder / "job.json", record)
    assert hosts.elsewhere(jobs.get(ws, job.id), seen(job)) is None


@pytest.mark.parametrize("rubbish", ["", "{", "[]", '{"host": 5}'])
def test_rubbish_about_the_computer_falls_back_to_the_one_that_created_it(
    ws: Workspace, rubbish: str
) -> None:
    job = jobs.create(ws, "train", "x")
    (job.folder / "host.json").write_text(rubbish)
    assert hosts.elsewhere(job, seen(job)) is None


def test_two_computers_have_a_runner_each(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = spawn.runner_lock(ws)
    monkeypatch.setenv("LORA_HOST", "a/b.c")
    assert spawn.runner_lock(ws) != mine
    assert spawn.runner_lock(ws).parent == mine.parent


# --- what is seen of it ----------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["starting", "running", "pausing", "stopping"])
def test_a_job_that_runs_elsewhere_is_never_taken_for_dead(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    job = of_another(ws, state, monkeypatch, step=7)
    status = jobs.status(ws, job.id)
    assert (status.state, status.step, status.elsewhere, status.end) == (state, 7, ANOTHER, None)
    assert f"on {ANOTHER}. Last sign {hosts.last_sign(seen(job).updated)}." in status.message
    supervisor = runner.Runner(ws)
    assert supervisor.look() is False, "nothing of it is this runner's"
    assert seen(job).state == state


def test_a_job_that_waits_elsewhere_is_not_started_here(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = of_another(ws, "queued", monkeypatch)
    monkeypatch.setattr(spawn, "start_worker", lambda *_, **__: pytest.fail("it was started"))
    assert runner.Runner(ws).look() is False
    status = jobs.status(ws, job.id)
    assert (status.state, status.elsewhere) == ("queued", ANOTHER)
    assert status.message == f"It waits for its turn on {ANOTHER}."


def test_looking_at_a_job_of_another_computer_starts_no_runner(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = of_another(ws, "running", monkeypatch)
    monkeypatch.setattr(control, "ensure_runner", lambda _ws: pytest.fail("a runner was started"))
    assert jobs.status(ws, job.id).elsewhere == ANOTHER


def test_a_job_of_another_computer_without_a_status_is_not_called_lost(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = of_another(ws, "running", monkeypatch)
    (job.folder / "status.json").unlink()
    assert jobs.status(ws, job.id).state == "running"
    assert runner.Runner(ws).look() is False
    assert not (job.folder / "status.json").exists()


def test_a_request_to_a_job_of_another_computer_is_written_and_shown(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = of_another(ws, "running", monkeypatch)
    jobs.stop(ws, job.id)
    assert requests.pending(job.folder) is not None
    assert jobs.status(ws, job.id).state == "stopping"
    assert seen(job).state == "running", "its own computer answers"


def test_an_ended_job_is_the_same_for_every_computer(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    job = of_another(ws, "stopped", monkeypatch, end=records.End(cause="As asked."))
    assert jobs.status(ws, job.id).elsewhere is None


def test_a_last_sign_is_said_with_its_day_when_it_was_not_today() -> None:
    now = time.time()
    assert len(hosts.last_sign(now)) == len("12:04")
    assert hosts.last_sign(now - 3 * 86400).startswith("20")
    assert len(hosts.last_sign(now + 3 * 86400)) == len("2026-01-01 12:04"), "its clock is ahead"


# --- changing hands --------------------------------------------------------------------------------


def test_a_waiting_job_is_taken_over_and_waits_here(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    job = of_another(ws, "queued", monkeypatch)
    hosts.take_over(ws, job.id)
    status = jobs.status(ws, job.id)
    assert (status.state, status.elsewhere) == ("queued", None)
    assert f"Taken over from {ANOTHER}." in status.notes
    monkeypatch.setenv("LORA_HOST", ANOTHER)
    assert jobs.status(ws, job.id).elsewhere == "here", "the other computer leaves it from now on"


def test_a_running_job_that_is_taken_over_is_lost_there_and_can_be_resumed_here(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = of_another(ws, "running", monkeypatch)
    hosts.take_over(ws, job.id)
    status = jobs.status(ws, job.id)
    assert (status.state, status.elsewhere) == ("lost", None)
    assert status.end is not None
    assert f"running on {ANOTHER}" in status.end.cause
    jobs.resume(ws, job.id)
    assert (seen(job).state, hosts.of(job, seen(job))) == ("queued", "here")


def test_a_job_is_not_taken_over_while_its_process_is_seen_to_live(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = of_another(ws, "running", monkeypatch)
    # Two names of one computer see each other's locks.
    held = liveness.Lock.acquire(look.engine_lock(job.folder))
    with held, pytest.raises(JobError, match="at work"):
        hosts.take_over(ws, job.id, anyway=True)
    assert seen(job).state == "running"


def test_a_job_with_a_fresh_sign_is_taken_over_only_when_that_is_insisted_on(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = of_another(ws, "running", monkeypatch, updated=time.time())
    with pytest.raises(JobError, match="last sign"):
        hosts.take_over(ws, job.id)
    hosts.take_over(ws, job.id, anyway=True)
    assert seen(job).state == "lost"


def test_a_clock_that_is_an_hour_behind_does_not_hide_that_a_job_is_at_work(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = of_another(ws, "running", monkeypatch)
    changes = iter(range(1000))
    monkeypatch.setattr(hosts, "_signs", lambda _folder: [(next(changes), 0, 0)])
    with pytest.raises(JobError, match="its files change"):
        hosts.take_over(ws, job.id)


def test_a_job_of_this_computer_is_not_taken_over(ws: Workspace) -> None:
    job = jobs.create(ws, "train", "x")
    with pytest.raises(JobError, match="already"):
        hosts.take_over(ws, job.id)


def test_whoever_resumes_an_ended_job_gets_it(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    job = of_another(ws, "stopped", monkeypatch, end=records.End(cause="As asked."))
    jobs.resume(ws, job.id)
    assert hosts.elsewhere(job, seen(job)) is None
    monkeypatch.setenv("LORA_HOST", ANOTHER)
    jobs.stop(ws, job.id)
    jobs.resume(ws, job.id)
    assert hosts.elsewhere(job, seen(job)) is None, "and back"


# --- after a restart -------------------------------------------------------------------------------


def cut_off(ws: Workspace, state: str = "running") -> jobs.Job:
    """A job that was at work when the computer was restarted."""
    job = jobs.create(ws, "train", "x")
    write_status(job.folder, Status(state=state, updated=time.time() - 60))  # type: ignore[arg-type]  # text for brevity
    with liveness.Lock.acquire(look.engine_lock(job.folder)) as lock:
        liveness.write_owner(lock, attempt=1)
    path = job.folder / "engine.json"
    record = json.loads(path.read_text("utf-8"))
    record |= {"pid": os.getpid(), "started": "an-earlier-boot+1:" + record["started"].partition(":")[2]}
    path.write_text(json.dumps(record), "utf-8")
    return job


linux = pytest.mark.skipif(not Path("/proc/1").exists(), reason="only Linux names its boots")


@linux
def test_what_ran_at_a_restart_is_failed_with_that_as_the_cause_and_stays_so(ws: Workspace) -> None:
    job = cut_off(ws)
    assert hosts.after_restart(ws) == []
    status = seen(job)
    assert status.state == "failed"
    assert status.end is not None
    assert "restarted" in status.end.cause
    assert status.resumable


@linux
@pytest.mark.parametrize(("state", "goes_on"), [("running", True), ("stopping", False), ("pausing", False)])
def test_it_goes_on_by_itself_only_where_the_rule_says_so_and_nobody_wanted_it_to_end(
    ws: Workspace, state: str, goes_on: bool
) -> None:
    job = cut_off(ws, state)
    write_json(ws.root / "queue.json", {"format": 1, "resume_after_restart": True})
    assert [found.id for found in hosts.after_restart(ws)] == ([job.id] if goes_on else [])
    assert seen(job).state == ("queued" if goes_on else "failed")


@linux
def test_a_restart_here_means_nothing_for_a_job_of_another_computer(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = cut_off(ws)
    write_json(ws.root / "queue.json", {"format": 1, "resume_after_restart": True})
    monkeypatch.setenv("LORA_HOST", ANOTHER)
    assert hosts.after_restart(ws) == []
    assert seen(job).state == "running"


def test_a_job_that_died_without_a_restart_is_not_called_restarted(ws: Workspace) -> None:
    job = jobs.create(ws, "train", "x")
    write_status(job.folder, Status(state="running", updated=time.time()))
    with liveness.Lock.acquire(look.engine_lock(job.folder)) as lock:
        liveness.write_owner(lock, attempt=1)
        assert hosts.after_restart(ws) == []
    assert hosts.after_restart(ws) == []
    assert seen(job).state == "running"
