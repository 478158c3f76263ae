"""What a model file is, read from the names of its tensors and from its notes. Loads no torch.

Covered: single `.safetensors` files in the layout of the original Stable Diffusion and SDXL code
(prefixes `model.diffusion_model.`, `first_stage_model.`, `cond_stage_model.`, `conditioner.`), what
they say about the way they predict, and the names of the other kinds, so that each is refused as what
it is. Not covered: the weights (see the engine's `single_file.py`) and pickles, which are never opened.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lora_core.errors import LoraFileError, ModelError
from lora_core.loras import read_header
from lora_core.loras.header import Header

UNET: Final = "model.diffusion_model."
_FAMILY_BY_NAME: Final = (
    # (part of a tensor's name that only this family has, family); the first that fits counts
    ("double_blocks.0.", "flux1"),
    ("joint_blocks.0.", "sd3"),
    ("cap_embedder.", "lumina"),
    ("conditioner.embedders.1.", "sdxl"),
    ("conditioner.embedders.0.model.", "sdxl-refiner"),
    ("cond_stage_model.model.", "sd2"),
    ("cond_stage_model.transformer.", "sd15"),
)
_NO_MODEL: Final = (
    # (how a tensor's name starts, what such a file is)
    ("lora_", "It is a LoRA, not a base model."),
    ("unet.", "It is a LoRA, not a base model."),  # as diffusers and PEFT name its tensors
    ("base_model.", "It is a LoRA, not a base model."),
    (UNET, "It holds the image part alone, without the part that reads words."),
    ("down_blocks.", "It is one part of a diffusers folder. Choose the whole folder."),
    ("encoder.down", "It holds a VAE alone."),
    ("first_stage_model.", "It holds a VAE alone."),
)
LATENT_CHANNELS: Final = 4
"""Of the latents of Stable Diffusion 1.x and SDXL."""
LATENT_SHRINK: Final = 8
"""How many times smaller than a picture the latents of both families are."""
_LEVEL: Final = re.compile(r"(?:first_stage_model\.)?encoder\.down(?:_blocks)?\.(\d+)\.")
_TAKES_LATENTS: Final = "first_stage_model.decoder.conv_in.weight"
_CLIP_XL: Final = "conditioner.embedders.0.transformer."
_FIRST_CONV: Final = f"{UNET}input_blocks.0.0.weight"
_V_NOTES: Final = frozenset({"v", "v_prediction", "v-prediction"})
_AGAIN: Final = "Copy or download the file again, and compare its size."
_ANOTHER_COPY: Final = "Choose another copy of the model."
_SAFE: Final = "Choose a copy of the model whose file is a real .safetensors file."


@dataclass(frozen=True, slots=True)
class ModelFile:
    """What a single file says about itself."""

    family: str
    has_vae: bool
    latent_shrink: int
    """How many times smaller than a picture the latents of its VAE are; those of the family without one."""
    predicts_v: bool
    """It carries the tensor `v_pred` (or a note of the model spec) that marks v-prediction."""
    zero_terminal_snr: bool
    """It carries the tensor `ztsnr`."""
    size_bytes: int


def inspect_file(path: Path) -> ModelFile:
    """What the single file `path` is, from its header alone.

    Raises:
        ModelError: it is cut off, no safetensors file, or no base model with all it needs.
    """
    header = _header(path)
    names = header.tensors.keys()
    family = _family(path, names)
    first = header.tensors.get(_FIRST_CONV)
    if family in {"sd15", "sdxl"} and (first is None or len(first.shape) != 4):
        raise _refused(path, "Its image part is missing.", _AGAIN)
    if first is not None and first.shape[1:2] != (4,):
        raise _refused(
            path,
            "It is made for changing parts of pictures and takes more than a picture.",
            "Choose a model that draws pictures from text alone.",
        )
    if family == "sdxl" and not any(name.startswith(_CLIP_XL) for name in names):
        raise _refused(path, "The first of its two parts that read words is missing.", _AGAIN)
    takes = header.tensors.get(_TAKES_LATENTS)
    if takes is not None and takes.shape[1:2] != (LATENT_CHANNELS,):
        raise _refused(path, "The VAE in it is one of another family.", _ANOTHER_COPY)
    return ModelFile(
        family=family,
        has_vae=any(name.startswith("first_stage_model.") for name in names),
        latent_shrink=latent_shrink(names),
        predicts_v="v_pred" in names or header.metadata.get("modelspec.prediction_type", "") in _V_NOTES,
        zero_terminal_snr="ztsnr" in names,
        size_bytes=header.size_bytes,
    )


def latent_shrink(names: Iterable[str]) -> int:
    """How many times smaller than a picture the latents of a VAE are, by the names of its tensors."""
    levels = {match[1] for name in names if (match := _LEVEL.match(name))}
    return int(2 ** (len(levels) - 1)) if levels else LATENT_SHRINK  # each level but the last halves


def _family(path: Path, names: Collection[str]) -> str:
    for sign, family in _FAMILY_BY_NAME:
        if any(sign in name for name in names):
            return family
    why = next((said for start, said in _NO_MODEL if any(n.startswith(start) for n in names)), None)
    raise _refused(
        path,
        why or "Its tensors are those of no family that this app knows.",
        "Choose a model of Stable Diffusion 1.x or SDXL.",
    )


def _header(path: Path) -> Header:
    """The header of `path`, with a word of its own for the usual strangers."""
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        raise _refused(
            path, f"The system answered: {error.strerror}.", "Choose a file that is there."
        ) from error
    if start.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
        why = "It is a pickle under the name of a safetensors file, and opening a pickle can run code."
        raise _refused(path, why, _SAFE)
    if start.startswith((b"version https://git-lfs", b"<!DOCTYPE", b"<html")):
        raise _refused(path, "It is a short text in place of the model, left by a failed download.", _AGAIN)
    try:
        return read_header(path)
    except LoraFileError as error:
        raise _refused(path, error.why, _AGAIN) from error


def _refused(path: Path, why: str, fix: str) -> ModelError:
    return ModelError(f"The base model {path.name} cannot be used.", why=why, fix=fix)
