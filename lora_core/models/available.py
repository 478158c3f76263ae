"""Which base models there are to choose from: the bundled one and those in the workspace.

Covered: listing, also those that cannot be used, with the reason. Not covered: downloads.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lora_core.errors import ModelError
from lora_core.models.base import BaseModel, inspect_base
from lora_core.workspace import APP_ROOT, Workspace

DEMO_BASE: Final = APP_ROOT / "lora_core" / "demo" / "base"
DEMO_NAME: Final = "Demo base (tiny, 64 pixels)"


@dataclass(frozen=True, slots=True)
class FoundBase:
    """Something in the folder of base models; one of `base` and `problem` is None."""

    path: Path
    base: BaseModel | None
    problem: ModelError | None


def look_for_bases(workspace: Workspace) -> list[FoundBase]:
    """The bundled demo base if it is there, then all models of the workspace by name."""
    bundled = [_look(DEMO_BASE, DEMO_NAME)] if DEMO_BASE.is_dir() else []
    try:
        own = sorted(workspace.checkpoints.iterdir(), key=lambda path: path.name.casefold())
    except OSError:  # there is no such folder yet
        own = []
    return [*bundled, *(_look(path, None) for path in own if not path.name.startswith("."))]


def list_bases(workspace: Workspace) -> list[BaseModel]:
    """The base models that a run can be started with."""
    return [found.base for found in look_for_bases(workspace) if found.base is not None]


def _look(path: Path, name: str | None) -> FoundBase:
    try:
        return FoundBase(path, inspect_base(path, name=name), None)
    except ModelError as error:
        return FoundBase(path, None, error)
