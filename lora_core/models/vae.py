"""A separate VAE: where it lies, and whether its latents are those of a base model. Loads no torch.

Covered: a diffusers folder (of the VAE alone, or of a whole model), a single `.safetensors` file in
either layout, a name on the hub whose files are in its cache; what a header tells of the latents.
Not covered: reading the weights. Two VAEs of the same sizes in single files cannot be told apart.
"""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Final

from lora_core.errors import LoraFileError, ModelError
from lora_core.loras import read_header
from lora_core.models.base import FAMILY_NAMES, BaseModel
from lora_core.models.hub import cached_file, is_name
from lora_core.models.single_file import LATENT_CHANNELS, latent_shrink

_FIRST: Final = ("encoder.conv_in.weight", "first_stage_model.encoder.conv_in.weight")
_CHOOSE: Final = "Choose the folder of a VAE, or a .safetensors file that holds one."
_WEIGHTS: Final = "diffusion_pytorch_model*.safetensors"
"""How diffusers names what it loads; repositories of VAEs have others beside it."""
_TAKES_LATENTS: Final = "decoder.conv_in.weight"
_SCALES: Final = {0.18215: "sd15", 0.13025: "sdxl"}
"""What a folder says its latents are multiplied by -> the family that this stands for."""


def vae_place(path: Path, base: BaseModel | None = None) -> Path:
    """The file, or the folder that holds `config.json` and the weights.

    Raises:
        ModelError: there is no VAE at `path`, or its latents are not those of `base`.
    """
    if is_name(path):
        named = cached_file(path.as_posix(), "config.json") or cached_file(path.as_posix(), "vae/config.json")
        if named is None:
            raise _refused(path, "It is not on this machine, and nothing is downloaded unasked.")
        folders = [named.parent]
    elif path.is_file():
        if path.suffix.lower() != ".safetensors":
            raise _refused(path, "Files of other kinds than .safetensors can run code when they are opened.")
        _check_weights(path, path, base)
        return path
    else:
        folders = [path, path / "vae"]
    for folder in folders:
        weights = sorted(folder.glob(_WEIGHTS))
        if (folder / "config.json").is_file() and weights:
            for file in weights:
                _check_weights(path, file, base)
            _check_scale(path, folder / "config.json", base)
            return folder
    raise _refused(path, "There is no VAE at this place.")


def _check_weights(path: Path, file: Path, base: BaseModel | None) -> None:
    """Refuse a file of the VAE at `path` that is not whole, no VAE, or one of other latents."""
    try:
        tensors = read_header(file).tensors
    except LoraFileError as error:
        raise _refused(path, error.why if file == path else f"Its file {file.name}: {error.why}") from error
    if not any(first in tensors for first in _FIRST):
        raise _refused(path, "It holds no VAE.")
    for name, tensor in tensors.items():
        if name.endswith(_TAKES_LATENTS) and tensor.shape[1:2] != (LATENT_CHANNELS,):
            raise _refused(
                path, "It is made for another family of base models: its latents have another size."
            )
    if base is not None:
        _check_shrink(path, tensors, base)


def _check_shrink(path: Path, names: Collection[str], base: BaseModel) -> None:
    shrink = latent_shrink(names)
    if shrink != base.latent_shrink:
        raise _refused(
            path,
            "It is made for another family of base models: its latents are "
            f"{_smaller(shrink)}, and those of {base.name} {_smaller(base.latent_shrink)}.",
        )


def _smaller(shrink: int) -> str:
    return f"{shrink} times smaller than a picture" if shrink > 1 else "as large as a picture"


def _check_scale(path: Path, config: Path, base: BaseModel | None) -> None:
    try:
        said = json.loads(config.read_text("utf-8"))
        made_for = _SCALES.get(said.get("scaling_factor"))
    except (OSError, ValueError, RecursionError, TypeError, AttributeError) as error:
        raise _refused(path, f"Its file {config.name} cannot be read.") from error
    if base is not None and made_for is not None and made_for != base.family:
        raise _refused(
            path,
            f"It is made for {FAMILY_NAMES[made_for]}, and {base.name} is {base.family_name}.",
        )


def _refused(path: Path, why: str) -> ModelError:
    return ModelError(f"The VAE {path.name} cannot be used.", why=why, fix=_CHOOSE)
