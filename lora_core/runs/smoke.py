"""A smoke run: two real steps with the real settings, to see what a run will take.

Covered: queueing it as a job of its own kind, so that it never stands among trainings or LoRAs; ending
it after two steps; keeping what they took and nothing else. Not covered: what is made of the figures
(see `lora_core.planning`). Samples are not drawn and no picture is held back for tests: both would take
minutes where a machine is slow.
"""

import shutil
from pathlib import Path
from typing import Final, Literal

from lora_core import engines, jobs
from lora_core.errors import SettingsError
from lora_core.jobs import Job
from lora_core.jobs.kinds import Task
from lora_core.planning import recorded
from lora_core.reporting import Ended, Progress, Reporter, Request
from lora_core.settings import RunConfig, run_files, with_values
from lora_core.workspace import Workspace

KIND: Final = "smoke"
STEPS: Final = 2
_LEFT_BEHIND: Final = ("checkpoints", "states", "samples", "tensorboard")
_WITHOUT: Final = {
    "sample_prompts": None,
    "sample_every_n_epochs": None,
    "sample_every_n_steps": None,
    "sample_at_first": False,
    "save_every_n_epochs": None,
    "save_every_n_steps": None,
    "save_state": False,
    "save_state_on_train_end": False,
    "resume": None,
    "validate_every_n_epochs": None,
    "validate_every_n_steps": None,
    "max_validation_steps": None,
    "cache_text_encoder_outputs_to_disk": False,
}
"""What a smoke run leaves out: none of it is part of a step."""


def start_smoke(
    workspace: Workspace, run: RunConfig, *, engine: str = "diffusers", project: str | None = None
) -> Job:
    """Queue two steps of `run`; `planning.estimate` knows what they took once the job has finished.

    Raises:
        SettingsError: the engine would refuse it; every problem is listed and nothing was made.
        JobError, DiskFullError, WorkspaceError: as `jobs.create`.
    """
    tried = _shortened(run)
    problems = [problem for problem in engines.get(engine).check(tried) if problem.severity == "error"]
    if problems:
        raise SettingsError(problems, what="The two steps were not tried.")
    files = run_files(tried)
    return jobs.create(workspace, KIND, run.saving.output_name, engine=engine, files=files, project=project)


def _shortened(run: RunConfig) -> RunConfig:
    """`run` without all that is no part of a step; its length stays, because the rate depends on it."""
    values = dict(_WITHOUT)
    if run.precision.cache_latents_to_disk:  # the same work, and nothing is left on the disk
        values |= {"cache_latents_to_disk": False, "cache_latents": True}
    return with_values(run, values)


class _TwoSteps:
    """Passes on what is heard, and asks the engine to end after two steps."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter, self._done, self._training = reporter, 0, False

    def phase(self, text: str) -> None:
        self._training = text == "Training" or (self._training and text == "Saving")
        self._reporter.phase(text)

    def progress(self, progress: Progress) -> None:
        if self._training:  # before that, pictures are counted
            self._done = progress.step
            self._reporter.progress(Progress(step=min(STEPS, progress.step), total=STEPS))

    @property
    def enough(self) -> bool:
        return self._done >= STEPS

    def request(self) -> Request | None:
        return self._reporter.request() or ("stop" if self.enough else None)

    def take(self, name: Literal["save", "sample"]) -> bool:
        del name
        return False

    def saved(self, path: Path, step: int) -> None:
        del path, step  # it is removed at the end

    def note(self, text: str) -> None:
        self._reporter.note(text)


def try_out(task: Task, *, started: float) -> None:
    """Do the two steps of a smoke job; `started` is when its process began, in Unix time.

    Raises:
        Ended: a user asked for it before two steps were done.
        LoraError: the run could not start, or a step failed.
    """
    reporter = _TwoSteps(task.reporter)
    try:
        engines.get(task.job.engine or "diffusers").train(task.job.folder, reporter)
    except Ended:
        if not reporter.enough:
            raise
    else:  # a run of fewer steps than two, which has ended by itself
        pass
    finally:
        for name in _LEFT_BEHIND:
            shutil.rmtree(task.job.folder / name, ignore_errors=True)
    recorded.remember(task.workspace, task.job, started=started)
