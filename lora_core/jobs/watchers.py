"""What the runner tells of its looks, and what is made of it.

Covered: a run that stands still is remarked and told, taken back when it goes on; what follows the end of a
training is started in a process of its own; the computer is kept awake while something runs. Not covered:
what that process does (after.py).

The calls are cheap and never raise: whatever goes wrong here must not touch the supervision of jobs.
"""

import logging
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from lora_core.errors import WorkspaceError
from lora_core.jobs import addresses, after, choices, liveness, messages, pace, remarks, spawn
from lora_core.jobs.awake import Keeper
from lora_core.jobs.records import Job, Status, read_status
from lora_core.volumes import here
from lora_core.workspace import Workspace, read_json, write_json

AFTER_COMMAND: list[str] = [sys.executable, "-m", "lora_core.jobs.after"]
"""Gets the job's folder behind it, and `stall` for a run that stands still."""
GAP_S: Final = 30.0
"""A runner that did not look for so long was itself held up, so it starts to count anew."""
AGAIN_S: Final = 3.0
"""Before a process that should follow an end and died is started again; longer each time."""
MOST_STARTS: Final = 5
_LOOK_AGAIN_S: Final = 2.0

_LOADED_AT: Final = time.time()
"""When this process began, and so before any end that it sees."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Watch:
    """When a run last gave a sign of progress; these clocks stand still while the computer sleeps."""

    sign: tuple[object, ...]
    since: float
    looked: float


@dataclass(slots=True)
class _Due:
    """An end that something has to follow."""

    job: Job
    status: Status
    starts: int = 0
    next_at: float = 0.0


@dataclass(slots=True)
class _Seen:
    """What this process remembers of a workspace; nothing in it matters when it is gone."""

    watches: dict[str, _Watch] = field(default_factory=dict)
    due: dict[str, _Due] = field(default_factory=dict)
    children: list[subprocess.Popen[bytes]] = field(default_factory=list)
    keeper: Keeper | None = None
    since: float | None = None


_seen: dict[Path, _Seen] = {}


def looked(workspace: Workspace, job: Job, status: Status) -> None:
    """A job is at work; called about once a second for each."""
    _guarded(lambda: _watch(workspace, job, status, time.monotonic()), "a run was not watched")


def ended(workspace: Workspace, job: Job, status: Status) -> None:
    """A job is over and its process is gone; more than one call for an end does no harm."""
    _guarded(lambda: _over(workspace, job, status), "what follows an end was not started")


def busy(workspace: Workspace, any_running: bool) -> None:
    """Whether anything is at work; called at each look."""
    _guarded(lambda: _look(workspace, any_running), "a look failed")


def _guarded(work: Callable[[], None], what: str) -> None:
    try:
        work()
    except Exception:  # noqa: BLE001  the runner's other work goes on, whatever this meets
        _log.exception("%s", what)


def _of(workspace: Workspace) -> _Seen:
    return _seen.setdefault(workspace.root, _Seen())


# --- standing still ---------------------------------------------------------------------------------


def _watch(workspace: Workspace, job: Job, status: Status, now: float) -> None:
    if job.kind != "train" or status.state != "running":
        _of(workspace).watches.pop(job.id, None)
        return
    sign = _sign(job, status)
    watch = _of(workspace).watches.get(job.id)
    if watch is None or now - watch.looked > GAP_S:
        watch = _of(workspace).watches[job.id] = _Watch(sign=sign, since=now, looked=now)
    stall = remarks.stall_of(job.folder)
    if watch.sign != sign:
        watch.sign, watch.since = sign, now
    watch.looked = now
    if stall is not None:
        if (stall.attempt, stall.phase, stall.step) != (status.attempt, status.phase, status.step):
            remarks.add(job.folder, f"It goes on, at step {status.step}.")
        return
    quiet_s = now - watch.since
    # The shortest limit first: reading the pace of a run that goes well is not worth a file a second.
    if quiet_s < pace.LEAST_S or not pace.stalled(status.phase, pace.recent_steps(job.folder), quiet_s):
        return
    _stalled(workspace, job, status, quiet_s)


def _sign(job: Job, status: Status) -> tuple[object, ...]:
    sign = (status.attempt, status.phase, status.step, status.total, status.saved)
    if status.phase == pace.TRAINING:
        return sign
    try:
        return (*sign, job.log.stat().st_size)  # where no steps are made, lines of the log show that it works
    except OSError:
        return sign


def _stalled(workspace: Workspace, job: Job, status: Status, quiet_s: float) -> None:
    part = f" in the part {status.phase}" if status.phase else ""
    text = (
        f"No step for {pace.as_said(quiet_s)}{part}, which is long for this run. "
        "It was not stopped. Look at its log, or stop it."
    )
    stall = remarks.Stall(
        attempt=status.attempt, phase=status.phase, step=status.step, text=text, quiet_s=quiet_s
    )
    remarks.add(job.folder, text, stall=stall)
    if choices.events(workspace).stall and addresses.addresses(workspace):
        _start(workspace, job, "stall")


# --- the end ----------------------------------------------------------------------------------------


def _over(workspace: Workspace, job: Job, status: Status) -> None:
    seen = _of(workspace)
    seen.watches.pop(job.id, None)
    if job.kind != "train" or not status.ended or status.end is None:
        return
    if status.end.at < _since(workspace) or not _ran_here(job) or after.is_done(job.folder, status):
        return
    if _is_chosen(workspace, job, status):
        seen.due[job.id] = _Due(job=job, status=status)
        _follow_up(workspace)
    else:
        after.nothing_to_do(job.folder, status)


def _since(workspace: Workspace) -> float:
    """The moment from which ends are followed: those of an older version of the app stay as they are."""
    seen = _of(workspace)
    if seen.since is None:
        path = workspace.runner / "after.json"
        try:
            seen.since = float(read_json(path)["since"])
        except (OSError, WorkspaceError, KeyError, TypeError, ValueError):
            seen.since = _LOADED_AT
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, {"format": 1, "since": seen.since})
    return seen.since


def _ran_here(job: Job) -> bool:
    """False when another computer did the job: its own runner follows it."""
    owner = liveness.read_owner(job.folder / "engine.lock")
    return owner is None or owner.host == here()


def _is_chosen(workspace: Workspace, job: Job, status: Status) -> bool:
    """True when the user wants anything to follow this end."""
    asked = after.is_asked(job, status)
    event = messages.event_of(status.state, asked=asked)
    if event is None:
        return False
    told = getattr(choices.events(workspace), event) and bool(addresses.addresses(workspace))
    at_end = choices.at_end(workspace)
    return bool(told or at_end.command or at_end.problem or job.params.get("retry_ladder"))


def _look(workspace: Workspace, any_running: bool) -> None:
    seen = _of(workspace)
    _since(workspace)
    seen.children = [child for child in seen.children if child.poll() is None]
    _follow_up(workspace)
    if seen.keeper is None:
        seen.keeper = Keeper(workspace)
    seen.keeper.keep(busy=any_running, wanted=choices.kept_awake(workspace))


def _follow_up(workspace: Workspace) -> None:
    """Start what should follow an end, and start it again when it died."""
    seen, now = _of(workspace), time.monotonic()
    for job_id, due in list(seen.due.items()):
        if now < due.next_at:
            continue
        due.next_at = now + _LOOK_AGAIN_S
        current = read_status(due.job.folder)
        resumed = current is None or current.end != due.status.end
        if resumed or after.is_done(due.job.folder, due.status):
            del seen.due[job_id]
        elif not liveness.probe(after.lock_of(due.job.folder)):
            if due.starts >= MOST_STARTS:
                _log.error("job %s: what follows its end could not be done", job_id)
                del seen.due[job_id]
                continue
            due.starts += 1
            due.next_at = now + AGAIN_S * due.starts
            _start(workspace, due.job)


def _start(workspace: Workspace, job: Job, *more: str) -> None:
    path = workspace.runner / "after.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > spawn.LOG_LIMIT_BYTES:
        path.replace(path.with_suffix(".log.1"))
    with path.open("ab") as log:
        _of(workspace).children.append(spawn.detached([*AFTER_COMMAND, str(job.folder), *more], log, {}))
