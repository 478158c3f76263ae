"""What lists and pages tell about runs: facts of one, its samples with their prompts.

Covered: the facts of a run for a list, its saved LoRA files, its samples. Not covered: curves
(metrics.py) and the state of other jobs (see `lora_core.jobs`).
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lora_core import jobs
from lora_core.jobs import Job, Status
from lora_core.jobs.samples import Sample, latest_of_first_prompt, samples
from lora_core.settings import PROMPTS_NAME, RunConfig, load_run
from lora_core.workspace import Workspace

# sd-scripts at 48d368f: NAME-000003.safetensors after an epoch, NAME-step00000400.safetensors.
_CHECKPOINT: Final = re.compile(r"^(?P<name>.+?)(?:-(?P<epoch>\d{6})|-step(?P<step>\d{8}))?\.safetensors$")


@dataclass(frozen=True, kw_only=True, slots=True)
class RunFacts:
    """One run in a list."""

    job: Job
    status: Status
    started_at: float
    """Unix time in seconds when it was asked for."""
    ended_at: float | None
    loss: float | None
    """Running mean at its last report."""
    lora: Path | None
    """The finished LoRA file; None unless it finished and the file is still there."""
    preview: Path | None
    """Newest sample of the first prompt."""


def describe(workspace: Workspace, job: Job) -> RunFacts:
    """The facts of a run as they are now."""
    status = jobs.status(workspace, job.id)
    result = workspace.absolute(status.end.result) if status.end and status.end.result else None
    return RunFacts(
        job=job,
        status=status,
        started_at=job.created,
        ended_at=status.end.at if status.end else None,
        loss=status.loss,
        lora=result if result is not None and result.is_file() else None,
        preview=latest_of_first_prompt(job.folder),
    )


def runs(workspace: Workspace, *, limit: int | None = None) -> list[Job]:
    """The training runs of this workspace, newest first."""
    return jobs.jobs(workspace, kind="train", limit=limit)


def settings_of(job: Job) -> RunConfig:
    """What a run was started with, read from its frozen files.

    Raises:
        SettingsError: the files were changed and no longer fit.
    """
    return load_run(job.folder / "config.toml", job.folder / "dataset.toml")


def prompts_of(job: Job) -> list[str]:
    """The sample prompts of a run, by index, as they stand in its file (flags included)."""
    try:
        lines = (job.folder / PROMPTS_NAME).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def samples_of(job: Job) -> list[Sample]:
    """The sample pictures of a run, oldest first, prompts in order."""
    return samples(job.folder)


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A LoRA file that a run saved on its way, or at its end."""

    path: Path
    step: int | None
    epoch: int | None
    """Neither step nor epoch: it is the final one."""
    saved_at: float
    size_bytes: int


def checkpoints_of(job: Job) -> list[Checkpoint]:
    """The LoRA files in a run's own folder, oldest first."""
    found = []
    for path in (job.folder / "checkpoints").glob("*.safetensors"):
        match = _CHECKPOINT.match(path.name)
        try:
            facts = path.stat()
        except OSError:
            continue  # the engine has just removed an old one
        if match is not None and not path.name.startswith("."):
            step, epoch = match["step"], match["epoch"]
            found.append(
                Checkpoint(
                    path=path,
                    step=int(step) if step else None,
                    epoch=int(epoch) if epoch else None,
                    saved_at=facts.st_mtime,
                    size_bytes=facts.st_size,
                )
            )
    return sorted(found, key=lambda checkpoint: (checkpoint.saved_at, checkpoint.path.name))
