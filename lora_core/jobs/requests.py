"""What a running job is asked for, as files in its folder: stop, pause, save, sample.

Covered: asking, looking, taking a request back out. Not covered: who answers (reporter.py in the
job's process) and what happens when nobody does (runner.py).
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from uuid import uuid4

from lora_core.errors import WorkspaceError
from lora_core.jobs import fields
from lora_core.workspace import read_json, replace_open

Name = Literal["stop", "pause", "save", "sample"]
LONGEST_GRACE_S: Final = 3600.0
NAMES: Final[tuple[Name, ...]] = ("stop", "pause", "save", "sample")


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """A request to end."""

    name: Literal["stop", "pause"]
    at: float
    """Unix time in seconds."""
    grace_s: float
    """How long the work may take to end by itself."""
    force: bool
    """True when it should end now, saved or not."""


def path_of(folder: Path, name: Name) -> Path:
    return folder / "requests" / f"{name}.json"


def ask(folder: Path, name: Name, *, grace_s: float = 0.0, force: bool = False) -> None:
    """Write the request; a second one of the same name replaces the first."""
    record: Mapping[str, object] = {"format": 1, "at": time.time(), "grace_s": grace_s, "force": force}
    path = path_of(folder, name)
    path.parent.mkdir(exist_ok=True)
    part = path.with_name(f".{name}.{uuid4().hex}.part")
    try:
        part.write_text(json.dumps(record), "utf-8")
        replace_open(part, path)
    finally:
        part.unlink(missing_ok=True)


def pending(folder: Path) -> Ask | None:
    """The request to end that counts; a stop overrules a pause. Rubbish in the file still asks."""
    for name in ("stop", "pause"):
        path = path_of(folder, name)
        try:
            written = path.stat().st_mtime
        except OSError:
            continue
        try:
            record = read_json(path)
        except (OSError, WorkspaceError):
            record = {}
        grace_s = fields.finite(record, "grace_s") or 0.0
        return Ask(
            name="stop" if name == "stop" else "pause",
            at=fields.moment(record, "at") or written,
            grace_s=grace_s if 0.0 <= grace_s <= LONGEST_GRACE_S else 0.0,  # or it would never be insisted on
            force=record.get("force") is True,
        )
    return None


def take(folder: Path, name: Name) -> bool:
    """Remove the request; True when there was one."""
    try:
        path_of(folder, name).unlink()
    except FileNotFoundError:
        return False
    return True


def clear(folder: Path) -> None:
    """Remove all requests: they were meant for an attempt that is over."""
    for name in NAMES:
        take(folder, name)
