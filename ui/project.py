"""The project that is open, and the run that it stands for.

Covered: which project is open (kept in `settings.toml`), one that nobody has named yet, datasets whose
pictures lie in several folders. Not covered: the project's file (`lora_core.projects`) and the form
(`ui/guide.py`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from lora_core import projects, settings
from lora_core.datasets.library import picture_folders
from lora_core.projects import IMAGES, MODEL, REPEATS, TRIGGER, Project
from lora_core.settings import RunConfig, SubsetSettings
from lora_core.workspace import Workspace
from ui import state

NAME: Final = "output_name"
NEW: Final = "My LoRA"
"""Name of the project of somebody who has not made one."""

__all__ = ["IMAGES", "MODEL", "NAME", "REPEATS", "TRIGGER", "Project"]


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
    return projects.load_or_new(ws, name)


def save(ws: Workspace, project: Project, *, what: str = "") -> Project:
    """Write what was changed in the project and make it the open one; `what` names the step for undo."""
    if what and saved_at(ws, project.name) is None:
        projects.save(ws, Project(name=project.name))  # so that the first step can be taken back, too
    saved = projects.save(ws, project, what=what)
    state.open_named(ws, saved.name)
    return saved


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
    folders = picture_folders(subset.image_dir)
    if len(folders) <= 1:
        return run
    return _with_subsets(
        run,
        [
            subset.model_copy(update={"image_dir": folder, REPEATS: project.repeats_of(folder)})
            for folder in folders
        ],
    )


def _with_subsets(run: RunConfig, subsets: Sequence[SubsetSettings]) -> RunConfig:
    """`run` with these folders in its first dataset."""
    first, *rest = run.dataset.datasets
    whole = first.model_copy(update={"subsets": tuple(subsets)})
    return run.model_copy(update={"dataset": settings.DatasetFile(datasets=(whole, *rest))})


def of_run(name: str, run: RunConfig) -> Project:
    """The project that stands for `run`: `run_of` gives the same run again.

    Raises:
        SettingsError: its folders are not those of one dataset, or differ in more than their repeats.
    """
    subsets = run.dataset.datasets[0].subsets
    dataset = Path(subsets[0].image_dir).parent
    if len(subsets) == 1 or [subset.image_dir for subset in subsets] != picture_folders(dataset):
        return Project(name=name, values=projects.values_of(run))
    start = settings.setting(REPEATS).default
    alike = [subset.model_copy(update={"image_dir": dataset, REPEATS: start}) for subset in subsets]
    if any(subset != alike[0] for subset in alike):
        return Project(name=name, values=projects.values_of(run))
    made = Project(name=name, values=projects.values_of(_with_subsets(run, alike[:1])))
    for subset in subsets:
        made = projects.with_repeats(made, subset.image_dir, subset.num_repeats)
    return made


def saved_at(ws: Workspace, name: str) -> float | None:
    """Unix time of the last change; None while it has no file."""
    try:
        return projects.path_of(ws, name).stat().st_mtime
    except FileNotFoundError:
        return None
