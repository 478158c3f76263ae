"""Where a network can sit in a base model, and what these places are called in LoRA files.

The names are those of sd-scripts at 48d368f. Stable Diffusion 1.x keeps the names that diffusers
gives its modules. For SDXL the UNet keeps the names of Stability AI's own code (`input_blocks`,
`middle_block`, `output_blocks`); ComfyUI, A1111, Forge and diffusers all read these.

Covered: the UNet and the text encoders of SD 1.x and SDXL, from the modules alone, so that it works
for models of any size and for models without weights. Not covered: which places get a layer (see
`network.py`), and ranks and rates of blocks (see `network_blocks.py`).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn
from transformers.models.clip.modeling_clip import CLIPMLP, CLIPAttention

UNET: Final = "unet"
_TRANSFORMERS: Final = (Transformer2DModel,)
_CONVOLUTIONS: Final = (ResnetBlock2D, Downsample2D, Upsample2D)
_TEXT_BLOCKS: Final = (CLIPAttention, CLIPMLP)
_RESNET_PARTS: Final = {
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
"""Parts of a residual block: diffusers' name and Stability AI's."""


class Base(Protocol):
    """What a network needs of a base model."""

    @property
    def family(self) -> str:
        """`sd1` or `sdxl`."""

    @property
    def unet(self) -> Any:
        """diffusers' UNet2DConditionModel, which ships no types."""

    @property
    def text_encoders(self) -> tuple[Any, ...]:
        """transformers' CLIPTextModel; for SDXL also its CLIPTextModelWithProjection."""


@dataclass(frozen=True, slots=True)
class Place:
    """One linear layer or convolution that a network can change."""

    part: str
    """`unet`, `te` (the text encoder of SD 1.x), `te1` or `te2` (those of SDXL)."""
    key: str
    """Its name in LoRA files."""
    module: Any
    """The torch Linear or Conv2d itself."""
    convolutional: bool
    """True in residual, down and up blocks, which plain LoRA leaves out."""

    @property
    def small(self) -> bool:
        """True for linear layers and 1x1 convolutions, which share a rank."""
        return not isinstance(self.module, nn.Conv2d) or self.module.kernel_size == (1, 1)


def places(base: Base) -> list[Place]:
    """Every place in the UNet and the text encoders, in the order of their modules."""
    found = [
        Place(UNET, key, module, isinstance(block, _CONVOLUTIONS))
        for key, module, block in _inside(base.unet, unet_names(base), _TRANSFORMERS + _CONVOLUTIONS)
    ]
    for part, encoder in text_parts(base).items():
        names = text_names(part, encoder)
        found += [Place(part, key, module, False) for key, module, _ in _inside(encoder, names, _TEXT_BLOCKS)]
    return found


def _inside(model: Any, names: dict[str, str], blocks: tuple[Any, ...]) -> Iterator[tuple[str, Any, Any]]:
    """Linear layers and convolutions in blocks of these kinds: file key, module, block."""
    for block_name, block in model.named_modules():
        if isinstance(block, blocks):
            for name, module in block.named_modules(prefix=block_name):
                if isinstance(module, nn.Linear | nn.Conv2d):
                    yield names[name], module, block


def text_parts(base: Base) -> dict[str, Any]:
    """The text encoders by the name that their part has in LoRA files."""
    if base.family == "sdxl":
        return {f"te{number}": encoder for number, encoder in enumerate(base.text_encoders, 1)}
    return {"te": base.text_encoders[0]} if base.text_encoders else {}


def text_names(part: str, encoder: Any) -> dict[str, str]:
    """File key of each linear layer of a text encoder, by its module's name."""
    # transformers 5 dropped the outer `text_model` of one of its two classes; files still have it.
    return {
        name: f"lora_{part}_text_model_{name.removeprefix('text_model.')}".replace(".", "_")
        for name, module in encoder.named_modules()
        if isinstance(module, nn.Linear)
    }


def unet_names(base: Base) -> dict[str, str]:
    """File key of each linear layer and convolution of the UNet, by its module's name in diffusers."""
    names = diffusers_names(base.unet)
    if base.family != "sdxl":
        return names
    prefixes = _stability_prefixes(base.unet)
    return {name: f"lora_unet_{_stability(name, prefixes)}".replace(".", "_") for name in names}


def diffusers_names(unet: Any) -> dict[str, str]:
    """As `unet_names` for SD 1.x; some SDXL files have these keys too."""
    return {
        name: f"lora_unet_{name}".replace(".", "_")
        for name, module in unet.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    }


def _stability(name: str, prefixes: dict[str, str]) -> str:
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        prefix = ".".join(parts[:count])
        if prefix in prefixes:
            rest = [_RESNET_PARTS.get(part, part) for part in parts[count:]]
            return ".".join([prefixes[prefix], *rest])
    return name


def _stability_prefixes(unet: Any) -> dict[str, str]:
    """Where Stability AI's code has each block of diffusers' UNet: it numbers all blocks in one row."""
    found = {
        "conv_in": "input_blocks.0.0",
        "conv_out": "out.2",
        "time_embedding.linear_1": "time_embed.0",
        "time_embedding.linear_2": "time_embed.2",
        "add_embedding.linear_1": "label_emb.0.0",
        "add_embedding.linear_2": "label_emb.0.2",
        "mid_block.resnets.0": "middle_block.0",
        "mid_block.attentions.0": "middle_block.1",
        "mid_block.resnets.1": "middle_block.2",
    }
    number = 1
    for index, block in enumerate(unet.down_blocks):
        here = f"down_blocks.{index}"
        for layer in range(len(block.resnets)):
            found[f"{here}.resnets.{layer}"] = f"input_blocks.{number}.0"
            found[f"{here}.attentions.{layer}"] = f"input_blocks.{number}.1"
            number += 1
        if block.downsamplers:
            found[f"{here}.downsamplers.0.conv"] = f"input_blocks.{number}.0.op"
            number += 1
    number = 0
    for index, block in enumerate(unet.up_blocks):
        here = f"up_blocks.{index}"
        for layer in range(len(block.resnets)):
            found[f"{here}.resnets.{layer}"] = f"output_blocks.{number}.0"
            found[f"{here}.attentions.{layer}"] = f"output_blocks.{number}.1"
            number += 1
        if block.upsamplers:
            last = 2 if getattr(block, "attentions", None) else 1
            found[f"{here}.upsamplers.0"] = f"output_blocks.{number - 1}.{last}"
    return found


_SD1_BLOCK: Final = re.compile(r"_(down|up)_blocks_(\d+)_(resnets|attentions|downsamplers|upsamplers)_(\d+)_")
_SDXL_BLOCK: Final = re.compile(r"_(input_blocks|middle_block|output_blocks)_(\d+)_")
_SDXL_FIRST: Final = {"input_blocks": 1, "middle_block": 10, "output_blocks": 13}


def block_number(key: str, family: str) -> int | None:
    """The number that sd-scripts gives the block of a UNet layer; None outside of blocks.

    SD 1.x has 25: 12 down, 1 in the middle (number 12), 12 up. SDXL has 23: one in front, 9 in,
    3 in the middle, 9 out, one at the end.
    """
    if family == "sdxl":
        match = _SDXL_BLOCK.search(key)
        return _SDXL_FIRST[match[1]] + int(match[2]) if match else None
    if "_mid_block_" in key:
        return 12
    match = _SD1_BLOCK.search(key)
    if match is None:
        return None
    within = 3 * int(match[2]) + (2 if match[3].endswith("samplers") else int(match[4]))
    return (1 if match[1] == "down" else 13) + within


def with_own_names(base: Base, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`tensors` of a LoRA file under the names of this base model; unknown names stay as they are.

    Some tools write SDXL's layers under diffusers' names, as sd-scripts too accepts them.
    """
    mine, theirs = unet_names(base), diffusers_names(base.unet)
    others = {theirs[name]: key for name, key in mine.items() if theirs[name] != key}
    found = {}
    for name, tensor in tensors.items():
        key, dot, end = name.partition(".")
        found[others.get(key, key) + dot + end] = tensor
    return found
