"""Saved states of a run: which there are, and which of them are complete.

Covered: finding them and telling whole from half-written. Not covered: what is in them; the
engine writes and reads that.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lora_core.errors import WorkspaceError
from lora_core.workspace import read_json

RECORD: Final = "train_state.json"
"""Written last, so that a folder without it is half-written."""
MANIFEST: Final = "manifest.json"
"""Where an engine writes one: `{"files": {name: {"size": …}}}`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SavedState:
    """A complete state of a run that one can go on from."""

    name: str
    """Folder inside `states/`."""
    path: Path
    step: int
    epoch: int
    saved_at: float
    """Unix time in seconds."""


def complete_states(folder: Path) -> list[SavedState]:
    """The complete states of the run in `folder`, newest step first; half-written ones are left out."""
    try:
        found = [entry for entry in (folder / "states").iterdir() if entry.name.endswith("-state")]
    except OSError:
        return []
    read = [state for entry in found if (state := _read(entry)) is not None]
    return sorted(read, key=lambda state: (state.step, state.saved_at), reverse=True)


def _read(path: Path) -> SavedState | None:
    try:
        record = read_json(path / RECORD)
        step, epoch = int(record["current_step"]), int(record.get("current_epoch", 0))
        saved_at = (path / RECORD).stat().st_mtime
        if not _as_listed(path):
            return None
    except (OSError, WorkspaceError, KeyError, TypeError, ValueError):
        return None
    return SavedState(name=path.name, path=path, step=step, epoch=epoch, saved_at=saved_at)


def _as_listed(path: Path) -> bool:
    """True when every file of the manifest is there in its full size; without one, True."""
    try:
        files = json.loads((path / MANIFEST).read_text("utf-8"))["files"]
    except FileNotFoundError:
        return True
    return all((path / name).stat().st_size == facts["size"] for name, facts in files.items())
