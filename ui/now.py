"""What is going on and what was done last, in words, read from the job records.

Covered: the sentences of Home, the sidebar and the activity strip about jobs. Not covered: the live numbers
of one run (see `ui/live_run.py`), and why each training waits (see `ui/queue_list.py`).
"""

import heapq
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lora_core import jobs
from lora_core.errors import LoraError
from lora_core.jobs.kinds import KINDS
from lora_core.jobs.listing import OpenJobs
from lora_core.jobs.look import last_step
from lora_core.workspace import Workspace
from ui import state

_LOOK_BACK: Final = 30
"""Jobs that changed last that are looked at; older ones are not what a person did last."""

_open: Final[dict[Path, OpenJobs]] = {}
"""For each workspace, which of its jobs are known to be over. A thousand cost a look at their dates."""

_QUIET: Final = frozenset({"machine", "notify_test"})
"""Kinds that the app starts by itself or that take a moment; they are not what a person comes back for."""

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


def live(ws: Workspace) -> list[tuple[jobs.Job, jobs.Status]]:
    """The jobs of a person that wait or run, however old they are, oldest first, each with its true state."""
    found = _open.setdefault(ws.root, OpenJobs(ws)).look()
    pairs = [(job, jobs.status(ws, job.id)) for job, _ in found if job.kind not in _QUIET]
    return [(job, status) for job, status in pairs if not status.ended]


def running_job(ws: Workspace) -> tuple[jobs.Job, jobs.Status] | None:
    """The job that works now or waits to start; the oldest of them, as it is the one at work."""
    found = live(ws)
    at_work = [pair for pair in found if pair[1].active]
    free = [pair for pair in found if not held(pair[1])]
    return next(iter(at_work or free or found), None)


def held(status: jobs.Status) -> bool:
    """Whether it waits until a person releases it."""
    return status.state == "queued" and status.held


def last_ended(ws: Workspace) -> tuple[jobs.Job, jobs.Status] | None:
    """The job that ended last."""
    found = []
    for job_id in _changed_last(ws):
        try:
            job, status = jobs.get(ws, job_id), jobs.status(ws, job_id)
        except LoraError:
            continue  # no job, or one of a newer version
        if job.kind not in _QUIET and status.ended:
            found.append((job, status))
    return max(found, key=lambda pair: pair[1].end.at if pair[1].end else pair[0].created, default=None)


def _changed_last(ws: Workspace) -> list[str]:
    """Names of the job folders whose status was written last. Ids alone do not tell: an old one may go on."""
    dated = []
    for job_id in os.listdir(ws.jobs) if ws.jobs.is_dir() else ():  # noqa: PTH208  a Path for each costs more
        try:
            dated.append((os.stat(f"{ws.jobs}/{job_id}/status.json").st_mtime_ns, job_id))  # noqa: PTH116  as above
        except OSError:
            continue
    return [job_id for _, job_id in heapq.nlargest(_LOOK_BACK, dated)]


@dataclass(frozen=True, slots=True)
class Activity:
    """What goes on, in a line, and the job that it is about."""

    says: str
    job: jobs.Job | None = None
    """None while nothing runs or waits."""


IDLE: Final = Activity("Nothing is running.")
_SHORT: Final = 22
"""Letters of a name in the line; at 390 px all of it then takes two lines."""


def activity(ws: Workspace, *, paused: bool = False) -> Activity:
    """What runs, its step of how many, the time left, and what waits.

    `paused`: the line will not change by itself, so it says so instead of a time that would pass.
    """
    found = live(ws)
    at_work = [pair for pair in found if pair[1].active]
    if not found:
        return IDLE
    if at_work:
        job, status = at_work[0]
        parts = [_at_work(job, status, paused=paused)]
        parts += [_counted(len(at_work) - 1, "other job runs", "other jobs run")]
        parts += [_counted(len(found) - len(at_work), "waits", "wait")]
    else:
        first = next(iter(jobs.queue(ws)), None)
        job, status = (first.job, first.status) if first else found[0]
        parts = [f"{name_of(job, _SHORT)} waits. {first.why if first else status.message}"]
        parts += [_counted(len(found) - 1, "more waits", "more wait")]
    parts += ["Updates are paused."] if paused else []
    return Activity(" ".join(filter(None, parts)), job)


def _at_work(job: jobs.Job, status: jobs.Status, *, paused: bool) -> str:
    name = name_of(job, _SHORT)
    if status.elsewhere:
        return f"{name}: {status.message}"
    if status.state != "running":
        return f"{name} {STATE_WORDS[status.state]}."
    left = f" {time_left(status)}." if status.eta_s is not None and not paused else ""
    return f"{name}: {step_words(job, status)}.{left}"


def _counted(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}." if number else ""


def short(name: str, most: int = 44) -> str:
    """A name that fits a field on a narrow page; of a long one the start and the end, where names differ."""
    if len(name) <= most:
        return name
    end = most // 3
    return f"{name[: most - end - 1]}…{name[-end:]}"


def name_of(job: jobs.Job, most: int | None = None) -> str:
    """What a job is, such as `Training "my cat"`; a name longer than `most` is cut in its middle."""
    label = KINDS[job.kind].label if job.kind in KINDS else "Work"
    return f"{label} “{short(job.name, most) if most else job.name}”"


def sentence(job: jobs.Job, status: jobs.Status) -> str:
    """A job and its state: `Training "my cat" was stopped at 14:05.`"""
    if status.elsewhere:
        return f"{name_of(job)}: {status.message}"
    if held(status):
        return f"{name_of(job)} is held. It starts when you release it."
    at = f" {state.when(status.end.at)}" if status.end and status.end.at else ""
    # Of a time that is past: `is paused`, but `was paused at 14:05`.
    words = STATE_WORDS[status.state]
    return f"{name_of(job)} {words.replace('is ', 'was ', 1) if at else words}{at}."


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
    except (OSError, ValueError, AttributeError, RecursionError):
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
