"""The LoRA layers: which parts of the UNet get one, and how each begins.

PEFT puts the layers in. Which modules they sit on and how they start is what `networks.lora` of
sd-scripts does at 48d368f, so that a file trained here has the same layers as one trained there.

Covered: LoRA on linear layers and 1x1 convolutions of the transformer blocks; with `conv_dim`
also everything in the residual, down and up blocks. Not covered: text encoders, LyCORIS kinds,
ranks per block. Names and files are in `lora_file.py`.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import torch
from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.upsampling import Upsample2D
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from lora_core.engines.diffusers.noise import Purpose, generator
from lora_core.settings import NetworkSettings

UNet: TypeAlias = Any
"""diffusers' UNet2DConditionModel, which ships no types."""

_ADAPTER: Final = "default"
_ATTENTION: Final = (Transformer2DModel,)
_CONVOLUTIONS: Final = (ResnetBlock2D, Downsample2D, Upsample2D)


@dataclass(frozen=True, slots=True)
class Size:
    """Rank and alpha of one layer; what it learned is scaled by alpha / rank."""

    rank: int
    alpha: float


def sizes(unet: UNet, settings: NetworkSettings) -> dict[str, Size]:
    """Rank and alpha of every module that gets a LoRA layer, by its name in the UNet.

    Linear layers and 1x1 convolutions have `network_dim`, larger kernels `conv_dim`. The time
    projection and the shortcut of a residual block belong to its convolutions: they join in only
    with `conv_dim`, and then at `network_dim`.
    """
    small = Size(settings.network_dim, settings.network_alpha)
    large = Size(settings.conv_dim, settings.conv_alpha or 1.0) if settings.conv_dim else None
    blocks = _ATTENTION if large is None else _ATTENTION + _CONVOLUTIONS
    found: dict[str, Size] = {}
    for block_name, block in unet.named_modules():
        if not isinstance(block, blocks):
            continue
        for name, module in block.named_modules(prefix=block_name):
            if isinstance(module, nn.Linear) or (
                isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1)
            ):
                found[name] = small
            elif isinstance(module, nn.Conv2d) and large is not None:
                found[name] = large
    return found


def add_lora(unet: UNet, settings: NetworkSettings, seed: int) -> None:
    """Freeze `unet` and put float32 LoRA layers on it that change nothing yet.

    The down weights are drawn from `seed` (He et al., 2015, with slope sqrt(5), which is what
    torch gives a linear layer); the up weights are zero.
    """
    unet.requires_grad_(False)
    wanted = sizes(unet, settings)
    unet.add_adapter(
        LoraConfig(
            r=settings.network_dim,
            lora_alpha=settings.network_alpha,
            target_modules=list(wanted),
            rank_pattern={name: size.rank for name, size in wanted.items()},
            alpha_pattern={name: size.alpha for name, size in wanted.items()},
            init_lora_weights=False,  # the start below is drawn from our seed, not torch's stream
        )
    )
    for number, layer in enumerate(dict(lora_layers(unet)).values()):
        down, up = layer.down, layer.up
        down.data = _first_down(down, generator(seed, Purpose.NETWORK, number)).to(down.device)
        up.data = torch.zeros_like(up, dtype=torch.float32)


def _first_down(weight: Tensor, rng: Any) -> Tensor:
    # kaiming_uniform with slope sqrt(5) is uniform within 1 / sqrt(inputs of one output).
    bound = 1 / math.sqrt(weight[0].numel())
    drawn = rng.uniform(-bound, bound, size=tuple(weight.shape))
    return torch.from_numpy(drawn).to(torch.float32)


@dataclass(frozen=True, slots=True)
class Layer:
    """One LoRA layer: two trained weights and the alpha that scales them."""

    down: nn.Parameter
    """(rank, inputs), or (rank, inputs, height, width) for a convolution."""
    up: nn.Parameter
    """(outputs, rank), or (outputs, rank, 1, 1) for a convolution."""
    alpha: float


def lora_layers(unet: UNet) -> Iterator[tuple[str, Layer]]:
    """Every LoRA layer by its module's name in the UNet, in the order of the UNet's modules."""
    for name, module in unet.named_modules():
        if isinstance(module, LoraLayer):
            down: Any = module.lora_A[_ADAPTER]  # PEFT declares any module; these are linear or convolutions
            up: Any = module.lora_B[_ADAPTER]
            yield (
                name,
                Layer(
                    down=down.weight,
                    up=up.weight,
                    alpha=float(module.lora_alpha[_ADAPTER]),
                ),
            )


def trained_parameters(unet: UNet) -> list[nn.Parameter]:
    """The weights that the optimizer moves."""
    return [weight for _, layer in lora_layers(unet) for weight in (layer.down, layer.up)]
