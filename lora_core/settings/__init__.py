"""Every training setting, described once; forms, files, checks, commands and docs derive from it.

Covered: the descriptions, the records of a run, and the files `config.toml` and `dataset.toml` in
the form of sd-scripts. Not covered: whether settings fit each other, the images and the machine
(see `lora_core.planning`). Import from here, not from the modules inside.
"""

from lora_core.settings._description import (
    BUILT_IN,
    SD_SCRIPTS,
    Advice,
    Concern,
    Kind,
    Level,
    Part,
    Place,
    Setting,
)
from lora_core.settings._toml import SIZE_LIMIT, parse, read_bytes, read_text, write_lines
from lora_core.settings._values import Checked, checked, limits, parsed, shown
from lora_core.settings.concern_dataset import DatasetFile, DatasetSettings
from lora_core.settings.concern_loss import LossSettings
from lora_core.settings.concern_model import ModelSettings
from lora_core.settings.concern_network import NetworkSettings
from lora_core.settings.concern_optimizer import OptimizerSettings
from lora_core.settings.concern_output import (
    MetadataSettings,
    SamplingSettings,
    SavingSettings,
    ValidationSettings,
)
from lora_core.settings.concern_schedule import ScheduleSettings
from lora_core.settings.concern_subset import SubsetSettings
from lora_core.settings.concern_text import TextSettings
from lora_core.settings.concern_training import BatchSettings, PrecisionSettings
from lora_core.settings.files import (
    CONFIG_NAME,
    DATASET_NAME,
    PROMPTS_NAME,
    LoadedRun,
    dump_config,
    dump_dataset,
    load_run,
    loads_run,
    prompt_lines,
    read_run,
    run_files,
)
from lora_core.settings.run import (
    Difference,
    Placed,
    Recipe,
    RunConfig,
    Target,
    catalogue,
    concerns,
    differences,
    placed_values,
    setting,
    with_values,
)
from lora_core.settings.unsupported import unsupported

__all__ = [
    "BUILT_IN",
    "CONFIG_NAME",
    "DATASET_NAME",
    "PROMPTS_NAME",
    "SD_SCRIPTS",
    "SIZE_LIMIT",
    "Advice",
    "BatchSettings",
    "Checked",
    "Concern",
    "DatasetFile",
    "DatasetSettings",
    "Difference",
    "Kind",
    "Level",
    "LoadedRun",
    "LossSettings",
    "MetadataSettings",
    "ModelSettings",
    "NetworkSettings",
    "OptimizerSettings",
    "Part",
    "Place",
    "Placed",
    "PrecisionSettings",
    "Recipe",
    "RunConfig",
    "SamplingSettings",
    "SavingSettings",
    "ScheduleSettings",
    "Setting",
    "SubsetSettings",
    "Target",
    "TextSettings",
    "ValidationSettings",
    "catalogue",
    "checked",
    "concerns",
    "differences",
    "dump_config",
    "dump_dataset",
    "limits",
    "load_run",
    "loads_run",
    "parse",
    "parsed",
    "placed_values",
    "prompt_lines",
    "read_bytes",
    "read_run",
    "read_text",
    "run_files",
    "setting",
    "shown",
    "unsupported",
    "with_values",
    "write_lines",
]
