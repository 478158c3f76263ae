"""LoRA files that diffusers and PEFT wrote, under the names that sd-scripts gives the same layers.

Their layers are called `unet.<module>.lora_A.weight` and `.lora_B.weight`, those of older versions
`.lora.down.weight` and `.lora.up.weight`. Alphas stand in the notes of the file (`lora_adapter_metadata`) or,
for a bare adapter of PEFT, in `adapter_config.json` beside it; where they are not told, the rank counts as
alpha, as diffusers takes it.

Covered: plain LoRA on the UNet and the text encoders of SD 1.x and SDXL. Not covered: DoRA in this form,
whose tensors keep their names and so find no place in the base model; writing such files.
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
    r"\.(lora_A|lora_B|lora\.down|lora\.up|lora_linear_layer\.down|lora_linear_layer\.up)"
    r"(?:\.default)?\.weight"
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
        down = match[3].endswith(("A", "down"))
        found[f"{key}.lora_{'down' if down else 'up'}.weight"] = tensor
        if down:
            notes = _notes(path) if notes is None else notes
            given = tensors.get(f"{match[1]}.{module}.alpha")
            alpha = _alpha(path, notes, match[1], module, len(tensor)) if given is None else float(given)
            found[f"{key}.alpha"] = torch.tensor(alpha)
    return found


def _key(part: str, module: str, family: str) -> str:
    if part == "unet":
        return f"lora_unet_{module}".replace(".", "_")
    number = {"text_encoder": "1", "text_encoder_2": "2"}[part] if family == "sdxl" else ""
    return f"lora_te{number}_text_model_{module.removeprefix('text_model.')}".replace(".", "_")


def _notes(path: Path) -> dict[str, Any]:
    """What is told about the adapters, with the part in front of each name; empty if nothing is."""
    try:
        text = read_header(path).metadata.get(_NOTES)
        beside = path.with_name(_CONFIG)
        found = json.loads(text if text is not None else beside.read_text("utf-8"))
    except (OSError, ValueError):  # most files have neither
        return {}
    return found if isinstance(found, dict) else {}


def _alpha(path: Path, notes: Mapping[str, Any], part: str | None, module: str, rank: int) -> float:
    front = f"{part}." if part else ""
    alpha, own = notes.get(f"{front}lora_alpha"), notes.get(f"{front}alpha_pattern")
    own = {} if own is None else own
    # PEFT takes these for regular expressions; diffusers writes names, and a file is not trusted with more.
    if not isinstance(own, dict) or not all(_PLAIN.fullmatch(name) for name in own):
        raise _odd(path)
    told = [value for name, value in own.items() if module == name or module.endswith(f".{name}")]
    found = told[0] if told else rank if alpha is None else alpha
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
        raise _odd(path)
    # "rank-stabilised": divided by the root of the rank, where a file's alpha is divided by the rank
    return float(found) * (math.sqrt(rank) if notes.get(f"{front}use_rslora") else 1.0)


def _odd(path: Path) -> LoraFileError:
    return LoraFileError(
        f"The LoRA file {path.name} was not read.",
        why="What it says about the alphas of its layers has no form that this trainer knows.",
        fix="Use a copy in the layout of sd-scripts.",
    )
