"""What one may do with jobs, and what each does to a job in each state."""

import errno
import hashlib
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lora_core import jobs
from lora_core.errors import DiskFullError, JobError, WorkspaceError
from lora_core.jobs import control, kinds, listing, liveness, look, records, requests, spawn
from lora_core.jobs.records import End, Status, move, read_status, write_status
from lora_core.jobs.settle import settle
from lora_core.runs import Progress
from lora_core.workspace import Workspace


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace in which no runner is ever started."""
    monkeypatch.setattr(control, "ensure_runner", lambda _workspace: False)
    monkeypatch.setattr(spawn, "ensure_runner", lambda _workspace: False)
    return Workspace.open(tmp_path / "ws")


def made(ws: Workspace, state: str = "queued", **changes: Any) -> jobs.Job:
    """A job whose record says `state`."""
    job = jobs.create(ws, "train", "my LoRA", {"output_name": "x"})
    record = Status(state=state, updated=time.time(), **changes)  # type: ignore[arg-type]  # text for brevity
    write_status(job.folder, record)
    return job


def seen(job: jobs.Job) -> Status:
    record = read_status(job.folder)
    assert record is not None
    return record


# --- asking for a job ----------------------------------------------------------------------------


def test_a_new_job_is_queued_with_its_files(ws: Workspace) -> None:
    job = jobs.create(ws, "train", "my LoRA", {"output_name": "x"}, files={"config.toml": "a = 1\n"})
    assert jobs.status(ws, job.id).state == "queued"
    assert (job.folder / "config.toml").read_text() == "a = 1\n"
    assert jobs.get(ws, job.id) == job
    assert sorted(entry.name for entry in job.folder.iterdir()) == [
        "config.toml",
        "job.json",
        "requests",
        "status.json",
    ]


def test_an_unknown_kind_is_refused_and_makes_nothing(ws: Workspace) -> None:
    with pytest.raises(JobError, match="train"):
        jobs.create(ws, "os.system", "bad")
    assert list(ws.jobs.iterdir()) == []


def test_a_record_cannot_name_code_to_run(ws: Workspace) -> None:
    """Only the table's own names are imported, whatever a job folder from elsewhere says."""
    job = jobs.create(ws, "train", "x", {"work": "os:system", "module": "os"})
    assert kinds.kind_of(job.kind).work == "lora_core.runs.work:train"
    ours = ("lora_core.jobs.work:", "lora_core.runs.work:")
    assert all(kind.work.startswith(ours) for kind in kinds.KINDS.values())


def test_every_kind_has_work_that_can_be_found() -> None:
    assert {kind.work for kind in kinds.KINDS.values()} == {
        "lora_core.runs.work:train",
        "lora_core.runs.work:smoke",
        "lora_core.runs.work:export",
        "lora_core.jobs.work:import_dataset",
        "lora_core.jobs.work:probe_machine",
        "lora_core.jobs.work:notify_test",
    }
    for kind in kinds.KINDS.values():
        assert callable(kinds.load(kind))


def test_a_full_disk_leaves_no_half_made_job(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(folder: Path, status: Status) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(control, "write_status", full)
    with pytest.raises(DiskFullError, match="was not started"):
        jobs.create(ws, "train", "my LoRA")
    assert list(ws.jobs.iterdir()) == []


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs root to mount a file system")
def test_a_read_only_disk_is_told_and_leaves_nothing(ws: Workspace) -> None:
    import subprocess

    mount = ["mount", "-t", "tmpfs", "-o", "ro,size=1m", "tmpfs", str(ws.jobs)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this machine does not allow mounts")
    try:
        with pytest.raises(WorkspaceError, match="Read-only"):
            jobs.create(ws, "train", "my LoRA")
    finally:
        subprocess.run(["umount", str(ws.jobs)], check=True)


def test_a_workspace_folder_that_cannot_be_written_is_told(ws: Workspace) -> None:
    ws.jobs.rmdir()
    ws.jobs.write_text("a file where the folder should be")
    with pytest.raises(WorkspaceError, match="Its folder could not be made"):
        jobs.create(ws, "train", "my LoRA")


def test_a_source_whose_path_is_no_text_is_kept_to_the_byte(ws: Workspace) -> None:
    source = "/photos/\udce9t\udce9"
    job = jobs.create(ws, "import", "x", {"source": source}, start=False)
    assert records.read_job(job.folder).params["source"] == source


@pytest.mark.parametrize("name", ["../x", "a/b", "/x"])
def test_files_stay_in_the_folder_of_their_job(ws: Workspace, name: str) -> None:
    with pytest.raises(ValueError, match="plain file name"):
        jobs.create(ws, "train", "x", files={name: ""})
    assert list(ws.jobs.iterdir()) == []


@pytest.mark.parametrize("job_id", ["", ".", "..", "../jobs", ".hidden", "no-such"])
def test_an_id_that_is_no_job_is_told(ws: Workspace, job_id: str) -> None:
    with pytest.raises(JobError, match="There is no job"):
        jobs.status(ws, job_id)


# --- the list ------------------------------------------------------------------------------------


def test_jobs_are_listed_newest_first_and_what_is_none_is_left_out(ws: Workspace) -> None:
    made_jobs = [jobs.create(ws, "import", f"job {number}") for number in range(3)]
    (ws.jobs / ".new-half").mkdir()
    (ws.jobs / "99999999-notes").mkdir()
    (made_jobs[1].folder / "job.json").write_text("{")
    assert jobs.jobs(ws) == [made_jobs[2], made_jobs[0]]


def test_a_long_list_opens_only_the_records_it_returns_and_each_once(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        jobs.create(ws, "import", f"job {number}")
    opened: list[str] = []
    read = records.read_job

    def counted(folder: Path) -> records.Job:
        opened.append(folder.name)
        return read(folder)

    monkeypatch.setattr(listing, "read_job", counted)
    monkeypatch.setattr(listing, "_known", {})
    newest = jobs.jobs(ws, limit=5)
    assert [job.id for job in newest] == opened == sorted(opened, reverse=True)
    jobs.jobs(ws, limit=5)
    assert len(opened) == 5


def test_looking_at_an_ended_job_starts_no_runner(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    job = made(ws, "stopped", end=End(cause="It was stopped."))
    started: list[Workspace] = []
    monkeypatch.setattr(control, "ensure_runner", started.append)
    assert jobs.status(ws, job.id).state == "stopped"
    assert started == []
    write_status(job.folder, Status(state="queued"))
    jobs.status(ws, job.id)
    assert started == [ws]


# --- true states ---------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["running", "pausing", "stopping"])
def test_a_job_without_a_process_is_never_shown_as_active(ws: Workspace, state: str) -> None:
    job = made(ws, state)
    shown = jobs.status(ws, job.id)
    assert shown.state == "lost"
    assert shown.end is look.UNSETTLED
    assert shown.message == look.UNSETTLED.cause


def test_a_starting_job_has_its_time_before_it_is_lost(ws: Workspace) -> None:
    job = made(ws, "starting")
    assert jobs.status(ws, job.id).state == "starting"
    write_status(job.folder, Status(state="starting", updated=time.time() - look.STARTING_LIMIT_S - 1))
    assert jobs.status(ws, job.id).state == "lost"


def test_waiting_does_not_take_the_unsettled_look_for_the_end(ws: Workspace) -> None:
    job = made(ws, "running")
    with pytest.raises(TimeoutError):
        jobs.wait(ws, job.id, 0.2)


@pytest.mark.parametrize(("asked", "state"), [("stop", "stopping"), ("pause", "pausing")])
def test_a_pending_request_shows_before_the_work_hears_it(ws: Workspace, asked: Any, state: str) -> None:
    job = made(ws, "running")
    with liveness.Lock.acquire(look.engine_lock(job.folder)):
        getattr(jobs, asked)(ws, job.id)
        shown = jobs.status(ws, job.id)
    assert shown.state == state
    assert shown.grace_left_s == pytest.approx(60, abs=5)
    assert "ended by force" in shown.message


def test_a_job_without_a_status_is_lost_with_what_is_known(ws: Workspace) -> None:
    job = jobs.create(ws, "train", "x")
    (job.folder / "status.json").unlink()
    (job.folder / "progress.jsonl").write_text('{"step": 7, "loss": 1}\n{"step": 8, "lo')
    shown = jobs.status(ws, job.id)
    assert (shown.state, shown.step) == ("lost", 7)
    assert shown.end is not None
    assert "only start from the beginning" in shown.end.fix


# --- requests ------------------------------------------------------------------------------------


def test_a_queued_job_is_stopped_at_once(ws: Workspace) -> None:
    job = made(ws, "queued")
    jobs.stop(ws, job.id)
    assert seen(job).state == "stopped"
    assert not requests.pending(job.folder)


def test_a_queued_job_can_be_set_aside_and_queued_again(ws: Workspace) -> None:
    job = made(ws, "queued")
    jobs.pause(ws, job.id)
    assert seen(job).state == "paused"
    jobs.resume(ws, job.id)
    assert (seen(job).state, seen(job).attempt) == ("queued", 1)


def test_a_paused_job_can_be_stopped(ws: Workspace) -> None:
    job = made(ws, "paused", end=End(cause="It was paused."))
    jobs.stop(ws, job.id)
    assert seen(job).state == "stopped"


@pytest.mark.parametrize("state", ["finished", "stopped", "failed", "lost"])
def test_stopping_an_ended_job_changes_nothing(ws: Workspace, state: str) -> None:
    job = made(ws, state, end=End(cause="It has ended."))
    before = seen(job)
    jobs.stop(ws, job.id)
    jobs.pause(ws, job.id)
    jobs.stop(ws, job.id, force=True)
    assert seen(job) == before
    assert requests.pending(job.folder) is None


def test_a_stop_overrules_a_pause_and_force_overrules_a_stop(ws: Workspace) -> None:
    job = made(ws, "running")
    with liveness.Lock.acquire(look.engine_lock(job.folder)):
        jobs.pause(ws, job.id)
        jobs.stop(ws, job.id)
        asked = requests.pending(job.folder)
        assert asked is not None
        assert (asked.name, asked.force) == ("stop", False)
        jobs.stop(ws, job.id, force=True)
    asked = requests.pending(job.folder)
    assert asked is not None
    assert (asked.force, asked.grace_s) == (True, control.FORCE_GRACE_S)


@pytest.mark.parametrize("force", [False, True])
def test_a_second_stop_neither_starts_the_grace_anew_nor_takes_force_back(ws: Workspace, force: bool) -> None:
    job = made(ws, "running")
    with liveness.Lock.acquire(look.engine_lock(job.folder)):
        jobs.stop(ws, job.id, force=force)
        first = requests.pending(job.folder)
        jobs.stop(ws, job.id)
    assert first is not None
    assert requests.pending(job.folder) == first


def test_a_request_of_rubbish_still_asks(ws: Workspace) -> None:
    job = made(ws, "running")
    requests.path_of(job.folder, "stop").write_text("{")
    asked = requests.pending(job.folder)
    assert asked is not None
    assert asked.name == "stop"


@pytest.mark.parametrize("name", ["stop", "pause"])
@pytest.mark.parametrize("force", [False, True])
def test_a_request_to_a_dead_job_is_not_taken_for_what_ended_it(
    ws: Workspace, name: str, force: bool
) -> None:
    job = made(ws, "running", attempt=1)
    if name == "stop":
        jobs.stop(ws, job.id, force=force)
    else:
        jobs.pause(ws, job.id)
    assert requests.pending(job.folder) is None
    ended = settle(job, exit_code=None)
    assert ended is not None
    assert ended.state == "lost"


@pytest.mark.parametrize("state", ["starting", "running"])
@pytest.mark.parametrize("name", ["save", "sample"])
def test_what_is_asked_before_the_first_step_waits_for_it_and_twice_is_once(
    ws: Workspace, state: str, name: Any
) -> None:
    job = made(ws, state)
    with liveness.Lock.acquire(look.engine_lock(job.folder)):
        jobs.request(ws, job.id, name)
        jobs.request(ws, job.id, name)
    assert [requests.take(job.folder, name), requests.take(job.folder, name)] == [True, False]


@pytest.mark.parametrize("asked", ["stop", "pause"])
@pytest.mark.parametrize("name", ["save", "sample"])
def test_a_job_that_is_about_to_end_is_asked_nothing_more(ws: Workspace, asked: str, name: Any) -> None:
    job = made(ws, "running")
    with liveness.Lock.acquire(look.engine_lock(job.folder)):
        getattr(jobs, asked)(ws, job.id)
        with pytest.raises(JobError, match=r"ing\. It saves before it ends"):
            jobs.request(ws, job.id, name)
    assert not requests.take(job.folder, name)


def test_a_stop_of_a_job_that_was_just_resumed_takes_it_out_of_the_queue(ws: Workspace) -> None:
    job = made(ws, "failed", step=3, end=End(cause="It broke."))
    jobs.resume(ws, job.id)
    jobs.stop(ws, job.id)
    assert seen(job).state == "stopped"
    assert requests.pending(job.folder) is None
    with pytest.raises(JobError, match="stopped"):
        jobs.request(ws, job.id, "save")


def test_a_job_of_another_computer_is_neither_resumed_nor_killed(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = made(ws, "running")

    def told(one: jobs.Job) -> Status:
        return replace(look.recorded(one), elsewhere="POD-1")

    monkeypatch.setattr(look, "status", told)
    with pytest.raises(JobError, match="POD-1"):
        jobs.resume(ws, job.id)
    with pytest.raises(JobError, match="POD-1"):
        jobs.stop(ws, job.id, force=True)
    assert seen(job).state == "running"


@pytest.mark.parametrize("state", ["queued", "finished", "paused"])
def test_saving_now_needs_a_process(ws: Workspace, state: str) -> None:
    job = made(ws, state, end=None if state == "queued" else End(cause="It has ended."))
    with pytest.raises(JobError, match=state):
        jobs.request(ws, job.id, "save")
    assert not requests.take(job.folder, "save")


# --- resuming ------------------------------------------------------------------------------------


def state_at(job: jobs.Job, step: int, *, whole: bool = True) -> None:
    folder = job.folder / "states" / f"x-step{step:08d}-state"
    folder.mkdir(parents=True)
    (folder / "lora.safetensors").write_bytes(b"12345")
    size = 5 if whole else 6
    facts = f'{{"bytes": {size}, "sha256": "{hashlib.sha256(b"12345").hexdigest()}"}}'
    record = f'{{"step": {step}, "epoch": 1, "files": {{"lora.safetensors": {facts}}}}}'
    (folder / "state.json").write_text(record)


def test_resuming_takes_the_newest_complete_state(ws: Workspace) -> None:
    job = made(ws, "failed", step=13, end=End(cause="It broke."))
    state_at(job, 5)
    state_at(job, 10)
    state_at(job, 12, whole=False)
    jobs.resume(ws, job.id)
    now = seen(job)
    assert (now.state, now.attempt, now.step) == ("queued", 2, 10)
    assert now.resume_from == "states/x-step00000010-state"
    assert now.end is None
    assert now.notes[-1] == "It goes on from step 10."


def test_resuming_can_take_an_older_state(ws: Workspace) -> None:
    job = made(ws, "stopped", step=13, end=End(cause="It was stopped."))
    state_at(job, 5)
    state_at(job, 10)
    assert [state.step for state in jobs.states(ws, job.id)] == [10, 5]
    jobs.resume(ws, job.id, "x-step00000005-state")
    assert seen(job).resume_from == "states/x-step00000005-state"


@pytest.mark.parametrize("name", ["x-step00000012-state", "../states/x-step00000010-state", ""])
def test_a_state_that_is_not_there_or_not_whole_is_refused(ws: Workspace, name: str) -> None:
    job = made(ws, "stopped", end=End(cause="It was stopped."))
    state_at(job, 10)
    state_at(job, 12, whole=False)
    with pytest.raises(JobError, match="no complete saved state"):
        jobs.resume(ws, job.id, name)
    assert seen(job).state == "stopped"


def test_resuming_with_nothing_saved_starts_over_and_says_so(ws: Workspace) -> None:
    job = made(ws, "lost", step=3, end=End(cause="It is gone."))
    jobs.resume(ws, job.id)
    now = seen(job)
    assert (now.resume_from, now.step) == (None, 0)
    assert now.notes[-1] == "Nothing was saved, so it starts from the beginning."


@pytest.mark.parametrize("state", ["queued", "starting", "finished"])
def test_what_has_not_ended_or_is_finished_is_not_resumed(ws: Workspace, state: str) -> None:
    job = made(ws, state, end=End(cause="It is finished.") if state == "finished" else None)
    with pytest.raises(JobError, match="was not resumed"):
        jobs.resume(ws, job.id)
    assert seen(job).state == state


def test_old_requests_do_not_reach_the_next_attempt(ws: Workspace) -> None:
    job = made(ws, "stopped", end=End(cause="It was stopped."))
    for name in requests.NAMES:
        requests.ask(job.folder, name)
    jobs.resume(ws, job.id)
    assert list((job.folder / "requests").iterdir()) == []


def test_what_a_job_runs_with_is_frozen_when_it_is_queued(ws: Workspace) -> None:
    params, files = {"output_name": "x", "tags": ["a"]}, {"config.toml": "rank = 4\n"}
    job = jobs.create(ws, "train", "my LoRA", params, files=files, hold=True)
    params["output_name"], files["config.toml"] = "y", "rank = 8\n"
    before = (job.folder / "job.json").read_bytes()
    jobs.start_at(ws, job.id, time.time() + 60)
    jobs.release(ws, job.id)
    jobs.stop(ws, job.id)
    jobs.resume(ws, job.id)
    assert (job.folder / "job.json").read_bytes() == before
    assert records.read_job(job.folder).params == {"output_name": "x", "tags": ["a"]}
    assert (job.folder / "config.toml").read_text() == "rank = 4\n"


# --- processes -----------------------------------------------------------------------------------


def test_a_runner_that_cannot_be_started_is_told_and_the_job_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws = Workspace.open(tmp_path / "ws")
    monkeypatch.setattr(spawn, "RUNNER_COMMAND", [str(tmp_path / "no-such-program")])
    with pytest.raises(JobError, match="nothing that waits is started"):
        jobs.create(ws, "train", "x")
    (job,) = jobs.jobs(ws)
    shown = jobs.status(ws, job.id)
    assert shown.state == "queued"
    assert "not supervised" in shown.notes[-1]


def test_a_runner_that_crashes_is_not_started_at_every_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws = Workspace.open(tmp_path / "ws")
    monkeypatch.setattr(spawn, "RUNNER_COMMAND", [sys.executable, "-c", "raise SystemExit(1)"])
    assert spawn.ensure_runner(ws)
    child, _ = spawn._started[ws.root]
    child.wait(120)
    assert not spawn.ensure_runner(ws)


def test_work_is_told_to_stay_offline_unless_its_kind_needs_the_network(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    show = (
        "import os; print(sorted(k for k in os.environ if k.startswith(('HF_', 'TRANSFORMERS', 'DO_NOT'))))"
    )
    monkeypatch.setattr(spawn, "WORKER_COMMAND", [sys.executable, "-c", show])
    job = jobs.create(ws, "train", "x")
    for online in (False, True):
        with spawn.start_worker(job.folder, online=online) as child:
            child.wait(120)
    offline, online_line = jobs.log_tail(ws, job.id)
    assert "HF_HUB_OFFLINE" in offline
    assert "HF_HUB_OFFLINE" not in online_line
    assert all(
        "HF_HUB_DISABLE_TELEMETRY" in line and "DO_NOT_TRACK" in line for line in (offline, online_line)
    )


def test_what_a_trainer_sets_for_itself_reaches_nothing_that_is_started_later(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker may have to start the next runner at a save."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("LORA_OFFLINE_FOR_THIS_JOB", "1")
    monkeypatch.setenv("LORA_TOKEN", "the-token-of-the-app")
    monkeypatch.setattr(spawn, "_kept", {})
    spawn.keep_environment()
    monkeypatch.setenv("OMP_NUM_THREADS_OF_THE_TRAINER", "1")
    log = ws.root / "out.log"
    kept = "'OFFLINE' in k or 'OF_THE_TRAINER' in k or k == 'LORA_TOKEN'"
    show = f"import os; print([k for k in os.environ if {kept}])"
    with log.open("wb") as out, spawn.detached([sys.executable, "-c", show], out, {}) as child:
        child.wait(120)
    assert log.read_text().strip() == "[]"


def test_jobs_import_nothing_heavy() -> None:
    """Pages import this package; torch and its friends stay in the processes of jobs."""
    import subprocess

    heavy = (
        "{'torch', 'diffusers', 'transformers', 'accelerate', 'peft', 'onnxruntime', 'streamlit', 'numpy'}"
    )
    ours = "lora_core.jobs.worker, lora_core.jobs.runner, lora_core.runs"
    code = f"import sys, {ours}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.strip() == "[]"


def test_the_table_is_kept_when_somebody_else_changes_the_job_first(ws: Workspace) -> None:
    job = made(ws, "queued")
    write_status(job.folder, move(seen(job), "starting", updated=time.time()))
    jobs.stop(ws, job.id)  # the runner was faster: now it is a request
    assert seen(job).state == "starting"
    asked = requests.pending(job.folder)
    assert asked is not None
    assert asked.name == "stop"


def test_pictures_that_were_prepared_are_not_counted_as_steps(ws: Workspace) -> None:
    """A training reports both; at its end only what it trained counts."""
    job = made(ws, "running", phase="Preparing the pictures", step=4, total=5)
    assert look.done(job, seen(job)) == (0, None)
    (job.folder / "progress.jsonl").write_text('{"kind": "start", "total": 90}\n{"step": 7, "loss": 1}\n')
    assert look.done(job, seen(job)) == (7, 90)


def test_the_end_of_a_dead_training_tells_its_steps_from_its_own_records(ws: Workspace) -> None:
    job = made(ws, "running", step=4, total=5)
    (job.folder / "progress.jsonl").write_text('{"kind": "start", "total": 90}\n{"step": 7, "loss": 1}\n')
    ended = settle(job, exit_code=-9)
    assert ended is not None
    assert (ended.state, ended.step, ended.total) == ("failed", 7, 90)
    assert settle(job, exit_code=-9) is None, "once"


@pytest.mark.parametrize("line", [b"\xff\x00", b"[7]", b'{"step": "x"}', b'{"a":' * 1500, b'{"step": 1e999}'])
def test_a_line_of_rubbish_in_its_records_keeps_no_dead_job_from_being_told(
    ws: Workspace, line: bytes
) -> None:
    job = made(ws, "running", step=4, total=5)
    (job.folder / "progress.jsonl").write_bytes(b'{"step": 7, "loss": 1}\n' + line + b"\n")
    ended = settle(job, exit_code=-9)
    assert ended is not None
    assert (ended.state, ended.step) == ("failed", 7)
    assert Progress(job.folder).refresh()
