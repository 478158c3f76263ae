"""What sd-scripts would refuse of a run, or do otherwise than it seems, for every family that it trains.

Import from here. Covered: all rows, the problems of one run, which family a run is for. Not covered:
images, files and the machine (see `lora_core.planning`), and the built-in engine (see its own checks).
"""

from typing import Final

from lora_core.errors import Problem
from lora_core.settings._description import SD_SCRIPTS
from lora_core.settings.conflicts import families, learning, machine, network, text_and_images
from lora_core.settings.conflicts._table import Conflict, Seen
from lora_core.settings.conflicts.lists import in_lists
from lora_core.settings.ignored import no_effect
from lora_core.settings.run import RunConfig, placed_values, value_in
from lora_core.settings.unsupported import unsupported

__all__ = ["CONFLICTS", "Conflict", "Seen", "family_in", "read_over", "sd_scripts_problems"]

CONFLICTS: Final[tuple[Conflict, ...]] = (
    *families.RECIPES,
    *learning.OPTIMIZERS,
    *learning.SCHEDULES,
    *learning.LOSSES,
    *network.KINDS,
    *network.SHAPES,
    *text_and_images.CAPTIONS,
    *text_and_images.IMAGES,
    *text_and_images.RUNNING,
    *machine.PRECISION,
    *machine.MEMORY,
)
"""Every row, in the order in which problems are told."""

_TOLD_BY: Final = (
    ("qwen3", "anima"),
    ("gemma2", "lumina"),
    ("byt5", "hunyuan-image"),
    ("text_encoder", "hunyuan-image"),
    ("clip_g", "sd3"),
    ("v2", "sd2"),
)
"""Settings that only one family has."""


def family_in(run: RunConfig) -> str | None:
    """The family that the settings themselves tell; None where they fit several."""
    value_of = value_in(run)
    if value_of("model_type") == "chroma":
        return "chroma"
    told = next((family for key, family in _TOLD_BY if value_of(key)), None)
    return told or ("flux1" if value_of("ae") or value_of("t5xxl") else None)


def sd_scripts_problems(run: RunConfig, family: str | None = None) -> list[Problem]:
    """Everything that sd-scripts would refuse of `run`, and advice about what goes badly together."""
    seen = Seen(run, family or family_in(run))
    found = [*unsupported(run, SD_SCRIPTS), *(row.problem(seen) for row in CONFLICTS if row.holds(seen))]
    told = {problem.setting for problem in found}
    return [*found, *(problem for problem in in_lists(run) if problem.setting not in told)]


def read_over(run: RunConfig, family: str | None = None) -> list[Problem]:
    """Values that are set and that sd-scripts does not use beside the others; all of it advice."""
    idle = no_effect(value_in(run), SD_SCRIPTS, family or family_in(run))
    found = [
        Problem(
            setting=placed.setting.key,
            what=f"It does nothing here. {idle[placed.setting.key]}",
            fix=f"Leave {placed.setting.key} out.",
            severity="advice",
            mend={placed.setting.key: placed.setting.default},
            mend_label=f"Leave {placed.setting.key} out",
        )
        for placed in placed_values(run)
        if placed.setting.key in idle and placed.value != placed.setting.default
    ]
    return list(dict.fromkeys(found))
