"""The finished LoRA files of a workspace, with what belongs to each.

Covered: listing them, newest first, with preview, the job they came from, and what is wrong with a
file that cannot be read. Not covered: putting them there (see `lora_core.jobs`), changing them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lora_core.errors import LoraFileError, WorkspaceError
from lora_core.loras.info import LoraInfo, inspect
from lora_core.workspace import Workspace, read_json

_PICTURES: Final = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True, kw_only=True, slots=True)
class FinishedLora:
    """One file in the folder of finished LoRAs."""

    path: Path
    modified: float
    """Unix time in seconds."""
    size_bytes: int
    preview: Path | None
    """The picture beside it with the same name."""
    job: str | None
    """Id of the run that made it, as the note beside it says."""
    info: LoraInfo | None
    """None when the file cannot be read."""
    problem: LoraFileError | None
    """Why it cannot be read."""

    @property
    def name(self) -> str:
        return self.path.stem


def list_finished(workspace: Workspace) -> list[FinishedLora]:
    """Every LoRA file of the workspace, the newest first; a damaged one is listed with its problem."""
    found = []
    for path in workspace.loras.glob("*.safetensors"):
        if path.name.startswith("."):
            continue
        try:
            facts = path.stat()
        except OSError:  # removed since the folder was listed
            continue
        info, problem = _read(path)
        found.append(
            FinishedLora(
                path=path,
                modified=facts.st_mtime,
                size_bytes=facts.st_size,
                preview=next((p for p in map(path.with_suffix, _PICTURES) if p.is_file()), None),
                job=_job(path),
                info=info,
                problem=problem,
            )
        )
    return sorted(found, key=lambda lora: (-lora.modified, lora.path.name))


def _read(path: Path) -> tuple[LoraInfo | None, LoraFileError | None]:
    try:
        return inspect(path), None
    except LoraFileError as error:
        return None, error


def _job(path: Path) -> str | None:
    try:
        job = read_json(path.with_suffix(".json")).get("job")
    except (OSError, WorkspaceError):
        return None
    return job if isinstance(job, str) else None
