"""What sd-scripts alone takes and then ignores, by family and beside other settings.

Covered: rules, read in its code at 48d368f. Not covered: rules that are true of the built-in engine as
well (see `ignored.py`), and families that never use a setting (its description says so).
"""

from typing import Final

from lora_core.settings._description import SD_SCRIPTS
from lora_core.settings._rule import Look, Rule

_ONE: Final = (SD_SCRIPTS,)
_DRAWN: Final = {
    "flux1": "sigma", "chroma": "sigma", "hunyuan-image": "sigma", "lumina": "shift", "anima": "sigmoid",
}  # fmt: skip
"""How a family draws noise levels where nothing is said."""


def _drawn(look: Look) -> str | None:
    """How noise levels are drawn; None for families that have one way."""
    if look.family not in _DRAWN:
        return None
    named = look["timestep_sampling"] or _DRAWN[look.family]
    return "sigma" if named == "nextdit_shift" and look.family != "lumina" else str(named)


def _drawn_otherwise(look: Look, *ways: str) -> bool:
    way = _drawn(look)
    return way is not None and way not in ways


OF_SD_SCRIPTS: Final[tuple[Rule, ...]] = (
    Rule(
        ("cache_text_encoder_outputs", "cache_text_encoder_outputs_to_disk"),
        lambda look: look.family in {"sd15", "sd2"},
        "The script for this family reads captions each time.",
        _ONE,
    ),
    Rule(
        ("sigmoid_scale",),
        lambda look: _drawn_otherwise(look, "sigmoid", "shift", "flux_shift"),
        "Noise levels are drawn in a way without this spread.",
        _ONE,
    ),
    Rule(
        ("discrete_flow_shift",),
        lambda look: _drawn_otherwise(look, "shift", "sigma"),
        "Noise levels are drawn in a way without this shift.",
        _ONE,
    ),
    Rule(
        ("logit_mean", "logit_std", "mode_scale"),
        lambda look: _drawn_otherwise(look, "sigma"),
        "It counts only where noise levels are drawn by sigma.",
        _ONE,
    ),
    Rule(
        ("save_every_n_epochs",),
        lambda look: bool(look["save_n_epoch_ratio"]),
        "A number of files for the whole training is set, and it is used in place of this.",
        _ONE,
    ),
    Rule(
        ("face_crop_aug_range",),
        lambda look: bool(look["cache_latents"] or look["cache_latents_to_disk"]),
        "Images are kept as they were read first, so nothing is cut out at random.",
        _ONE,
    ),
    Rule(
        ("vae_batch_size",),
        lambda look: not (look["cache_latents"] or look["cache_latents_to_disk"]),
        "Images are not read ahead.",
        _ONE,
    ),
    Rule(
        ("skip_cache_check",),
        lambda look: not (look["cache_latents_to_disk"] or look["cache_text_encoder_outputs_to_disk"]),
        "Nothing is kept on the disk.",
        _ONE,
    ),
    Rule(
        ("huggingface_repo_type", "huggingface_path_in_repo", "huggingface_repo_visibility", "async_upload"),
        lambda look: not look["huggingface_repo_id"],
        "No place on Hugging Face is named.",
        _ONE,
    ),
)
"""Rules of sd-scripts alone."""
