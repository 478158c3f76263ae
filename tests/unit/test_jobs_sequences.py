"""Any sequence of what people, runners, processes and clocks may do: the queue and the states hold.

Files, locks, the runner and the requests are the real ones. Only the processes of the jobs are
played: they take the real lock and write the real status, and end when the test says so.
"""

import contextlib
import os
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lora_core import jobs, workspace
from lora_core.errors import JobError
from lora_core.jobs import control, liveness, look, platform, requests, runner, settle, slots, spawn
from lora_core.jobs.dispatch import needs_device, place
from lora_core.jobs.kinds import BESIDE
from lora_core.jobs.records import (
    ACTIVE,
    STATES,
    TABLE,
    End,
    Status,
    changing,
    move,
    read_status,
    write_status,
)
from lora_core.workspace import Workspace

queue_module = sys.modules["lora_core.jobs.queue"]  # the package has a function of this name

DEVICES = ("one", "two")
NO_PROCESS = 5_000_000
"""More than Linux gives out, so that no real process can have such an id."""
PICK = st.integers(0, 30)
JUMPS = st.sampled_from([-1e8, -3600.0, 0.5, 60.0, 7200.0, 1e8])


class _Clock:
    """A wall clock that jumps both ways beside a monotonic one that only goes on."""

    def __init__(self) -> None:
        self.wall, self.steady = time.time(), time.monotonic()

    def module(self) -> SimpleNamespace:
        return SimpleNamespace(time=self.tick, monotonic=lambda: self.steady)

    def tick(self) -> float:
        self.wall += 1e-3  # as time does: ids are made of it
        return self.wall


class _Process:
    """Stands in for the process of one attempt; `subprocess.Popen` as far as the runner uses it."""

    count = 0

    def __init__(self, job: jobs.Job) -> None:
        _Process.count += 1
        self.job, self.pid, self.code = job, NO_PROCESS + _Process.count, None
        self.lock: liveness.Lock | None = None

    def poll(self) -> int | None:
        return self.code

    def end(self, code: int) -> None:
        self.code = code
        if self.lock is not None:
            self.lock.release()


# Functions with names: for a lambda, hypothesis goes through all loaded modules, and a thread that an earlier
# test left may just be loading one.
def _some_can_go_on(machine: "QueueMachine") -> bool:
    return any(machine.status(name).resumable for name in machine.made)


def _the_queue_is_stopped(machine: "QueueMachine") -> bool:
    return jobs.stopped_by(machine.ws) is not None


def _some_process_lives(machine: "QueueMachine") -> bool:
    return machine.process(0) is not None


def _some_request_waits(machine: "QueueMachine") -> bool:
    return any(requests.pending(one.job.folder) for one in machine.processes.values())


class QueueMachine(RuleBasedStateMachine):
    """See the rules."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.ws = Workspace.open(self.folder / "ws")
        self.clock = _Clock()
        self.made: list[str] = []
        self.broken: list[AssertionError] = []
        self.processes: dict[str, _Process] = {}
        self.patch = pytest.MonkeyPatch()
        for module in (control, runner, queue_module, look, settle, requests):
            self.patch.setattr(module, "time", self.clock.module())
        for module in (control, runner, queue_module, settle, sys.modules[__name__]):
            self.patch.setattr(module, "write_status", self.watched_write)
        for module in (control, spawn):
            self.patch.setattr(module, "ensure_runner", lambda _workspace: False)
        self.patch.setattr(spawn, "runner_alive", lambda _workspace: True)
        self.patch.setattr(control, "runner_alive", lambda _workspace: True)
        self.patch.setattr(spawn, "start_worker", self.started)
        self.patch.setattr(spawn, "worker_lives", self.lives)
        self.patch.setattr(platform, "end_group", self.signalled)
        self.patch.setattr(slots, "devices", lambda _workspace: DEVICES)
        self.patch.setattr(liveness, "_LOOK_GAP_S", 0.0)
        self.patch.setattr(control, "SETTLED_WITHIN_S", 0.0)
        self.patch.setattr(workspace.os, "fsync", lambda _descriptor: None)
        self.runner = runner.Runner(self.ws)

    def teardown(self) -> None:
        try:
            self.everything_comes_to_an_end()
        finally:
            for process in self.processes.values():
                process.end(0)
            self.patch.undo()
            shutil.rmtree(self.folder)

    # --- what is watched -----------------------------------------------------------------------

    def watched_write(self, folder: Path, status: Status, **rest: Any) -> None:
        try:
            self.may_be_written(folder, status)
        except AssertionError as error:
            self.broken.append(error)  # the runner survives every error, so it would hide this one
        write_status_as_it_is(folder, status, **rest)

    def may_be_written(self, folder: Path, status: Status) -> None:
        before = read_status(folder)
        if before is None:
            assert status.state == "queued", f"began as {status.state}"
        elif before.state != status.state:
            assert status.state in TABLE[before.state], f"{before.state} -> {status.state}"
            if status.state == "starting":
                self.may_start(folder.name, before, status)

    def may_start(self, job_id: str, before: Status, status: Status) -> None:
        job = jobs.get(self.ws, job_id)
        assert not before.held
        assert before.not_before is None or before.not_before <= self.clock.wall
        assert (status.device in DEVICES) == needs_device(job)
        if needs_device(job):
            assert jobs.stopped_by(self.ws) is None
        for other in map(self.job, self.made):
            its = self.status(other.id)
            if its.state == "queued" and needs_device(other) == needs_device(job) and other.id != job_id:
                passed = place(other, its) < place(job, before)
                assert not passed or its.held or (its.not_before or 0.0) > self.clock.wall

    def started(self, folder: Path, **_rest: Any) -> _Process:
        old = self.processes.get(folder.name)
        if old is not None and old.lock is not None and old.code is None:
            self.broken.append(AssertionError("a second process for one job"))
        process = self.processes[folder.name] = _Process(jobs.get(self.ws, folder.name))
        return process

    def lives(self, folder: Path) -> bool:
        process = self.processes.get(folder.name)
        return process is not None and process.code is None

    def signalled(self, pid: int, *, kill: bool) -> None:
        for process in self.processes.values():
            if process.pid == pid and process.code is None and kill:
                process.end(-9)

    def job(self, job_id: str) -> jobs.Job:
        return jobs.get(self.ws, job_id)

    def status(self, job_id: str) -> Status:
        record = read_status(self.ws.jobs / job_id)
        assert record is not None
        return record

    def some(self, pick: int) -> str:
        return self.made[pick % len(self.made)]

    def process(self, pick: int) -> _Process | None:
        living = [process for process in self.processes.values() if process.code is None]
        return living[pick % len(living)] if living else None

    # --- people --------------------------------------------------------------------------------

    @initialize()
    def first(self) -> None:
        for _ in range(4):
            self.create("train", hold=False, later_s=None)
        self.create("import", hold=False, later_s=1e6)  # for which there would be room at once
        self.the_runner_looks(begins=True)

    @rule(
        kind=st.sampled_from(["train", "train", "import"]),
        hold=st.booleans(),
        later_s=st.none() | st.sampled_from([-10.0, 30.0, 1e6]),
    )
    def create(self, kind: str, hold: bool, later_s: float | None) -> None:
        if len(self.made) >= 8:
            return
        when = None if later_s is None else self.clock.wall + later_s
        job = jobs.create(self.ws, kind, f"job {len(self.made)}", hold=hold, not_before=when)
        self.made.append(job.id)
        assert jobs.queue(self.ws)[-1].job.id == job.id, "a new one is the last"

    @rule(pick=PICK, what=st.sampled_from(["hold", "release", "stop", "pause", "remove", "force"]))
    def tell(self, pick: int, what: str) -> None:
        job_id = self.some(pick)
        with contextlib.suppress(JobError):
            if what == "force":
                jobs.stop(self.ws, job_id, force=True)
            else:
                getattr(jobs, what)(self.ws, job_id)
                if what in {"hold", "release"}:
                    assert self.status(job_id).held == (what == "hold")

    @precondition(_some_can_go_on)
    @rule(pick=PICK)
    def resume(self, pick: int) -> None:
        job_id = self.some(pick)
        before = self.status(job_id)
        with contextlib.suppress(JobError):
            jobs.resume(self.ws, job_id)
            order = [entry.job.id for entry in jobs.queue(self.ws)]
            assert order.index(job_id) == (0 if before.state == "paused" else len(order) - 1)

    @rule(pick=PICK, onto=PICK, to_end=st.booleans())
    def reorder(self, pick: int, onto: int, to_end: bool) -> None:
        pool = [*(entry.job.id for entry in jobs.queue(self.ws)), self.some(pick)]
        moved, before = pool[pick % len(pool)], None if to_end else pool[onto % len(pool)]
        others = [entry.job.id for entry in jobs.queue(self.ws) if entry.job.id != moved]
        with contextlib.suppress(JobError):
            jobs.reorder(self.ws, moved, before=before)
            order = [entry.job.id for entry in jobs.queue(self.ws)]
            assert [name for name in order if name != moved] == others, "nobody else moved"
            assert before == moved or order[order.index(moved) :][1:2] == ([] if before is None else [before])

    @rule(pick=PICK, onto=PICK)
    def two_get_the_same_place(self, pick: int, onto: int) -> None:
        """As in the end of many moves between the same two, or in a folder that was copied back."""
        if waiting := jobs.queue(self.ws):
            one, other = waiting[pick % len(waiting)], waiting[onto % len(waiting)]
            write_status(one.job.folder, replace(one.status, order=other.status.order))

    @rule(pick=PICK, later_s=st.none() | JUMPS)
    def start_at(self, pick: int, later_s: float | None) -> None:
        with contextlib.suppress(JobError):
            when = None if later_s is None else self.clock.wall + later_s
            jobs.start_at(self.ws, self.some(pick), when)

    @rule(pick=PICK, name=st.sampled_from(["save", "sample"]))
    def request(self, pick: int, name: Any) -> None:
        with contextlib.suppress(JobError):
            jobs.request(self.ws, self.some(pick), name)

    @rule(on=st.booleans())
    def choose(self, on: bool) -> None:
        jobs.set_queue_rules(self.ws, jobs.QueueRules(stop_after_failure=on))

    @precondition(_the_queue_is_stopped)
    @rule()
    def go_on(self) -> None:
        jobs.go_on(self.ws)
        assert jobs.stopped_by(self.ws) is None

    # --- clocks, runners, processes ----------------------------------------------------------------

    @rule(by_s=JUMPS)
    def the_clock_is_set(self, by_s: float) -> None:
        self.clock.wall += by_s

    @rule(by_s=st.sampled_from([0.3, 5.0, 100.0]))
    def time_passes(self, by_s: float) -> None:
        self.clock.wall += by_s
        self.clock.steady += by_s

    @rule(begins=st.booleans())
    def the_runner_looks(self, begins: bool) -> None:
        self.runner.look()
        for pick in range(len(self.processes) if begins else 0):
            self.a_process_begins(pick)

    @rule()
    def the_runner_is_replaced(self) -> None:
        self.runner = runner.Runner(self.ws)

    @precondition(_some_process_lives)
    @rule(pick=PICK)
    def a_process_begins(self, pick: int) -> None:
        process = self.process(pick)
        if process is None or process.lock is not None:
            return
        with changing(process.job.folder):
            now = self.status(process.job.id)
            if now.state != "starting":  # as the worker does: this attempt is not wanted any more
                process.end(0)
                return
            process.lock = liveness.Lock.acquire(look.engine_lock(process.job.folder))
            write_status(process.job.folder, move(now, "running", updated=self.clock.wall))

    @precondition(_some_request_waits)
    @rule(pick=PICK)
    def a_process_answers_its_request(self, pick: int) -> None:
        process = self.process(pick)
        asked = requests.pending(process.job.folder) if process else None
        if process is None or process.lock is None or asked is None:
            return
        with changing(process.job.folder):
            now = self.status(process.job.id)
            if now.state in ACTIVE:
                to: Any = "stopping" if asked.name == "stop" else "pausing"
                now = move(now, to) if to in TABLE[now.state] else now
                ended: Any = "paused" if now.state == "pausing" else "stopped"
                for status in (now, move(now, ended, end=End(cause="As asked."), updated=self.clock.wall)):
                    write_status(process.job.folder, status)
        process.end(0)

    @precondition(_some_process_lives)
    @rule(pick=PICK, how=st.sampled_from(["finished", "failed", "crash", "lingers"]))
    def a_process_ends(self, pick: int, how: str) -> None:
        process = self.process(pick)
        if process is None:
            return
        if process.lock is not None and how != "crash":
            to: Any = "failed" if how == "failed" else "finished"
            with changing(process.job.folder):
                now = self.status(process.job.id)
                if now.state in ACTIVE:
                    write_status(process.job.folder, move(now, to, end=End(cause="It has ended.")))
        if how != "lingers":
            process.end(-11 if how == "crash" else 0)

    # --- what always holds -------------------------------------------------------------------------

    @invariant()
    def every_change_was_allowed(self) -> None:
        if self.broken:
            raise self.broken[0]

    @invariant()
    def no_job_is_lost_and_no_device_is_shared(self) -> None:
        assert sorted(job.id for job in jobs.jobs(self.ws)) == sorted(self.made)
        at_work = [(self.job(name), self.status(name)) for name in self.made]
        at_work = [(job, status) for job, status in at_work if status.state in ACTIVE]
        used = [status.device for job, status in at_work if needs_device(job)]
        assert len(set(used)) == len(used) <= len(DEVICES)
        assert sum(not needs_device(job) for job, _ in at_work) <= BESIDE

    @invariant()
    def the_queue_shows_all_that_wait_and_why(self) -> None:
        waiting = {name for name in self.made if self.status(name).state == "queued"}
        entries = jobs.queue(self.ws)
        assert {entry.job.id for entry in entries} == waiting
        assert [entry.place for entry in entries] == list(range(1, len(entries) + 1))
        assert all(entry.why for entry in entries)

    def everything_comes_to_an_end(self) -> None:
        """Nothing is stuck: once nobody holds anything back, whatever waits is done in the end."""
        jobs.set_queue_rules(self.ws, jobs.QueueRules())
        for entry in jobs.queue(self.ws):
            jobs.release(self.ws, entry.job.id)
            jobs.start_at(self.ws, entry.job.id, None)
        for _ in range(6 * len(self.made) + 6):
            self.runner.look()
            for process in [process for process in self.processes.values() if process.code is None]:
                pick = [p for p in self.processes.values() if p.code is None].index(process)
                self.a_process_begins(pick)
                if process.code is None:
                    process.end(0)  # whether it wrote an end or not
            self.time_passes(100.0)
        self.every_change_was_allowed()
        states = {name: self.status(name).state for name in self.made}
        assert not {state for state in states.values() if state in ACTIVE or state == "queued"}, states
        assert set(states.values()) <= set(STATES)


write_status_as_it_is = write_status

QueueMachine.TestCase.settings = settings(
    max_examples=int(os.environ.get("LORA_SEQUENCES", "25")),
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
TestAnySequence = QueueMachine.TestCase
