"""The supervisor of a workspace's jobs: `python -m lora_core.jobs.runner WORKSPACE`.

Covered: starting what dispatch.py chooses; insisting on requests that nobody answers; writing the
end of jobs whose process died; taking over processes that an earlier runner started; leaving when
nothing is left to do. Not covered: the work.

It keeps nothing that matters in memory, so it may be killed at any time: files and locks tell
the next one everything. Only one runs in a workspace, by its lock.
"""

import contextlib
import logging
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lora_core.errors import LoraError
from lora_core.jobs import hosts, liveness, log_pipe, look, platform, requests, slots, spawn, watchers
from lora_core.jobs.dispatch import Busy, Decision, decide, needs_device, waits_by_itself
from lora_core.jobs.kinds import kind_of
from lora_core.jobs.listing import OpenJobs, get
from lora_core.jobs.queue import failed_name
from lora_core.jobs.records import End, Job, Status, changing, move, read_status, write_status
from lora_core.jobs.settle import settle
from lora_core.jobs.wakeup import Wakeup
from lora_core.workspace import Workspace

POLL_S: float = 1.0
"""How often it looks when nothing wakes it."""
IDLE_S: float = 10.0
"""How long it stays when nothing is left to do."""
KILL_AFTER_S: float = 5.0
"""From SIGTERM to SIGKILL, where the request did not ask for force."""
ORPHAN_S: Final = 1.0
"""How long a job may be starting without a process where an earlier runner was to start it and is gone."""
LINGER_S: Final = 15.0
"""How long a process may stay after it wrote its end; the next job needs its GPU."""
HALF_MADE_S: Final = 3600.0
"""After this time nobody is still writing a job that is not whole."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Watch:
    """What the runner remembers about one job while it looks after it; times are monotonic."""

    since: float
    """When this runner first saw it in its present state."""
    state: str
    asked_at: float | None = None
    asked: requests.Ask | None = None
    told: bool = False
    """SIGTERM was sent."""
    signalled: bool = False
    """Any signal was sent."""
    owner: liveness.Owner | None = None
    """The process that was seen alive at the last look."""


class Runner:
    """One look after another at all jobs of a workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self._jobs = OpenJobs(workspace)
        self._watched: dict[str, _Watch] = {}
        self._claims: dict[str, tuple[str, liveness.Lock]] = {}
        """By job: the device that is kept for it until its process has the lock itself."""

    def look(self) -> bool:
        """Do whatever is due now; True while something waits or runs."""
        waiting: list[tuple[Job, Status]] = []
        busy: list[Busy] = []
        buried = False
        for job, status in self._open_jobs():
            try:
                if status is not None and status.state == "queued":
                    waiting.append((job, status))
                elif self._supervise(job, status):
                    busy.append(Busy(job=job, device=status.device if status else None))
                    if status is not None and status.active:
                        watchers.looked(self.workspace, job, status)
                else:
                    buried = True
            except Exception:  # noqa: BLE001  one odd job must not leave the others without supervision
                _log.exception("job %s could not be supervised in this look", job.id)
                busy.append(Busy(job=job, device=status.device if status else None))
        if buried:
            self._open_jobs()  # a failure of just now counts for what starts next
        self._give_claims_back(busy)
        started = False
        try:
            for decision in self._decide(waiting, busy):
                started |= decision.starts and self._start(decision)
        except Exception:  # noqa: BLE001  what cannot be started must not end the supervision of what runs
            _log.exception("nothing more could be started in this look")
        watchers.busy(self.workspace, bool(busy) or started)
        return bool(waiting or busy)

    def _open_jobs(self) -> list[tuple[Job, Status | None]]:
        found = self._jobs.look(self._lingers)
        for job_id, status in self._jobs.closed_now:
            self._watched.pop(job_id, None)
            try:
                job = get(self.workspace, job_id)
            except LoraError:
                continue  # no job, or one of a newer version
            watchers.ended(self.workspace, job, status)
        # Another computer's own runner looks after its jobs.
        return [
            (job, status)
            for job, status in found
            if (status is not None and status.ended) or hosts.elsewhere(job, status) is None
        ]

    def anything_open(self) -> bool:
        """True when a job waits, runs, or cannot be read."""
        return bool(self._open_jobs())

    def _decide(self, waiting: Sequence[tuple[Job, Status]], busy: Sequence[Busy]) -> list[Decision]:
        if not waiting:
            return []
        return decide(
            waiting,
            busy,
            devices=slots.devices(self.workspace) if any(needs_device(job) for job, _ in waiting) else (),
            in_use=slots.in_use,
            failed=failed_name(self.workspace, self._jobs.failures()),
            now=time.time(),
        )

    def _give_claims_back(self, busy: Sequence[Busy]) -> None:
        at_work = {entry.job.id for entry in busy}
        for job_id, (device, lock) in list(self._claims.items()):
            if job_id not in at_work or slots.taken(device):
                lock.release()
                del self._claims[job_id]

    def _lingers(self, job_id: str) -> bool:
        """True while the process of an ended job is still there and holds its GPU."""
        child = self.children.get(job_id)
        if child is not None and platform.reap(child) is None:
            return True
        self.children.pop(job_id, None)
        return job_id in self._watched and liveness.alive(look.engine_lock(self.workspace.jobs / job_id))

    def _supervise(self, job: Job, status: Status | None) -> bool:
        """Look after a job that is on record as active (or unreadable); True while it needs a slot."""
        now = time.monotonic()
        state = status.state if status else "unreadable"
        watch = self._watched.get(job.id)
        if watch is None or watch.state != state:
            # The clock of a request goes on when the job takes notice of it.
            kept = watch or _Watch(since=now, state=state)
            watch = self._watched[job.id] = _Watch(
                since=now,
                state=state,
                asked_at=kept.asked_at,
                asked=kept.asked,
                told=kept.told,
                signalled=kept.signalled,
                owner=kept.owner,
            )
        child = self.children.get(job.id)
        code = platform.reap(child) if child is not None else None
        if code is not None:
            del self.children[job.id]
        elif liveness.alive(look.engine_lock(job.folder)):
            watch.owner = liveness.read_owner(look.engine_lock(job.folder))
            self._insist(job, watch, lingers=bool(status and status.ended))
            return True
        elif state == "starting" and now - watch.since < (
            look.STARTING_LIMIT_S if child is not None or spawn.worker_lives(job.folder) else ORPHAN_S
        ):
            self._insist(job, watch, lingers=False)
            return True
        elif child is not None:
            _log.warning("job %s did not take its lock within %g s", job.id, look.STARTING_LIMIT_S)
            platform.end_group(child.pid, kill=True)
            return True
        self._bury(job, watch, code)
        return False

    def _bury(self, job: Job, watch: _Watch, code: int | None) -> None:
        """Write the end of a dead process and end what it left behind."""
        owner = watch.owner
        if code is None and owner is not None and liveness.process_start(owner.pid) is None:
            # Taken over from an earlier runner. Its id is not reused while its group has members.
            platform.end_group(owner.pid, kill=True)
        # Of a child of ours we know; what an earlier runner sent is only to be guessed from the clock.
        by_us = watch.signalled or (None if code is None else False)
        ended = settle(job, exit_code=code, by_us=by_us)
        if ended is not None and ended.end is not None:
            _log.info("job %s: %s. %s", job.id, ended.state, ended.end.cause)
        self._watched.pop(job.id, None)

    def _insist(self, job: Job, watch: _Watch, *, lingers: bool) -> None:
        """Send SIGTERM, then SIGKILL, to a process that does not answer its request in time."""
        now = time.monotonic()
        if lingers:
            if now - watch.since > LINGER_S:
                self._signal(job, watch, kill=True)
            return
        asked = requests.pending(job.folder)
        if asked is None:
            return
        if watch.asked is None or watch.asked_at is None or (asked.force and not watch.asked.force):
            # From our own first look: a wall clock that jumps must not cost a save.
            watch.asked, watch.asked_at, watch.told = asked, now, False
        waited_s = now - watch.asked_at
        term_s = 0.0 if asked.force else asked.grace_s
        kill_s = asked.grace_s if asked.force else asked.grace_s + KILL_AFTER_S
        if waited_s >= kill_s:
            self._signal(job, watch, kill=True)
        elif waited_s >= term_s and not watch.told:
            watch.told = True
            self._signal(job, watch, kill=False)

    def _signal(self, job: Job, watch: _Watch, *, kill: bool) -> None:
        child = self.children.get(job.id)
        pid = child.pid if child is not None else None
        if pid is None and watch.owner is not None and watch.owner.lives():
            pid = watch.owner.pid
        if pid is None:
            return
        watch.signalled = True
        _log.info("job %s: %s to process group %d", job.id, "SIGKILL" if kill else "SIGTERM", pid)
        platform.end_group(pid, kill=kill)

    def _start(self, decision: Decision) -> bool:
        """From queued to starting, with a process; False when that did not come to be."""
        job, device = decision.job, decision.device
        if self._old_process(job):
            return False  # it keeps its turn: nobody else gets what was decided for it
        try:
            kind = kind_of(job.kind)
            claim = slots.claim(device)
            if device is not None and claim is not None:
                self._claims[job.id] = (device, claim)
            with changing(job.folder):
                now = read_status(job.folder)
                if now is None or now.state != "queued" or waits_by_itself(now, time.time()):
                    return False  # taken back or held in the meantime
                if hosts.elsewhere(job, now) is not None:
                    return False  # taken over in the meantime
                now = move(now, "starting", device=device, held=False, not_before=None, updated=time.time())
                write_status(job.folder, now)
            self._watched[job.id] = _Watch(since=time.monotonic(), state="starting")
            self.children[job.id] = spawn.start_worker(job.folder, online=kind.online)
        except TimeoutError:
            return False  # another workspace was faster by a moment
        except (OSError, LoraError) as error:
            self._could_not_start(job, error)
            return False
        _log.info("job %s: started as process %d", job.id, self.children[job.id].pid)
        return True

    def _old_process(self, job: Job) -> bool:
        """True while a process that wrote its end is still there and has the lock, and most likely the GPU.

        For a job that was resumed at once. After `LINGER_S` it is ended by force, as without a resume.
        """
        child, lock = self.children.get(job.id), look.engine_lock(job.folder)
        if child is not None and platform.reap(child) is not None:
            del self.children[job.id]
            child = None
        owner = liveness.read_owner(lock)
        if child is None and not liveness.probe(lock) and not (owner is not None and owner.lives()):
            return False
        watch = self._watched.get(job.id)
        if watch is None or watch.state != "queued":
            watch = self._watched[job.id] = _Watch(since=time.monotonic(), state="queued")
        watch.owner = owner
        self._insist(job, watch, lingers=True)
        return True

    def _could_not_start(self, job: Job, error: OSError | LoraError) -> None:
        _log.error("job %s could not be started: %s", job.id, error)
        if isinstance(error, LoraError):
            end = End(cause=f"{error.what} {error.why}", fix=error.fix, at=time.time())
        else:
            why = error.strerror or str(error)
            fix = "Free some memory and disk space, then resume it."
            end = End(cause=f"Its process could not be started: {why}.", fix=fix, at=time.time())
        try:
            with changing(job.folder):
                now = read_status(job.folder)
                if now is not None and now.state in {"queued", "starting"}:
                    write_status(job.folder, move(now, "failed", end=end, updated=end.at))
        except (OSError, LoraError):
            _log.exception("job %s: the end could not be written", job.id)


def main(arguments: Sequence[str]) -> int:
    """Supervise the workspace that is the only argument until nothing is left to do."""
    workspace = Workspace(Path(arguments[0]).resolve())
    log_pipe.lead_through(spawn.runner_log(workspace), most_bytes=spawn.LOG_LIMIT_BYTES)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    platform.ignore_terminal()
    spawn.wake_folder(workspace).mkdir(parents=True, exist_ok=True)
    _tidy(workspace)
    wakeup = Wakeup(spawn.wake_folder(workspace))
    runner = Runner(workspace)
    while (lock := _become(workspace)) is not None:
        with lock:
            hosts.after_restart(workspace)
            if not _supervise_until_idle(runner, lock, wakeup):
                return 0
        # Given back: whoever writes a job from now on finds no runner and starts one. Whoever
        # wrote one just before relied on us, so look once more.
        if not runner.anything_open():
            _log.info("nothing is left to do")
            return 0
    return 0


def _tidy(workspace: Workspace) -> None:
    """Remove what was begun and not finished by a process that was killed: jobs, and copies of LoRA files."""
    for path in (*workspace.jobs.glob(".new-*"), *workspace.loras.glob(".*.part")):
        with contextlib.suppress(OSError):  # another computer's runner was quicker
            if time.time() - path.stat().st_mtime <= HALF_MADE_S:
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _become(workspace: Workspace) -> liveness.Lock | None:
    """The runner's lock; None when there is a runner already."""
    try:
        lock = liveness.Lock.acquire(spawn.runner_lock(workspace), timeout_s=1)
    except (TimeoutError, OSError):
        return None
    liveness.write_owner(lock)
    return lock


def _supervise_until_idle(runner: Runner, lock: liveness.Lock, wakeup: Wakeup) -> bool:
    """False when another runner has taken over, because our lock's file was taken away."""
    idle_since: float | None = None
    while True:
        if not lock.heal():
            _log.warning("the lock's file is gone or another runner has it; this one leaves")
            return False
        busy, now = runner.look(), time.monotonic()
        idle_since = None if busy else idle_since or now
        if idle_since is not None and now - idle_since >= IDLE_S:
            return True
        wakeup.wait(min(POLL_S, IDLE_S))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
