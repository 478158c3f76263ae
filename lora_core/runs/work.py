"""The work of jobs that train: training itself, and two steps to try; what they took is kept.

Covered: handing over to the engine, keeping the figures for estimates of later runs. Not covered: the
other kinds of jobs (see `lora_core.jobs.work`) and what is made of the figures (see `lora_core.planning`).
"""

from pathlib import Path

from lora_core.errors import LoraError
from lora_core.jobs import work
from lora_core.jobs.kinds import Task
from lora_core.jobs.look import engine_lock
from lora_core.planning import recorded
from lora_core.runs import smoke as two_steps


def train(task: Task) -> Path:
    """As `lora_core.jobs.work.train`; what it took is kept, which is a help: nothing fails for lack of it."""
    lora = work.train(task)
    try:
        recorded.remember(task.workspace, task.job, started=_started_s(task))
    except (OSError, LoraError) as error:
        task.reporter.note(f"What this run took was not kept for later estimates: {error}")
    return lora


def smoke(task: Task) -> None:
    """Two real steps; what they took is kept, and nothing else."""
    two_steps.try_out(task, started=_started_s(task))


def _started_s(task: Task) -> float:
    """When the job's process began, in Unix time."""
    return engine_lock(task.job.folder).with_suffix(".json").stat().st_mtime_ns / 1e9
