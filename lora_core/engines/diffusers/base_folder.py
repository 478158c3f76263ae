"""What a base model folder says about itself, before anything heavy is loaded.

Covered: a Stable Diffusion 1.x model as a diffusers folder, judged by its small JSON files; loads
no torch. Not covered: reading weights (see `model.py`), other families, single files.
"""

import json
from pathlib import Path
from typing import Any, Final

from lora_core.errors import Problem

_KEY: Final = "pretrained_model_name_or_path"
_FIX: Final = (
    "Choose a Stable Diffusion 1.x model as a diffusers folder, the one that has a model_index.json."
)
_PIPELINE: Final = "StableDiffusionPipeline"
_PARTS: Final = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
_SD2_TEXT_WIDTH: Final = 1024


def base_problems(folder: Path) -> list[Problem]:
    """Why the built-in trainer cannot use this base model; empty when it can."""
    return [Problem(setting=_KEY, what=what, fix=_FIX) for what in _reasons(folder)]


def _reasons(folder: Path) -> list[str]:
    if folder.is_file():
        return [f"The base model {folder.name} is a single file. This trainer reads a diffusers folder."]
    if not folder.is_dir():
        return [f"There is no base model at {folder}."]
    index = _record(folder / "model_index.json")
    if index is None:
        return [f"The folder {folder.name} has no model_index.json that can be read, so it is no base model."]
    if index.get("_class_name") != _PIPELINE:
        return [f"The base model {folder.name} is of another family ({index.get('_class_name')})."]
    missing = [part for part in _PARTS if not (folder / part).is_dir()]
    if missing:
        return [f"The base model {folder.name} has no folder {', '.join(missing)}."]
    return _part_reasons(folder)


def _part_reasons(folder: Path) -> list[str]:
    unet = _record(folder / "unet" / "config.json") or {}
    text = _record(folder / "text_encoder" / "config.json") or {}
    scheduler = _record(folder / "scheduler" / "scheduler_config.json") or {}
    found = []
    if unet.get("in_channels", 4) != unet.get("out_channels", 4):
        found.append(
            "The base model is made for filling in parts of pictures. This trainer does not train those."
        )
    if text.get("hidden_size") == _SD2_TEXT_WIDTH:
        found.append("The base model is Stable Diffusion 2. This trainer trains Stable Diffusion 1.x.")
    prediction = scheduler.get("prediction_type", "epsilon")
    if prediction != "epsilon":
        found.append(
            f"The base model predicts {prediction}. This trainer trains models that predict epsilon."
        )
    return found


def _record(path: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None
