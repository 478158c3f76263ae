"""All settings of one run together, and the catalogue of every setting that exists.

Covered: `RunConfig` and its two halves (`Recipe`: how to train; `Target`: what to train), looking
settings up, changing them by key, and telling two runs apart. Not covered: files (see `files.py`)
and whether the settings fit each other (see `lora_core.planning`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from pydantic import Field

from lora_core.errors import Problem, SettingsError
from lora_core.settings._description import Concern, Setting, settings_of
from lora_core.settings._owners import ValueOf, acts
from lora_core.settings._values import checked
from lora_core.settings.concern_continuing import ContinuingSettings
from lora_core.settings.concern_dataset import DatasetFile, DatasetSettings
from lora_core.settings.concern_folder import SubsetSettings
from lora_core.settings.concern_loss import LossSettings
from lora_core.settings.concern_model import ModelSettings
from lora_core.settings.concern_network import NetworkSettings
from lora_core.settings.concern_notes import NotesSettings
from lora_core.settings.concern_optimizer import OptimizerSettings
from lora_core.settings.concern_output import (
    MetadataSettings,
    SamplingSettings,
    SavingSettings,
    ValidationSettings,
)
from lora_core.settings.concern_schedule import ScheduleSettings
from lora_core.settings.concern_speed import SpeedSettings
from lora_core.settings.concern_text import TextSettings
from lora_core.settings.concern_training import BatchSettings, PrecisionSettings


class Recipe(Concern):
    """How to train; what a preset carries. Settings in it whose part is `target` are not used."""

    network: NetworkSettings = NetworkSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    batch: BatchSettings = BatchSettings()
    text: TextSettings = TextSettings()
    loss: LossSettings = LossSettings()
    precision: PrecisionSettings = PrecisionSettings()
    saving: SavingSettings = SavingSettings()
    sampling: SamplingSettings = SamplingSettings()
    validation: ValidationSettings = ValidationSettings()
    metadata: MetadataSettings = MetadataSettings()
    speed: SpeedSettings = SpeedSettings()
    continuing: ContinuingSettings = ContinuingSettings()
    notes: NotesSettings = NotesSettings()


class RunConfig(Recipe):
    """A whole run: the recipe, the base model and the images."""

    model: ModelSettings
    dataset: DatasetFile
    other: Mapping[str, Any] = Field(default_factory=dict)
    """Arguments of sd-scripts that are not described here, as they stood in the file.

    They are kept and written back; `unsupported` names them for an engine that lacks them. The
    lists `network_args`, `optimizer_args` and `lr_scheduler_args` hold what is left of them.
    """

    @property
    def target(self) -> "Target":
        """What is trained."""
        return Target(
            model=self.model,
            output_name=self.saving.output_name,
            trigger_word=self.metadata.metadata_trigger_phrase,
            dataset=self.dataset,
        )

    def with_recipe(self, recipe: Recipe) -> "RunConfig":
        """This target trained by another recipe: every recipe setting is replaced, no target setting is."""
        concerns = {}
        for concern in Recipe.model_fields:
            mine, theirs = getattr(self, concern), getattr(recipe, concern)
            kept = {
                s.key: getattr(mine, s.key)
                for s in catalogue()
                if s.concern == concern and s.part == "target"
            }
            concerns[concern] = theirs.model_copy(update=kept)
        return self.model_copy(update=concerns)


class Target(Concern):
    """What to train: base model, name, trigger word and images."""

    model: ModelSettings
    output_name: str
    trigger_word: str | None
    dataset: DatasetFile


_CONCERNS: Final[Mapping[str, type[Concern]]] = {
    "model": ModelSettings,
    "network": NetworkSettings,
    "optimizer": OptimizerSettings,
    "schedule": ScheduleSettings,
    "batch": BatchSettings,
    "text": TextSettings,
    "loss": LossSettings,
    "precision": PrecisionSettings,
    "saving": SavingSettings,
    "sampling": SamplingSettings,
    "validation": ValidationSettings,
    "metadata": MetadataSettings,
    "speed": SpeedSettings,
    "continuing": ContinuingSettings,
    "notes": NotesSettings,
    "datasets": DatasetSettings,
    "subsets": SubsetSettings,
}


@cache
def catalogue() -> tuple[Setting, ...]:
    """Every setting, in the order in which forms and docs show them."""
    return tuple(s for concern, model in _CONCERNS.items() for s in settings_of(model, concern))


@cache
def _by_key() -> dict[str, Setting]:
    return {s.key: s for s in catalogue()}


def setting(key: str) -> Setting:
    """The setting of this name.

    Raises:
        KeyError: there is none.
    """
    return _by_key()[key]


def concerns() -> Mapping[str, type[Concern]]:
    """Each group of settings: its name in `Setting.concern` and the record that holds it."""
    return _CONCERNS


@dataclass(frozen=True, slots=True)
class Placed:
    """One value of a run and where it stands."""

    setting: Setting
    value: Any
    dataset: int | None = None
    """Place of its dataset in the file, from 0; None for a setting of the whole run."""
    subset: int | None = None
    """Place of its folder in the dataset, from 0."""


def placed_values(run: RunConfig) -> Iterator[Placed]:
    """Every value of a run, defaults included, in the order of the catalogue."""
    for s in catalogue():
        if s.place not in {"dataset", "subset"}:
            yield Placed(s, getattr(getattr(run, s.concern), s.key))
            continue
        for number, dataset in enumerate(run.dataset.datasets):
            if s.place == "dataset":
                yield Placed(s, getattr(dataset, s.key), number)
            else:
                for index, subset in enumerate(dataset.subsets):
                    yield Placed(s, getattr(subset, s.key), number, index)


def value_in(run: RunConfig, dataset: int = 0, subset: int = 0) -> ValueOf:
    """The value of each setting in `run` by its key; of a dataset setting, that of this folder."""

    def value_of(key: str) -> Any:
        s = setting(key)
        table = run.dataset.datasets[dataset]
        if s.place in {"dataset", "subset"}:
            return getattr(table if s.place == "dataset" else table.subsets[subset], key)
        return getattr(getattr(run, s.concern), key)

    return value_of


def arguments_of(run: RunConfig, place: str) -> dict[str, Any]:
    """What a run changes in one of the `key=value` lists, as far as the chosen type owns it.

    A value that is the starting value is left out: it is the optimizer's, schedule's or network's own.
    """
    value_of = value_in(run)
    return {
        s.key: value_of(s.key)
        for s in catalogue()
        if s.place == place and value_of(s.key) != s.default and acts(s, value_of)
    }


def further_arguments(run: RunConfig, place: str) -> list[str]:
    """The rest of that list, as it stood in the file; a key that a setting gives stands there once only."""
    given = arguments_of(run, place)
    return [item for item in run.other.get(place, ()) if item.partition("=")[0].strip() not in given]


def with_values(run: RunConfig, values: Mapping[str, Any]) -> RunConfig:
    """`run` with these settings changed; dataset settings change in every dataset or folder.

    Raises:
        SettingsError: a key does not exist or a value does not fit; every problem is listed.
    """
    problems: list[Problem] = []
    updates: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        if key not in _by_key():
            problems.append(
                Problem(setting=key, what="There is no setting of this name.", fix="Check its spelling.")
            )
            continue
        fitting = checked(setting(key), value)
        if isinstance(fitting.problem, Problem):
            problems.append(fitting.problem)
        else:
            updates.setdefault(setting(key).concern, {})[key] = fitting.value
    if problems:
        raise SettingsError(problems)
    whole = {
        concern: getattr(run, concern).model_copy(update=changed)
        for concern, changed in updates.items()
        if concern not in {"datasets", "subsets"}
    }
    return run.model_copy(update={**whole, "dataset": _with_dataset_values(run.dataset, updates)})


def _with_dataset_values(file: DatasetFile, updates: Mapping[str, Mapping[str, Any]]) -> DatasetFile:
    for_dataset, for_subset = updates.get("datasets", {}), updates.get("subsets", {})
    return DatasetFile(
        datasets=tuple(
            dataset.model_copy(
                update={
                    **for_dataset,
                    "subsets": tuple(
                        subset.model_copy(update=dict(for_subset)) for subset in dataset.subsets
                    ),
                }
            )
            for dataset in file.datasets
        )
    )


@dataclass(frozen=True, slots=True)
class Difference:
    """One setting that two runs do not share."""

    setting: Setting
    before: Any
    after: Any


def differences(before: RunConfig, after: RunConfig) -> list[Difference]:
    """The settings in which two runs differ; a dataset setting is compared place by place."""
    old = {(p.setting.key, p.dataset, p.subset): p.value for p in placed_values(before)}
    new = {(p.setting.key, p.dataset, p.subset): p.value for p in placed_values(after)}
    return [
        Difference(setting(place[0]), old.get(place), new.get(place))
        for place in dict.fromkeys([*old, *new])
        # 10 steps and a share of 10.0 are equal to Python and different to an engine.
        if old.get(place) != new.get(place) or type(old.get(place)) is not type(new.get(place))
    ]
