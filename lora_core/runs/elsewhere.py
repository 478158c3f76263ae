"""A recipe for a base model that only sd-scripts trains, as a small zip of its files.

Covered: the files of a run without images and models, and a page that says where to get the models and how
to start. Not covered: setting up or starting sd-scripts, which this app does not do.
"""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from lora_core.runs.export import export_run_zip
from lora_core.settings import RunConfig
from lora_core.settings.concern_dataset import DatasetFile, DatasetSettings
from lora_core.settings.concern_folder import SubsetSettings
from lora_core.settings.concern_model import ModelSettings
from lora_core.settings.presets import BASES, Recommended, composed, prompts_for, repeats_for

_MODELS: Final = Path("/models")
"""Stands for a folder that nobody has yet: the zip names one of its own in its place."""


def run_elsewhere(
    base: str,
    goal: str,
    *,
    name: str = "my_lora",
    trigger: str = "",
    images: int | None = None,
    facts: Mapping[str, Any] | None = None,
) -> RunConfig:
    """A whole run by the recipe for this goal on this kind of base model.

    Its folder of images is `pictures`, and its models lie in `models`; both are for the user to fill.

    Raises:
        SettingsError: there is no such recipe, or the name is none that a file can have.
    """
    found = composed(base, goal, images=images, facts=facts)
    kind = BASES[base]
    places = {key: _MODELS / _file_name(part) for key, part in kind.parts.items()}
    model = ModelSettings(
        pretrained_model_name_or_path=_MODELS / _file_name(kind.recommended[0]),
        **places,  # type: ignore[arg-type]  # each key is a setting of the model
    )
    repeats = repeats_for(goal, images) if images else 1
    subset = SubsetSettings(image_dir=Path("/pictures"), num_repeats=repeats)
    bare = RunConfig(model=model, dataset=DatasetFile(datasets=(DatasetSettings(subsets=(subset,)),)))
    return _named(found.applied(bare), name, trigger, prompts_for(goal, trigger, base))


def _named(run: RunConfig, name: str, trigger: str, prompts: tuple[str, ...]) -> RunConfig:
    return run.model_copy(
        update={
            "saving": run.saving.model_copy(update={"output_name": name}),
            "metadata": run.metadata.model_copy(update={"metadata_trigger_phrase": trigger or None}),
            "sampling": run.sampling.model_copy(update={"sample_prompts": prompts}),
        }
    )


def zip_elsewhere(base: str, goal: str, **choices: Any) -> bytes:
    """The zip with the files of `run_elsewhere`; `choices` are the same.

    Raises:
        SettingsError: as `run_elsewhere`.
        DiskFullError: there is no room for a zip of some kilobytes.
    """
    kind = BASES[base]
    run = run_elsewhere(base, goal, **choices)
    models = (kind.recommended[0], *kind.parts.values())
    notes = tuple(f"{each.label} is at {each.address} (about {each.size_gb:g} GB)." for each in models)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "run.zip"
        export_run_zip(run, path, family=kind.family, images=False, notes=notes)
        return path.read_bytes()


def _file_name(model: Recommended) -> str:
    return model.address.rpartition("/")[2]
