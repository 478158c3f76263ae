"""From a run that is done to a LoRA file that the user finds.

Covered: is the file there, newer than the start of this attempt, and sound; its place among the
finished LoRAs with a preview and a note of where it comes from. Not covered: making it.
"""

import hashlib
import os
import shutil
from itertools import count
from pathlib import Path
from typing import Any

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
    The note comes first and keeps the name for the job. So a second call for the same job completes or
    replaces what the first one left, wherever that was killed, and never puts a second file beside it.

    Raises:
        DiskFullError: there is no room; the file in the job's folder is untouched.
    """
    workspace.loras.mkdir(parents=True, exist_ok=True)
    target = _place(workspace, lora, {"format": 1, "job": job.id, "sha256": _digest(lora)})
    if (preview := latest_of_first_prompt(job.folder)) is not None:
        with replacing(target.with_suffix(".png")) as part:
            shutil.copyfile(preview, part)
    return target


def _place(workspace: Workspace, lora: Path, note: dict[str, Any]) -> Path:
    base = safe_name(lora.stem)
    for number in count(1):
        target = workspace.loras / (f"{base}.safetensors" if number == 1 else f"{base} {number}.safetensors")
        noted = target.with_suffix(".json")
        if _kept_for(target, str(note["job"])):
            write_json(noted, note)
        elif not _claim(target, note):
            continue
        try:
            if _put(lora, target):
                write_json(noted, note)  # with it the name of the LoRA is on the disk, too
                return target
        except (OSError, WorkspaceError):
            noted.unlink(missing_ok=True)
            raise
        noted.unlink(missing_ok=True)  # somebody put a file of theirs there in this moment
    raise AssertionError("count never ends")


def _kept_for(target: Path, job_id: str) -> bool:
    """Whether this name is the job's; the LoRA of an attempt before is taken away then.

    It is not when the file there is another one than was noted: somebody put it there.
    """
    try:
        noted = read_json(target.with_suffix(".json"))
    except (OSError, WorkspaceError):
        return False
    if noted.get("job") != job_id:
        return False
    if target.exists():
        if _digest(target) != noted.get("sha256"):
            return False
        about_to_write()
        target.unlink()
    return True


def _claim(target: Path, note: dict[str, Any]) -> bool:
    """Put the note there, whole from its first moment; False when the name is taken."""
    if target.exists():
        return False
    noted = target.with_suffix(".json")
    part = target.with_name(f".{note['job']}.part")
    try:
        write_json(part, note)
        try:
            os.link(part, noted)
        except FileExistsError:
            return False
        except OSError:  # a disk without links
            return _claim_without_links(part, noted)
    finally:
        part.unlink(missing_ok=True)
    return True


def _claim_without_links(part: Path, noted: Path) -> bool:
    """The same in two steps: a kill between them leaves an empty note, and the job takes the next name."""
    try:
        with noted.open("xb") as file:
            file.write(part.read_bytes())
    except FileExistsError:
        return False
    except OSError:
        noted.unlink(missing_ok=True)  # an empty note would keep the name for nobody
        raise
    return True


def _put(lora: Path, target: Path) -> bool:
    """Put the file there, whole from its first moment; False when there is one."""
    about_to_write()
    try:
        # One copy on disk. Editors here replace files and never write into them.
        os.link(lora, target)
    except FileExistsError:
        return False
    except OSError:  # a disk without links; whoever has the note has the name
        if target.exists():
            return False
        with replacing(target) as part:
            shutil.copyfile(lora, part)
    return True


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
