"""Saved states of a run: which there are, which of them are complete, and from which one to go on.

Covered: finding them, telling whole from half-written and damaged, and falling back to the newest good one
when the wanted one turns out to be damaged. Not covered: what is in them; the engine writes and reads that
(the manifest that makes a state complete is `lora_core.engines.manifest`).
"""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import fsum
from pathlib import Path
from typing import Any, Final

from lora_core.engines import manifest
from lora_core.errors import EngineError, LoraError, WorkspaceError
from lora_core.workspace import write_json

_DAMAGED: Final = "damaged.json"
"""In the folder of a state whose bytes were found to be others than those that were written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SavedState:
    """A state of a run that one can go on from."""

    name: str
    """Folder inside `states/`."""
    path: Path
    step: int
    epoch: int
    saved_at: float
    """Unix time in seconds."""
    loss: float | None = None
    """Running mean of the training loss when it was saved."""
    bytes: int = 0
    """Size of all its files."""
    sound: bool = True
    """False for one that has all of its files, but was found to be damaged when it was used."""


def complete_states(folder: Path) -> list[SavedState]:
    """The states of the run in `folder` that one can go on from, newest step first.

    Half-written ones and those that were found to be damaged are left out. Hashes are read when a state is
    used, not here: that would read gigabytes at each look.
    """
    return [state for state in found_states(folder) if state.sound]


def found_states(folder: Path) -> list[SavedState]:
    """As `complete_states`, with those that were found to be damaged."""
    read = [state for entry in _entries(folder) if (state := _read(entry)) is not None]
    return sorted(read, key=lambda state: (state.step, state.saved_at), reverse=True)


def broken(folder: Path) -> list[str]:
    """Names of the states in `folder` that are only half written, or damaged; sorted.

    One that was being written when its process was killed is named, too, unless a whole one of the same name
    is there.
    """
    there = {entry.name for entry in _entries(folder)}
    whole = {state.name for state in complete_states(folder)}
    try:
        hidden = manifest.halves(entry.name for entry in (folder / "states").iterdir())
    except OSError:
        hidden = set()
    return sorted((there | hidden) - whole)


def to_go_on_from(folder: Path, wanted: Path | None, note: Callable[[str], None]) -> Path | None:
    """The state with which the run in `folder` goes on: `wanted`, else the newest good one before it.

    Every byte of it is read. What is left out is told to `note`, and a damaged state is never offered again.

    Raises:
        EngineError: `wanted` is damaged and no other one is good.
    """
    if halves := [name for name in broken(folder) if name not in _names_of_damaged(folder)]:
        which = f"The state {halves[0]} is" if len(halves) == 1 else f"The states {', '.join(halves)} are"
        note(f"{which} only half written, because the run was ended inside a save. It is not used.")
    if wanted is None or wanted.parent != folder / "states":
        return wanted  # of another run: the engine reads and judges it
    below: float = float("inf")
    chosen: Path | None = wanted
    while chosen is not None:
        if not (wrong := manifest.damage(chosen)):
            if chosen != wanted:
                note(f"The run goes on from the state {chosen.name} instead.")
            return chosen
        _mark(chosen, wrong)
        note(f"The saved state {chosen.name} is damaged and is not used. {wrong}")
        below = min(below, _step(chosen))
        others = [state for state in complete_states(folder) if state.step < below]
        chosen = others[0].path if others else None
    raise EngineError(
        "The run was not resumed.",
        why=f"The saved state {wanted.name} is damaged, and no older one is good.",
        fix="Resume it from another saved state. Without one it starts from the beginning.",
    )


def _names_of_damaged(folder: Path) -> set[str]:
    return {state.name for state in found_states(folder) if not state.sound}


def _step(path: Path) -> float:
    try:
        return float(manifest.read(path)["step"])  # type: ignore[index]  # None is caught with the rest
    except (TypeError, KeyError, ValueError, WorkspaceError):
        return float("inf")


def _mark(path: Path, why: str) -> None:
    with suppress(OSError, LoraError):  # a full or read-only disk: it is found again the next time
        write_json(path / _DAMAGED, {"format": 1, "why": why, "at": time.time()})


def _entries(folder: Path) -> list[Path]:
    try:
        entries = list((folder / "states").iterdir())
    except OSError:
        return []
    return [e for e in entries if e.name.endswith(manifest.ENDING) and not e.name.startswith(".")]


def _read(path: Path) -> SavedState | None:
    try:
        record = manifest.read(path)
        if record is None:
            return None
        return SavedState(
            name=path.name,
            path=path,
            step=int(record["step"]),
            epoch=int(record.get("epoch", 0)),
            saved_at=(path / manifest.NAME).stat().st_mtime,
            loss=_loss(record),
            bytes=manifest.size(record),
            sound=not (path / _DAMAGED).exists(),
        )
    except (OSError, WorkspaceError, KeyError, TypeError, ValueError, AttributeError):
        return None


def _loss(record: Mapping[str, Any]) -> float | None:
    if isinstance(loss := record.get("loss"), int | float):
        return float(loss)
    losses = record.get("losses")  # of a state that an older version wrote
    return fsum(losses) / len(losses) if isinstance(losses, list) and losses else None
