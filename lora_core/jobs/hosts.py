"""Several computers on one workspace: which of them a job belongs to.

Covered: the name of this computer, whose job it is, taking a job over from another computer, what
happens after a restart. Not covered: locks (liveness.py); those of another computer may not be seen here.

A job belongs to the computer that created it. A running one belongs to the computer of its process. No
computer starts, settles or ends a job of another: that job is shown as it was last recorded, and the
only way to get it is to ask for it by `take_over`. Clocks may differ, so a time of a last sign is
said as the other computer wrote it down, and no decision rests on it alone.
"""

import logging
import time
from datetime import datetime
from pathlib import Path
from typing import Final

import psutil

from lora_core.errors import JobError, LoraError, WorkspaceError
from lora_core.jobs import fencing, liveness
from lora_core.jobs.records import (
    ACTIVE,
    End,
    Job,
    Status,
    changing,
    move,
    noted,
    read_status,
    write_status,
)
from lora_core.volumes import here
from lora_core.workspace import Workspace, read_json, safe_name

__all__ = ["after_restart", "claim", "elsewhere", "here", "last_sign", "of", "own", "take_over"]

FRESH_S: Final = 120.0
"""A job whose last sign is younger may well be at work; it is taken over only when that is insisted on."""
WATCH_S: float = 2.0
"""How long `take_over` watches for a sign of life, which no difference of clocks can hide."""
_POLL_S: Final = 0.05

_log = logging.getLogger(__name__)


def own(path: Path) -> Path:
    """`path` with this computer's name in it, for what each computer has one of: `runner.HOST.lock`."""
    return path.with_name(f"{path.stem}.{safe_name(here())}{path.suffix}")


def of(job: Job, status: Status | None) -> str:
    """The computer that the job belongs to; a job that names none belongs to this one."""
    if status is None or status.state in ACTIVE:
        owner = liveness.read_owner(job.folder / "engine.lock")
        if owner is not None and (status is None or owner.about.get("attempt") == status.attempt):
            return owner.host
    return _claimed(job.folder) or job.host or here()


def elsewhere(job: Job, status: Status | None) -> str | None:
    """The name of the other computer that the job belongs to; None when it is this one's."""
    host = of(job, status)
    return None if host == here() else host


def _claimed(folder: Path) -> str:
    found = fencing.token(folder)
    return found[0] if found else ""


def claim(job: Job) -> None:
    """Write down that the job belongs to this computer from now on. Call it while `changing` its state.

    Raises:
        DiskFullError, OSError: it could not be written.
    """
    if (_claimed(job.folder) or job.host) != here():
        fencing.put(job.folder)


def message(host: str, status: Status) -> str:
    """What is said about a job of another computer that waits or runs there."""
    if status.state == "queued":
        return f"It waits for its turn on {host}."
    doing = {"starting": "Starting", "pausing": "Pausing", "stopping": "Stopping"}.get(
        status.state, "Running"
    )
    return f"{doing} on {host}. Last sign {last_sign(status.updated)}."


def last_sign(updated: float) -> str:
    """The time of a sign in words, as it was recorded, in this computer's time zone."""
    at = datetime.fromtimestamp(updated).astimezone()
    today = datetime.now().astimezone().date()
    return f"{at:%H:%M}" if at.date() == today else f"{at:%Y-%m-%d %H:%M}"


def take_over(workspace: Workspace, job_id: str, *, anyway: bool = False) -> Job:
    """Make a job of another computer this one's. One that waits is started here; an ended one can be resumed.

    One that runs there on record is written down as lost first. It is refused while its process can be
    seen to live, and where its last sign is fresh or something in its folder changes within 2 s, unless
    `anyway` says that the user knows better. A process that lives there all the same writes nothing more.

    Raises:
        JobError: no such job, it is this computer's already, or it may be at work there.
    """
    from lora_core.jobs import look, spawn
    from lora_core.jobs.listing import get

    job = get(workspace, job_id)
    host = elsewhere(job, read_status(job.folder))
    if host is None:
        raise _refused(job, "It belongs to this computer already.", "Resume it, or let it go on.")
    _still_there(job, host, anyway=anyway)
    with changing(job.folder):
        now = look.recorded(job)
        fencing.put(job.folder)  # first: its engine may live, and is to write nothing after us
        if now.state in ACTIVE:
            time.sleep(fencing.LET_GO_S)
            now = look.recorded(job)
        if now.state in ACTIVE:
            sign = f"Last sign {last_sign(now.updated)}."
            said = f"It was running on {host}, and was taken over by {here()}. {sign}"
            step, total = look.done(job, now)
            end = End(cause=said, fix=look.what_next(job, now), at=time.time(), step=step)
            now = move(now, "lost", end=end, step=step, total=total, updated=end.at)
        # The file names the process of the other computer; the job's next one writes it anew.
        look.engine_lock(job.folder).with_suffix(".json").unlink(missing_ok=True)
        write_status(job.folder, noted(now, f"Taken over from {host}."))
    spawn.ensure_runner(workspace)
    return job


def _still_there(job: Job, host: str, *, anyway: bool) -> None:
    """Refuse where the job is or may be at work on `host`.

    Raises:
        JobError: so it is.
    """
    now = read_status(job.folder)
    if now is not None and now.state not in ACTIVE:
        return
    if liveness.probe(job.folder / "engine.lock"):
        # Two names of one computer, or two containers on it, see each other's locks.
        raise _refused(job, f"Its process on {host} is at work.", "Stop it first.")
    if anyway:
        return
    if now is not None and abs(time.time() - now.updated) < FRESH_S:
        why = f"It may be at work on {host}: its last sign is of {last_sign(now.updated)}."
        raise _refused(job, why, "Stop it there, or wait some minutes. Then ask again.")
    before, deadline = _signs(job.folder), time.monotonic() + WATCH_S
    while time.monotonic() < deadline:
        if _signs(job.folder) != before:
            raise _refused(job, f"It is at work on {host}: its files change.", "Stop it first.")
        time.sleep(_POLL_S)


def _signs(folder: Path) -> list[tuple[int, int, int]]:
    found = []
    for name in ("status.json", "progress.jsonl", "train.log"):
        try:
            facts = (folder / name).stat()
            found.append((facts.st_mtime_ns, facts.st_size, facts.st_ino))
        except OSError:
            found.append((0, 0, 0))
    return found


def _refused(job: Job, why: str, fix: str) -> JobError:
    return JobError(f"The job {job.name} was not taken over.", why=why, fix=fix)


def after_restart(workspace: Workspace) -> list[Job]:
    """Deal with what ran here when the computer was restarted; the runner calls it once, at its start.

    Such jobs are written down as failed, with the restart as the cause. They go on by themselves
    where the queue's rule `resume_after_restart` says so; those are returned.
    """
    from lora_core.jobs import control, listing
    from lora_core.jobs.settle import settle

    resumed: list[Job] = []
    for job in reversed(listing.jobs(workspace)):
        try:
            before = read_status(job.folder)
            if before is None or before.state not in ACTIVE or elsewhere(job, before) is not None:
                continue
            if not _cut_off(job, before) or settle(job, exit_code=None) is None:
                continue
            _log.info("job %s: the computer was restarted while it ran", job.id)
            if _goes_on(workspace) and before.state in {"starting", "running"}:
                resumed.append(control.resume(workspace, job.id))
        except (OSError, LoraError):
            _log.exception("job %s could not be dealt with after the restart", job.id)
    return resumed


def _cut_off(job: Job, status: Status) -> bool:
    """True when the computer was restarted after this attempt began."""
    if liveness.alive(job.folder / "engine.lock"):
        return False
    owner = liveness.read_owner(job.folder / "engine.lock")
    if owner is not None and owner.about.get("attempt") == status.attempt:
        return owner.from_before_restart()
    return status.updated < psutil.boot_time()  # its process had not written itself down yet


def _goes_on(workspace: Workspace) -> bool:
    try:
        return read_json(workspace.root / "queue.json").get("resume_after_restart") is True
    except (OSError, WorkspaceError):
        return False
