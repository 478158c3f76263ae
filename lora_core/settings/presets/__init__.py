"""Presets: recipes by goal and base model, in small TOML files that are laid over each other.

Covered: goals, kinds of base models, recipes put together from `presets/`, sample prompts, the default
engine, presets of users. Not covered: whether a run can start (see `lora_core.planning`). Import from here,
not from the modules inside.
"""

from lora_core.settings.presets.bases import (
    BASES,
    Base,
    BaseGuess,
    CaptionStyle,
    Recommended,
    base_kind_of,
)
from lora_core.settings.presets.compose import (
    Composed,
    Layer,
    Time,
    all_ids,
    composed,
    composed_by_id,
    memory_tier,
    memory_tiers,
)
from lora_core.settings.presets.goals import (
    EPOCHS,
    GOALS,
    Goal,
    Length,
    captions_for,
    length_for,
    offered,
    repeats_for,
)
from lora_core.settings.presets.layers import EVIDENCE, PRESETS, Evidence, Preset, parse_preset, read_preset
from lora_core.settings.presets.machines import ENGINE_RULES, EngineChoice, default_engine
from lora_core.settings.presets.own import (
    DeletedPreset,
    FoundPreset,
    OwnPreset,
    add_own,
    delete_own,
    deleted_own,
    list_own,
    load_own,
    recipe_of,
    rename_own,
    restore_own,
    save_own,
    share_own,
)
from lora_core.settings.presets.prompts import prompts_for

__all__ = [
    "BASES",
    "ENGINE_RULES",
    "EPOCHS",
    "EVIDENCE",
    "GOALS",
    "PRESETS",
    "Base",
    "BaseGuess",
    "CaptionStyle",
    "Composed",
    "DeletedPreset",
    "EngineChoice",
    "Evidence",
    "FoundPreset",
    "Goal",
    "Layer",
    "Length",
    "OwnPreset",
    "Preset",
    "Recommended",
    "Time",
    "add_own",
    "all_ids",
    "base_kind_of",
    "captions_for",
    "composed",
    "composed_by_id",
    "default_engine",
    "delete_own",
    "deleted_own",
    "length_for",
    "list_own",
    "load_own",
    "memory_tier",
    "memory_tiers",
    "offered",
    "parse_preset",
    "prompts_for",
    "read_preset",
    "recipe_of",
    "rename_own",
    "repeats_for",
    "restore_own",
    "save_own",
    "share_own",
]
