"""Jobs with real processes: who may be killed, and what stays true afterwards."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import job_rig
import psutil
import pytest
from promised import within_s

from lora_core import jobs
from lora_core.jobs import liveness, look, platform, runner, spawn
from lora_core.jobs.kinds import KINDS
from lora_core.jobs.records import read_status
from lora_core.workspace import Workspace

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills processes the POSIX way")

PATIENCE_S = 120.0
TRUE_WITHIN_S = 5.0
"""What we promise: states are true within this time of the next look."""


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A workspace whose runners and workers know the rig's kinds; nothing of it runs afterwards."""
    for name, kind in job_rig.RIG_KINDS.items():
        monkeypatch.setitem(KINDS, name, kind)
    monkeypatch.setattr(spawn, "RUNNER_COMMAND", [sys.executable, job_rig.HERE, "runner"])
    monkeypatch.setattr(spawn, "WORKER_COMMAND", [sys.executable, job_rig.HERE, "worker"])
    monkeypatch.setenv("RIG_IDLE_S", "0.3")
    workspace = Workspace.open(tmp_path / "my workspace ü")
    yield workspace
    for job in jobs.jobs(workspace):
        (job.folder / "enough").touch()
        jobs.stop(workspace, job.id, force=True)
    until(lambda: processes_of(workspace) == [])


def processes_of(ws: Workspace) -> list[psutil.Process]:
    """All living processes that have the workspace in their command line."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        mine = any(str(ws.root) in part for part in process.info["cmdline"] or ())
        if mine and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def until(condition: Callable[[], object], timeout_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not so after {timeout_s:g} s"
        time.sleep(0.01)


def begun(job: jobs.Job, times: int = 1) -> int:
    """Wait until the work runs; returns the id of its process."""
    until(lambda: (job.folder / "began").exists() and (job.folder / "began").read_text().endswith("\n"))
    return int((job.folder / "began").read_text().split()[0])


def runner_pid(ws: Workspace) -> int:
    """The living runner's process; waits for one."""
    owners: list[int] = []

    def found() -> bool:
        owner = liveness.read_owner(spawn.runner_lock(ws))
        if owner is None or not owner.lives() or not spawn.runner_alive(ws):
            return False
        owners.append(owner.pid)
        return True

    until(found)
    return owners[-1]


def state_of(ws: Workspace, job: jobs.Job) -> str:
    return jobs.status(ws, job.id).state


def kill(pid: int) -> None:
    """SIGKILL, and wait until the system has taken the process down."""
    process = psutil.Process(pid)
    process.kill()
    until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)
    # Its first thread may be gone before the others, and its locks end with the last one.
    until(lambda: _threads(pid) <= 1)


def _threads(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/task"))  # noqa: PTH208  the names are all that is needed
    except OSError:
        return 0


# --- a life without accidents ------------------------------------------------------------------


def test_a_job_runs_in_a_session_of_its_own_and_tells_what_it_made(ws: Workspace) -> None:
    job = jobs.create(ws, "walk", "a walk")
    pid = begun(job)
    assert os.getsid(pid) == pid != os.getsid(0)
    (job.folder / "enough").touch()
    status = jobs.wait(ws, job.id, PATIENCE_S)
    assert status.state == "finished"
    assert status.end is not None
    assert status.end.result == f"jobs/{job.id}/result.txt"
    assert (ws.root / status.end.result).read_text() == str(status.step)


def test_stopping_saves_first_and_resuming_goes_on_from_there(ws: Workspace) -> None:
    job = jobs.create(ws, "walk", "a walk")
    begun(job)
    jobs.stop(ws, job.id)
    stopped = jobs.wait(ws, job.id, PATIENCE_S)
    assert stopped.state == "stopped"
    assert stopped.saved is not None
    assert stopped.saved.step == stopped.step
    (job.folder / "began").unlink()
    assert jobs.resume(ws, job.id).id == job.id
    begun(job)
    assert (job.folder / "began").read_text().split()[1] == str(stopped.step)
    running = jobs.status(ws, job.id)
    assert (running.state, running.attempt, running.end) == ("running", 2, None)
    assert f"It goes on from step {stopped.step}." in running.notes


def test_a_paused_job_frees_its_process_and_resumes(ws: Workspace) -> None:
    job = jobs.create(ws, "walk", "a walk")
    pid = begun(job)
    jobs.pause(ws, job.id)
    assert jobs.wait(ws, job.id, PATIENCE_S).state == "paused"
    until(lambda: liveness.process_start(pid) is None)
    (job.folder / "enough").touch()
    jobs.resume(ws, job.id)
    assert jobs.wait(ws, job.id, PATIENCE_S).state == "finished"


def test_a_save_that_is_asked_for_happens_once(ws: Workspace) -> None:
    job = jobs.create(ws, "walk", "a walk")
    begun(job)
    jobs.request(ws, job.id, "save")
    until(lambda: jobs.states(ws, job.id))
    assert not (job.folder / "requests" / "save.json").exists()


def test_a_request_is_shown_at_once_with_the_grace_that_is_left(ws: Workspace) -> None:
    job = jobs.create(ws, "walk", "a walk")
    pid = begun(job)
    os.kill(pid, signal.SIGSTOP)  # so that it cannot answer before we look
    try:
        jobs.stop(ws, job.id)
        seen = jobs.status(ws, job.id)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert seen.state == "stopping"
    assert seen.grace_left_s is not None
    assert 0 < seen.grace_left_s <= 20
    assert "20 s" in seen.message or "19 s" in seen.message


def test_one_job_has_the_device_and_others_run_beside_it_in_the_order_of_asking(ws: Workspace) -> None:
    first, second, beside = (jobs.create(ws, kind, kind) for kind in ("walk_device", "walk_device", "walk"))
    begun(first)
    begun(beside)
    assert state_of(ws, second) == "queued"
    (first.folder / "enough").touch()
    begun(second)
    assert state_of(ws, first) == "finished"


# --- ends that are not as planned ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "cause"),
    [
        ("explained", "There are no images. The folder is empty."),
        ("unknown", "It ended with an error that this app does not know."),
        ("memory", "The graphics card ran out of memory."),
        ("silent", "Its process ended by itself with the code 7"),
    ],
)
def test_a_failed_job_tells_its_cause_and_what_to_do(ws: Workspace, how: str, cause: str) -> None:
    job = jobs.create(ws, "fail", "a failure", {"how": how})
    status = jobs.wait(ws, job.id, PATIENCE_S)
    assert status.state == "failed"
    assert status.end is not None
    assert status.end.cause.startswith(cause)
    assert status.end.fix
    assert status.message == status.end.cause


def test_an_unknown_error_shows_the_end_of_its_traceback(ws: Workspace) -> None:
    job = jobs.create(ws, "fail", "a failure", {"how": "unknown"})
    end = jobs.wait(ws, job.id, PATIENCE_S).end
    assert end is not None
    assert end.evidence.endswith("ValueError: the moon is full")
    # The writer of the log may need a moment longer than the job itself.
    until(lambda: any("the moon is full" in line for line in jobs.log_tail(ws, job.id)))


def test_an_exit_without_an_error_is_not_called_finished(ws: Workspace) -> None:
    job = jobs.create(ws, "fail", "a failure", {"how": "silent", "code": 0})
    assert jobs.wait(ws, job.id, PATIENCE_S).state == "failed"


def test_a_deaf_job_is_ended_once_its_grace_is_over(ws: Workspace) -> None:
    job = jobs.create(ws, "deaf", "deaf")
    pid = begun(job)
    jobs.stop(ws, job.id)
    status = jobs.wait(ws, job.id, PATIENCE_S)
    assert status.state == "stopped"
    assert status.end is not None
    assert "was ended by force" in status.end.cause
    assert liveness.process_start(pid) is None


def test_force_does_not_wait_for_the_grace(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    job = jobs.create(ws, "walk", "a walk")
    pid = begun(job)
    os.kill(pid, signal.SIGSTOP)  # deaf to everything but SIGKILL; its grace is 20 s
    started = time.monotonic()
    jobs.stop(ws, job.id, force=True)
    status = jobs.wait(ws, job.id, PATIENCE_S)
    assert status.state == "stopped"
    assert (took_s := time.monotonic() - started) < 10, f"took {took_s:.1f} s"


def test_a_term_signal_from_outside_is_a_stop_that_saves(ws: Workspace) -> None:
    job = jobs.create(ws, "walk", "a walk")
    os.kill(begun(job), signal.SIGTERM)
    status = jobs.wait(ws, job.id, PATIENCE_S)
    assert status.state == "stopped"
    assert status.saved is not None
    assert status.saved.step == status.step


def test_a_keyboard_interrupt_or_a_closed_terminal_does_not_reach_the_work(ws: Workspace) -> None:
    job = jobs.create(ws, "walk", "a walk")
    pid, supervisor = begun(job), runner_pid(ws)
    for number in (signal.SIGINT, signal.SIGHUP):
        os.kill(pid, number)
        os.kill(supervisor, number)
    step = jobs.status(ws, job.id).step
    until(lambda: jobs.status(ws, job.id).step > step + 5)
    assert runner_pid(ws) == supervisor


def test_a_stop_before_the_first_step_ends_the_job_without_importing_its_work(ws: Workspace) -> None:
    job = jobs.create(ws, "walk", "a walk", start=False)
    record = read_status(job.folder)
    assert record is not None
    # As if it had been asked in the moment between the runner's start of it and its first line.
    from lora_core.jobs import requests
    from lora_core.jobs.records import move, write_status

    write_status(job.folder, move(record, "starting", updated=time.time()))
    requests.ask(job.folder, "stop", grace_s=20)
    done = subprocess.run(
        [*spawn.WORKER_COMMAND, str(job.folder)], capture_output=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0
    assert state_of(ws, job) == "stopped"
    assert not (job.folder / "began").exists()


# --- somebody is killed ----------------------------------------------------------------------------


def test_a_killed_runner_is_replaced_by_whoever_looks_and_the_same_process_goes_on(ws: Workspace) -> None:
    job = jobs.create(ws, "walk", "a walk")
    pid, old = begun(job), runner_pid(ws)
    kill(old)
    assert state_of(ws, job) == "running"  # this look starts the next runner
    assert runner_pid(ws) != old
    (job.folder / "enough").touch()
    assert jobs.wait(ws, job.id, PATIENCE_S).state == "finished"
    assert begun(job) == pid


def test_a_save_of_the_work_replaces_a_killed_runner(ws: Workspace) -> None:
    job = jobs.create(ws, "walk", "a walk")
    begun(job)
    old = runner_pid(ws)
    kill(old)
    assert runner_pid(ws) != old  # nobody looked but the work itself


def test_a_runner_that_took_over_still_ends_a_deaf_job(ws: Workspace) -> None:
    job = jobs.create(ws, "deaf", "deaf")
    begun(job)
    kill(runner_pid(ws))
    jobs.stop(ws, job.id)
    assert jobs.wait(ws, job.id, PATIENCE_S).state == "stopped"


@pytest.mark.parametrize("with_runner", [False, True], ids=["worker", "worker and runner"])
def test_a_killed_job_is_told_with_its_cause(ws: Workspace, with_runner: bool) -> None:
    job = jobs.create(ws, "walk", "a walk")
    pid = begun(job)
    until(lambda: jobs.states(ws, job.id))
    if with_runner:
        kill(runner_pid(ws))
    kill(pid)
    killed_at = time.monotonic()
    assert state_of(ws, job) in {"lost", "failed"}  # at the very next look
    status = jobs.wait(ws, job.id, PATIENCE_S)
    assert (took_s := time.monotonic() - killed_at) < within_s(TRUE_WITHIN_S), f"took {took_s:.1f} s"
    assert status.end is not None
    assert f"go on from step {jobs.states(ws, job.id)[0].step}" in status.end.fix
    if with_runner:
        assert status.state == "lost"
        assert "nobody saw how" in status.end.cause
    else:
        assert status.state == "failed"
        assert status.end.cause.startswith("It was stopped by the system, often for lack of memory.")
        assert "SIGKILL" in status.end.evidence


def test_a_lost_job_can_be_resumed(ws: Workspace) -> None:
    job = jobs.create(ws, "walk", "a walk")
    pid = begun(job)
    until(lambda: jobs.states(ws, job.id))
    kill(pid)
    assert jobs.wait(ws, job.id, PATIENCE_S).resumable
    (job.folder / "enough").touch()
    jobs.resume(ws, job.id)
    assert jobs.wait(ws, job.id, PATIENCE_S).state == "finished"


APP = """
import sys
sys.path[:0] = {path!r}
import job_rig; job_rig.install()
from pathlib import Path
from lora_core import jobs
from lora_core.workspace import Workspace
job = jobs.create(Workspace(Path(sys.argv[1])), "walk", "a walk")
print(job.id, flush=True)
sys.stdin.read()
"""


def test_a_killed_app_changes_nothing(ws: Workspace) -> None:
    root = Path(__file__).parents[2]
    code = APP.format(path=[str(root), str(Path(__file__).parent)])
    with subprocess.Popen(
        [sys.executable, "-c", code, str(ws.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as app:
        assert app.stdout is not None
        job = jobs.get(ws, app.stdout.readline().strip())
        pid = begun(job)
        os.killpg(app.pid, signal.SIGKILL)
    step = jobs.status(ws, job.id).step
    until(lambda: jobs.status(ws, job.id).step > step + 5)
    assert begun(job) == pid
    (job.folder / "enough").touch()
    assert jobs.wait(ws, job.id, PATIENCE_S).state == "finished"


def test_a_child_that_a_killed_job_leaves_neither_keeps_it_alive_nor_stays(ws: Workspace) -> None:
    job = jobs.create(ws, "leave_child", "a parent")
    pid = begun(job)
    child = int((job.folder / "child").read_text())
    kill(pid)
    assert state_of(ws, job) in {"lost", "failed"}
    jobs.wait(ws, job.id, within_s(TRUE_WITHIN_S))
    until(lambda: liveness.process_start(child) is None, within_s(TRUE_WITHIN_S))


# --- files and locks under attack ---------------------------------------------------------------


def test_of_two_runners_at_once_one_stays(ws: Workspace) -> None:
    job = jobs.create(ws, "walk", "a walk", start=False)
    several = [subprocess.Popen([*spawn.RUNNER_COMMAND, str(ws.root)]) for _ in range(3)]
    begun(job)
    until(lambda: sum(process.poll() is None for process in several) == 1)
    owner = runner_pid(ws)
    assert [process.pid for process in several if process.poll() is None] == [owner]
    assert (job.folder / "began").read_text().count("\n") == 1
    (job.folder / "enough").touch()
    for process in several:
        process.wait(PATIENCE_S)


def test_a_status_of_rubbish_under_a_living_job_mends_itself(ws: Workspace) -> None:
    job = jobs.create(ws, "walk", "a walk")
    begun(job)
    (job.folder / "status.json").write_text('{"state": "fini')
    assert state_of(ws, job) == "running"
    until(lambda: (record := read_status(job.folder)) is not None and record.state == "running")


def test_a_removed_status_of_a_dead_job_is_told_as_lost(ws: Workspace) -> None:
    job = jobs.create(ws, "walk", "a walk")
    pid = begun(job)
    until(lambda: look.last_step(job.folder) > 0)
    os.kill(pid, signal.SIGSTOP)
    (job.folder / "status.json").unlink()
    kill(pid)
    status = jobs.status(ws, job.id)
    assert status.state == "lost"
    assert status.step > 0
    until(lambda: read_status(job.folder) is not None, within_s(TRUE_WITHIN_S))


def test_a_job_whose_lock_file_was_removed_still_counts_as_alive(ws: Workspace) -> None:
    job = jobs.create(ws, "walk", "a walk")
    begun(job)
    look.engine_lock(job.folder).unlink()
    assert state_of(ws, job) == "running"
    until(lambda: liveness.probe(look.engine_lock(job.folder)))  # it takes the lock anew
    assert state_of(ws, job) == "running"


def test_no_job_is_forgotten_in_the_moment_when_the_runner_leaves(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RIG_IDLE_S", "0.05")
    for _ in range(4):
        job = jobs.create(ws, "walk", "a walk", start=False)
        (job.folder / "enough").touch()
        spawn.ensure_runner(ws)
        until(partial(_has_ended, job.folder))


def test_the_runner_leaves_when_nothing_is_left_to_do(ws: Workspace) -> None:
    job = jobs.create(ws, "walk", "a walk")
    (job.folder / "enough").touch()
    jobs.wait(ws, job.id, PATIENCE_S)
    until(lambda: processes_of(ws) == [])
    assert state_of(ws, job) == "finished"
    assert processes_of(ws) == [], "looking at a finished job starts nothing"


def test_a_job_whose_runner_and_process_were_killed_while_it_started_is_told_as_lost_within_five_seconds(
    ws: Workspace,
) -> None:
    """The runner died between writing `starting` and starting the process, or took that with it."""
    from lora_core.jobs.records import move, write_status

    job = jobs.create(ws, "walk", "a walk", start=False)
    record = read_status(job.folder)
    assert record is not None
    write_status(job.folder, move(record, "starting", updated=time.time()))
    ws.runner.mkdir(exist_ok=True)
    with liveness.Lock.acquire(spawn.runner_lock(ws)):
        supervisor, begun_at = runner.Runner(ws), time.monotonic()
        until(lambda: not supervisor.look())
    status = read_status(job.folder)
    assert status is not None
    assert status.state == "lost"
    assert time.monotonic() - begun_at < look.STARTING_LIMIT_S / 2, (
        "it did not wait for the limit of a slow start"
    )
    assert runner.ORPHAN_S + runner.POLL_S <= 3, "with the start of a runner that is below five seconds"


def test_a_process_that_a_killed_runner_started_has_its_time_to_begin(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lora_core.jobs.records import move, write_status

    job = jobs.create(ws, "walk", "a walk", start=False)
    record = read_status(job.folder)
    assert record is not None
    write_status(job.folder, move(record, "starting", updated=time.time()))
    monkeypatch.setattr(runner, "ORPHAN_S", 0.0)
    ws.runner.mkdir(exist_ok=True)
    with liveness.Lock.acquire(spawn.runner_lock(ws)):
        process = spawn.start_worker(job.folder, online=False)
        process.send_signal(signal.SIGSTOP)  # a slow start
        supervisor = runner.Runner(ws)
        assert supervisor.look()
        assert supervisor.look()
        assert state_of(ws, job) == "starting"
        process.send_signal(signal.SIGCONT)
        begun(job)
    (job.folder / "enough").touch()
    assert process.wait(PATIENCE_S) == 0


def test_ending_a_group_that_is_gone_does_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", ""], start_new_session=True) as child:
        until(lambda: platform.reap(child) == 0)
    platform.end_group(child.pid, kill=True)


def _has_ended(folder: Path) -> bool:
    status = read_status(folder)
    return status is not None and status.ended
