"""The project that is open: what is being made, saved at once whenever something is changed.

Covered: the file `projects/NAME.toml`, which project is open, and the run that it stands for. Not covered:
the form (see `ui/run_form.py`) and whether the run can start (see `lora_core.planning`).

The file holds settings by the names that sd-scripts gives them, and only those that differ from the start
values. So a better start value of a later version reaches a project that never touched it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import toml

from lora_core import settings
from lora_core.datasets.images import SUFFIXES
from lora_core.errors import FileTooNewError, Problem, SettingsError, WorkspaceError
from lora_core.settings import RunConfig
from lora_core.workspace import Workspace, safe_name, write_atomic
from ui import state

FORMAT: Final = 1
MODEL: Final = "pretrained_model_name_or_path"
IMAGES: Final = "image_dir"
NAME: Final = "output_name"
TRIGGER: Final = "metadata_trigger_phrase"
NEW: Final = "My LoRA"
"""Name of the project of somebody who has not made one."""
_NOWHERE: Final = Path("not chosen yet")


@dataclass(frozen=True, kw_only=True, slots=True)
class Project:
    """One LoRA being made."""

    name: str
    values: Mapping[str, Any] = field(default_factory=dict)
    """Settings that were changed, by key; None for one that was emptied."""
    folders: tuple[Mapping[str, Any], ...] = ()
    """For a dataset of several folders: what each has of its own, its `image_dir` among it."""
    engine: str = settings.BUILT_IN

    def value(self, key: str) -> Any:
        """The setting as it is now: as it was changed, else its start value."""
        return self.values[key] if key in self.values else settings.setting(key).default


def names(ws: Workspace) -> list[str]:
    """All projects, by name."""
    return sorted(path.stem for path in ws.projects.glob("*.toml") if not path.name.startswith("."))


def open_one(ws: Workspace) -> Project | None:
    """The project that was opened last; if that is gone, the one that was changed last.

    Raises:
        WorkspaceError: its file cannot be read.
        FileTooNewError: a newer version of the app wrote it.
    """
    chosen = state.opened(ws)
    known = names(ws)
    if chosen not in known:
        newest = sorted(known, key=lambda name: _path(ws, name).stat().st_mtime)
        chosen = newest[-1] if newest else None
    return load(ws, chosen) if chosen else None


def open_or_new(ws: Workspace, name: str = NEW) -> Project:
    """The project of this name, or one that has no file until something in it is saved."""
    return load(ws, name) if name in names(ws) else Project(name=name)


def load(ws: Workspace, name: str) -> Project:
    """The project of this name.

    Raises:
        WorkspaceError: there is no such file, or it cannot be read.
        FileTooNewError: a newer version of the app wrote it.
    """
    path = _path(ws, name)
    try:
        record = toml.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, toml.TomlDecodeError) as error:
        raise WorkspaceError(
            f"The project {name} could not be opened.",
            why=f"Its file could not be read: {error}.",
            fix=f"Restore the file from a backup, or remove it: {path}",
        ) from error
    if int(record.get("format", 1)) > FORMAT:
        raise FileTooNewError(path.name, int(record["format"]), FORMAT)
    emptied = dict.fromkeys(record.get("left_empty", []))
    return Project(
        name=name,
        values={**record.get("settings", {}), **emptied},
        folders=tuple(record.get("folders", [])),
        engine=str(record.get("engine", settings.BUILT_IN)),
    )


def save(ws: Workspace, project: Project) -> None:
    """Write the project and make it the open one."""
    given = {key: _plain(value) for key, value in project.values.items() if value is not None}
    record = {
        "format": FORMAT,
        "engine": project.engine,
        "left_empty": [key for key, value in project.values.items() if value is None],
        "settings": given,
        "folders": [{key: _plain(value) for key, value in folder.items()} for folder in project.folders],
    }
    write_atomic(_path(ws, project.name), toml.dumps(record))
    state.open_named(ws, project.name)


def create(ws: Workspace, wanted: str, values: Mapping[str, Any]) -> Project:
    """A new project, open from now on; a number is put behind the name if it is taken."""
    taken = {name.casefold() for name in names(ws)}
    name, count = safe_name(wanted), 1
    while name.casefold() in taken:
        count += 1
        name = f"{safe_name(wanted)} {count}"
    project = Project(name=name, values=dict(values))
    save(ws, project)
    return project


def with_value(project: Project, key: str, value: Any) -> Project:
    """The project with one setting changed; its start value is kept by leaving it out."""
    rest = {k: v for k, v in project.values.items() if k != key}
    start = settings.setting(key).default
    same = value == start and type(value) is type(start)
    return replace(project, values=rest if same else {**rest, key: value})


def with_dataset(project: Project, dataset: Path) -> Project:
    """The project on another dataset. One whose pictures lie in folders is used folder by folder."""
    parts = [path for path in sorted(dataset.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    here = any(path.is_file() and path.suffix.lower() in SUFFIXES for path in dataset.iterdir())
    folders = () if here else tuple({IMAGES: part} for part in parts)
    return replace(with_value(project, IMAGES, dataset), folders=folders)


def run_of(project: Project) -> RunConfig:
    """The run that the project stands for.

    Raises:
        SettingsError: something is not chosen yet, or does not fit; every problem is listed.
    """
    missing = [
        Problem(setting=key, what=f"No {thing} is chosen.", fix=f"Choose a {thing} above.")
        for key, thing in ((MODEL, "base model"), (IMAGES, "dataset"))
        if not project.value(key)
    ]
    try:
        run = settings.with_values(_bare(), project.values)
        if project.folders:
            run = _with_folders(run, project)
    except SettingsError as error:
        raise SettingsError([*missing, *error.problems]) from error
    if missing:
        raise SettingsError(missing)
    return run


def _bare() -> RunConfig:
    subset = settings.SubsetSettings(image_dir=_NOWHERE)
    return RunConfig(
        model=settings.ModelSettings(pretrained_model_name_or_path=_NOWHERE),
        dataset=settings.DatasetFile(datasets=(settings.DatasetSettings(subsets=(subset,)),)),
    )


def _with_folders(run: RunConfig, project: Project) -> RunConfig:
    """`run` with one subset for each folder, in place of its one."""
    subsets = tuple(
        settings.with_values(run, folder).dataset.datasets[0].subsets[0] for folder in project.folders
    )
    dataset = run.dataset.datasets[0].model_copy(update={"subsets": subsets})
    return run.model_copy(update={"dataset": settings.DatasetFile(datasets=(dataset,))})


def of_run(name: str, run: RunConfig) -> Project:
    """The project that stands for `run`, which has one dataset table."""
    values: dict[str, Any] = {}
    folders: dict[int, dict[str, Any]] = {}
    several = len(run.dataset.datasets[0].subsets) > 1
    for placed in settings.placed_values(run):
        key, start = placed.setting.key, placed.setting.default
        if placed.value == start and type(placed.value) is type(start):
            continue
        if several and placed.subset is not None:
            folders.setdefault(placed.subset, {})[key] = placed.value
        else:
            values[key] = placed.value
    if several:
        values[IMAGES] = Path(run.dataset.datasets[0].subsets[0].image_dir).parent
    return Project(name=name, values=values, folders=tuple(folders[i] for i in sorted(folders)))


def saved_at(ws: Workspace, name: str) -> float | None:
    """Unix time of the last change; None while it has no file."""
    try:
        return _path(ws, name).stat().st_mtime
    except FileNotFoundError:
        return None


def _path(ws: Workspace, name: str) -> Path:
    return ws.projects / f"{safe_name(name)}.toml"


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value
