"""What is going on and what was done last, in words, read from the job records.

Covered: the sentences of Home and the sidebar about jobs. Not covered: the live numbers of one run
(see `ui/live_run.py`).
"""

import json
from typing import Final

from lora_core import jobs
from lora_core.jobs.kinds import KINDS
from lora_core.jobs.look import last_step
from lora_core.workspace import Workspace
from ui import state

_LOOK_BACK: Final = 30
"""Newest jobs that are looked at; older ones are not what a person did last."""

_QUIET: Final = frozenset({"machine"})
"""Kinds that the app starts by itself; they are not what a person did."""

STATE_WORDS: Final[dict[jobs.State, str]] = {
    "queued": "waits to start",
    "starting": "is starting",
    "running": "is running",
    "pausing": "is pausing and saving",
    "paused": "is paused",
    "stopping": "is stopping and saving",
    "finished": "finished",
    "stopped": "was stopped",
    "failed": "ended with a problem",
    "lost": "was cut off",
}
"""Each state as the end of a sentence that starts with what the job is."""


def recent(ws: Workspace) -> list[tuple[jobs.Job, jobs.Status]]:
    """The newest jobs that a person started, each with its true state, newest first."""
    found = [job for job in jobs.jobs(ws, limit=_LOOK_BACK) if job.kind not in _QUIET]
    return [(job, jobs.status(ws, job.id)) for job in found]


def running_job(ws: Workspace) -> tuple[jobs.Job, jobs.Status] | None:
    """The job that works now or waits to start; the oldest of them, as it is the one at work."""
    live = [(job, status) for job, status in recent(ws) if not status.ended]
    at_work = [pair for pair in live if pair[1].active]
    oldest_first = (at_work or live)[::-1]
    return oldest_first[0] if oldest_first else None


def last_ended(ws: Workspace) -> tuple[jobs.Job, jobs.Status] | None:
    """The job that ended last."""
    ended = [(job, status) for job, status in recent(ws) if status.ended]
    return max(ended, key=lambda pair: pair[1].end.at if pair[1].end else pair[0].created, default=None)


def short(name: str, most: int = 44) -> str:
    """A name that fits a field on a narrow page; of a long one the start and the end, where names differ."""
    if len(name) <= most:
        return name
    end = most // 3
    return f"{name[: most - end - 1]}…{name[-end:]}"


def name_of(job: jobs.Job) -> str:
    """What a job is, such as `Training "my cat"`."""
    label = KINDS[job.kind].label if job.kind in KINDS else "Work"
    return f"{label} “{job.name}”"


def sentence(job: jobs.Job, status: jobs.Status) -> str:
    """A job and its state: `Training "my cat" was stopped at 14:05.`"""
    at = f" {state.when(status.end.at)}" if status.end and status.end.at else ""
    return f"{name_of(job)} {STATE_WORDS[status.state]}{at}."


def done_of(job: jobs.Job, status: jobs.Status) -> tuple[int, int | None]:
    """How many units of its work are done, and of how many; the total is None while it is not known.

    A training counts pictures in its status while it prepares them. Until its first step of this attempt is
    done (there is no loss then) the steps are read from its own record.
    """
    if job.kind != "train" or status.ended or status.loss is not None:
        return status.step, status.total
    return last_step(job.folder), _planned(job)


def _planned(job: jobs.Job) -> int | None:
    try:
        with (job.folder / "progress.jsonl").open("rb") as file:
            total = json.loads(file.readline(4096)).get("total")
    except (OSError, ValueError, AttributeError):
        return None
    return total if isinstance(total, int) else None


def share_of(job: jobs.Job, status: jobs.Status) -> float:
    """How far it is, from 0 to 1."""
    done, total = done_of(job, status)
    return min(1.0, done / total) if total else float(status.state == "finished")


def step_words(job: jobs.Job, status: jobs.Status) -> str:
    """How far it is: `120 of 400 steps done`."""
    unit = "step" if job.kind in {"train", "smoke"} else "file"
    done, total = done_of(job, status)
    if total:
        return f"{done} of {state.counted(total, unit)} done"
    return f"{state.counted(done, unit)} done" if done else f"Not one {unit} is done yet"


def ending(status: jobs.Status) -> bool:
    """Whether it was asked to end: what its work would still take does not count then."""
    return status.state in {"stopping", "pausing"}


def time_left(status: jobs.Status) -> str:
    """`About 2 minutes left`, or that it is not known yet."""
    if status.eta_s is None:
        return "The time left is not known yet"
    words = state.how_long(status.eta_s)
    return f"{words[0].upper()}{words[1:]} left"


def where_was_i(ws: Workspace, project: str | None) -> list[str]:
    """The lines of the sidebar: the open project, what was done last, what goes on now."""
    lines = [f"Project: {project}." if project else "There is no project yet."]
    last, live = last_ended(ws), running_job(ws)
    lines.append(f"Last: {sentence(*last)}" if last else "Nothing was done yet.")
    lines.append(f"Now: {sentence(*live)}" if live else "Now: nothing is running.")
    return lines
