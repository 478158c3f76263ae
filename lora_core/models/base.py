"""What a base model is, read from its small files and the headers of its large ones.

Covered: a model as a diffusers folder: its family, and whether all of its parts are there and whole.
Not covered: single files (checkpoints) and families that no engine of this version trains; both are
refused by name. Nothing here loads torch or the weights themselves.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lora_core.errors import LoraFileError, ModelError
from lora_core.loras import read_header

FAMILY_NAMES: Final[Mapping[str, str]] = {
    "sd15": "Stable Diffusion 1.x",
    "sd2": "Stable Diffusion 2.x",
    "sdxl": "Stable Diffusion XL",
    "sd3": "Stable Diffusion 3",
    "flux1": "FLUX.1",
    "lumina": "Lumina Image 2",
    "hunyuan-image": "HunyuanImage",
}
TRAINED: Final = frozenset({"sd15"})
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
_SINGLE_FILES: Final = frozenset({".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".gguf"})
_SD2_TEXT_WIDTH: Final = 1024  # OpenCLIP ViT-H; SD 1.x has 768, and the bundled demo base less
_JSON_LIMIT: Final = 10_000_000  # bytes; these files have a few thousand


@dataclass(frozen=True, kw_only=True, slots=True)
class BaseModel:
    """A base model that can be trained on."""

    family: str
    """Short name of the family: sd15."""
    path: Path
    name: str
    """Name for lists: that of its folder."""
    size_bytes: int
    """Of its weights, in all."""

    @property
    def family_name(self) -> str:
        return FAMILY_NAMES.get(self.family, self.family)


def inspect_base(path: Path, *, name: str | None = None) -> BaseModel:
    """The base model in `path`; some hundred kilobytes are read.

    Raises:
        ModelError: there is none, it is not whole, or this version cannot train on it.
    """
    if path.is_file():
        raise _single_file(path)
    if not path.is_dir():
        raise _unusable(path, f"There is no folder {path}.", "Choose a base model that is there.")
    index = _record(path, "model_index.json")
    pipeline = str(index.get("_class_name", ""))
    family = next((family for start, family in _FAMILY_BY_PIPELINE if pipeline.startswith(start)), None)
    if family is None and pipeline.startswith("StableDiffusion"):
        text_width = _record(path, "text_encoder/config.json").get("hidden_size")
        family = "sd2" if text_width == _SD2_TEXT_WIDTH else "sd15"
    if family not in TRAINED:
        said = FAMILY_NAMES.get(family or "", pipeline or "an unknown family")
        raise _unusable(path, f"It is of the family {said}.", "Choose a model of Stable Diffusion 1.x.")
    _check_prediction(path)
    size = sum(_weights(path, part) for part in _PARTS)
    _check_tokenizer(path)
    return BaseModel(family=family or "", path=path, name=name or path.name, size_bytes=size)


def _check_prediction(path: Path) -> None:
    scheduler = _record(path, "scheduler/scheduler_config.json")
    predicts = scheduler.get("prediction_type", "epsilon")
    if predicts != "epsilon":
        raise _unusable(
            path,
            f"It predicts {str(predicts)[:40]}, and the built-in engine trains models that predict epsilon.",
            "Choose another model of Stable Diffusion 1.x.",
        )
    channels = _record(path, "unet/config.json").get("in_channels", 4)
    if channels != 4:
        raise _unusable(
            path,
            "It is made for changing parts of pictures and takes more than a picture.",
            "Choose a model that draws pictures from text alone.",
        )


def _check_tokenizer(path: Path) -> None:
    folder = path / "tokenizer"
    slow = (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file()
    if not slow and not (folder / "tokenizer.json").is_file():
        raise _unusable(path, "The files of its tokenizer are missing.", _COPY_AGAIN)


_COPY_AGAIN: Final = "Copy or download the whole folder again."


def _weights(path: Path, part: str) -> int:
    """Bytes of the weights of one part, after a look at each file's header."""
    folder = path / part
    _record(path, f"{part}/config.json")
    files = sorted(file for file in folder.glob("*.safetensors") if not file.name.startswith("."))
    if not files:
        if any(folder.glob("*.bin")):
            why = f"The weights in {part} are .bin files, which can run code when they are opened."
            raise _unusable(path, why, "Choose a copy of the model with .safetensors files.")
        raise _unusable(path, f"The weights of its part {part} are missing.", _COPY_AGAIN)
    for file in files:
        try:
            read_header(file)
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


def _single_file(path: Path) -> ModelError:
    if path.suffix.lower() not in _SINGLE_FILES:
        return _unusable(path, "It is not a model.", "Choose the folder of a model.")
    return _unusable(
        path,
        "It is a single file, and the built-in engine reads diffusers folders in this version.",
        "Choose a model as a folder that holds model_index.json.",
    )


def _unusable(path: Path, why: str, fix: str) -> ModelError:
    return ModelError(f"The base model {path.name} cannot be used.", why=why, fix=fix)
