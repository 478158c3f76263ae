"""Settings that a training script accepts and then does not use, beside the others of a recipe.

Covered: what `lora_core.settings.ignored` knows, and families that this app does not train yet. Not
covered: what depends on the target, which a recipe does not have.
"""

from collections.abc import Callable
from typing import Any, Final

from lora_core.settings._description import EVERY_UNET_FAMILY, SD_SCRIPTS
from lora_core.settings.ignored import no_effect as beside_the_others

Value = Callable[[str], Any]

_DIFFUSION: Final = (
    "min_snr_gamma", "debiased_estimation_loss", "scale_v_pred_loss_like_noise_pred", "v_pred_like_loss",
    "noise_offset", "noise_offset_random_strength", "adaptive_noise_scale", "multires_noise_iterations",
    "multires_noise_discount", "zero_terminal_snr", "clip_skip", "min_timestep", "max_timestep",
)  # fmt: skip
"""Of SD 1.x, SD 2 and SDXL alone; the families that came later learn from noise in another way."""
STILL_CHECKED: Final = frozenset({"min_bucket_reso", "max_bucket_reso"})
"""sd-scripts compares them with the size even where it does not use them, so they stay as they are."""


def no_effect(value_of: Value, family: str | None) -> dict[str, str]:
    """Key -> one sentence why it does nothing beside the other values."""
    trained = family if family in EVERY_UNET_FAMILY else None
    found = beside_the_others(value_of, SD_SCRIPTS, trained)
    if family not in {None, "sd2", *EVERY_UNET_FAMILY}:
        found |= dict.fromkeys(_DIFFUSION, f"Base models of the family {family} do not use it.")
    return found
