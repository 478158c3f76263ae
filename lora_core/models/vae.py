"""A separate VAE: where it lies, judged before anything is loaded. Loads no torch.

Covered: a diffusers folder (of the VAE alone, or of a whole model), a single `.safetensors` file in
either layout, a name on the hub whose files are in its cache. Not covered: reading the weights.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Final

from lora_core.errors import LoraFileError, ModelError
from lora_core.loras import read_header
from lora_core.models.hub import cached_file, is_name

_FIRST: Final = ("encoder.conv_in.weight", "first_stage_model.encoder.conv_in.weight")
_CHOOSE: Final = "Choose the folder of a VAE, or a .safetensors file that holds one."
_TAKES_LATENTS: Final = "decoder.conv_in.weight"
_CHANNELS: Final = 4
"""Of the latents of Stable Diffusion 1.x and SDXL."""


def vae_place(path: Path) -> Path:
    """The file, or the folder that holds `config.json` and the weights.

    Raises:
        ModelError: there is no VAE at `path`.
    """
    if is_name(path):
        found = cached_file(path.as_posix(), "config.json") or cached_file(path.as_posix(), "vae/config.json")
        if found is None:
            raise _refused(path, "It is not on this machine, and nothing is downloaded unasked.")
        return found.parent
    if path.is_file():
        _check_file(path)
        return path
    for folder in (path, path / "vae"):
        if (folder / "config.json").is_file() and any(folder.glob("*.safetensors")):
            for file in sorted(folder.glob("*.safetensors")):
                _check_weights(path, file)
            return folder
    raise _refused(path, "There is no VAE at this place.")


def _check_file(path: Path) -> None:
    if path.suffix.lower() != ".safetensors":
        raise _refused(path, "Files of other kinds than .safetensors can run code when they are opened.")
    names = _check_weights(path, path)
    if not any(first in names for first in _FIRST):
        raise _refused(path, "It holds no VAE.")


def _check_weights(path: Path, file: Path) -> Collection[str]:
    """The names of the tensors in a file of the VAE at `path`, which must be whole and of these families."""
    try:
        tensors = read_header(file).tensors
    except LoraFileError as error:
        raise _refused(path, error.why if file == path else f"Its file {file.name}: {error.why}") from error
    for name, tensor in tensors.items():
        if name.endswith(_TAKES_LATENTS) and tensor.shape[1:2] != (_CHANNELS,):
            raise _refused(
                path, "It is made for another family of base models: its latents have another size."
            )
    return tensors.keys()


def _refused(path: Path, why: str) -> ModelError:
    return ModelError(f"The VAE {path.name} cannot be used.", why=why, fix=_CHOOSE)
