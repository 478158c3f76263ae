"""The work of jobs about runs: training, two steps to try, and writing a run as a zip.

Covered: handing over to the engine, keeping the figures for estimates of later runs; writing a run as a
zip. Not covered: the other kinds of jobs (see `lora_core.jobs.work`), and what is made of the figures (see
`lora_core.planning`).
"""

from pathlib import Path

from lora_core.errors import LoraError
from lora_core.jobs import work
from lora_core.jobs.kinds import Task
from lora_core.jobs.look import engine_lock
from lora_core.planning import recorded
from lora_core.reporting import Ended, Progress
from lora_core.runs import ladder, moved
from lora_core.runs import smoke as two_steps
from lora_core.runs.export import EXPORTS, export_run_zip
from lora_core.settings import CONFIG_NAME, load_run
from lora_core.workspace import safe_name


def train(task: Task) -> Path:
    """As `lora_core.jobs.work.train`; what it took is kept, which is a help: nothing fails for lack of it."""
    ladder.finish_begun(task.job)  # else it could train with one half of a change
    if said := moved.follow(task.workspace, task.job):
        task.reporter.note(said)
    lora = work.train(task)
    try:
        recorded.remember(task.workspace, task.job, started=_started_s(task))
    except (OSError, LoraError) as error:
        task.reporter.note(f"What this training took was not kept for later estimates: {error}")
    return lora


def smoke(task: Task) -> None:
    """Two real steps; what they took is kept, and nothing else."""
    two_steps.try_out(task, started=_started_s(task))


def export(task: Task) -> Path:
    """Write the run of this job's own files as a zip; what is to be known about it becomes notes."""
    run = load_run(task.job.folder / CONFIG_NAME)
    params = task.job.params
    path = task.workspace.root / EXPORTS / f"{safe_name(task.job.name)}.zip"

    def told(done: int, total: int) -> None:
        if request := task.reporter.request():
            raise Ended(request, step=done)
        task.reporter.progress(Progress(step=done, total=total))

    family, images = str(params.get("family", "sd15")), bool(params.get("images", True))
    for note in export_run_zip(run, path, family=family, images=images, told=told).notes:
        task.reporter.note(note)
    return path


def _started_s(task: Task) -> float:
    """When the job's process began, in Unix time."""
    return engine_lock(task.job.folder).with_suffix(".json").stat().st_mtime_ns / 1e9
