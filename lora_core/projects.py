"""A project: one LoRA being made, kept in `projects/NAME.toml` and saved whenever something changes.

Covered: the file, names, which settings were changed, the run that the project stands for, what was
done last. Not covered: which project is open (the app's affair) and whether its run can start (see
`lora_core.planning`).

The file holds settings by the names that sd-scripts gives them, and only those that differ from the
starting values. So a better starting value of a later version reaches a project that never touched
it. A project has one dataset. Where that has its images in several folders, each may have repeats of
its own; a run whose folders differ in more than that is started from its own files.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from lora_core import settings
from lora_core.errors import FileTooNewError, Problem, SettingsError, WorkspaceError
from lora_core.settings import RunConfig
from lora_core.workspace import Workspace, safe_name, write_atomic

FORMAT: Final = 1
MODEL: Final = "pretrained_model_name_or_path"
IMAGES: Final = "image_dir"
TRIGGER: Final = "metadata_trigger_phrase"
REPEATS: Final = "num_repeats"
RUNS_KEPT: Final = 200
"""Ids of runs in the file; older runs are still in the list of jobs."""

_NOWHERE: Final = Path("not chosen yet")


@dataclass(frozen=True, kw_only=True, slots=True)
class Project:
    """One LoRA being made."""

    name: str
    values: Mapping[str, Any] = field(default_factory=dict)
    """Settings that were changed, by key; None for one that was emptied."""
    repeats: Mapping[str, int] = field(default_factory=dict)
    """Repeats of single folders of a dataset that has several, by `folder_key`."""
    engine: str = settings.BUILT_IN
    goal: str = ""
    """What the LoRA is for: the id of a goal of `lora_core.settings.presets`; empty while not chosen."""
    preset: str = ""
    """Id of the preset that its recipe began from; its values were copied when it was chosen."""
    runs: tuple[str, ...] = ()
    """Ids of its runs, oldest first."""
    last_done: str = ""
    """What was done last, in one sentence."""
    last_done_at: float = 0.0
    """Unix time in seconds."""

    def value(self, key: str) -> Any:
        """The setting as it is now: as it was changed, else its starting value."""
        return self.values[key] if key in self.values else settings.setting(key).default

    def repeats_of(self, folder: Path) -> int:
        """Repeats of one folder of images: its own, else those of the whole dataset."""
        return self.repeats.get(folder_key(folder), int(self.value(REPEATS)))

    @property
    def base_model(self) -> Path | None:
        return _path_or_none(self.value(MODEL))

    @property
    def dataset(self) -> Path | None:
        """Folder of its images."""
        return _path_or_none(self.value(IMAGES))

    @property
    def trigger_word(self) -> str | None:
        return self.value(TRIGGER) or None


def _path_or_none(value: Any) -> Path | None:
    return Path(value) if value else None


def folder_key(folder: Path) -> str:
    """What a folder of a dataset is called in the file: `pets/cats`. The workspace may move."""
    return f"{folder.parent.name}/{folder.name}"


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
    return Project(
        name=path.stem,
        values={**_table(record, "settings"), **dict.fromkeys(_texts(record, "left_empty"))},
        repeats=_repeats(_table(record, "repeats")),
        engine=str(record.get("engine", settings.BUILT_IN)),
        goal=str(record.get("goal", "")),
        preset=str(record.get("preset", "")),
        runs=tuple(_texts(record, "runs")),
        last_done=str(record.get("last_done", "")),
        last_done_at=_number(record.get("last_done_at")),
    )


def _table(record: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = record.get(key)
    return dict(value) if isinstance(value, dict) else {}


def _texts(record: Mapping[str, Any], key: str) -> list[str]:
    value = record.get(key)
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _repeats(table: Mapping[str, Any]) -> dict[str, int]:
    times = table.get("times")
    pairs = zip(_texts(table, "folders"), times if isinstance(times, list) else [], strict=False)
    return {folder: count for folder, count in pairs if isinstance(count, int) and count > 0}


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def save(workspace: Workspace, project: Project) -> None:
    """Write the project's file.

    Raises:
        DiskFullError: the disk is full; the file is as it was.
        FileTooNewError: a newer version of the app wrote the file that is there.
    """
    path = path_of(workspace, project.name)
    if path.exists():
        _refuse_newer(path)
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
    lines = [*settings.write_lines(head), "", "[settings]", *settings.write_lines(project.values)]
    if project.repeats:
        # Two lists: a folder's name may hold signs that not every reader takes in a key.
        table = {"folders": list(project.repeats), "times": list(project.repeats.values())}
        lines += ["", "[repeats]", *settings.write_lines(table)]
    workspace.projects.mkdir(parents=True, exist_ok=True)
    write_atomic(path, "\n".join(lines) + "\n")


def _refuse_newer(path: Path) -> None:
    try:
        found = settings.parse(settings.read_text(path), path.name).get("format", 1)
    except SettingsError:  # a damaged file may be replaced
        return
    if isinstance(found, int) and found > FORMAT:
        raise FileTooNewError(path.name, found, FORMAT)


def create(workspace: Workspace, wanted: str, values: Mapping[str, Any] | None = None) -> Project:
    """A new project; a number is put behind its name if that is taken, whatever its case."""
    project = Project(name=_free(workspace, wanted), values=dict(values or {}))
    save(workspace, project)
    return project


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
    project = load(workspace, name)
    if safe_name(wanted) == project.name:
        return project
    renamed = replace(project, name=_free(workspace, wanted))
    # The new file is complete before the old one goes, so a power cut leaves one project too many at worst.
    save(workspace, renamed)
    path_of(workspace, project.name).unlink()
    return renamed


def with_value(project: Project, key: str, value: Any) -> Project:
    """The project with one setting changed; a starting value is kept by leaving it out."""
    rest = {k: v for k, v in project.values.items() if k != key}
    start = settings.setting(key).default
    same = value == start and type(value) is type(start)
    return replace(project, values=rest if same else {**rest, key: value})


def with_repeats(project: Project, folder: Path, times: int) -> Project:
    """The project with other repeats for one folder of its dataset."""
    return replace(project, repeats={**project.repeats, folder_key(folder): times})


def done(project: Project, what: str, *, run: str | None = None) -> Project:
    """The project with a note of what was just done, and with the run if one was started."""
    runs = project.runs if run is None or run in project.runs else (*project.runs, run)
    return replace(project, last_done=what, last_done_at=time.time(), runs=runs)


def run_of(project: Project) -> RunConfig:
    """The run that the project stands for.

    Raises:
        SettingsError: something is not chosen yet, or does not fit; every problem is listed.
    """
    missing = [
        Problem(setting=key, what=f"No {thing} is chosen.", fix=f"Choose a {thing} first.")
        for key, thing in ((MODEL, "base model"), (IMAGES, "dataset"))
        if not project.value(key)
    ]
    bare = RunConfig(
        model=settings.ModelSettings(pretrained_model_name_or_path=_NOWHERE),
        dataset=settings.DatasetFile(
            datasets=(settings.DatasetSettings(subsets=(settings.SubsetSettings(image_dir=_NOWHERE),)),)
        ),
    )
    chosen = {
        key: value for key, value in project.values.items() if value is not None or key not in {MODEL, IMAGES}
    }
    try:
        run = settings.with_values(bare, chosen)
    except SettingsError as error:
        raise SettingsError([*missing, *error.problems]) from error
    if missing:
        raise SettingsError(missing)
    return run


def values_of(run: RunConfig) -> dict[str, Any]:
    """What of a run differs from the starting values, by key.

    Raises:
        SettingsError: the run has more than one folder of images, which a project cannot hold.
    """
    folders: Sequence[object] = [subset for dataset in run.dataset.datasets for subset in dataset.subsets]
    if len(folders) > 1:
        what = f"The run has {len(folders)} folders of images, and a project has one."
        fix = "Start the run from its own files, or bring the images into one folder."
        raise SettingsError([Problem(setting=IMAGES, what=what, fix=fix)])
    return {
        placed.setting.key: placed.value
        for placed in settings.placed_values(run)
        if placed.value != placed.setting.default or type(placed.value) is not type(placed.setting.default)
    }
