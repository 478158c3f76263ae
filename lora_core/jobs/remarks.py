"""What the supervisor remarks about a run, beside the status that the run itself writes.

Covered: adding a remark, the stall that goes on, showing both with the run's own notes. Not covered: what is
worth a remark (watchers.py).

A running job is the only writer of its status.json, so what the runner has to say about it stands in a file
of its own, `remarks.json`. Whoever looks at the job sees both.
"""

import os
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from lora_core.errors import WorkspaceError
from lora_core.jobs.records import NOTES_KEPT, Status, noted
from lora_core.workspace import read_json, write_json

NAME: Final = "remarks.json"
KEPT: Final = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Stall:
    """A run makes no more steps."""

    attempt: int
    phase: str
    step: int
    text: str
    """The sentence for the user."""
    quiet_s: float
    """How long it had been without a step, in seconds."""


def add(folder: Path, text: str, *, stall: Stall | None = None) -> None:
    """Keep a remark behind those that are there, and whether the run is stalled now; the runner's alone.

    Raises:
        OSError, WorkspaceError: it could not be written.
    """
    said = [*_entries(_record(folder)), {"at": time.time(), "text": text}][-KEPT:]
    write_json(folder / NAME, {"format": 1, "remarks": said, "stall": asdict(stall) if stall else None})


def stall_of(folder: Path) -> Stall | None:
    """The stall that was remarked and not taken back."""
    return _stall(_record(folder)) if os.path.exists(folder / NAME) else None  # noqa: PTH110  asked each second


def told(folder: Path, seen: Status) -> Status:
    """`seen` with the remarks among its notes; costs 2 µs where there are none."""
    if not os.path.exists(folder / NAME):  # noqa: PTH110  pages look at each job once a second
        return seen
    record = _record(folder)
    said = [entry["text"] for entry in _entries(record)]
    full = noted(replace(seen, notes=seen.notes[-(NOTES_KEPT - KEPT) :]), *said)
    stall = _stall(record)
    if stall and seen.state == "running" and (stall.attempt, stall.step) == (seen.attempt, seen.step):
        return replace(full, message=stall.text)
    return full


def _record(folder: Path) -> dict[str, Any]:
    try:
        return read_json(folder / NAME)
    except (OSError, WorkspaceError):
        return {}


def _stall(record: dict[str, Any]) -> Stall | None:
    try:
        found = record["stall"]
        return Stall(
            attempt=int(found["attempt"]),
            phase=str(found["phase"]),
            step=int(found["step"]),
            text=str(found["text"]),
            quiet_s=float(found["quiet_s"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _entries(record: dict[str, Any]) -> list[dict[str, Any]]:
    found = record.get("remarks")
    if not isinstance(found, list):
        return []
    return [entry for entry in found if isinstance(entry, dict) and isinstance(entry.get("text"), str)]
