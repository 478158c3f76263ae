"""A project as a record: what one LoRA is, which settings were changed, the run that it stands for.

Covered: the record, changes of it (each gives a new record and touches no file), the run. Not covered: its
file, and taking changes back (see `files.py`), which project is open (the app's affair), and whether its
run can start (see `lora_core.planning`).
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Protocol

from lora_core import settings
from lora_core.errors import Problem, SettingsError
from lora_core.settings import RunConfig

MODEL: Final = "pretrained_model_name_or_path"
IMAGES: Final = "image_dir"
TRIGGER: Final = "metadata_trigger_phrase"
REPEATS: Final = "num_repeats"

_NOWHERE: Final = Path("not chosen yet")


class Chosen(Protocol):
    """What a chosen preset brings (`Composed` of `lora_core.settings.presets`)."""

    @property
    def id(self) -> str:
        """Its name in files, such as `sdxl.style`."""

    @property
    def values(self) -> Mapping[str, Any]:
        """The settings that it names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Project:
    """One LoRA being made."""

    name: str
    values: Mapping[str, Any] = field(default_factory=dict)
    """Settings that were changed, by key; None for one that was emptied."""
    repeats: Mapping[str, int] = field(default_factory=dict)
    """Repeats of single folders of a dataset that has several, by `folder_key`."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """What stands in a field, by key, where that is not how its value would be written: `0,0001`, or a text
    that does not fit. A value that is set in another way takes the text away."""
    other: Mapping[str, Any] = field(default_factory=dict)
    """Arguments that are not described here, as they stood in a file; they are handed on."""
    dataset_other: Mapping[str, Any] = field(default_factory=dict)
    """The same of the dataset's table."""
    subset_other: Mapping[str, Any] = field(default_factory=dict)
    """The same of the tables of its folders, which are alike in this."""
    engine: str = settings.BUILT_IN
    goal: str = ""
    """What the LoRA is for: the id of a goal of `lora_core.settings.presets`; empty while not chosen."""
    preset: str = ""
    """Id of the preset that its recipe began from; its values were copied when it was chosen."""
    preset_values: Mapping[str, Any] = field(default_factory=dict)
    """What that preset said then; later versions of it change nothing here."""
    runs: tuple[str, ...] = ()
    """Ids of its runs, oldest first."""
    last_done: str = ""
    """What was done last, in one sentence."""
    last_done_at: float = 0.0
    """Unix time in seconds."""
    base: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)
    """What it was when it was read, by place (see `places.py`): saving writes what was changed since then.
    None for a project that was made and not read; saving writes all of it."""

    def value(self, key: str) -> Any:
        """The setting as it is now: as it was changed, else its starting value."""
        return self.values[key] if key in self.values else settings.setting(key).default

    def preset_value(self, key: str) -> Any:
        """The setting as the preset has it, else its starting value."""
        return self.preset_values[key] if key in self.preset_values else settings.setting(key).default

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


def with_value(project: Project, key: str, value: Any) -> Project:
    """The project with one setting changed; a starting value is kept by leaving it out."""
    return with_values(project, {key: value})


def with_values(project: Project, values: Mapping[str, Any]) -> Project:
    """The project with these settings changed; what was typed for them before is forgotten."""
    kept = {**project.values, **values}
    return replace(
        project,
        values={key: value for key, value in kept.items() if key not in values or not _is_start(key, value)},
        texts={key: text for key, text in project.texts.items() if key.partition(":")[0] not in values},
    )


def with_text(project: Project, place: str, text: str) -> Project:
    """The project with what a person typed into a field, to show it again; the values stay as they are."""
    return replace(project, texts={**project.texts, place: text})


def _is_start(key: str, value: Any) -> bool:
    # 0 steps and a share of 0.0 are equal to Python and different to an engine.
    start = settings.setting(key).default
    return bool(value == start) and type(value) is type(start)


def with_preset(project: Project, composed: Chosen) -> Project:
    """The project with another recipe: every recipe setting is replaced, the target stays."""
    target = {key: value for key, value in project.values.items() if _is_target(key)}
    texts = {key: text for key, text in project.texts.items() if _is_target(key.partition(":")[0])}
    brought = dict(composed.values)
    bare = replace(project, values=target, texts=texts, preset=composed.id, preset_values=brought)
    return with_values(bare, brought)


def _is_target(key: str) -> bool:
    known = {s.key: s.part for s in settings.catalogue()}
    return known.get(key) == "target"


def changed_from_preset(project: Project) -> list[str]:
    """Keys of the recipe settings that are not as the preset has them; without a preset, as they start."""
    found = []
    for s in settings.catalogue():
        now, then = project.value(s.key), project.preset_value(s.key)
        if s.part == "recipe" and not same_value(now, then):
            found.append(s.key)
    return found


def same_value(one: Any, other: Any) -> bool:
    """Whether two values of one setting are the same to an engine; a list from a file equals a tuple."""
    return one is other or repr(plain(one)) == repr(plain(other))


def plain(value: Any) -> Any:
    """A value as files hold it: paths as text, every row a list."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def with_repeats(project: Project, folder: Path, times: int) -> Project:
    """The project with other repeats for one folder of its dataset."""
    place = folder_key(folder)
    texts = {key: text for key, text in project.texts.items() if key != f"{REPEATS}:{place}"}
    return replace(project, repeats={**project.repeats, place: times}, texts=texts)


def without_repeats(project: Project) -> Project:
    """The project with the same repeats for all folders of its dataset."""
    texts = {key: text for key, text in project.texts.items() if not key.startswith(f"{REPEATS}:")}
    return replace(project, repeats={}, texts=texts)


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
    try:
        run = draft_of(project)
    except SettingsError as error:
        raise SettingsError([*missing, *error.problems]) from error
    if missing:
        raise SettingsError(missing)
    return run


def draft_of(project: Project) -> RunConfig:
    """As `run_of`, before everything is chosen: in place of what is missing stands `not chosen yet`.

    Raises:
        SettingsError: a value does not fit; every problem is listed.
    """
    bare = RunConfig(
        model=settings.ModelSettings(pretrained_model_name_or_path=_NOWHERE),
        dataset=settings.DatasetFile(
            datasets=(
                settings.DatasetSettings(
                    subsets=(settings.SubsetSettings(image_dir=_NOWHERE, other=dict(project.subset_other)),),
                    other=dict(project.dataset_other),
                ),
            )
        ),
        other=dict(project.other),
    )
    chosen = {
        key: value for key, value in project.values.items() if value is not None or key not in {MODEL, IMAGES}
    }
    return settings.with_values(bare, chosen)


def of_draft(name: str, run: RunConfig) -> Project:
    """The project that stands for `run`; a base model or dataset that is `not chosen yet` is none.

    Raises:
        SettingsError: it has more than a project can hold.
    """
    values = {
        key: value
        for key, value in values_of(run).items()
        if key not in {MODEL, IMAGES} or Path(value).name != _NOWHERE.name
    }
    return Project(name=name, values=values, **others_of(run))


def others_of(run: RunConfig) -> dict[str, Any]:
    """What stood in the files of `run` and is not described here, by the project's own names for it."""
    dataset = run.dataset.datasets[0]
    return {
        "other": dict(run.other),
        "dataset_other": dict(dataset.other),
        "subset_other": dict(dataset.subsets[0].other),
    }


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
