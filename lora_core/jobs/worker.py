"""The process of one job: `python -m lora_core.jobs.worker JOB_FOLDER`.

Covered: leading all it prints through the writer of its log, taking the engine's lock, telling who it is,
importing and doing the work, writing how it ended. Not covered: starting it and what happens when it dies
(runner.py).

The lock comes first and the import second, because importing torch takes seconds in which the
job would look dead. The lock is kept until the process is gone: its memory and its GPU are in use
until then.
"""

import faulthandler
import logging
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Final

from lora_core.errors import JobError, LoraError, WorkspaceError
from lora_core.jobs import (
    fencing,
    hosts,
    kinds,
    liveness,
    log,
    log_pipe,
    look,
    platform,
    requests,
    slots,
    spawn,
)
from lora_core.jobs.explain import explain, oom_kills, own_lines, told
from lora_core.jobs.kinds import Task
from lora_core.jobs.records import (
    End,
    Job,
    State,
    Status,
    changing,
    move,
    read_job,
    read_status,
    write_status,
)
from lora_core.jobs.reporter import FolderReporter
from lora_core.reporting import Ended
from lora_core.workspace import Workspace

OWNED_BY_ANOTHER: Final = 3
"""Exit code: another process does this job."""

_log = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Do the job in the folder that is the only argument; returns the exit code."""
    folder = Path(arguments[0]).resolve()
    job = read_job(folder)  # before the log, which lies in the folder: without a job there is none
    log_pipe.lead_through(folder / "train.log")
    faulthandler.enable()  # a crash in compiled code leaves the place in ours in the log
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    platform.ignore_terminal()
    spawn.keep_environment()
    workspace = Workspace(folder.parent.parent)
    try:
        lock = liveness.Lock.acquire(look.engine_lock(folder))
    except TimeoutError:
        _log.error("Another process has been doing this job for 10 s; this one ends.")
        return OWNED_BY_ANOTHER
    fence = fencing.Fence(folder)
    status = _begin(job, lock)
    if status is None:
        return 0
    fence.guard()
    return _do(FolderReporter(workspace, job, lock, status, fence), workspace, job)


def _begin(job: Job, lock: liveness.Lock) -> Status | None:
    """From starting to running; None when this attempt is no longer wanted."""
    with changing(job.folder):
        now = read_status(job.folder)
        if now is None or now.state != "starting":
            _log.error("The job is %s, not starting; this process ends.", now.state if now else "unreadable")
            return None
        if (host := hosts.elsewhere(job, now)) is not None:
            _log.error("The job was taken over by %s before this process began; it ends.", host)
            return None
        for part in job.folder.glob(".*.part"):
            part.unlink(missing_ok=True)  # of an attempt that was killed while it wrote
        liveness.write_owner(lock, attempt=now.attempt, oom_kills=oom_kills())
        running = move(now, "running", phase="Loading the program", updated=time.time())
        write_status(job.folder, running)
    return running


def _do(reporter: FolderReporter, workspace: Workspace, job: Job) -> int:
    """Do the work and write how it ended; returns the exit code."""

    def terminate(_number: int, _frame: FrameType | None) -> None:
        reporter.terminated = True

    signal.signal(signal.SIGTERM, terminate)
    try:
        # A request may be older than this process: then nothing is imported.
        if (asked := reporter.request()) is not None:
            raise Ended(asked, step=reporter.status.step)
        start = reporter.status.resume_from
        slots.take(job, reporter.status.device, reporter)
        work = kinds.load(kinds.kind_of(job.kind))
        result = work(
            Task(
                workspace=workspace,
                job=job,
                reporter=reporter,
                resume_from=job.folder / start if start else None,
            )
        )
    except Ended as ended:
        _end(reporter, job, *_as_asked(reporter, job, ended))
        return 0
    except LoraError as error:
        traceback.print_exc()
        print(own_lines(error), file=sys.stderr)  # noqa: T201  for the log, if the end cannot be written
        saved = look.what_next(job, reporter.status) if job.kind == "train" else ""
        why = told(error, log.hidden(traceback.format_exc().splitlines()))
        fix = f"{why.fix} {saved}".strip()
        end = End(cause=why.cause, fix=fix, evidence=why.evidence, exit_code=1, row=why.row)
        _end(reporter, job, "failed", end)
        return 1
    except Exception:  # noqa: BLE001  whatever the work raises, its end must be written
        traceback.print_exc()
        _end(reporter, job, *_unexpected(reporter, job))
        return 1
    where = workspace.relative(result) if result is not None else None
    _end(reporter, job, "finished", End(cause="It is finished.", result=where, exit_code=0))
    return 0


def _as_asked(reporter: FolderReporter, job: Job, ended: Ended) -> tuple[State, End]:
    by_signal = reporter.terminated and requests.pending(job.folder) is None
    done = "It was paused" if ended.request == "pause" else "It was stopped"
    why = "because the system asked it to end" if by_signal else "as asked"
    at = f" at step {ended.step}" if ended.step else " before its first step"
    end = End(
        cause=ended.cause or f"{done}{at}, {why}.",
        fix=f"{ended.fix} {look.what_next(job, reporter.status)}".strip(),
        exit_code=0,
        step=ended.step,
    )
    return _paused_or_stopped(reporter, ended.request), end


def _paused_or_stopped(reporter: FolderReporter, asked: str | None) -> State:
    # A stop may have come after the work had begun to pause; it overrules.
    return "paused" if asked == "pause" and reporter.status.state != "stopping" else "stopped"


def _unexpected(reporter: FolderReporter, job: Job) -> tuple[State, End]:
    """The end for an error that nobody foresaw; it stands in the log as a traceback."""
    trace = log.hidden(traceback.format_exc().splitlines())
    if reporter.terminated:
        # The signal goes to the whole group: loader workers die of it and the loop stumbles.
        end = End(
            cause="It was ended before it could save.",
            fix=look.what_next(job, reporter.status),
            evidence=trace[-1],
            exit_code=1,
        )
        return _paused_or_stopped(reporter, reporter.request()), end
    why = explain(1, trace)
    fix = f"{why.fix} {look.what_next(job, reporter.status)}"
    return "failed", End(cause=why.cause, fix=fix, evidence=why.evidence, exit_code=1, row=why.row)


def _end(reporter: FolderReporter, job: Job, to: State, end: End) -> None:
    """Write the end. If the disk refuses, the runner tells it from the exit code and the log."""
    now, at = reporter.status, time.time()
    step, total = look.done(job, now)
    full = replace(end, at=at, step=step)
    try:
        with changing(job.folder):
            write_status(job.folder, move(now, to, end=full, step=step, total=total, eta_s=None, updated=at))
    except (OSError, WorkspaceError, JobError):
        traceback.print_exc()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
