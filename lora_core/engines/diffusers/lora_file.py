"""LoRA files in the layout that A1111, Forge, ComfyUI and diffusers load.

A layer of plain LoRA is three tensors: `lora_unet_<module with underscores>.lora_down.weight`,
`.lora_up.weight` and `.alpha`, as `networks.lora` of sd-scripts writes them.

Covered: writing with metadata and hashes, reading. Not covered: the layout of diffusers and PEFT (see
`peft_file.py`), the metadata itself (see `metadata.py`), what the tensors are called (see
`network_places.py`) and who gets them (`network.py`).
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from lora_core.engines.diffusers.peft_file import with_layer_names
from lora_core.errors import LoraFileError
from lora_core.models import inspect_base
from lora_core.settings import RunConfig
from lora_core.workspace import replacing

DTYPES: Final = {"float": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
"""`save_precision` as sd-scripts spells it."""


def write_lora(path: Path, tensors: dict[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Replace `path` with a LoRA file; the hashes are added to `metadata`.

    Raises:
        DiskFullError: the disk is full; `path` is as it was and nothing else is left.
    """
    content = save(tensors, {**metadata, **_hashes(tensors, metadata)})
    # Written by Python, not by safetensors: a full disk is then an OSError with its number.
    with replacing(path) as part:
        part.write_bytes(content)


def _hashes(tensors: dict[str, Tensor], metadata: Mapping[str, str]) -> dict[str, str]:
    """The two hashes that A1111's additional networks extension made common.

    They are taken of the file as it would be with its `ss_` metadata alone, so that editing a
    title later does not change them: one of all tensors, one of 64 KiB after the first MiB.
    """
    content = save(tensors, {key: value for key, value in metadata.items() if key.startswith("ss_")})
    body = 8 + int.from_bytes(content[:8], "little")
    return {
        "sshs_model_hash": hashlib.sha256(memoryview(content)[body:]).hexdigest(),
        "sshs_legacy_hash": hashlib.sha256(content[0x100000:0x110000]).hexdigest()[:8],
    }


def read_lora(path: Path, family: str) -> dict[str, Tensor]:
    """The tensors of a LoRA file, under the names of sd-scripts also where diffusers or PEFT wrote it.

    Raises:
        LoraFileError: it cannot be read as one.
    """
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise LoraFileError(
            f"The LoRA file {path.name} was not read.",
            why="It is missing, cut off, or no .safetensors file.",
            fix="Use another copy of it.",
        ) from error
    named = with_layer_names(path, tensors, family)
    for name, tensor in named.items():
        if why := _unusable(name, tensor):
            raise LoraFileError(
                f"The LoRA file {path.name} was not read.",
                why=why,
                fix="Use another copy, or an earlier save.",
            )
    return {name: _alpha(name, tensor, named) for name, tensor in named.items()}


def look_at_given(run: RunConfig) -> None:
    """Read the LoRAs that a run begins with, so that a broken one is told before the base model is loaded.

    Raises:
        LoraFileError: one of them cannot be read.
    """
    given = [path for path in (run.network.network_weights, *(run.network.base_weights or ())) if path]
    if given:
        sdxl = inspect_base(run.model.pretrained_model_name_or_path).family == "sdxl"
        for path in given:
            read_lora(path, "sdxl" if sdxl else "sd1")


def _alpha(name: str, tensor: Tensor, all_of: Mapping[str, Tensor]) -> Tensor:
    """An alpha of 0 stands for the rank, as in sd-scripts (`networks/lora.py`, 48d368f)."""
    down = all_of.get(f"{name.removesuffix('.alpha')}.lora_down.weight")
    if name.endswith(".alpha") and down is not None and not float(tensor):
        return torch.tensor(float(len(down)))
    return tensor


def _unusable(name: str, tensor: Tensor) -> str:
    """Why no layer of any kind can be made of this tensor; empty if one may."""
    if name.endswith(".alpha") and tensor.numel() != 1:
        return f"{name} is not a single number."
    if tensor.numel() == 0 or (name.endswith(".weight") and tensor.ndim < 2):
        return f"{name} has the shape {list(tensor.shape)}, which no layer has."
    if not bool(tensor.float().isfinite().all()):
        return f"{name} has values that are not numbers."
    return ""
