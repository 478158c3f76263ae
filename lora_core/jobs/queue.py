"""The jobs that wait: their order, who is held, not before which time, and the rules of the queue.

Covered: looking at the queue, changing it, the rule to stop after a failure. Not covered: putting a
job in and taking it out (control.py), and starting (runner.py). All of it is in files: the place,
the hold and the time in each job's status, the rules in `queue.json`.
"""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from lora_core.errors import JobError, WorkspaceError
from lora_core.jobs import look, slots, spawn
from lora_core.jobs.dispatch import Busy, decide, needs_device, place
from lora_core.jobs.listing import OpenJobs, get
from lora_core.jobs.liveness import Lock
from lora_core.jobs.records import CHANGE_TIMEOUT_S, Job, Status, changing, read_status, write_status
from lora_core.workspace import Workspace, read_json, write_json

FORMAT: Final = 1
_GAP_S: Final = 1e-3  # between two places, where the clock alone does not tell them apart

_open: dict[Path, OpenJobs] = {}


@dataclass(frozen=True, kw_only=True, slots=True)
class Queued:
    """A job that waits."""

    job: Job
    status: Status
    held: bool
    not_before: float | None
    """Unix time before which it is not started; None for none."""
    place: int
    """1 for the one that is started first."""
    why: str
    """One plain sentence: why it waits."""
    starts: bool = False
    """True when nothing holds it up: the runner starts it at its next look."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueRules:
    """What the user chose about the queue."""

    stop_after_failure: bool = False
    """True when no further training starts after one that failed or was lost, until `go_on`."""
    resume_after_restart: bool = False
    """True when a training that a restart of the computer cut off is put back into the queue by itself."""


# --- looking --------------------------------------------------------------------------------------


def queue(workspace: Workspace) -> list[Queued]:
    """The jobs that wait, in the order in which they will be started, each with why it waits.

    Whoever looks also mends: where something waits and no runner is there, one is started.
    """
    seen = _open_of(workspace)
    entries = seen.look()
    waiting = [(job, status) for job, status in entries if status is not None and status.state == "queued"]
    if not waiting:
        return []
    missing = _missing_runner(workspace)
    elsewhere = {job.id: told for job, status in waiting if (told := look.status(job)).elsewhere}
    decided = decide(
        waiting,
        [
            Busy(job=job, device=status.device if status else None)
            for job, status in entries
            if (status is None or status.state != "queued") and not look.status(job).elsewhere
        ],
        devices=slots.devices(workspace),
        in_use=slots.in_use,
        failed=failed_name(workspace, seen.failures()),
        now=time.time(),
    )
    return [
        Queued(
            job=one.job,
            status=one.status,
            held=one.status.held,
            not_before=one.status.not_before,
            place=number,
            why=elsewhere[one.job.id].message
            if one.job.id in elsewhere
            else (missing if one.starts and missing else one.why),
            starts=one.starts and not missing and one.job.id not in elsewhere,
        )
        for number, one in enumerate(decided, 1)
    ]


def _open_of(workspace: Workspace) -> OpenJobs:
    return _open.setdefault(workspace.root, OpenJobs(workspace))


def _missing_runner(workspace: Workspace) -> str:
    """Why nothing starts where no runner can be; empty when one is there."""
    try:
        if not spawn.runner_alive(workspace):
            spawn.ensure_runner(workspace)
    except JobError as error:
        return f"{error.what} {error.why}"
    return ""


# --- places ---------------------------------------------------------------------------------------


@contextmanager
def arranging(workspace: Workspace) -> Iterator[None]:
    """Hold the right to give out places; taken before that of a single job, never after it.

    Raises:
        JobError: another process held it for 30 s.
        OSError: its lock could not be made.
    """
    path = spawn.runner_lock(workspace).with_name("queue.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        lock = Lock.acquire(path, timeout_s=CHANGE_TIMEOUT_S)
    except TimeoutError as error:
        raise JobError(
            "The queue was not changed.",
            why="Another process has been changing it for more than 30 seconds.",
            fix="Try again. If it stays so, restart the computer.",
        ) from error
    with lock:
        yield


def waiting_jobs(workspace: Workspace) -> list[tuple[Job, Status]]:
    """The queued jobs in their order."""
    found = [
        (job, status)
        for job, status in _open_of(workspace).look()
        if status is not None and status.state == "queued"
    ]
    return sorted(found, key=lambda entry: place(*entry))


def at_end(workspace: Workspace) -> float:
    """The place behind all that wait; behind them also where the clock was set back. Call in `arranging`."""
    waiting = waiting_jobs(workspace)
    return max(time.time(), waiting[-1][1].order + _GAP_S) if waiting else time.time()


def at_front(workspace: Workspace) -> float:
    """The place before all that wait. Call in `arranging`."""
    waiting = waiting_jobs(workspace)
    return min(time.time(), waiting[0][1].order - 1.0) if waiting else time.time()


def reorder(workspace: Workspace, job_id: str, *, before: str | None) -> None:
    """Move a waiting job before another one that waits, or to the end.

    Raises:
        JobError: there is no such job, or one of the two does not wait any more.
    """
    job = get(workspace, job_id)
    with arranging(workspace):
        waiting = waiting_jobs(workspace)
        if job_id not in {other.id for other, _ in waiting}:
            raise _not_waiting(job, read_status(job.folder))
        others = [entry for entry in waiting if entry[0].id != job_id]
        if before is None:
            _change(job, order=at_end(workspace))
        elif before != job_id:
            names = [other.id for other, _ in others]
            if before not in names:
                target = get(workspace, before)
                raise _not_waiting(target, read_status(target.folder))
            _put_before(job, others, names.index(before))
    spawn.ensure_runner(workspace)


def _put_before(job: Job, others: list[tuple[Job, Status]], index: int) -> None:
    after = others[index][1].order
    ahead = others[index - 1][1].order if index else after - 2.0
    order = (ahead + after) / 2
    if ahead < order < after:
        _change(job, order=order)
        return
    # Two have the same place, or numbers are used up between them: all get new ones.
    first = others[0][1].order
    sequence = [other for other, _ in others[:index]] + [job] + [other for other, _ in others[index:]]
    for number, one in enumerate(sequence):
        try:
            _change(one, order=first + number * _GAP_S)
        except JobError:
            continue  # it was started or taken out just now, so it has no place any more


# --- holding and times ------------------------------------------------------------------------------


def hold(workspace: Workspace, job_id: str) -> None:
    """Keep a waiting job from starting until `release`; others may start before it.

    Raises:
        JobError: there is no such job, or it does not wait.
    """
    _change(get(workspace, job_id), held=True)


def release(workspace: Workspace, job_id: str) -> None:
    """Let a held job start when its turn comes.

    Raises:
        JobError: there is no such job, or it does not wait.
    """
    _change(get(workspace, job_id), held=False)
    spawn.ensure_runner(workspace)


def start_at(workspace: Workspace, job_id: str, when: float | None) -> None:
    """Keep a waiting job from starting before the Unix time `when`; None takes the time away.

    The clock of the computer decides: where it is set, the job starts by the new time.

    Raises:
        JobError: there is no such job, it does not wait, or `when` is no time.
    """
    if when is not None and not math.isfinite(when):
        raise JobError(
            "The time was not set.",
            why=f"{when} is no point in time.",
            fix="Give a date and a time.",
        )
    _change(get(workspace, job_id), not_before=when)
    spawn.ensure_runner(workspace)


def _change(job: Job, **changes: Any) -> None:
    """Write `changes` into the status of a job that waits.

    Raises:
        JobError: it does not wait.
    """
    with changing(job.folder):
        now = read_status(job.folder)
        if now is None or now.state != "queued":
            raise _not_waiting(job, now)
        write_status(job.folder, replace(now, **changes, updated=time.time()))


def _not_waiting(job: Job, now: Status | None) -> JobError:
    state = now.state if now else "unknown"
    return JobError(
        f"The job {job.name} was not changed.",
        why=f"It does not wait in the queue any more: it is {state}.",
        fix="Resume it to put it into the queue." if now and now.resumable else "Pause or stop it instead.",
    )


# --- rules ------------------------------------------------------------------------------------------


def _rules_file(workspace: Workspace) -> Path:
    return workspace.root / "queue.json"


def _read_rules(workspace: Workspace) -> dict[str, Any]:
    try:
        return read_json(_rules_file(workspace))
    except (OSError, WorkspaceError):
        return {}


def queue_rules(workspace: Workspace) -> QueueRules:
    """What the user chose; the defaults where nothing readable is there."""
    rules = _read_rules(workspace)
    return QueueRules(
        stop_after_failure=rules.get("stop_after_failure") is True,
        resume_after_restart=rules.get("resume_after_restart") is True,
    )


def set_queue_rules(workspace: Workspace, rules: QueueRules) -> None:
    """Keep what the user chose. Failures from before the rule was chosen count as dealt with."""
    with arranging(workspace):
        if rules != queue_rules(workspace):
            _write_rules(workspace, rules)
    spawn.ensure_runner(workspace)


def go_on(workspace: Workspace) -> None:
    """Let the queue go on after a failure; the rule stays for the next one."""
    with arranging(workspace):
        _write_rules(workspace, queue_rules(workspace))
    spawn.ensure_runner(workspace)


def _write_rules(workspace: Workspace, rules: QueueRules) -> None:
    seen = _open_of(workspace)
    seen.look()
    record = {
        "format": FORMAT,
        "stop_after_failure": rules.stop_after_failure,
        "resume_after_restart": rules.resume_after_restart,
        # By attempt and not by time: a clock that is set must neither hide nor repeat a failure.
        "dealt_with": seen.failures() if rules.stop_after_failure else {},
    }
    write_json(_rules_file(workspace), record)


def stopped_by(workspace: Workspace) -> Job | None:
    """The job whose failure the queue waits for; None while it does not."""
    seen = _open_of(workspace)
    seen.look()
    return _failed(workspace, seen.failures())


def failed_name(workspace: Workspace, failures: Mapping[str, int]) -> str | None:
    """The name of the job whose failure the queue waits for; `failures` as `OpenJobs` tells them."""
    job = _failed(workspace, failures)
    return job.name if job else None


def _failed(workspace: Workspace, failures: Mapping[str, int]) -> Job | None:
    if not failures:
        return None
    rules = _read_rules(workspace)
    if rules.get("stop_after_failure") is not True:
        return None
    known = rules.get("dealt_with")
    dealt_with = known if isinstance(known, dict) else {}
    for job_id in sorted(failures, reverse=True):
        if dealt_with.get(job_id) == failures[job_id]:
            continue
        try:
            job = get(workspace, job_id)
        except (JobError, WorkspaceError):
            continue
        if needs_device(job):
            return job
    return None
