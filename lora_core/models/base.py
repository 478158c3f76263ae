"""What a base model is, read from its small files and the headers of its large ones.

Covered: a model as a diffusers folder or a single `.safetensors` file: its family, what it predicts,
and whether all of its parts are there and whole. Not covered: families that no engine of this version
trains; they are refused by name. Nothing here loads torch or the weights themselves.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from lora_core.errors import LoraFileError, ModelError
from lora_core.loras import read_header
from lora_core.models.hub import HALF, model_folder
from lora_core.models.single_file import LATENT_SHRINK, ModelFile, inspect_file

FAMILY_NAMES: Final[Mapping[str, str]] = {
    "sd15": "Stable Diffusion 1.x",
    "sd2": "Stable Diffusion 2.x",
    "sdxl": "Stable Diffusion XL",
    "sdxl-refiner": "Stable Diffusion XL Refiner",
    "sd3": "Stable Diffusion 3",
    "flux1": "FLUX.1",
    "lumina": "Lumina Image 2",
    "hunyuan-image": "HunyuanImage",
}
TRAINED: Final = frozenset({"sd15", "sdxl"})
"""Families that an engine of this version trains."""

_FAMILY_BY_PIPELINE: Final = (
    # (how the class name of the pipeline starts, family); the first that fits counts
    ("StableDiffusionXL", "sdxl"),
    ("StableDiffusion3", "sd3"),
    ("Flux", "flux1"),
    ("Lumina", "lumina"),
    ("HunyuanImage", "hunyuan-image"),
)
_PARTS: Final = ("unet", "vae", "text_encoder")
_SINGLE_FILES: Final = frozenset({".ckpt", ".pt", ".pth", ".bin", ".gguf"})
_SD2_TEXT_WIDTH: Final = 1024  # OpenCLIP ViT-H; SD 1.x has 768, and the bundled demo base less
_JSON_LIMIT: Final = 10_000_000  # bytes; these files have a few thousand
_PREDICTIONS: Final = ("epsilon", "v_prediction")
_LEVELS: Final = 1000
_OTHER_NOISE: Final = ("FlowMatch", "EDM")
"""How the schedulers of models begin that share SDXL's form and learn otherwise."""
_COPY_AGAIN: Final = "Copy or download the whole folder again."
_ANOTHER: Final = "Choose a model of Stable Diffusion 1.x or SDXL."


@dataclass(frozen=True, kw_only=True, slots=True)
class BaseModel:
    """A base model that can be trained on."""

    family: str
    """Short name of the family: sd15 or sdxl."""
    path: Path
    """Folder or single file."""
    name: str
    """Name for lists: that of its folder or file."""
    size_bytes: int
    """Of its weights, in all."""
    predicts_v: bool = False
    """It says of itself that it predicts v (Salimans and Ho, 2022), not the noise."""
    zero_terminal_snr: bool = False
    """It says of itself that its last noise level is noise alone (Lin et al., 2023)."""
    has_vae: bool = True
    latent_shrink: int = LATENT_SHRINK
    """How many times smaller than a picture the latents of its own VAE are."""

    @property
    def family_name(self) -> str:
        return FAMILY_NAMES.get(self.family, self.family)

    @property
    def is_file(self) -> bool:
        """True for a single file."""
        return self.path.is_file()


def inspect_base(path: Path, *, name: str | None = None) -> BaseModel:
    """The base model in `path` or of that name in the hub's cache; some hundred kilobytes are read.

    Raises:
        ModelError: there is none, it is not whole, or this version cannot train on it.
    """
    folder = model_folder(path)
    if folder.is_file():
        return _file(folder, name)
    if not folder.is_dir():
        raise _unusable(path, f"There is no folder or file {path}.", "Choose a base model that is there.")
    name = name or path.name
    index = _record(folder, "model_index.json")
    pipeline = str(index.get("_class_name", ""))
    family = next((family for start, family in _FAMILY_BY_PIPELINE if pipeline.startswith(start)), None)
    if family is None and pipeline.startswith("StableDiffusion"):
        text_width = _record(folder, "text_encoder/config.json").get("hidden_size")
        family = "sd2" if text_width == _SD2_TEXT_WIDTH else "sd15"
    if family == "sdxl" and not index.get("text_encoder", [None])[0]:
        family = "sdxl-refiner"
    _check_family(folder, family, pipeline)
    _check_channels(folder)
    scheduler = _record(folder, "scheduler/scheduler_config.json")
    _check_noise(folder, scheduler)
    parts = (*_PARTS, "text_encoder_2") if family == "sdxl" else _PARTS
    size = sum(_weights(folder, part) for part in parts)
    for tokenizer in ("tokenizer", "tokenizer_2") if family == "sdxl" else ("tokenizer",):
        _check_tokenizer(folder / tokenizer)
    return BaseModel(
        family=family or "",
        path=folder,
        name=name,
        size_bytes=size,
        predicts_v=scheduler.get("prediction_type") == "v_prediction",
        zero_terminal_snr=bool(scheduler.get("rescale_betas_zero_snr", False)),
        latent_shrink=_shrink(folder),
    )


def _file(path: Path, name: str | None) -> BaseModel:
    suffix = path.suffix.lower()
    if suffix in _SINGLE_FILES:
        why = (
            f"Files that end in {suffix} can run code when they are opened, or are packed for other programs."
        )
        raise _unusable(path, why, "Choose a copy of the model that ends in .safetensors.")
    if suffix != ".safetensors":
        raise _unusable(path, "It is not a model.", "Choose a .safetensors file or the folder of a model.")
    found = _look_at_file(path, _stamp(path))
    _check_family(path, found.family, "")
    return BaseModel(
        family=found.family,
        path=path,
        name=name or path.stem,
        size_bytes=found.size_bytes,
        predicts_v=found.predicts_v,
        zero_terminal_snr=found.zero_terminal_snr,
        has_vae=found.has_vae,
        latent_shrink=found.latent_shrink,
    )


def _stamp(file: Path) -> tuple[int, int, int]:
    """What differs once a file was written or replaced."""
    try:
        found = file.stat()
    except OSError:
        return 0, 0, 0
    return found.st_mtime_ns, found.st_size, found.st_ino


# A page asks for its base model several times at each change, and a header has thousands of entries. What
# raises is not kept.
@lru_cache(maxsize=64)
def _look_at_header(file: Path, stamp: tuple[int, int, int]) -> None:
    del stamp
    read_header(file)


@lru_cache(maxsize=16)
def _look_at_file(path: Path, stamp: tuple[int, int, int]) -> ModelFile:
    del stamp
    return inspect_file(path)


def _check_family(path: Path, family: str | None, pipeline: str) -> None:
    if family not in TRAINED:
        said = FAMILY_NAMES.get(family or "", pipeline or "an unknown family")
        raise _unusable(path, f"It is of the family {said}.", _ANOTHER)


def _check_channels(path: Path) -> None:
    if _record(path, "unet/config.json").get("in_channels", 4) != 4:
        raise _unusable(
            path,
            "It is made for changing parts of pictures and takes more than a picture.",
            "Choose a model that draws pictures from text alone.",
        )


def _check_noise(path: Path, scheduler: Mapping[str, Any]) -> None:
    predicts = scheduler.get("prediction_type", "epsilon")
    levels = scheduler.get("num_train_timesteps", _LEVELS)
    kind = str(scheduler.get("_class_name", ""))
    if predicts not in _PREDICTIONS:
        raise _unusable(path, f"It predicts {str(predicts)[:40]}, and no engine here trains that.", _ANOTHER)
    if kind.startswith(_OTHER_NOISE):
        raise _unusable(path, f"Its noise is that of {kind[:60]}, and no engine here trains that.", _ANOTHER)
    if levels != _LEVELS:
        raise _unusable(
            path, f"It has {levels!r:.40} levels of noise, and its family has {_LEVELS}.", _ANOTHER
        )


def _shrink(path: Path) -> int:
    record = _record(path, "vae/config.json")
    levels, scale = record.get("block_out_channels"), record.get("scaling_factor", 1.0)
    if not isinstance(scale, int | float) or not math.isfinite(scale) or scale <= 0:
        raise _unusable(path, "Its file vae/config.json scales latents by what is no number.", _COPY_AGAIN)
    return int(2 ** (len(levels) - 1)) if isinstance(levels, list) and levels else LATENT_SHRINK


def _check_tokenizer(folder: Path) -> None:
    slow = (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file()
    if not slow and not (folder / "tokenizer.json").is_file():
        raise _unusable(folder.parent, f"The files of its {folder.name} are missing.", _COPY_AGAIN)


def _weights(path: Path, part: str) -> int:
    """Bytes of the weights of one part, after a look at each file's header."""
    folder = path / part
    _record(path, f"{part}/config.json")
    found = sorted(file for file in folder.glob("*.safetensors") if not file.name.startswith("."))
    # Weights in half precision count where there are no others: the same are never loaded twice.
    files = [file for file in found if HALF not in file.name] or found
    if not files:
        if any(folder.glob("*.bin")):
            why = f"The weights in {part} are .bin files, which can run code when they are opened."
            raise _unusable(path, why, "Choose a copy of the model with .safetensors files.")
        raise _unusable(path, f"The weights of its part {part} are missing.", _COPY_AGAIN)
    for file in files:
        try:
            _look_at_header(file, _stamp(file))
        except LoraFileError as error:
            raise _unusable(
                path, f"Its file {part}/{file.name} is damaged. {error.why}", _COPY_AGAIN
            ) from error
    return sum(file.stat().st_size for file in files)


def _record(path: Path, name: str) -> dict[str, Any]:
    file = path / name
    try:
        if file.stat().st_size > _JSON_LIMIT:
            raise ValueError("too large")
        record = json.loads(file.read_text("utf-8"))
    except FileNotFoundError as error:
        if name == "model_index.json":
            fix = "Choose the folder that holds the file model_index.json."
            raise _unusable(
                path, "It has no model_index.json, so it is not a diffusers folder.", fix
            ) from error
        raise _unusable(path, f"Its file {name} is missing.", _COPY_AGAIN) from error
    except (OSError, ValueError, RecursionError) as error:
        raise _unusable(path, f"Its file {name} cannot be read.", _COPY_AGAIN) from error
    if not isinstance(record, dict):
        raise _unusable(path, f"Its file {name} cannot be read.", _COPY_AGAIN)
    return record


def _unusable(path: Path, why: str, fix: str) -> ModelError:
    return ModelError(f"The base model {path.name} cannot be used.", why=why, fix=fix)
