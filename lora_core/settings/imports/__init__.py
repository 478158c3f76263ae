"""Recipes from other tools' files, with a report of what was taken, changed, not used, not understood.

Covered: settings and datasets of sd-scripts, kohya_ss GUI, LoRA_Easy_Training_Scripts and its
backend, the Colab notebooks of hollowstrawberry and Jelosus2, OneTrainer, the `ss_*` notes inside a
LoRA, presets of this app, and the zip of a whole run. Not covered: reading a file from disk, and
starting from it. Import from here, not from the modules inside.
"""

from collections.abc import Mapping
from typing import IO, Any, Final

from lora_core.settings import known
from lora_core.settings.imports._parse import refused, table_of
from lora_core.settings.imports._report import (
    FORMATS,
    NOT_IN_FILE,
    Imported,
    Line,
    brief,
    combined,
    plain,
)
from lora_core.settings.imports.easy_scripts import read_backend, read_easy
from lora_core.settings.imports.kohya_gui import read_kohya_gui
from lora_core.settings.imports.metadata import read_metadata
from lora_core.settings.imports.one_trainer import read_one_trainer
from lora_core.settings.imports.run_zip import read_zip
from lora_core.settings.imports.sd_scripts import read_config, read_own_preset

_HOLLOW: Final = frozenset({"network_arguments", "additional_network_arguments"})

__all__ = [
    "FORMATS",
    "NOT_IN_FILE",
    "Imported",
    "Line",
    "brief",
    "combined",
    "plain",
    "read_metadata",
    "read_recipe",
    "read_run",
    "recognised",
]


def read_recipe(name: str, data: bytes) -> Imported:
    """The recipe in the bytes of a file; `name` is the file's name.

    Raises:
        SettingsError: it is no settings file that this app knows.
        FileTooNewError: it is a preset of a newer version of this app.
    """
    table = table_of(name, data)
    form = recognised(table)
    if form is None:
        listed = ", ".join(list(FORMATS.values())[1:])
        raise refused(
            name, "It is no settings file that this app knows.", f"Choose a file of one of these: {listed}."
        )
    if form == "preset":
        return read_own_preset(name, table)
    if form == "kohya_ss":
        return read_kohya_gui(name, table)
    if form == "easy-training-scripts":
        return read_easy(name, table)
    if form == "easy-training-backend":
        return read_backend(name, table)
    if form == "onetrainer":
        return read_one_trainer(name, table)
    if form == "lora":
        return read_metadata(name, table.get("__metadata__", table))
    return read_config(name, table, form)


def read_run(name: str, file: IO[bytes]) -> Imported:
    """The recipe in the zip of a whole run; `name` is the file's name.

    Raises:
        SettingsError: it is no such zip, or its settings cannot be read.
    """
    return read_zip(name, file, read_recipe)


def recognised(table: Mapping[str, Any]) -> str | None:
    """The format of a file, by the names in it; None for one that is no recipe."""
    keys = table.keys()
    if isinstance(table.get("recipe"), Mapping):
        return "preset"
    if isinstance(table.get("__metadata__"), Mapping) or sum(str(key).startswith("ss_") for key in keys) > 1:
        return "lora"
    if (
        "LoRA_type" in keys
        or {"optimizer", "max_resolution"} <= keys
        or {"epoch", "lr_warmup", "optimizer"} <= keys
    ):
        return "kohya_ss"
    if {"args", "dataset"} <= keys:
        return "easy-training-backend"
    if any(isinstance(part, Mapping) and part.keys() & {"args", "dataset_args"} for part in table.values()):
        return "easy-training-scripts"
    if keys & {"training_method", "peft_type", "lora_rank"} or {"model_type", "base_model_name"} <= keys:
        return "onetrainer"
    return _of_sd_scripts(table)


def _of_sd_scripts(table: Mapping[str, Any]) -> str | None:
    keys = table.keys()
    arguments = known.tables()["arguments"].keys()
    inner = {key for part in table.values() if isinstance(part, Mapping) for key in part}
    if _HOLLOW & keys and "optimizer_arguments" in keys:
        return "hollowstrawberry"
    found = (keys | inner) & arguments
    if isinstance(table.get("datasets"), list) or isinstance(table.get("general"), Mapping):
        rest = {key for key in keys if key not in {"general", "datasets"}}
        return "sd-scripts" if rest & arguments else "sd-scripts dataset"
    if "console_log_simple" in keys and "output_dir" in keys:
        return "jelosus2"
    return "sd-scripts" if found else None
