"""LoRA files in the layout that A1111, Forge, ComfyUI and diffusers load.

Each layer is three tensors: `lora_unet_<module with underscores>.lora_down.weight`,
`.lora_up.weight` and `.alpha`, as `networks.lora` of sd-scripts writes them.

Covered: writing with metadata and hashes, reading back into the same layers. Not covered: the
metadata itself (see `metadata.py`), text encoder keys, files of other kinds of network.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from lora_core.engines.diffusers.network import UNet, lora_layers
from lora_core.errors import LoraFileError
from lora_core.workspace import replacing

DTYPES: Final = {"float": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
"""`save_precision` as sd-scripts spells it."""


def key_of(module: str) -> str:
    """The name that a UNet module has in LoRA files."""
    return "lora_unet_" + module.replace(".", "_")


def lora_tensors(unet: UNet, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """All LoRA layers as the tensors of a file, on the CPU and independent of the training."""
    tensors: dict[str, Tensor] = {}
    for module, layer in lora_layers(unet):
        key = key_of(module)
        tensors[f"{key}.lora_down.weight"] = _copied(layer.down, dtype)
        tensors[f"{key}.lora_up.weight"] = _copied(layer.up, dtype)
        tensors[f"{key}.alpha"] = torch.tensor(layer.alpha, dtype=dtype)
    return tensors


def _copied(weight: Tensor, dtype: torch.dtype) -> Tensor:
    return weight.detach().to("cpu", dtype, copy=True).contiguous()


def set_lora_tensors(unet: UNet, tensors: Mapping[str, Tensor]) -> None:
    """Give the LoRA layers of `unet` the weights in `tensors`.

    Raises:
        LoraFileError: the tensors belong to other layers, ranks or alphas; nothing was changed.
    """
    expected = lora_tensors(unet)
    differing = [name for name in {**expected, **tensors} if not _fits(name, expected, tensors)]
    if differing:
        raise LoraFileError(
            "These LoRA weights were not loaded.",
            why=f"They fit another network: {len(differing)} parts differ, such as {differing[0]}.",
            fix="Use the ranks, the alphas and the base model that they were trained with.",
        )
    with torch.no_grad():
        for module, layer in lora_layers(unet):
            key = key_of(module)
            layer.down.copy_(tensors[f"{key}.lora_down.weight"])
            layer.up.copy_(tensors[f"{key}.lora_up.weight"])


def _fits(name: str, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> bool:
    if name not in expected or name not in found or expected[name].shape != found[name].shape:
        return False
    if name.endswith(".alpha"):
        # Stored at the file's precision, so a hundredth of a part is as equal as it gets.
        return bool(torch.isclose(expected[name], found[name].float(), rtol=0.01))
    return True


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


def read_lora(path: Path) -> dict[str, Tensor]:
    """The tensors of a LoRA file.

    Raises:
        LoraFileError: it cannot be read as one.
    """
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise LoraFileError(
            f"The LoRA file {path.name} was not read.",
            why="It is missing, cut off, or no .safetensors file.",
            fix="Use another copy of it.",
        ) from error
