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
    family, found = family or family_in(run), []
    beside = {
        (number, index): no_effect(value_in(run, number, index), SD_SCRIPTS, family)
        for number, dataset in enumerate(run.dataset.datasets)
        for index in range(len(dataset.subsets))
    }
    for placed in placed_values(run):
        key, at = placed.setting.key, (placed.dataset, placed.subset)
        # A weight for class images acts when one folder of many holds them.
        views = [
            idle
            for place, idle in beside.items()
            if all(mine in {None, its} for mine, its in zip(at, place, strict=True))
        ]
        if placed.value != placed.setting.default and all(key in idle for idle in views):
            found.append(
                Problem(
                    setting=key,
                    what=f"It does nothing here. {views[0][key]}",
                    fix=f"Leave {key} out.",
                    severity="advice",
                    mend={key: placed.setting.default},
                    mend_label=f"Leave {key} out",
                )
            )
    return list(dict.fromkeys(found))
