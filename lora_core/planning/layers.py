"""The layers of a base model, by shape and place, read from the headers of its files. Loads no torch.

Covered: diffusers folders and single files of Stable Diffusion 1.x and SDXL, in any width; which layers
a LoRA can sit on, how small the picture is there, and what gradient checkpointing computes anew as one.
Not covered: other families, and what the numbers in the weights are.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal

from lora_core.errors import LoraError
from lora_core.loras import read_header
from lora_core.models import inspect_base

Role = Literal["attention", "cross", "mlp", "proj", "residual", "time", "outer", "text", "text_mlp"]

_VAE_SHRINKS: Final = 8
"""How much smaller a latent is than its picture, in both families."""
_SINGLE_UNET: Final = "model.diffusion_model."
_SINGLE_VAE: Final = "first_stage_model."
_SINGLE_TEXT: Final = ("cond_stage_model.transformer.", "conditioner.embedders.0.transformer.")
_SINGLE_TEXT_2: Final = "conditioner.embedders.1.model."


@dataclass(frozen=True, slots=True)
class Layer:
    """One linear layer or convolution."""

    part: str
    """`unet`, `te1` or `te2`."""
    role: Role
    shape: tuple[int, ...]
    level: int
    """How often the UNet has halved the latent before this layer."""
    unit: str
    """The block that gradient checkpointing computes anew as a whole."""

    @property
    def small(self) -> bool:
        """True for linear layers and 1x1 convolutions, which share a rank."""
        return len(self.shape) == 2 or self.shape[2:] == (1, 1)

    @property
    def convolutional(self) -> bool:
        """True in residual, down and up blocks, which plain LoRA leaves out."""
        return self.role in {"residual", "time"}

    @property
    def outputs(self) -> int:
        return self.shape[0]

    @property
    def inputs(self) -> int:
        """Numbers that each output is made from."""
        return math.prod(self.shape[1:])


@dataclass(frozen=True, slots=True)
class Layers:
    """What is known of a base model's size."""

    family: str
    layers: tuple[Layer, ...]
    unet_weights: int
    vae_weights: int
    text_weights: int
    vae_width: int
    """Channels of the VAE where it works on whole pictures."""
    text_width: int
    """Numbers that stand for one token."""
    shrinks: int
    """How much smaller a latent is than its picture."""


def layers_of(base: Path) -> Layers | None:
    """The layers of the base model at `base`; None when there is no such model that can be read.

    Remembered while its files stay as they are, because pages ask at every edit.
    """
    stamp = _stamp(base)
    return _found(base, stamp) if stamp else _looked_up(base)


def _stamp(base: Path) -> tuple[int, ...]:
    """Other numbers once the model was replaced; none for a name on the hub and for what is not there."""
    found = []
    for part in ("", "model_index.json", "unet", "vae", "text_encoder", "text_encoder_2"):
        try:
            facts = (base / part).stat()
        except OSError:
            continue
        found += [facts.st_mtime_ns, facts.st_size]
    return tuple(found)


@lru_cache(maxsize=16)
def _found(base: Path, stamp: tuple[int, ...]) -> Layers | None:
    del stamp  # only tells one state of the files from another
    return _looked_up(base)


def _looked_up(base: Path) -> Layers | None:
    try:
        found = inspect_base(base)
        return _read(found.path, found.family, is_file=found.is_file)
    except (LoraError, OSError):
        return None


def _read(path: Path, family: str, *, is_file: bool) -> Layers:
    if is_file:
        shapes = _shapes(path)
        unet, vae = _under(shapes, _SINGLE_UNET), _under(shapes, _SINGLE_VAE)
        text = [_under(shapes, start) for start in _SINGLE_TEXT] + [_under(shapes, _SINGLE_TEXT_2)]
        texts, shrinks = [each for each in text if each], _VAE_SHRINKS
    else:
        unet, vae = _folder(path / "unet"), _folder(path / "vae")
        texts = [_folder(path / "text_encoder")]
        if family == "sdxl":
            texts.append(_folder(path / "text_encoder_2"))
        shrinks = _halvings(path / "vae" / "config.json")
    found = [*_unet_layers(unet)]
    for number, shapes in enumerate(texts, 1):
        found += _text_layers(f"te{number}", shapes)
    return Layers(
        family=family,
        layers=tuple(found),
        unet_weights=_count(unet.values()),
        vae_weights=_count(vae.values()),
        text_weights=sum(_count(shapes.values()) for shapes in texts),
        vae_width=next((s[0] for name, s in vae.items() if name.endswith("encoder.conv_in.weight")), 128),
        text_width=sum(_text_width(shapes) for shapes in texts),
        shrinks=shrinks,
    )


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    return {name: tensor.shape for name, tensor in read_header(path).tensors.items()}


def _folder(folder: Path) -> dict[str, tuple[int, ...]]:
    # A folder may hold the same weights in two precisions; each name counts once.
    files = sorted(file for file in folder.glob("*.safetensors") if not file.name.startswith("."))
    return {name: shape for file in files for name, shape in _shapes(file).items()}


def _under(shapes: Mapping[str, tuple[int, ...]], start: str) -> dict[str, tuple[int, ...]]:
    return {name.removeprefix(start): shape for name, shape in shapes.items() if name.startswith(start)}


def _count(shapes: Iterable[tuple[int, ...]]) -> int:
    return sum(math.prod(shape) for shape in shapes)


def _halvings(config: Path) -> int:
    try:
        widths = json.loads(config.read_text("utf-8"))["block_out_channels"]
        return int(2 ** (len(widths) - 1))
    except (OSError, ValueError, KeyError, TypeError):
        return _VAE_SHRINKS


def _unet_layers(shapes: Mapping[str, tuple[int, ...]]) -> Iterator[Layer]:
    levels = _Levels(shapes)
    for name, shape in shapes.items():
        if name.endswith(".weight") and len(shape) in {2, 4}:
            role = _role(name)
            yield Layer("unet", role, shape, levels.of(name), _unit(name))


def _role(name: str) -> Role:
    if ".attn2." in name:
        return "cross" if ".to_k." in name or ".to_v." in name else "attention"
    if ".attn1." in name:
        return "attention"
    if ".ff.net." in name:
        return "mlp"
    if ".proj_in." in name or ".proj_out." in name:
        return "proj"
    if ".time_emb_proj." in name or ".emb_layers." in name:
        return "time"
    inside = re.search(r"\.(resnets|downsamplers|upsamplers|in_layers|out_layers|skip_connection|op)\.", name)
    return "residual" if inside or re.search(r"output_blocks\.\d+\.\d+\.conv\.", name) else "outer"


def _unit(name: str) -> str:
    found = re.search(r"^.*?\.transformer_blocks\.\d+", name) or re.search(
        r"^(?:.*?\.resnets\.\d+|(?:input|output)_blocks\.\d+\.\d+|middle_block\.\d+)", name
    )
    return found[0] if found else name


class _Levels:
    """How often the latent was halved, by the names of both layouts."""

    def __init__(self, names: Iterable[str]) -> None:
        names = list(names)
        self._downs = sorted(
            {int(m[1]) for n in names if (m := re.match(r"input_blocks\.(\d+)\.0\.op\.", n))}
        )
        ups = {int(m[1]) for n in names if (m := re.match(r"output_blocks\.(\d+)\.\d+\.conv\.", n))}
        self._ups = sorted(ups)
        blocks = {int(m[1]) for n in names if (m := re.match(r"down_blocks\.(\d+)\.", n))}
        self._top = max(blocks, default=len(self._downs))

    def of(self, name: str) -> int:
        if match := re.match(r"down_blocks\.(\d+)\.(\w+)", name):
            return int(match[1]) + (match[2] == "downsamplers")
        if match := re.match(r"up_blocks\.(\d+)\.(\w+)", name):
            return max(0, self._top - int(match[1]) - (match[2] == "upsamplers"))
        if match := re.match(r"input_blocks\.(\d+)\.", name):
            return sum(down <= int(match[1]) for down in self._downs)
        if match := re.match(r"output_blocks\.(\d+)\.", name):
            later = sum(up < int(match[1]) for up in self._ups) + (".conv." in name)
            return max(0, self._top - later)
        return self._top if name.startswith(("mid_block.", "middle_block.")) else 0


def _text_layers(part: str, shapes: Mapping[str, tuple[int, ...]]) -> Iterator[Layer]:
    for name, shape in shapes.items():
        unit = re.sub(r"^(.*?(?:layers|resblocks)\.\d+)\..*$", r"\1", name)
        if name.endswith("attn.in_proj_weight"):  # OpenCLIP keeps three layers in one
            third = (shape[0] // 3, *shape[1:])
            yield from (Layer(part, "text", third, 0, unit) for _ in range(3))
        elif re.search(r"(self_attn|mlp|\.attn)\.\w+\.weight$", name) and len(shape) == 2:
            yield Layer(part, "text_mlp" if ".mlp." in name else "text", shape, 0, unit)


def _text_width(shapes: Mapping[str, tuple[int, ...]]) -> int:
    return next((s[1] for n, s in shapes.items() if n.endswith("token_embedding.weight")), 768)
