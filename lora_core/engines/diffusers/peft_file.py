"""LoRA files that diffusers and PEFT wrote, under the names that sd-scripts gives the same layers.

Their layers are called `unet.<module>.lora_A.weight` and `.lora_B.weight`, those of older versions
`.lora.down.weight` and `.lora.up.weight`. Alphas stand in the notes of the file (`lora_adapter_metadata`) or,
for a bare adapter of PEFT, in `adapter_config.json` beside it; where they are not told, the rank counts as
alpha, as diffusers takes it. What is told in another form is refused, never guessed at.

Covered: LoRA and DoRA on the UNet and the text encoders of SD 1.x and SDXL. Not covered: layers inside
of attention processors, which diffusers wrote in 2023 and which keep their names, and so find no place in
the base model; writing such files.
"""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from lora_core.errors import LoraFileError
from lora_core.loras.header import read_header

_NAME: Final = re.compile(
    r"(?:base_model\.model\.)?(?:(unet|text_encoder_2|text_encoder)\.)?(.+)"
    r"\.(?:(lora_A|lora_B|lora\.down|lora\.up|lora_linear_layer\.down|lora_linear_layer\.up)"
    r"(?:\.default)?\.weight|lora_magnitude_vector(?:\.default)?(?:\.weight)?)"
)
_ALPHA: Final = re.compile(r"(?:unet|text_encoder_2|text_encoder)\..+\.alpha")
_PLAIN: Final = re.compile(r"[\w.]+")
_NOTES: Final = "lora_adapter_metadata"
_CONFIG: Final = "adapter_config.json"


def with_layer_names(path: Path, tensors: Mapping[str, Tensor], family: str) -> dict[str, Tensor]:
    """`tensors` of the file at `path`; those in the layout of diffusers and PEFT are renamed, with alphas.

    Raises:
        LoraFileError: its notes about alphas cannot be understood.
    """
    found: dict[str, Tensor] = {}
    notes: dict[str, Any] | None = None
    for name, tensor in tensors.items():
        match = _NAME.fullmatch(name)
        if match is None:
            if not _ALPHA.fullmatch(name):  # read with its layer
                found[name] = tensor
            continue
        part, module = match[1] or "unet", match[2]
        key = _key(part, module, family)
        if match[3] is None:
            found[f"{key}.dora_scale"] = _sizes(tensor, tensors, name)
            continue
        down = match[3].endswith(("A", "down"))
        found[f"{key}.lora_{'down' if down else 'up'}.weight"] = tensor
        if down:
            notes = _notes(path) if notes is None else notes
            given = tensors.get(f"{match[1]}.{module}.alpha")
            rank = len(tensor) if tensor.ndim else 0  # a single number fits no layer, which is told later
            alpha = _alpha(path, notes, match[1], module, rank) if given is None else _number(path, given)
            found[f"{key}.alpha"] = torch.tensor(alpha)
    return found


def _key(part: str, module: str, family: str) -> str:
    if part == "unet":
        return f"lora_unet_{module}".replace(".", "_")
    number = {"text_encoder": "1", "text_encoder_2": "2"}[part] if family == "sdxl" else ""
    return f"lora_te{number}_text_model_{module.removeprefix('text_model.')}".replace(".", "_")


def _sizes(magnitudes: Tensor, tensors: Mapping[str, Tensor], name: str) -> Tensor:
    """DoRA's size of each output, in the shape that LyCORIS gives it."""
    down = tensors.get(f"{name.partition('.lora_magnitude_vector')[0]}.lora_A.weight")
    return magnitudes.reshape(-1, *[1] * (1 if down is None else down.ndim - 1))


def _notes(path: Path) -> dict[str, Any]:
    """What is told about the adapters, with the part in front of each name; empty if nothing is."""
    beside = path.with_name(_CONFIG)
    text = read_header(path).metadata.get(_NOTES)
    try:
        if text is None and not beside.is_file():  # so it is with most files
            return {}
        found = json.loads(beside.read_text("utf-8") if text is None else text)
    except (OSError, ValueError, RecursionError) as error:
        raise _odd(path) from error
    if not isinstance(found, dict):
        raise _odd(path)
    return found


def _alpha(path: Path, notes: Mapping[str, Any], part: str | None, module: str, rank: int) -> float:
    front = f"{part}." if part else ""
    alpha, own = notes.get(f"{front}lora_alpha"), notes.get(f"{front}alpha_pattern")
    own, by_root = {} if own is None else own, notes.get(f"{front}use_rslora") or False
    # PEFT takes these for regular expressions; diffusers writes names, and a file is not trusted with more.
    if not isinstance(own, dict) or not all(_PLAIN.fullmatch(name) for name in own):
        raise _odd(path)
    told = [value for name, value in own.items() if module == name or module.endswith(f".{name}")]
    found = _number(path, told[0] if told else rank if alpha is None else alpha)
    if not isinstance(by_root, bool):
        raise _odd(path)
    # "rank-stabilised": divided by the root of the rank, where a file's alpha is divided by the rank
    return found * (math.sqrt(rank) if by_root else 1.0)


def _number(path: Path, told: Any) -> float:
    if isinstance(told, Tensor) and told.numel() == 1:
        told = float(told)
    try:
        if isinstance(told, int | float) and not isinstance(told, bool) and math.isfinite(told):
            return float(told)
    except OverflowError as error:  # a whole number of hundreds of digits
        raise _odd(path) from error
    raise _odd(path)


def _odd(path: Path) -> LoraFileError:
    return LoraFileError(
        f"The LoRA file {path.name} was not read.",
        why="What it says about the alphas of its layers has no form that this trainer knows.",
        fix="Use a copy in the layout of sd-scripts.",
    )
