"""The queue: places, holds, times, taking out and putting back, and the stop after a failure."""

import json
import math
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_core import jobs, workspace
from lora_core.errors import JobError
from lora_core.jobs import control, listing, liveness, requests, runner, slots, spawn
from lora_core.jobs.records import End, Status, read_status, write_status
from lora_core.workspace import Workspace, read_json, write_json

queue_module = sys.modules["lora_core.jobs.queue"]  # the package has a function of this name


WHO = st.integers(0, 3)


def alone(folder: Path, patch: pytest.MonkeyPatch) -> Workspace:
    """A workspace in which no runner is ever started, on a computer without a graphics card."""
    patch.setattr(control, "ensure_runner", lambda _workspace: False)
    patch.setattr(spawn, "ensure_runner", lambda _workspace: False)
    patch.setattr(slots, "devices", lambda _workspace: ("cpu",))
    return Workspace.open(folder / "ws")


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    return alone(tmp_path, monkeypatch)


def several(ws: Workspace, count: int) -> list[str]:
    return [jobs.create(ws, "train", f"run {number}").id for number in range(count)]


def order(ws: Workspace) -> list[str]:
    return [entry.job.id for entry in jobs.queue(ws)]


def put(ws: Workspace, job_id: str, state: str, **changes: Any) -> None:
    """Write `state` on record, as if somebody had brought the job there."""
    folder = ws.jobs / job_id
    ended = state not in {"queued", "starting", "running", "pausing", "stopping"}
    end = End(cause="It has ended.") if ended else None
    write_status(folder, Status(state=state, end=end, **changes))  # type: ignore[arg-type]  # text for brevity


def of(ws: Workspace, job_id: str) -> Status:
    record = read_status(ws.jobs / job_id)
    assert record is not None
    return record


# --- places ---------------------------------------------------------------------------------------


def test_the_queue_has_the_order_of_asking_and_tells_places_and_reasons(ws: Workspace) -> None:
    first, second = several(ws, 2)
    entries = jobs.queue(ws)
    assert [(entry.job.id, entry.place) for entry in entries] == [(first, 1), (second, 2)]
    assert entries[0].why == "It starts in a moment."
    assert entries[1].why == "“run 0” comes first. Only one training runs at a time on this computer."


def test_a_job_can_be_moved_before_another_and_to_the_end(ws: Workspace) -> None:
    a, b, c = several(ws, 3)
    jobs.reorder(ws, c, before=a)
    assert order(ws) == [c, a, b]
    jobs.reorder(ws, c, before=b)
    assert order(ws) == [a, c, b]
    jobs.reorder(ws, a, before=None)
    assert order(ws) == [c, b, a]
    jobs.reorder(ws, b, before=b)
    assert order(ws) == [c, b, a]


def test_moving_goes_on_when_the_numbers_between_two_places_are_used_up(ws: Workspace) -> None:
    a, b, c = several(ws, 3)
    for job_id in (a, b, c):
        put(ws, job_id, "queued", order=7.0)  # the narrowest: three at the same place
    jobs.reorder(ws, c, before=b)
    assert order(ws) == [a, c, b]
    jobs.reorder(ws, b, before=c)
    assert order(ws) == [a, b, c]


PLACES = st.sampled_from([1.0, math.nextafter(1.0, 2.0), 2.0])


@given(
    places=st.lists(PLACES, min_size=4, max_size=4),
    moves=st.lists(st.tuples(WHO, WHO | st.none()), min_size=3, max_size=3),
)
@settings(max_examples=25, deadline=None, derandomize=True)
def test_a_move_moves_one_whatever_places_the_others_have(
    tmp_path_factory: pytest.TempPathFactory, places: list[float], moves: list[tuple[int, int | None]]
) -> None:
    """Also where two have the same place, or no number lies between theirs."""
    with pytest.MonkeyPatch.context() as patch:
        ws = alone(tmp_path_factory.mktemp("queue"), patch)
        patch.setattr(workspace.os, "fsync", lambda _descriptor: None)
        ids = several(ws, len(places))
        for job_id, place in zip(ids, places, strict=True):
            put(ws, job_id, "queued", order=place)
        for who, before in moves:
            wanted = order(ws)
            moved, onto = ids[who], None if before is None else ids[before]
            if moved != onto:
                wanted.remove(moved)
                wanted.insert(wanted.index(onto) if onto else len(wanted), moved)
            jobs.reorder(ws, moved, before=onto)
            assert order(ws) == wanted


def test_who_does_not_wait_any_more_is_not_moved(ws: Workspace) -> None:
    a, b = several(ws, 2)
    put(ws, b, "running")
    with pytest.raises(JobError, match="running"):
        jobs.reorder(ws, b, before=a)
    with pytest.raises(JobError, match="running"):
        jobs.reorder(ws, a, before=b)
    with pytest.raises(JobError, match="There is no job"):
        jobs.reorder(ws, a, before="nobody")
    assert order(ws) == [a]


def test_a_clock_that_is_set_back_lets_nobody_pass(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = several(ws, 2)
    monkeypatch.setattr(queue_module, "time", SimpleNamespace(time=lambda: 1000.0))
    third = jobs.create(ws, "train", "asked in 1970").id
    assert order(ws) == [first, second, third]


def test_a_paused_job_comes_back_at_the_front_and_any_other_at_the_end(ws: Workspace) -> None:
    paused, stopped, waits = several(ws, 3)
    put(ws, paused, "paused", step=3)
    put(ws, stopped, "stopped", step=3)
    jobs.resume(ws, stopped)
    jobs.resume(ws, paused)
    assert order(ws) == [paused, waits, stopped]


# --- holding, times, taking out ---------------------------------------------------------------------


def test_a_held_job_lets_others_pass_until_it_is_released(ws: Workspace) -> None:
    held = jobs.create(ws, "train", "held", hold=True).id
    other = jobs.create(ws, "train", "other").id
    entries = {entry.job.id: entry for entry in jobs.queue(ws)}
    assert (entries[held].held, entries[held].why) == (True, "It is held until you release it.")
    assert entries[other].why == "It starts in a moment."
    assert jobs.status(ws, held).message == "It is held until you release it."
    jobs.release(ws, held)
    assert jobs.queue(ws)[0].why == "It starts in a moment."
    jobs.hold(ws, held)
    assert of(ws, held).held


def test_a_time_keeps_a_job_back_until_it_has_come(ws: Workspace) -> None:
    job = jobs.create(ws, "train", "at night", not_before=time.time() + 3600).id
    (entry,) = jobs.queue(ws)
    assert entry.why.startswith("It does not start before ")
    jobs.start_at(ws, job, time.time() - 1)
    assert jobs.queue(ws)[0].why == "It starts in a moment."
    jobs.start_at(ws, job, None)
    assert of(ws, job).not_before is None


@pytest.mark.parametrize("when", [math.nan, math.inf])
def test_what_is_no_time_is_refused(ws: Workspace, when: float) -> None:
    (job,) = several(ws, 1)
    with pytest.raises(JobError, match="no point in time"):
        jobs.start_at(ws, job, when)


@pytest.mark.parametrize("state", ["running", "finished", "failed", "paused"])
def test_only_a_waiting_job_can_be_held_timed_or_removed(ws: Workspace, state: str) -> None:
    (job,) = several(ws, 1)
    put(ws, job, state)
    for call in (jobs.hold, jobs.release, jobs.remove, lambda ws, job: jobs.start_at(ws, job, None)):
        with pytest.raises(JobError, match=state):
            call(ws, job)


def test_a_job_that_was_taken_out_is_put_back_as_it_was(ws: Workspace) -> None:
    job = jobs.create(ws, "train", "held", hold=True).id
    jobs.remove(ws, job)
    assert (of(ws, job).state, order(ws)) == ("stopped", [])
    jobs.resume(ws, job)
    assert (of(ws, job).state, of(ws, job).held) == ("queued", True)


# --- the stop after a failure -----------------------------------------------------------------------


def fails(ws: Workspace, kind: str = "train", state: str = "failed") -> str:
    job = jobs.create(ws, kind, "the bad one").id
    put(ws, job, state)
    return job


def test_a_failure_does_not_stop_the_queue_unless_that_was_chosen(ws: Workspace) -> None:
    fails(ws)
    several(ws, 1)
    assert jobs.queue(ws)[0].why == "It starts in a moment."
    assert jobs.stopped_by(ws) is None


@pytest.mark.parametrize("state", ["failed", "lost"])
def test_after_a_failure_the_trainings_wait_until_one_call_lets_them_go_on(ws: Workspace, state: str) -> None:
    fails(ws)
    jobs.set_queue_rules(ws, jobs.QueueRules(stop_after_failure=True))
    assert jobs.stopped_by(ws) is None, "failures of before the choice do not count"
    bad = fails(ws, state=state)
    several(ws, 1)
    jobs.create(ws, "import", "pictures")
    jobs.set_queue_rules(ws, jobs.QueueRules(stop_after_failure=True))  # chosen again changes nothing
    train, other = jobs.queue(ws)
    assert train.why == "The queue waits because the bad one did not end well."
    assert other.why == "It starts in a moment.", "only trainings wait"
    stopper = jobs.stopped_by(ws)
    assert stopper is not None
    assert stopper.id == bad
    jobs.go_on(ws)
    assert jobs.queue_rules(ws).stop_after_failure, "the rule stays"
    assert jobs.queue(ws)[0].why == "It starts in a moment."
    put(ws, bad, state, attempt=2)
    assert jobs.stopped_by(ws) is not None, "a second failure of the same job counts again"


def test_a_failure_of_other_work_or_a_resume_lets_the_queue_go_on(ws: Workspace) -> None:
    jobs.set_queue_rules(ws, jobs.QueueRules(stop_after_failure=True))
    fails(ws, "import")
    assert jobs.stopped_by(ws) is None
    bad = fails(ws)
    assert jobs.stopped_by(ws) is not None
    jobs.resume(ws, bad)
    assert jobs.stopped_by(ws) is None


def test_a_crash_that_a_look_finds_stops_the_queue_in_that_very_look(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs.set_queue_rules(ws, jobs.QueueRules(stop_after_failure=True))
    dead, waits = several(ws, 2)
    put(ws, dead, "running", device="cpu")
    monkeypatch.setattr(spawn, "start_worker", lambda *_arguments, **_rest: pytest.fail("it was started"))
    runner.Runner(ws).look()
    assert (of(ws, dead).state, of(ws, waits).state) == ("lost", "queued")


@pytest.mark.parametrize("content", ["{", "[]", '{"stop_after_failure": "yes", "dealt_with": 3}'])
def test_rules_of_rubbish_are_the_defaults(ws: Workspace, content: str) -> None:
    (ws.root / "queue.json").write_text(content)
    fails(ws)
    assert jobs.queue_rules(ws) == jobs.QueueRules()
    assert jobs.stopped_by(ws) is None


# --- many jobs ----------------------------------------------------------------------------------------


def test_jobs_that_are_over_are_opened_once_however_many_there_are(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = jobs.create(ws, "import", "done")
    put(ws, done.id, "finished")
    for number in range(200):
        folder = ws.jobs / f"20200101-000000-{number:06}-0000"
        folder.mkdir()
        for name in ("job.json", "status.json"):
            (folder / name).write_bytes((done.folder / name).read_bytes())
    (waits,) = several(ws, 1)
    supervisor = runner.Runner(ws)
    monkeypatch.setattr(supervisor, "_start", lambda _decision: False)
    assert supervisor.look()
    assert order(ws) == [waits]
    opened: list[str] = []

    def counted(folder: Path) -> Status | None:
        opened.append(folder.name)
        return read_status(folder)

    monkeypatch.setattr(listing, "read_status", counted)
    supervisor.look()
    assert order(ws) == [waits]
    assert opened == [waits, waits]


def test_an_end_is_told_once_and_a_folder_that_was_removed_is_forgotten(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, str]] = []
    monkeypatch.setattr(
        runner.watchers, "ended", lambda _ws, job, status: told.append((job.id, status.state))
    )
    job = fails(ws)
    supervisor = runner.Runner(ws)
    supervisor.look()
    supervisor.look()
    assert told == [(job, "failed")]
    put(ws, job, "lost", attempt=2)
    supervisor.look()
    assert told[1:] == [(job, "lost")]
    for entry in (ws.jobs / job / "requests", ws.jobs / job / "status.json", ws.jobs / job / "job.json"):
        entry.rmdir() if entry.is_dir() else entry.unlink()
    (ws.jobs / job / "status.lock").unlink(missing_ok=True)
    (ws.jobs / job).rmdir()
    supervisor.look()
    assert supervisor._jobs.failures() == {}


def test_a_watcher_that_fails_costs_no_supervision(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: object) -> None:
        raise RuntimeError("no message today")

    for name in ("_watch", "_over", "_look"):
        monkeypatch.setattr(runner.watchers, name, broken)
    fails(ws)
    assert runner.Runner(ws).look() is False


def test_a_change_that_keeps_time_and_number_of_the_file_is_seen(ws: Workspace) -> None:
    job = fails(ws)
    supervisor = runner.Runner(ws)
    assert supervisor.look() is False
    path = ws.jobs / job / "status.json"
    before = path.stat()
    resumed = json.loads(path.read_text("utf-8")) | {"state": "queued", "held": True, "end": None}
    path.write_text(json.dumps(resumed), "utf-8")  # in the same file, as a disk may give its number again
    os.utime(path, ns=(before.st_mtime_ns, before.st_mtime_ns))
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert supervisor.look() is True


# --- who is taken for whom ------------------------------------------------------------------------------


def test_a_recycled_process_id_neither_keeps_a_job_alive_nor_is_ended_with_it(ws: Workspace) -> None:
    job = jobs.create(ws, "train", "x")
    put(ws, job.id, "running")
    (job.folder / "engine.lock").touch()
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True
    ) as other:
        record = {"format": 1, "pid": other.pid, "started": "an earlier one", "host": socket.gethostname()}
        write_json(job.folder / "engine.json", record)
        assert jobs.status(ws, job.id).state == "lost"
        jobs.stop(ws, job.id, force=True)
        runner.Runner(ws).look()
        assert of(ws, job.id).state == "lost"
        assert other.poll() is None
        other.kill()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no forks")
def test_a_loader_worker_that_outlives_its_training_keeps_no_card(
    ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORA_DEVICE_LOCKS", str(tmp_path / "locks"))
    slots.folder().mkdir()
    code = (
        "import os, sys; from lora_core.jobs import liveness, slots\n"
        "lock = liveness.Lock.acquire(slots.lock_of('cuda:0')); liveness.write_owner(lock)\n"
        "runs, told = os.pipe()\n"
        "if os.fork() == 0: os.write(told, b'.'); sys.stdin.read(); os._exit(0)\n"
        "os.read(runs, 1)\n"  # a fork lets go of the lock when it first runs
        "print(slots.in_use('cuda:0'), flush=True); os._exit(0)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as training:
        assert training.stdout is not None
        assert training.stdout.readline().strip() == "True"
        training.wait(60)
        assert not slots.in_use("cuda:0"), "its child still reads from us"


def test_many_who_look_at_once_see_one_queue(ws: Workspace) -> None:
    made = several(ws, 4)
    seen: list[list[str]] = []

    def look_often() -> None:
        seen.extend(order(ws) for _ in range(5))

    threads = [threading.Thread(target=look_often) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [made] * 30


@pytest.mark.skipif(sys.platform == "win32", reason="looks exclude each other there")
def test_a_job_that_is_resumed_at_once_waits_until_its_old_process_is_gone(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []

    def start(folder: Path, **_rest: Any) -> SimpleNamespace:
        begun.append(folder.name)
        return SimpleNamespace(pid=5_000_000, poll=lambda: None)  # more than Linux gives out

    monkeypatch.setattr(spawn, "start_worker", start)
    job, other = jobs.create(ws, "import", "x"), jobs.create(ws, "import", "y")
    put(ws, job.id, "paused")
    supervisor = runner.Runner(ws)
    with liveness.Lock.acquire(job.folder / "engine.lock"):  # it wrote its end, and gives its memory back
        jobs.resume(ws, job.id)
        for _ in range(3):
            supervisor.look()
        assert (begun, of(ws, job.id).state) == ([other.id], "queued")
    supervisor.look()
    assert begun == [other.id, job.id]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals")
def test_what_the_runner_ended_is_told_as_such_whatever_the_clock_says(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "KILL_AFTER_S", 0.0)
    job = jobs.create(ws, "train", "x")
    put(ws, job.id, "running")
    supervisor = runner.Runner(ws)
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True
    ) as deaf:
        supervisor.children[job.id] = deaf
        with liveness.Lock.acquire(job.folder / "engine.lock"):
            requests.ask(job.folder, "stop", grace_s=0.0)
            record = read_json(job.folder / "requests" / "stop.json")
            # The clock was set back an hour after the request.
            write_json(job.folder / "requests" / "stop.json", record | {"at": time.time() + 3600})
            supervisor.look()
        os.waitid(os.P_PID, deaf.pid, os.WEXITED | os.WNOWAIT)
        supervisor.look()
    assert of(ws, job.id).state == "stopped"
