"""Every training setting, described once; forms, files, checks, commands and docs derive from it.

Covered: the descriptions, the records of a run, and the files `config.toml` and `dataset.toml` in
the form of sd-scripts. Not covered: whether settings fit each other, the images and the machine
(see `lora_core.planning`). Import from here, not from the modules inside.
"""

from lora_core.settings._description import (
    BUILT_IN,
    FLOW_FAMILIES,
    SD_SCRIPTS,
    Advice,
    Concern,
    Kind,
    Level,
    Part,
    Place,
    Setting,
)
from lora_core.settings._owners import CAME, WITH_TWO_BETAS, acts
from lora_core.settings._secret import is_secret
from lora_core.settings._toml import SIZE_LIMIT, parse, read_bytes, read_text, write_lines
from lora_core.settings._values import Checked, checked, limits, parsed, shown, typed_number
from lora_core.settings.choices import advice_for, meaning, on_choice
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
from lora_core.settings.file_name import name_problem
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
from lora_core.settings.glossary import TERMS, terms_in
from lora_core.settings.ignored import idle, no_effect, owned_by, shown_settings
from lora_core.settings.in_words import compared, direction_words, in_words
from lora_core.settings.run import (
    Difference,
    Placed,
    Recipe,
    RunConfig,
    Target,
    arguments_of,
    catalogue,
    concerns,
    differences,
    further_arguments,
    placed_values,
    setting,
    value_in,
    with_values,
)
from lora_core.settings.unsupported import unsupported

__all__ = [
    "BUILT_IN",
    "CAME",
    "CONFIG_NAME",
    "DATASET_NAME",
    "FLOW_FAMILIES",
    "PROMPTS_NAME",
    "SD_SCRIPTS",
    "SIZE_LIMIT",
    "TERMS",
    "WITH_TWO_BETAS",
    "Advice",
    "BatchSettings",
    "Checked",
    "Concern",
    "ContinuingSettings",
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
    "NotesSettings",
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
    "SpeedSettings",
    "SubsetSettings",
    "Target",
    "TextSettings",
    "ValidationSettings",
    "acts",
    "advice_for",
    "arguments_of",
    "catalogue",
    "checked",
    "compared",
    "concerns",
    "differences",
    "direction_words",
    "dump_config",
    "dump_dataset",
    "further_arguments",
    "idle",
    "in_words",
    "is_secret",
    "limits",
    "load_run",
    "loads_run",
    "meaning",
    "name_problem",
    "no_effect",
    "on_choice",
    "owned_by",
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
    "shown_settings",
    "terms_in",
    "typed_number",
    "unsupported",
    "value_in",
    "with_values",
    "write_lines",
]
