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
    engine: str = "diffusers"

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
        engine=str(record.get("engine", "diffusers")),
    )


def save(ws: Workspace, project: Project) -> None:
    """Write the project and make it the open one."""
    given = {key: _plain(value) for key, value in project.values.items() if value is not None}
    record = {
        "format": FORMAT,
        "engine": project.engine,
        "left_empty": [key for key, value in project.values.items() if value is None],
        "settings": given,
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
    bare = RunConfig(
        model=settings.ModelSettings(pretrained_model_name_or_path=_NOWHERE),
        dataset=settings.DatasetFile(
            datasets=(settings.DatasetSettings(subsets=(settings.SubsetSettings(image_dir=_NOWHERE),)),)
        ),
    )
    try:
        run = settings.with_values(bare, project.values)
    except SettingsError as error:
        raise SettingsError([*missing, *error.problems]) from error
    if missing:
        raise SettingsError(missing)
    return run


def values_of(run: RunConfig) -> dict[str, Any]:
    """What of a run differs from the start values, by key; of several folders the first."""
    found: dict[str, Any] = {}
    for placed in settings.placed_values(run):
        start = placed.setting.default
        changed = placed.value != start or type(placed.value) is not type(start)
        if changed and placed.setting.key not in found and not placed.dataset and not placed.subset:
            found[placed.setting.key] = placed.value
    return found


def _path(ws: Workspace, name: str) -> Path:
    return ws.projects / f"{safe_name(name)}.toml"


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value
