"""Base models that are whole by their small files and headers, with next to no weights."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file


def write(path: Path, record: Any) -> None:
    """One JSON file, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record), "utf-8")


def sd1_folder(folder: Path) -> Path:
    """The files of a Stable Diffusion 1.x folder."""
    write(folder / "model_index.json", {"_class_name": "StableDiffusionPipeline"})
    write(folder / "unet" / "config.json", {"in_channels": 4, "cross_attention_dim": 768})
    write(folder / "vae" / "config.json", {})
    write(folder / "text_encoder" / "config.json", {"hidden_size": 768})
    write(folder / "scheduler" / "scheduler_config.json", {"prediction_type": "epsilon"})
    write(folder / "tokenizer" / "tokenizer.json", {})
    for part, name in (
        ("unet", "diffusion_pytorch_model"),
        ("vae", "diffusion_pytorch_model"),
        ("text_encoder", "model"),
    ):
        weight = "encoder.conv_in.weight" if part == "vae" else "w"
        save_file({weight: np.ones(8, np.float32)}, folder / part / f"{name}.safetensors")
    return folder


def sdxl_folder(folder: Path) -> Path:
    """The files of an SDXL folder."""
    sd1_folder(folder)
    write(
        folder / "model_index.json",
        {"_class_name": "StableDiffusionXLPipeline", "text_encoder": ["transformers", "CLIPTextModel"]},
    )
    write(folder / "text_encoder_2" / "config.json", {})
    write(folder / "tokenizer_2" / "tokenizer.json", {})
    save_file({"w": np.ones(8, np.float32)}, folder / "text_encoder_2" / "model.safetensors")
    return folder
