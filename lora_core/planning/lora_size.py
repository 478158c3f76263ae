"""How many weights a LoRA has, from its settings and the layers of the base model.

Covered: plain LoRA and LoCon, LoHa, LoKr, DoRA; the file that comes of them. Not covered: single ranks
of blocks, which count with the largest of them, and LoRAs whose shape another file decides.
"""

from dataclasses import dataclass
from typing import Final

from lora_core.planning.layers import Layer, Layers
from lora_core.settings import NetworkSettings
from lora_core.settings.concern_network import LYCORIS

BYTES: Final = {"float": 4, "fp16": 2, "bf16": 2}
"""Of one number, by `save_precision`."""
_NAME_BYTES: Final = 130
"""What the header of a file takes for each tensor: its name, type, shape and place."""
_NOTES_BYTES: Final = 6_000
"""The notes about the run in each file."""

_TEXT: Final = frozenset({"text", "text_mlp"})
_TRANSFORMER: Final = frozenset({"attention", "cross", "mlp", "proj"})
_CONVOLUTIONS: Final = frozenset({"residual", "time"})
_OUTER: Final = frozenset({"outer"})
_PRESETS: Final = {
    "full": _TRANSFORMER | _CONVOLUTIONS | _OUTER | _TEXT,
    "full-lin": _TRANSFORMER | _CONVOLUTIONS | _OUTER | _TEXT,
    "attn-mlp": _TRANSFORMER | _TEXT,
    "attn-only": frozenset({"attention", "cross", "text"}),
    "unet-only": _TRANSFORMER | _CONVOLUTIONS | _OUTER,
    "unet-transformer-only": _TRANSFORMER,
    "unet-convblock-only": _CONVOLUTIONS,
}
"""The layers of each LyCORIS preset."""


@dataclass(frozen=True, slots=True)
class LoraSize:
    """What is trained."""

    unet: int
    """Weights on the image part."""
    text: int
    """Weights on the text part."""
    layers: int
    """Each has one number besides, its alpha, which is not trained."""
    tensors: int

    @property
    def weights(self) -> int:
        return self.unet + self.text

    def file_bytes(self, save_precision: str) -> int:
        """The size of the LoRA file."""
        return self.weights * BYTES[save_precision] + self.tensors * _NAME_BYTES + _NOTES_BYTES


def lora_size(base: Layers, network: NetworkSettings) -> LoraSize:
    """The weights that these settings put on this base model."""
    unet = text = layers = tensors = 0
    for layer in base.layers:
        if (layer.part == "unet" and network.network_train_text_encoder_only) or (
            layer.part != "unet" and network.network_train_unet_only
        ):
            continue
        weights, count = (
            _lycoris(layer, base, network) if network.network_module == LYCORIS else _plain(layer, network)
        )
        tensors, layers = tensors + count, layers + bool(count)
        if layer.part == "unet":
            unet += weights
        else:
            text += weights
    return LoraSize(unet, text, layers, tensors)


def _plain(layer: Layer, network: NetworkSettings) -> tuple[int, int]:
    conv = _largest(network.conv_block_dims) or network.conv_dim
    if layer.role == "outer" or (layer.convolutional and conv is None):
        return 0, 0
    rank = conv if not layer.small else _of_blocks(layer, network)
    return (rank * (layer.inputs + layer.outputs) + 1, 3) if rank else (0, 0)


def _of_blocks(layer: Layer, network: NetworkSettings) -> int:
    return (_largest(network.block_dims) if layer.part == "unet" else None) or network.network_dim


def _largest(ranks: str | None) -> int | None:
    found = [int(rank) for rank in (ranks or "").split(",") if rank.strip().isdigit()]
    return max(found, default=None)


def _lycoris(layer: Layer, base: Layers, network: NetworkSettings) -> tuple[int, int]:
    taken = layer.role in _PRESETS[network.preset]
    if layer.role == "outer":  # LyCORIS does not find SDXL's outer layers
        taken = taken and base.family == "sd15"
    if network.preset == "full-lin" and not layer.small:
        taken = False
    if not taken:
        return 0, 0
    rank = network.network_dim if layer.small else network.conv_dim or network.network_dim
    extra = (layer.outputs if network.wd_on_output else layer.shape[1]) if network.dora_wd else 0
    if network.algo == "loha":
        return 2 * rank * (layer.inputs + layer.outputs) + 1 + extra, 5 + bool(extra)
    if network.algo == "lokr":
        return _lokr(layer, network, rank) + 1 + extra, 3 + bool(extra)
    return rank * (layer.inputs + layer.outputs) + 1 + extra, 3 + bool(extra)


def _lokr(layer: Layer, network: NetworkSettings, rank: int) -> int:
    out_small, out_large = factors(layer.shape[0], network.factor)
    in_small, in_large = factors(layer.shape[1], network.factor)
    kernel = layer.inputs // layer.shape[1]
    small, large = out_small * in_small, out_large * in_large * kernel
    if network.full_matrix:
        return small + large
    if network.decompose_both and rank < max(out_small, in_small) / 2:
        small = rank * (out_small + in_small)
    if rank < max(out_large, in_large) / 2:
        large = rank * (out_large + in_large * kernel)
    return small + large


def factors(size: int, factor: int) -> tuple[int, int]:
    """The two numbers, small and large, in which LoKr cuts a side of a layer (LyCORIS' `factorization`)."""
    if factor > 0 and size % factor == 0:
        return min(factor, size // factor), max(factor, size // factor)
    limit = size if factor < 0 else factor
    small, large = 1, size
    length = small + large
    while small < large:
        next_small = small + 1
        while size % next_small:
            next_small += 1
        next_large = size // next_small
        if next_small + next_large > length or next_small > limit:
            break
        small, large = next_small, next_large
    return min(small, large), max(small, large)
