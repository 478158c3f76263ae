"""What sd-scripts refuses or reads otherwise of a network: its kind, its parts, its blocks.

Covered: rows, read in its code at 48d368f. Not covered: the LoRA files that are named.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from lora_core.settings import _owners
from lora_core.settings._description import EVERY_UNET_FAMILY
from lora_core.settings.conflicts._table import Conflict, Seen

_EMPTY: Final = ("", "optimizer got an empty parameter list")
_UNET: Final = (_owners.PLAIN, _owners.LORA_FA, _owners.DYLORA, _owners.OFT)
NETWORKS_OF: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(EVERY_UNET_FAMILY, _UNET),
    **dict.fromkeys(("flux1", "chroma"), (_owners.FLUX, _owners.OFT_FLUX)),
    "sd3": (_owners.SD3,),
    "lumina": (_owners.LUMINA,),
    "hunyuan-image": (_owners.HUNYUAN,),
    "anima": (_owners.ANIMA,),
}
"""The networks that find layers in a family, its plain LoRA first; LyCORIS looks by itself."""
_BLOCKS: Final = {"sd15": 25, "sd2": 25, "sdxl": 23}
_CURVES: Final = ("sine", "cosine", "linear", "reverse_linear", "zeros")
_LORA: Final = "networks/lora.py"
_LORA_FLUX: Final = "networks/lora_flux.py"
_OFT_WIDTH: Final = 3072
"""Width of FLUX; each part that OFT splits is a multiple of it."""


def network_of(family: str | None) -> str:
    """The plain network for base models of this family."""
    return NETWORKS_OF.get(str(family), ("networks.lora",))[0]


def _of_another_family(seen: Seen) -> bool:
    module = seen["network_module"]
    known = seen.family in NETWORKS_OF and module in _owners.NETWORKS and module != _owners.LYCORIS
    return known and module not in NETWORKS_OF[str(seen.family)]


def _of_its_family(seen: Seen) -> dict[str, Any]:
    return {"network_module": network_of(seen.family)}


def _in(*modules: str) -> Callable[[Seen], bool]:
    return lambda seen: seen["network_module"] in modules


def _numbers(text: str) -> int | None:
    """How many numbers a text lists; None where it lists something else."""
    try:
        return len([float(part) for part in text.strip().strip("[]").split(",")])
    except ValueError:
        return None


def _list_of(key: str, count: int, module: str, what: str) -> Conflict:
    return Conflict(
        name=f"{key} of another length",
        key=key,
        when=lambda seen: _in(module)(seen) and bool(seen[key]) and _numbers(seen[key]) != count,
        what=f"It needs {count} numbers: {what}.",
        fix=f"Write {count} numbers, or leave {key} out.",
        mend={key: None},
        source=(f"{module.replace('.', '/')}.py", f"invalid {key}"),
    )


def _per_block(key: str) -> Conflict:
    def wrong(seen: Seen) -> bool:
        if seen["network_module"] not in _owners.WITH_BLOCKS or not seen[key] or not _has_blocks(seen):
            return False
        return _numbers(seen[key]) != _BLOCKS.get(str(seen.family))

    return Conflict(
        name=f"{key} for another number of blocks",
        key=key,
        when=wrong,
        what="SD has 25 blocks and SDXL has 23, and it needs a number for each.",
        fix=f"Write a number for each block, or leave {key} out.",
        mend={key: None},
        families=EVERY_UNET_FAMILY,
        source=(_LORA, f"{key} must have"),
    )


def _has_blocks(seen: Seen) -> bool:
    keys = ("block_dims", "down_lr_weight", "mid_lr_weight", "up_lr_weight")
    return any(seen[key] for key in keys)


def _without_blocks(key: str) -> Conflict:
    return Conflict(
        name=f"{key} without ranks of blocks",
        key=key,
        when=lambda seen: (
            seen["network_module"] in _owners.WITH_BLOCKS and bool(seen[key]) and not _has_blocks(seen)
        ),
        what="It does nothing without ranks or rates of blocks.",
        fix=f"Set block_dims, or leave {key} out.",
        mend={key: None},
        families=EVERY_UNET_FAMILY,
        severity="advice",
    )


def _chosen(text: str, total: int) -> bool:
    """True where a text names blocks from 0 to `total` - 1, as sd-scripts reads it."""
    if text in {"all", "none", ""}:
        return True
    for part in text.split(","):
        found = re.fullmatch(r"\s*([0-9]{1,9})\s*(?:-\s*([0-9]{1,9})\s*)?", part)
        if found is None:
            return False
        first, last = int(found[1]), int(found[2] or found[1])
        if not first <= last < total:
            return False
    return True


def _some_blocks(key: str, total: int, module: str) -> Conflict:
    return Conflict(
        name=f"{key} names a block that is not there",
        key=key,
        when=lambda seen: _in(module)(seen) and seen[key] is not None and not _chosen(seen[key], total),
        what=f"It names blocks by numbers from 0 to {total - 1}, such as 0-3,8. This one cannot be read so.",
        fix="Write such numbers, or all, or none.",
        mend={key: None},
        source=(f"{module.replace('.', '/')}.py", "invalid index"),
    )


def _wrong_blocks(allowed: Mapping[str, tuple[str, ...]]) -> Callable[[Seen], bool]:
    def wrong(seen: Seen) -> bool:
        module = seen["network_module"]
        return seen["train_blocks"] is not None and seen["train_blocks"] not in allowed.get(
            module, (seen["train_blocks"],)
        )

    return wrong


def _no_curve(key: str, mid: bool) -> Conflict:
    def wrong(seen: Seen) -> bool:
        text = seen[key]
        if seen["network_module"] not in _owners.WITH_BLOCKS or not text:
            return False
        name = re.match(r"[a-z_]+", text.strip())
        return _numbers(text) is None and (mid or name is None or name[0] not in _CURVES)

    return Conflict(
        name=f"{key} that is no curve",
        key=key,
        when=wrong,
        what="It is neither a list of numbers nor the name of a curve.",
        fix="Write numbers with commas, or one of the names: " + ", ".join(_CURVES) + ".",
        mend={key: None},
        families=EVERY_UNET_FAMILY,
        source=("", "could not convert string to float" if mid else "is not callable"),
    )


KINDS: Final = (
    Conflict(
        name="a network of another family",
        key="network_module",
        when=lambda seen: _of_another_family(seen) and seen["network_train_unet_only"],
        what="{value} finds no layers in this family, so nothing would be trained.",
        fix="Take the network of this family.",
        mend=_of_its_family,
        source=_EMPTY,
    ),
    Conflict(
        name="a network of another family beside a text part",
        key="network_module",
        when=lambda seen: _of_another_family(seen) and not seen["network_train_unet_only"],
        what="{value} finds no layers in the image part of this family.",
        fix="Take the network of this family.",
        mend=_of_its_family,
        severity="advice",
    ),
    Conflict(
        name="LyCORIS on Anima",
        key="network_module",
        when=_in(_owners.LYCORIS),
        what="LyCORIS looks for layers by names that Anima does not have. It may find none.",
        fix="Take networks.lora_anima.",
        mend={"network_module": _owners.ANIMA},
        families=("anima",),
        severity="advice",
    ),
    Conflict(
        name="both parts left out",
        key="network_train_text_encoder_only",
        when=lambda seen: seen["network_train_unet_only"] and seen["network_train_text_encoder_only"],
        what="Only the image part and only the text part are to be trained, so nothing is left.",
        fix="Turn off one of the two.",
        mend={"network_train_text_encoder_only": False},
        source=_EMPTY,
    ),
    Conflict(
        name="only the text part of HunyuanImage",
        key="network_train_text_encoder_only",
        when=lambda seen: seen["network_train_text_encoder_only"] and not seen["network_train_unet_only"],
        what="The text parts of HunyuanImage are never trained, so nothing is left.",
        fix="Turn off network_train_text_encoder_only.",
        mend={"network_train_text_encoder_only": False, "network_train_unet_only": True},
        families=("hunyuan-image",),
        source=_EMPTY,
    ),
    Conflict(
        name="a text part of HunyuanImage",
        key="network_train_unet_only",
        when=lambda seen: not seen["network_train_unet_only"],
        what="The text parts of HunyuanImage are never trained.",
        fix="Turn on network_train_unet_only, so that you see what is done.",
        mend={"network_train_unet_only": True},
        families=("hunyuan-image",),
        severity="advice",
    ),
    Conflict(
        name="only the text part of Chroma",
        key="network_train_text_encoder_only",
        when=lambda seen: (
            seen["network_train_text_encoder_only"]
            and not seen["network_train_unet_only"]
            and not seen["train_t5xxl"]
        ),
        what="The one text part of Chroma is T5, and train_t5xxl is off, so nothing is left.",
        fix="Turn off network_train_text_encoder_only.",
        mend={"network_train_text_encoder_only": False},
        families=("chroma",),
        source=_EMPTY,
    ),
    Conflict(
        name="T5 beside the image part alone",
        key="train_t5xxl",
        when=lambda seen: seen["train_t5xxl"] and seen["network_train_unet_only"] and not seen.read_once,
        what="T5 is not trained, because only the image part is.",
        fix="Turn off train_t5xxl, or network_train_unet_only.",
        mend={"train_t5xxl": False},
        families=("flux1", "chroma", "sd3"),
        severity="advice",
    ),
    Conflict(
        name="a rate for a text part that is not trained",
        key="text_encoder_lr",
        when=lambda seen: seen["network_train_unet_only"] and bool(seen["text_encoder_lr"]),
        what="It is not used, because only the image part is trained.",
        fix="Turn off network_train_unet_only, or leave it out.",
        mend={"text_encoder_lr": None},
        severity="advice",
    ),
    Conflict(
        name="a shape from nowhere",
        key="dim_from_weights",
        when=lambda seen: seen["dim_from_weights"] and seen["network_weights"] is None,
        what="The shape is to be taken from a LoRA, and none is named.",
        fix="Name a LoRA in network_weights, or turn off dim_from_weights.",
        mend={"dim_from_weights": False},
        source=("", "expected str, bytes or os.PathLike object, not NoneType"),
    ),
    Conflict(
        name="more strengths than LoRAs",
        key="base_weights_multiplier",
        when=lambda seen: len(seen["base_weights_multiplier"] or ()) > len(seen["base_weights"] or ()),
        what="It has more numbers than there are LoRAs to build in.",
        fix="Write one number for each LoRA.",
        mend=lambda seen: {
            "base_weights_multiplier": seen["base_weights_multiplier"][: len(seen["base_weights"] or ())]
            or None
        },
        severity="advice",
    ),
    Conflict(
        name="DoRA without LyCORIS",
        key="dora_wd",
        when=lambda seen: seen["dora_wd"] and seen["network_module"] != _owners.LYCORIS,
        what="Only LyCORIS makes a DoRA. This network reads over it and makes a plain LoRA.",
        fix="Set network_module to lycoris.kohya, or turn off dora_wd.",
        mend={"network_module": _owners.LYCORIS},
        severity="advice",
    ),
)

SHAPES: Final = (
    Conflict(
        name="DyLoRA with two ranks",
        key="conv_dim",
        when=lambda seen: (
            _in(_owners.DYLORA)(seen)
            and seen["conv_dim"] is not None
            and seen["conv_dim"] != seen["network_dim"]
        ),
        what="DyLoRA has one rank for all layers, and {value} is another.",
        fix="Set conv_dim to the rank, or leave it out.",
        mend=lambda seen: {"conv_dim": seen["network_dim"]},
        families=EVERY_UNET_FAMILY,
        source=("networks/dylora.py", "conv_dim must be same as network_dim"),
    ),
    Conflict(
        name="DyLoRA in parts that do not fit",
        key="unit",
        when=lambda seen: (
            _in(_owners.DYLORA)(seen) and seen["unit"] is not None and seen["network_dim"] % seen["unit"] != 0
        ),
        what="The rank must be a multiple of it, and {value} is no part of the rank.",
        fix="Set unit to 1, or to a part of the rank.",
        mend={"unit": 1},
        families=EVERY_UNET_FAMILY,
        source=("networks/dylora.py", "rank must be a multiple of unit"),
    ),
    Conflict(
        name="OFT on FLUX in parts that do not fit",
        key="network_dim",
        when=lambda seen: _in(_owners.OFT_FLUX)(seen) and _OFT_WIDTH % seen["network_dim"] != 0,
        what="OFT cuts layers into this many parts, and those of FLUX cannot be cut into {value}.",
        fix="Set it to 4, 8 or 16, for example.",
        mend={"network_dim": 4},
        families=("flux1", "chroma"),
        source=("networks/oft_flux.py", "split_dim must be divisible by num_blocks"),
    ),
    *(_per_block(key) for key in ("block_dims", "block_alphas", "conv_block_dims", "conv_block_alphas")),
    *(_without_blocks(key) for key in ("block_alphas", "conv_block_dims", "conv_block_alphas")),
    *(_no_curve(key, key == "mid_lr_weight") for key in ("down_lr_weight", "mid_lr_weight", "up_lr_weight")),
    _list_of("in_dims", 5, _owners.FLUX, "image, time, vector, guidance and text"),
    _list_of("emb_dims", 6, _owners.SD3, "context, time, image, vector and two of the end"),
    _list_of("embedder_dims", 3, _owners.LUMINA, "image, time and caption"),
    _some_blocks("train_double_block_indices", 19, _owners.FLUX),
    _some_blocks("train_single_block_indices", 38, _owners.FLUX),
    Conflict(
        name="train_blocks of another family",
        key="train_blocks",
        when=_wrong_blocks(
            {
                _owners.FLUX: ("all", "single", "double"),
                _owners.LUMINA: ("all", "transformer", "refiners", "noise_refiner", "context_refiner"),
            }
        ),
        what="This network has no part called {value}.",
        fix="Set train_blocks to all, or leave it out.",
        mend={"train_blocks": None},
        families=("flux1", "chroma", "lumina"),
        source=(_LORA_FLUX, "invalid train_blocks"),
    ),
)
