"""The true status of a job: what is on record, checked against who is alive.

Covered: a dead process is never shown as running, a pending request shows at once, a missing or
unreadable status is rebuilt from what else is known, a job of another computer is never taken for
dead. Not covered: writing the end of a dead job
down (settle.py). Nothing here writes.
"""

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from lora_core.jobs import hosts, liveness, remarks, requests
from lora_core.jobs.records import (
    ACTIVE,
    TABLE,
    End,
    Job,
    Saved,
    State,
    Status,
    move,
    noted,
    read_status,
    too_new,
)
from lora_core.jobs.states import complete_states

STARTING_LIMIT_S: Final = 60.0
"""How long a job may take from its start until its process holds the lock."""

UNSETTLED: Final = End(
    cause="The process that did this work is gone. The cause is being looked up.",
    fix="Look again in a few seconds.",
)
"""Stands in for the end of a job whose process is dead and whose end nobody wrote down yet."""

_NOT_OURS: Final = End(
    cause="The process that did this work is gone. A newer version of this app wrote its status.",
    fix="Update the app. It then finds out how the job ended.",
)
NEWER: Final = "A newer version of this app wrote its status, so this version shows it and changes nothing."


def engine_lock(folder: Path) -> Path:
    return folder / "engine.lock"


def recorded(job: Job) -> Status:
    """The status on record, or one rebuilt from the lock, the progress and the saved states."""
    seen = read_status(job.folder) or rebuilt(job)
    return noted(seen, NEWER) if seen.newer else seen


def status(job: Job) -> Status:
    """The status as it is at this moment; takes about 0.1 ms, 30 ms more for a dead process."""
    seen = recorded(job)
    host = hosts.elsewhere(job, seen) if seen.state in ACTIVE or seen.state == "queued" else None
    if host is not None:  # its lock may not be seen here, so what it recorded last is what is known
        return remarks.told(job.folder, with_message(job, replace(_as_asked(job, seen), elsewhere=host)))
    if seen.state in ACTIVE:
        if not liveness.alive(engine_lock(job.folder)):
            seen = recorded(job)  # it may have written its end just before it let go
            if seen.state in ACTIVE and not _may_still_start(seen):
                seen = move(seen, "lost", end=_NOT_OURS if seen.newer else UNSETTLED)
        else:
            seen = _as_asked(job, seen)
    return remarks.told(job.folder, with_message(job, seen))


def _as_asked(job: Job, seen: Status) -> Status:
    """`seen` with a pending request to end shown at once."""
    asked = requests.pending(job.folder) if seen.state in ACTIVE else None
    to: State = "stopping" if asked and asked.name == "stop" else "pausing"
    return move(seen, to) if asked and to in TABLE[seen.state] else seen


def _may_still_start(seen: Status) -> bool:
    return seen.state == "starting" and abs(time.time() - seen.updated) < STARTING_LIMIT_S


def rebuilt(job: Job) -> Status:
    """What can be known without a status file."""
    owner = liveness.read_owner(engine_lock(job.folder))
    attempt = owner.about.get("attempt") if owner else None
    states, newer = complete_states(job.folder), too_new(job.folder)
    known = Status(
        state="running",
        step=last_step(job.folder),
        attempt=attempt if isinstance(attempt, int) else 1,
        order=job.created,
        updated=time.time(),
        saved=Saved(step=states[0].step, path=f"jobs/{job.id}/states/{states[0].name}") if states else None,
        newer=newer,
        notes=()
        if newer
        else ("Its status file was missing or unreadable, so a part of what it told is gone.",),
    )
    if liveness.alive(engine_lock(job.folder)) or hosts.elsewhere(job, None) is not None:
        return known
    missing = "Its status file was missing or unreadable, and no process works on it."
    end = End(
        cause=f"{NEWER} No process works on it." if newer else missing,
        fix="Update the app." if newer else what_next(job, known),
        at=time.time(),
        step=known.step,
    )
    return move(known, "lost", end=end)


def last_step(folder: Path) -> int:
    """The last step in progress.jsonl; 0 when it has none."""
    try:
        with (folder / "progress.jsonl").open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 8192))
            lines = file.read().splitlines()
    except OSError:
        return 0
    for line in reversed(lines):
        try:
            return int(json.loads(line)["step"])
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            continue  # cut off, or not a step
    return 0


def done(job: Job, seen: Status) -> tuple[int, int | None]:
    """Steps done and steps in all, as they count at the end of a job.

    A training also reports how many pictures it has prepared; what it trained stands in its
    progress.jsonl alone.
    """
    if job.kind != "train":
        return max(seen.step, last_step(job.folder)), seen.total
    return last_step(job.folder), _total(job.folder)


def _total(folder: Path) -> int | None:
    try:
        with (folder / "progress.jsonl").open("rb") as file:
            total = json.loads(file.readline(8192))["total"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return total if isinstance(total, int) else None


def what_next(job: Job, seen: Status) -> str:
    """The sentence that tells from where one could go on."""
    states = complete_states(job.folder)
    if states:
        return f"It can go on from step {states[0].step}, which is saved."
    if job.kind == "train":
        return "Nothing was saved before, so it can only start from the beginning."
    return "Start it again." if seen.attempt == 1 else "Do it again, or read the log first."


def with_message(job: Job, seen: Status) -> Status:
    """`seen` with its plain sentence and, while it is asked to end, the grace that is left."""
    if seen.end is not None:
        return replace(seen, message=seen.end.cause)
    if seen.elsewhere is not None:
        return replace(seen, message=hosts.message(seen.elsewhere, seen))
    if seen.state == "queued":
        return replace(seen, message="It waits for its turn.")
    if seen.state == "starting":
        return replace(seen, message="Its process is being started.")
    asked = requests.pending(job.folder) if seen.state in {"stopping", "pausing"} else None
    if asked is None:
        return replace(seen, message=seen.phase or "It is at work.")
    left_s = min(asked.grace_s, max(0.0, asked.at + asked.grace_s - time.time()))
    doing = "Stopping" if asked.name == "stop" else "Pausing"
    rest = f"If it does not answer within {left_s:.0f} s, it is ended by force."
    saves = "It saves at the next step. " if job.kind == "train" and not asked.force else ""
    return replace(seen, message=f"{doing}. {saves}{rest}", grace_left_s=left_s)
