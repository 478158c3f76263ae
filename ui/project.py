"""The project that is open, and the run that it stands for.

Covered: which project is open (kept in `settings.toml`), one that nobody has named yet, datasets whose
pictures lie in several folders. Not covered: the project's file (`lora_core.projects`) and the form
(`ui/run_form.py`).
"""

from pathlib import Path
from typing import Any, Final

from lora_core import projects, settings
from lora_core.datasets.images import SUFFIXES
from lora_core.projects import IMAGES, MODEL, TRIGGER, Project
from lora_core.settings import RunConfig
from lora_core.workspace import Workspace
from ui import state

NAME: Final = "output_name"
NEW: Final = "My LoRA"
"""Name of the project of somebody who has not made one."""

__all__ = ["IMAGES", "MODEL", "NAME", "TRIGGER", "Project"]


def open_one(ws: Workspace) -> Project | None:
    """The project that was opened last; if that is gone, the one that was changed last.

    Raises:
        WorkspaceError: its file cannot be read.
        FileTooNewError: a newer version of the app wrote it.
    """
    chosen = state.opened(ws)
    known = projects.names(ws)
    if chosen not in known:
        newest = sorted(known, key=lambda name: projects.path_of(ws, name).stat().st_mtime)
        chosen = newest[-1] if newest else None
    return projects.load(ws, chosen) if chosen else None


def open_or_new(ws: Workspace, name: str = NEW) -> Project:
    """The project of this name, or one that has no file until something in it is saved."""
    return projects.load(ws, name) if name in projects.names(ws) else Project(name=name)


def save(ws: Workspace, project: Project) -> None:
    """Write the project and make it the open one."""
    projects.save(ws, project)
    state.open_named(ws, project.name)


def make(ws: Workspace) -> Project:
    """A new project, open from now on."""
    project = projects.create(ws, NEW)
    state.open_named(ws, project.name)
    return project


def run_of(project: Project) -> RunConfig:
    """The run that the project stands for; a dataset of several folders has a subset for each.

    Raises:
        SettingsError: something is not chosen yet, or does not fit; every problem is listed.
    """
    run = projects.run_of(project)
    dataset = run.dataset.datasets[0]
    subset = dataset.subsets[0]
    folders = folders_of(subset.image_dir)
    if len(folders) <= 1:
        return run
    subsets = tuple(subset.model_copy(update={"image_dir": folder}) for folder in folders)
    whole = dataset.model_copy(update={"subsets": subsets})
    return run.model_copy(update={"dataset": settings.DatasetFile(datasets=(whole,))})


def folders_of(dataset: Path) -> list[Path]:
    """The folders that hold a dataset's pictures: itself, or those in it when it has none of its own."""
    try:
        entries = sorted(entry for entry in dataset.iterdir() if not entry.name.startswith("."))
    except OSError:
        return [dataset]  # the check of the run says what is wrong with it
    if any(entry.is_file() and entry.suffix.lower() in SUFFIXES for entry in entries):
        return [dataset]
    return [entry for entry in entries if entry.is_dir()] or [dataset]


def of_run(name: str, run: RunConfig) -> Project:
    """The project that stands for `run`; of several folders in one dataset, the dataset."""
    dataset = run.dataset.datasets[0]
    first = dataset.subsets[0]
    if len(dataset.subsets) > 1:
        first = first.model_copy(update={"image_dir": Path(first.image_dir).parent})
        dataset = dataset.model_copy(update={"subsets": (first,)})
        run = run.model_copy(update={"dataset": settings.DatasetFile(datasets=(dataset,))})
    values: dict[str, Any] = projects.values_of(run)
    return Project(name=name, values=values)


def saved_at(ws: Workspace, name: str) -> float | None:
    """Unix time of the last change; None while it has no file."""
    try:
        return projects.path_of(ws, name).stat().st_mtime
    except FileNotFoundError:
        return None
