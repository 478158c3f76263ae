"""A project's file: reading, saving what was changed, names, and taking changes back.

The file holds settings by the names that sd-scripts gives them, and only those that differ from the
starting values. So a better starting value of a later version reaches a project that never touched it.

Two tabs may change one project. Saving takes a lock, reads the newest file, puts the changed places into
it, and replaces it; so both keep what they changed. Each saved change is a step that can be taken back.

Covered: the file, its lock, its history. Not covered: what is in the record (see `record.py`).
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from lora_core import history, settings
from lora_core.errors import FileTooNewError, SettingsError, WorkspaceError
from lora_core.history import History, Step
from lora_core.projects import places
from lora_core.projects.record import Project
from lora_core.volumes import locked
from lora_core.workspace import Workspace, safe_name, write_atomic

FORMAT: Final = 1
RUNS_KEPT: Final = 200
"""Ids of runs in the file; older runs are still in the list of jobs."""
_LOCK_WAIT_S: Final = 10.0


def names(workspace: Workspace) -> list[str]:
    """All projects, by name."""
    return sorted(path.stem for path in workspace.projects.glob("*.toml") if not path.name.startswith("."))


def path_of(workspace: Workspace, name: str) -> Path:
    """The file of the project of this name, whether it is there or not."""
    return workspace.projects / f"{safe_name(name)}.toml"


def load(workspace: Workspace, name: str) -> Project:
    """The project of this name.

    Raises:
        WorkspaceError: there is none, or its file cannot be read.
        FileTooNewError: a newer version of the app wrote it.
    """
    path = path_of(workspace, name)
    try:
        record = settings.parse(settings.read_text(path), path.name)
    except SettingsError as error:
        raise WorkspaceError(
            f"The project {name} was not opened.", why=error.why, fix=f"Restore its file or remove it: {path}"
        ) from error
    found = record.get("format", 1)
    if isinstance(found, int) and found > FORMAT:
        raise FileTooNewError(path.name, found, FORMAT)
    project = Project(
        name=path.stem,
        values={**_table(record, "settings"), **dict.fromkeys(_texts(record, "left_empty"))},
        repeats=_repeats(_table(record, "repeats")),
        texts=_pairs(_table(record, "texts")),
        other=_table(record, "other"),
        dataset_other=_table(record, "dataset_other"),
        subset_other=_table(record, "subset_other"),
        engine=str(record.get("engine", settings.BUILT_IN)),
        goal=str(record.get("goal", "")),
        preset=str(record.get("preset", "")),
        preset_values=_table(record, "preset_values"),
        runs=tuple(_texts(record, "runs")),
        last_done=str(record.get("last_done", "")),
        last_done_at=_number(record.get("last_done_at")),
    )
    return replace(project, base=places.of(project))


def load_or_new(workspace: Workspace, name: str) -> Project:
    """The project of this name, or one that has no file until something in it is saved."""
    if name in names(workspace):
        return load(workspace, name)
    return replace(fresh := Project(name=name), base=places.of(fresh))


def _table(record: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = record.get(key)
    if not isinstance(value, dict):
        return {}
    return {name: item for name, item in value.items() if _can_be_written(item)}


def _can_be_written(value: object) -> bool:
    """False for dates and the like, which only a file changed by hand has, and no setting."""
    if isinstance(value, dict):
        return all(map(_can_be_written, value.values()))
    if isinstance(value, list):
        return all(map(_can_be_written, value))
    return math.isfinite(value) if isinstance(value, float) else isinstance(value, bool | int | str)


def _texts(record: Mapping[str, Any], key: str) -> list[str]:
    value = record.get(key)
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _repeats(table: Mapping[str, Any]) -> dict[str, int]:
    times = table.get("times")
    pairs = zip(_texts(table, "folders"), times if isinstance(times, list) else [], strict=False)
    return {folder: count for folder, count in pairs if isinstance(count, int) and count > 0}


def _pairs(table: Mapping[str, Any]) -> dict[str, str]:
    known = {s.key for s in settings.catalogue()}  # another version may have others
    pairs = zip(_texts(table, "fields"), _texts(table, "typed"), strict=False)
    return {field: text for field, text in pairs if field.partition(":")[0] in known}


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


@contextmanager
def _locked(workspace: Workspace, name: str) -> Iterator[None]:
    workspace.projects.mkdir(parents=True, exist_ok=True)
    path = path_of(workspace, name)
    try:
        with locked(path.with_name(f".{path.stem}.lock"), timeout_s=_LOCK_WAIT_S):
            yield
    except TimeoutError as error:
        raise WorkspaceError(
            f"The project {name} was not saved.",
            why=f"Another window has been writing it for more than {_LOCK_WAIT_S:.0f} seconds.",
            fix="Do it again. If it comes back, start the app again.",
        ) from error


def save(workspace: Workspace, project: Project, *, what: str = "") -> Project:
    """Write what was changed since the project was read, and remember it as one step to take back.

    `what` is the sentence for that step; without it, the sentence says which settings changed.
    Returns the project as it is now, with what other tabs changed meanwhile.

    Raises:
        DiskFullError: the disk is full; the file is as it was.
        FileTooNewError: a newer version of the app wrote the file that is there.
        WorkspaceError: it is too long, or another window holds it for too long; the file is as it was.
    """
    with _locked(workspace, project.name):
        newest = _newest(workspace, project.name)
        merged = project if newest is None or project.base is None else _merged(project, newest)
        _write(workspace, merged)
        now = places.of(merged)
        if newest is not None:
            before, after = places.between(places.of(newest), now)
            if after:
                step = Step(what or places.told(before, after), time.time(), before, after)
                path = _history_path(workspace, project.name)
                history.write(path, history.read(path).with_step(step))
    return replace(merged, base=now)


def _newest(workspace: Workspace, name: str) -> Project | None:
    path = path_of(workspace, name)
    if not path.exists():
        return None
    _refuse_newer(path)
    try:
        return load(workspace, name)
    except WorkspaceError:  # a damaged file may be replaced
        return None


def _merged(project: Project, newest: Project) -> Project:
    """`newest` with what was changed in `project` since it was read."""
    _, mine = places.between(project.base or {}, places.of(project))
    runs = (*newest.runs, *(run for run in project.runs if run not in newest.runs))
    last = max(newest, project, key=lambda one: one.last_done_at)
    return replace(
        places.changed(newest, mine), runs=runs, last_done=last.last_done, last_done_at=last.last_done_at
    )


def _write(workspace: Workspace, project: Project) -> None:
    head = {
        "format": FORMAT,
        "engine": project.engine,
        "goal": project.goal,
        "preset": project.preset,
        "runs": project.runs[-RUNS_KEPT:],
        "last_done": project.last_done,
        "last_done_at": project.last_done_at,
        "left_empty": [key for key, value in project.values.items() if value is None],
    }
    tables: dict[str, Mapping[str, Any]] = {"settings": project.values}
    # Two lists: a folder's name may hold signs that not every reader takes in a key.
    if project.repeats:
        tables["repeats"] = {
            "folders": list(project.repeats),
            "times": list(project.repeats.values()),
        }
    if project.texts:
        tables["texts"] = {"fields": list(project.texts), "typed": list(project.texts.values())}
    tables |= {
        name: table
        for name, table in (
            ("preset_values", project.preset_values),
            ("other", project.other),
            ("dataset_other", project.dataset_other),
            ("subset_other", project.subset_other),
        )
        if table
    }
    lines = settings.write_lines(head)
    for name, table in tables.items():
        lines += ["", f"[{name}]", *settings.write_lines(table)]
    text = "\n".join(lines) + "\n"
    if len(text) > settings.SIZE_LIMIT:
        raise WorkspaceError(
            f"The project {project.name} was not saved.",
            why="Its texts are longer than a project's file can be.",
            fix="Shorten the text that was changed last.",
        )
    workspace.projects.mkdir(parents=True, exist_ok=True)
    write_atomic(path_of(workspace, project.name), text)


def _refuse_newer(path: Path) -> None:
    try:
        found = settings.parse(settings.read_text(path), path.name).get("format", 1)
    except SettingsError:  # a damaged file may be replaced
        return
    if isinstance(found, int) and found > FORMAT:
        raise FileTooNewError(path.name, found, FORMAT)


def create(workspace: Workspace, wanted: str, values: Mapping[str, Any] | None = None) -> Project:
    """A new project; a number is put behind its name if that is taken, whatever its case."""
    return save(workspace, Project(name=_free(workspace, wanted), values=dict(values or {})))


def _free(workspace: Workspace, wanted: str) -> str:
    taken = {name.casefold() for name in names(workspace)}  # some file systems tell no case apart
    base = safe_name(wanted)
    name, count = base, 1
    while name.casefold() in taken:
        count += 1
        name = f"{base} {count}"
    return name


def rename(workspace: Workspace, name: str, wanted: str) -> Project:
    """The same project under another name; a number is put behind it if that is taken.

    Raises:
        WorkspaceError: there is no such project.
        FileTooNewError: a newer version of the app wrote it.
    """
    with _locked(workspace, name):
        project = load(workspace, name)
        if safe_name(wanted) == project.name:
            return project
        renamed = replace(project, name=_free(workspace, wanted))
        # The new file is complete before the old one goes: a power cut leaves one project too many at worst.
        _write(workspace, renamed)
        if (steps := _history_path(workspace, name)).exists():
            steps.replace(_history_path(workspace, renamed.name))
        path_of(workspace, project.name).unlink()
        return renamed


def _history_path(workspace: Workspace, name: str) -> Path:
    return path_of(workspace, name).with_suffix(".history.json")


def can_undo(workspace: Workspace, name: str) -> Step | None:
    """The change that `undo` would take back; None when there is none."""
    return history.read(_history_path(workspace, name)).undo()[0]


def can_redo(workspace: Workspace, name: str) -> Step | None:
    """The change that `redo` would do again; None when there is none."""
    return history.read(_history_path(workspace, name)).redo()[0]


def undo(workspace: Workspace, name: str) -> Step | None:
    """Take back the newest change, whichever tab made it; None when there is none.

    Raises:
        WorkspaceError: as `save`.
    """
    return _went(workspace, name, History.undo, lambda step: step.before)


def redo(workspace: Workspace, name: str) -> Step | None:
    """Do again what was taken back last; None when there is nothing.

    Raises:
        WorkspaceError: as `save`.
    """
    return _went(workspace, name, History.redo, lambda step: step.after)


def _went(
    workspace: Workspace,
    name: str,
    go: Callable[[History], tuple[Step | None, History]],
    to: Callable[[Step], Mapping[str, Any]],
) -> Step | None:
    with _locked(workspace, name):
        path = _history_path(workspace, name)
        step, then = go(history.read(path))
        if step is not None:
            _write(workspace, places.changed(load(workspace, name), to(step)))
            history.write(path, then)
        return step
