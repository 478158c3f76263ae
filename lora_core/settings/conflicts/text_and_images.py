"""What sd-scripts refuses or reads otherwise of captions, images, samples and of where a run begins.

Covered: rows, read in its code at 48d368f. Not covered: the images and captions themselves, and buckets
beside the resolution (see `lora_core.planning`).
"""

import re
from collections.abc import Callable
from typing import Any, Final

from lora_core.settings._description import FLOW_FAMILIES
from lora_core.settings.conflicts._table import Conflict, Seen
from lora_core.settings.run import setting

_SDXL: Final = "sdxl_train_network.py"
_READ_ONCE: Final = (_SDXL, "when caching Text Encoder output")
_ASSERTED: Final = ("sdxl", "sd3", "flux1", "chroma", "hunyuan-image", "anima")
_EACH_TIME: Final = {"cache_text_encoder_outputs": False, "cache_text_encoder_outputs_to_disk": False}
_LIKE_A_SAVE: Final = re.compile(r"(?:-(?:\d{6}|step\d{8})(?:-state)?)+$")
"""sd-scripts writes `name-000004`, `name-step00000400`, and states with `-state` behind."""
_KEPT: Final = "cache_latents", "cache_latents_to_disk"
_STEPS: Final = {
    "sd15": 64, "sd2": 64, "sdxl": 32, "flux1": 64, "chroma": 64, "sd3": 32, "lumina": 64,
    "hunyuan-image": 64, "anima": 16,
}  # fmt: skip
"""What the steps of buckets must be a multiple of; FLUX and others go through the check of SD as well."""


def _beside_one_reading(key: str, families: tuple[str, ...] = _ASSERTED, **more: Any) -> Conflict:
    return Conflict(
        name=f"{key} beside captions that are read once{' in Lumina' if families == ('lumina',) else ''}",
        key=key,
        when=lambda seen: seen.read_once and seen.any(key),
        what="It changes captions at each use, and they are read only once.",
        fix=f"Turn off {key}, or turn off cache_text_encoder_outputs.",
        mend={key: setting(key).default},
        families=families,
        **more,
    )


def _beside_kept_images(key: str) -> Conflict:
    return Conflict(
        name=f"{key} beside kept images",
        key=key,
        when=lambda seen: any(seen[kept] for kept in _KEPT) and seen.any(key),
        what="It changes a picture at each use, and cache_latents keeps it as it was at first.",
        fix=f"Turn off {key}, or turn off cache_latents.",
        mend={key: False},
        source=("train_network.py", "when caching latents, either color_aug or random_crop cannot be used"),
    )


def _of_another_step(seen: Seen) -> bool:
    if seen.family not in _STEPS:
        return False
    tables = seen.run.dataset.datasets
    return any(t.enable_bucket and t.bucket_reso_steps % _STEPS[seen.family] for t in tables)


def _mixed(seen: Seen) -> bool:
    """A dataset in which some folders have masks of their own and others have none."""
    kinds = [
        {subset.conditioning_data_dir is not None for subset in dataset.subsets}
        for dataset in seen.run.dataset.datasets
    ]
    return bool(seen["masked_loss"]) and any(len(kind) > 1 for kind in kinds)


def _weighs_untold(seen: Seen) -> bool:
    return bool(seen["weighted_captions"]) and not seen.read_once


def _before_its_start(seen: Seen) -> bool:
    return (
        bool(seen["initial_step"])
        and not seen["max_train_epochs"]
        and seen["initial_step"] >= seen["max_train_steps"]
    )


_CHANGES: Final = (
    "shuffle_caption",
    "caption_tag_dropout_rate",
    "token_warmup_step",
)

CAPTIONS: Final = (
    *(_beside_one_reading(key, source=_READ_ONCE) for key in _CHANGES),
    _beside_one_reading(
        "caption_dropout_rate",
        ("sdxl", "sd3", "flux1", "chroma", "hunyuan-image"),
        source=_READ_ONCE,
    ),
    *(
        _beside_one_reading(key, ("lumina",), severity="advice")
        for key in (*_CHANGES, "caption_dropout_rate")
    ),
    Conflict(
        name="choices in captions that are read once",
        key="enable_wildcard",
        when=lambda seen: seen.read_once and seen.any("enable_wildcard"),
        what="Captions are read once, so one choice is taken for the whole training.",
        fix="Turn off cache_text_encoder_outputs, or enable_wildcard.",
        mend={"enable_wildcard": False},
        families=("sdxl", *FLOW_FAMILIES),
        severity="advice",
    ),
    Conflict(
        name="a text part that is trained and read once",
        key="cache_text_encoder_outputs",
        when=lambda seen: seen.read_once and not seen["network_train_unet_only"],
        what="The text part is trained, so what it says changes and cannot be kept.",
        fix="Turn off cache_text_encoder_outputs, or turn on network_train_unet_only.",
        mend=_EACH_TIME,
        families=("sdxl", "anima"),
        source=(_SDXL, "network for Text Encoder cannot be trained with caching Text Encoder outputs"),
    ),
    Conflict(
        name="T5 that is trained and read once",
        key="train_t5xxl",
        when=lambda seen: seen.read_once and seen["train_t5xxl"],
        what="T5 is trained, so what it says changes and cannot be kept.",
        fix="Turn off train_t5xxl, or turn off cache_text_encoder_outputs.",
        mend={"train_t5xxl": False},
        families=("flux1", "chroma", "sd3"),
        source=("flux_train_network.py", "T5XXL is trained, so cache_text_encoder_outputs cannot be used"),
    ),
    Conflict(
        name="weights in captions that the family does not read",
        key="weighted_captions",
        when=_weighs_untold,
        what="Weights in captions are not read for this family, and sd-scripts stops at them.",
        fix="Turn off weighted_captions.",
        mend={"weighted_captions": False},
        families=("sd3", "flux1", "chroma", "hunyuan-image", "anima"),
        source=("library/strategy_base.py", "raise NotImplementedError"),
    ),
    Conflict(
        name="clip skip on SD 2",
        key="clip_skip",
        when=lambda seen: seen["clip_skip"] is not None,
        what="SD 2 leaves out a layer by itself, and clip skip is not made for it.",
        fix="Leave clip_skip out.",
        mend={"clip_skip": None},
        families=("sd2",),
        severity="advice",
    ),
)

IMAGES: Final = (
    *(_beside_kept_images(key) for key in ("color_aug", "random_crop")),
    Conflict(
        name="buckets of another step",
        key="bucket_reso_steps",
        when=_of_another_step,
        what="The sides of buckets must fit the family: 64 fits each one.",
        fix="Set bucket_reso_steps to 64.",
        mend={"bucket_reso_steps": 64},
        source=("library/train_util.py", "it must be divisible by"),
    ),
    Conflict(
        name="masks that are turned off",
        key="conditioning_data_dir",
        when=lambda seen: seen.any("conditioning_data_dir") and not seen["masked_loss"],
        what="sd-scripts takes a folder of masks only while masked_loss is on.",
        fix="Turn on masked_loss, or leave conditioning_data_dir out.",
        mend={"masked_loss": True},
        source=("", "extra keys not allowed"),
    ),
    Conflict(
        name="folders with and without masks in one dataset",
        key="conditioning_data_dir",
        when=_mixed,
        what="In one dataset all folders have masks, or none has.",
        fix="Put the folders into two datasets.",
        source=("", "extra keys not allowed"),
    ),
)


def _draws(seen: Seen) -> bool:
    wanted = ("sample_every_n_epochs", "sample_every_n_steps", "sample_at_first")
    return any(seen[key] for key in wanted) and not seen["sample_prompts"]


def _behind(key: str) -> Callable[[Seen], bool]:
    return lambda seen: (
        seen["initial_step"] is None
        and bool(seen["max_train_epochs"])
        and (seen[key] or 0) > seen["max_train_epochs"]
    )


RUNNING: Final = (
    Conflict(
        name="samples without a prompt",
        key="sample_prompts",
        when=_draws,
        what="Samples are to be drawn, but there is no prompt.",
        fix="Write at least one prompt, or leave the samples out.",
        mend={"sample_every_n_epochs": None, "sample_every_n_steps": None, "sample_at_first": False},
        source=("", "stat: path should be string, bytes, os.PathLike or integer, not NoneType"),
    ),
    Conflict(
        name="a name like that of a save",
        key="output_name",
        when=lambda seen: _LIKE_A_SAVE.search(seen["output_name"] or "") is not None,
        what="The name {value} ends like the number that sd-scripts adds to saves. They would be mixed up.",
        fix="Choose a name without such a number at its end.",
        mend=lambda seen: {"output_name": _LIKE_A_SAVE.sub("", seen["output_name"]) or "lora"},
        severity="advice",
    ),
    Conflict(
        name="a first step behind the end",
        key="initial_step",
        when=_before_its_start,
        what="The training would begin at step {value}, which is behind its end.",
        fix="Set more steps, or leave initial_step out.",
        mend={"initial_step": None},
        source=("train_network.py", "max_train_steps should be greater than initial step"),
    ),
    Conflict(
        name="a first epoch behind the end",
        key="initial_epoch",
        when=_behind("initial_epoch"),
        what="The training would begin at epoch {value}, which is behind its end.",
        fix="Set more epochs, or leave initial_epoch out.",
        mend={"initial_epoch": None},
        source=("train_network.py", "max_train_steps should be greater than initial step"),
    ),
)
