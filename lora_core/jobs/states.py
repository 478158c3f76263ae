"""Saved states of a run: which there are, and which of them are complete.

Covered: finding them and telling whole from half-written. Not covered: what is in them; the
engine writes and reads that.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_core.errors import WorkspaceError
from lora_core.workspace import read_json


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
        record, saved_at = _record(path)
        state = SavedState(
            name=path.name,
            path=path,
            step=int(record.get("step", record.get("current_step"))),
            epoch=int(record.get("epoch", record.get("current_epoch", 0))),
            saved_at=saved_at,
        )
        return state if _all_there(path, record.get("files", {})) else None
    except (OSError, WorkspaceError, KeyError, TypeError, ValueError, AttributeError):
        return None


def _record(path: Path) -> tuple[Mapping[str, Any], float]:
    """The state's own record: the built-in engine's, else that of sd-scripts."""
    own = path / "state.json"
    chosen = own if own.exists() else path / "train_state.json"
    return read_json(chosen), chosen.stat().st_mtime


def _all_there(path: Path, files: Mapping[str, Mapping[str, int]]) -> bool:
    """True when every listed file is there in its full size; hashes are checked when it is used."""
    return all((path / name).stat().st_size == facts["bytes"] for name, facts in files.items())
