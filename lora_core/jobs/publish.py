"""From a run that is done to a LoRA file that the user finds.

Covered: is the file there, newer than the start of this attempt, and sound; its place among the
finished LoRAs with a preview and a note of where it comes from. Not covered: making it.
"""

import hashlib
import os
import shutil
from itertools import count
from pathlib import Path

from lora_core.errors import EngineError, WorkspaceError
from lora_core.jobs.records import Job
from lora_core.jobs.samples import latest_of_first_prompt
from lora_core.loras import check_sound
from lora_core.workspace import Workspace, about_to_write, read_json, replacing, safe_name, write_json


def check_made(lora: Path, *, not_before_ns: int) -> None:
    """See to it that the LoRA file is there, is of this attempt, and is sound.

    `not_before_ns` is the time of a file that this attempt wrote first, so that both times come
    from the same clock.

    Raises:
        EngineError: there is none, or it is older than the attempt.
        LoraFileError: it is not sound.
    """
    try:
        written_ns = lora.stat().st_mtime_ns
    except FileNotFoundError as error:
        raise EngineError(
            "The run ended without its LoRA file.",
            why=f"There is no {lora.name} in its checkpoints.",
            fix="Read the log. Resume the run from its last saved state.",
        ) from error
    if written_ns < not_before_ns:
        raise EngineError(
            "The run ended without writing its LoRA file anew.",
            why=f"{lora.name} is older than the start of this attempt.",
            fix="Read the log. Resume the run from its last saved state.",
        )
    check_sound(lora)


def publish(workspace: Workspace, job: Job, lora: Path) -> Path:
    """Put `lora` among the finished LoRAs under a free name; returns where.

    Beside it: NAME.json (the job, the hash) and NAME.png (the newest sample of the first prompt).
    A second call for the same job takes the place of the first.

    Raises:
        DiskFullError: there is no room; the file in the job's folder is untouched.
    """
    workspace.loras.mkdir(parents=True, exist_ok=True)
    target = _place(workspace, job, lora)
    with lora.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    write_json(target.with_suffix(".json"), {"format": 1, "job": job.id, "sha256": digest})
    if (preview := latest_of_first_prompt(job.folder)) is not None:
        with replacing(target.with_suffix(".png")) as part:
            shutil.copyfile(preview, part)
    return target


def _place(workspace: Workspace, job: Job, lora: Path) -> Path:
    about_to_write()
    base = safe_name(lora.stem)
    for number in count(1):
        target = workspace.loras / (f"{base}.safetensors" if number == 1 else f"{base} {number}.safetensors")
        if target.exists() and _job_of(target) == job.id:
            target.unlink()  # of an attempt that ended between this step and its last word
        try:
            # One copy on disk. Editors here replace files and never write into them.
            os.link(lora, target)
        except FileExistsError:
            continue
        except OSError:
            if not _claim(target):
                continue
            try:
                with replacing(target) as part:
                    shutil.copyfile(lora, part)
            except (OSError, WorkspaceError):
                target.unlink(missing_ok=True)  # an empty file would look like a finished LoRA
                raise
        return target
    raise AssertionError("count never ends")


def _claim(target: Path) -> bool:
    """Make `target` empty if it is not there, where links do not exist; False when it is."""
    try:
        target.open("xb").close()
    except FileExistsError:
        return False
    return True


def _job_of(target: Path) -> str | None:
    try:
        return str(read_json(target.with_suffix(".json")).get("job"))
    except (OSError, WorkspaceError):
        return None
