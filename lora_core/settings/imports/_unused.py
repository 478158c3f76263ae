"""Settings that a training script accepts and then does not use, beside the others of a recipe.

Covered: what files of other tools are known to carry (read in sd-scripts at 48d368f). Not covered:
settings that this app's own form hides.
"""

from collections.abc import Callable
from typing import Any, Final

from lora_core.settings.run import catalogue

Value = Callable[[str], Any]

_COURSE: Final = (
    "lr_scheduler", "lr_scheduler_type", "lr_warmup_steps", "lr_decay_steps", "lr_scheduler_num_cycles",
    "lr_scheduler_power", "lr_scheduler_min_lr_ratio", "lr_scheduler_timescale",
)  # fmt: skip
_DIFFUSION: Final = (
    "min_snr_gamma", "debiased_estimation_loss", "scale_v_pred_loss_like_noise_pred", "v_pred_like_loss",
    "noise_offset", "noise_offset_random_strength", "adaptive_noise_scale", "multires_noise_iterations",
    "multires_noise_discount", "zero_terminal_snr", "clip_skip", "min_timestep", "max_timestep",
)  # fmt: skip
"""Of SD 1.x, SD 2 and SDXL alone; the families that came later learn from noise in another way."""
_EARLIER: Final = frozenset({"sd15", "sd2", "sdxl"})

_RULES: Final[tuple[tuple[tuple[str, ...], Callable[[Value], bool], str], ...]] = (
    # (keys, when they do nothing, why)
    (
        _COURSE,
        lambda of: str(of("optimizer_type")).lower().endswith("schedulefree"),
        "A schedule-free optimizer has no course of the learning rate.",
    ),
    (("lr_scheduler",), lambda of: bool(of("lr_scheduler_type")), "lr_scheduler_type counts in its place."),
    (("max_train_steps",), lambda of: of("max_train_epochs") is not None, "The number of epochs counts."),
    (
        ("sample_every_n_steps",),
        lambda of: of("sample_every_n_epochs") is not None,
        "Sample pictures are made after epochs, and that counts.",
    ),
    (
        ("lr_scheduler_num_cycles",),
        lambda of: of("lr_scheduler") != "cosine_with_restarts",
        "Only the course cosine_with_restarts uses it.",
    ),
    (
        ("lr_scheduler_power",),
        lambda of: of("lr_scheduler") != "polynomial",
        "Only the course polynomial uses it.",
    ),
    (
        ("huber_schedule", "huber_c", "huber_scale"),
        lambda of: of("loss_type") in {"l2", "l1"},
        "Only a Huber loss uses it.",
    ),
    (
        ("multires_noise_discount",),
        lambda of: not of("multires_noise_iterations"),
        "There is no multires noise.",
    ),
    (
        ("adaptive_noise_scale", "noise_offset_random_strength"),
        lambda of: not of("noise_offset"),
        "There is no noise offset.",
    ),
    (("ip_noise_gamma_random_strength",), lambda of: not of("ip_noise_gamma"), "There is no input noise."),
)


def no_effect(value_of: Value, family: str | None) -> dict[str, str]:
    """Key -> one sentence why it does nothing beside the other values."""
    found = {key: why for keys, idle, why in _RULES if idle(value_of) for key in keys}
    if family is None:
        return found
    unused = f"Base models of the family {family} do not use it."
    if family not in _EARLIER:
        return found | dict.fromkeys(_DIFFUSION, unused)
    return found | {s.key: unused for s in catalogue() if family not in s.families}
