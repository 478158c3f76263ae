"""Base models of the families' real sizes with true headers and not a byte behind them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from small_bases import write

from benchmarks.model_folder import Family, sizes

_CLIP_TOKENS = 49_408


def shaped_base(folder: Path, family: Family, *, tiny: bool = False) -> Path:
    """A diffusers folder of the published model's sizes, from networks that have shapes alone."""
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    known = sizes(family, tiny=tiny)
    configs = [CLIPTextConfig(vocab_size=_CLIP_TOKENS, **text) for text in known.text_encoders]
    with torch.device("meta"):
        parts: dict[str, Any] = {
            "unet": UNet2DConditionModel(**known.unet),
            "vae": AutoencoderKL(**known.vae),
        }
        for number, config in enumerate(configs):
            name = "text_encoder" + (f"_{number + 1}" if number else "")
            parts[name] = (CLIPTextModelWithProjection if number else CLIPTextModel)(config)
    sdxl = family == "sdxl"
    pipeline = "StableDiffusionXLPipeline" if sdxl else "StableDiffusionPipeline"
    write(folder / "model_index.json", {"_class_name": pipeline, "text_encoder": ["transformers", "CLIP"]})
    write(folder / "scheduler" / "scheduler_config.json", {"prediction_type": "epsilon"})
    for tokenizer in ("tokenizer", "tokenizer_2") if sdxl else ("tokenizer",):
        write(folder / tokenizer / "tokenizer.json", {})
    for name, network in parts.items():
        config = {"in_channels": 4} if name == "unet" else {}
        if name == "vae":
            config = {"block_out_channels": list(known.vae["block_out_channels"])}
        if name.startswith("text"):
            config = {"hidden_size": network.config.hidden_size}
        write(folder / name / "config.json", config)
        shapes = {key: tuple(weight.shape) for key, weight in network.state_dict().items()}
        holes(folder / name / "model.safetensors", shapes)
    return folder


def holes(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """A safetensors file of half precision with these tensors, all of them holes."""
    place, header = 0, dict[str, Any]()
    for name, shape in shapes.items():
        size = 2
        for side in shape:
            size *= side
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [place, place + size]}
        place += size
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + place)
