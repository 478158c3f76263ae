"""Zips that a page was given, until they are imported.

Covered: where they lie, under which name, when they go. Not covered: importing (`datasets/importing.py`).
"""

import shutil
import time
from pathlib import Path
from typing import Final
from uuid import uuid4

from lora_core.workspace import Workspace, safe_name

KEPT_S: Final = 7 * 24 * 3600.0
"""How long what nobody imported, or nobody went on with, is kept."""


def uploads(workspace: Workspace) -> Path:
    """Where a page puts an uploaded zip until it is imported."""
    return workspace.datasets / ".uploads"


def new_upload(workspace: Workspace, name: str = "pictures.zip") -> Path:
    """A path for an uploaded zip, under its own name. Uploads that nobody imported for a week are removed."""
    folder = uploads(workspace)
    for old in folder.glob("*"):
        if time.time() - old.stat().st_mtime > KEPT_S:
            shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
    place = folder / uuid4().hex
    place.mkdir(parents=True)
    return place / f"{safe_name(Path(name).stem)}.zip"


def drop_upload(workspace: Workspace, path: Path) -> None:
    """Remove an uploaded zip; a file of the user's own is left alone."""
    if path.parent.parent == uploads(workspace):
        shutil.rmtree(path.parent, ignore_errors=True)
