"""What sd-scripts refuses or reads otherwise of precision, memory and attention.

Covered: rows, read in its code at 48d368f. Not covered: what the machine has.
"""

from collections.abc import Callable
from typing import Any, Final

from lora_core.settings._description import all_but
from lora_core.settings.conflicts._table import Conflict, Seen

_MOST_BLOCKS: Final = {
    "flux1": 35, "chroma": 35, "hunyuan-image": 37, "anima": 26, "lumina": 24, "sd3": 36,
}  # fmt: skip
"""Blocks that can be swapped: two of each kind stay. SD3 means the largest of its models."""
_SWAP_SOURCES: Final = {
    "flux1": "library/flux_models.py",
    "hunyuan-image": "library/hunyuan_image_models.py",
    "anima": "library/anima_models.py",
    "lumina": "library/lumina_models.py",
    "sd3": "library/sd3_models.py",
}
_TRAIN: Final = "train_network.py"
_ANIMA: Final = "anima_train_network.py"


def _needs(flag: str, precision: str) -> Conflict:
    return Conflict(
        name=f"{flag} beside another precision",
        key=flag,
        when=lambda seen: bool(seen[flag]) and seen["mixed_precision"] != precision,
        what=f"It needs {precision} as the precision of the training, and another is set.",
        fix=f"Set mixed_precision to {precision}, or turn off {flag}.",
        mend={flag: False},
        source=(_TRAIN, f"{flag} requires mixed precision="),
    )


def _small(flag: str) -> Conflict:
    return Conflict(
        name=f"{flag} in full precision",
        key=flag,
        when=lambda seen: bool(seen[flag]) and seen["mixed_precision"] == "no",
        what="A base model in 8 bits is worked with in 16 bits, and the precision is not.",
        fix=f"Set mixed_precision to bf16, or turn off {flag}.",
        mend={"mixed_precision": "bf16"},
        families=all_but("anima", "hunyuan-image"),
        source=(_TRAIN, "fp8_base requires mixed precision="),
    )


def _swaps(seen: Seen) -> bool:
    return bool(seen["blocks_to_swap"])


def _too_many(families: tuple[str, ...]) -> Conflict:
    first = families[0]
    most = _MOST_BLOCKS[first]
    return Conflict(
        name=f"more blocks than can be swapped in {first}",
        key="blocks_to_swap",
        when=lambda seen: _swaps(seen) and seen["blocks_to_swap"] > most,
        what=f"At most {most} blocks can be swapped, and {{value}} are set.",
        fix=f"Set it to {most} or less.",
        mend={"blocks_to_swap": most},
        families=families,
        source=(_SWAP_SOURCES[first], "Cannot swap more than"),
    )


def _mode(*names: str) -> Callable[[Seen], bool]:
    return lambda seen: seen["attn_mode"] in names


_OFF: Final[dict[str, Any]] = {"cpu_offload_checkpointing": False}

PRECISION: Final = (
    _needs("full_fp16", "fp16"),
    _needs("full_bf16", "bf16"),
    _small("fp8_base"),
    _small("fp8_base_unet"),
    Conflict(
        name="the VAE of SDXL in fp16",
        key="no_half_vae",
        when=lambda seen: seen["mixed_precision"] == "fp16" and not seen["no_half_vae"],
        what="The VAE of SDXL gives no numbers in fp16.",
        fix="Turn on no_half_vae.",
        mend={"no_half_vae": True},
        families=("sdxl",),
        severity="advice",
    ),
    Conflict(
        name="HunyuanImage in fp16",
        key="mixed_precision",
        when=lambda seen: seen["mixed_precision"] == "fp16",
        what="sd-scripts asks for bf16 with HunyuanImage.",
        fix="Set mixed_precision to bf16.",
        mend={"mixed_precision": "bf16"},
        families=("hunyuan-image",),
        severity="advice",
    ),
)

MEMORY: Final = (
    Conflict(
        name="swapped blocks beside offloaded checkpoints",
        key="blocks_to_swap",
        when=lambda seen: _swaps(seen) and seen["cpu_offload_checkpointing"],
        what="Blocks cannot be swapped while cpu_offload_checkpointing is on.",
        fix="Turn off cpu_offload_checkpointing, or leave blocks_to_swap out.",
        mend=_OFF,
        families=("flux1", "chroma", "sd3", "anima"),
        source=("flux_train_network.py", "blocks_to_swap is not supported with cpu_offload_checkpointing"),
    ),
    Conflict(
        name="two ways of offloading checkpoints",
        key="unsloth_offload_checkpointing",
        when=lambda seen: seen["unsloth_offload_checkpointing"] and seen["cpu_offload_checkpointing"],
        what="Only one of the two ways of moving checkpoints to main memory can be on.",
        fix="Turn off cpu_offload_checkpointing.",
        mend=_OFF,
        families=("anima",),
        source=(_ANIMA, "Cannot use both --unsloth_offload_checkpointing and --cpu_offload_checkpointing"),
    ),
    Conflict(
        name="swapped blocks beside unsloth's checkpoints",
        key="unsloth_offload_checkpointing",
        when=lambda seen: _swaps(seen) and seen["unsloth_offload_checkpointing"],
        what="Blocks cannot be swapped while unsloth_offload_checkpointing is on.",
        fix="Turn off unsloth_offload_checkpointing, or leave blocks_to_swap out.",
        mend={"unsloth_offload_checkpointing": False},
        families=("anima",),
        source=(_ANIMA, "blocks_to_swap is not supported with unsloth_offload_checkpointing"),
    ),
    _too_many(("flux1", "chroma")),
    *(_too_many((family,)) for family in ("hunyuan-image", "anima", "lumina", "sd3")),
    Conflict(
        name="xformers without parts",
        key="split_attn",
        when=lambda seen: _mode("xformers")(seen) and not seen["split_attn"],
        what="The attention of xformers needs split_attn.",
        fix="Turn on split_attn.",
        mend={"split_attn": True},
        families=("hunyuan-image", "anima"),
        severity="advice",
    ),
    Conflict(
        name="an attention that only draws",
        key="attn_mode",
        when=_mode("sageattn"),
        what="The attention sageattn draws pictures, and cannot be trained with.",
        fix="Set attn_mode to torch.",
        mend={"attn_mode": "torch"},
        families=("hunyuan-image", "anima"),
        severity="advice",
    ),
    Conflict(
        name="Sage attention in Lumina",
        key="use_sage_attn",
        when=lambda seen: seen["use_sage_attn"],
        what="This attention draws pictures, and cannot be trained with.",
        fix="Turn off use_sage_attn.",
        mend={"use_sage_attn": False},
        families=("lumina",),
        severity="advice",
    ),
)
