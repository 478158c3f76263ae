"""Base models of random weights in their real sizes, as diffusers folders, and pictures to train on.

How long a step takes does not depend on what the weights hold, so that no download is needed. The
configurations are those of the published models; the vocabulary is the demo's, which changes only
the table of token embeddings.

Covered: Stable Diffusion 1.x and SDXL whole, and both in tiny for trying the benchmarks. Not
covered: weights that draw anything. This module loads torch only when it writes a folder; run as
`python -m benchmarks.model_folder FOLDER sd1`, it does so in a process that gives the memory back.
"""

import argparse
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

from benchmarks.machine import ROOT

Family = Literal["sd1", "sdxl"]

TOKENIZER: Final = ROOT / "lora_core" / "demo" / "base" / "tokenizer"
_SCHEDULE: Final[dict[str, Any]] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
_SPREAD: Final = 0.02
"""Standard deviation of the weights: small enough that nothing overflows in 16 bits."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """The configurations of one model's networks, as diffusers and transformers take them."""

    unet: dict[str, Any]
    vae: dict[str, Any]
    text_encoders: tuple[dict[str, Any], ...]


def sizes(family: Family, *, tiny: bool = False) -> Sizes:
    """The published model's sizes, or a model of the same shape that a test can make."""
    if family == "sd1":
        return _TINY_SD1 if tiny else _SD1
    return _TINY_SDXL if tiny else _SDXL


def _clip(width: int, layers: int, heads: int, **more: Any) -> dict[str, Any]:
    return {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        **more,
    }


def _vae(*channels: int, **more: Any) -> dict[str, Any]:
    return {
        "block_out_channels": channels,
        "down_block_types": ("DownEncoderBlock2D",) * len(channels),
        "up_block_types": ("UpDecoderBlock2D",) * len(channels),
        "layers_per_block": 2,
        **more,
    }


_SDXL_UNET: Final[dict[str, Any]] = {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
}
_SD1: Final = Sizes(
    # diffusers' defaults are Stable Diffusion 1.x but for these.
    unet={"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8},
    vae=_vae(128, 256, 512, 512, sample_size=512, scaling_factor=0.18215),
    text_encoders=(_clip(768, 12, 12, hidden_act="quick_gelu"),),
)
_SDXL: Final = Sizes(
    unet={
        **_SDXL_UNET,
        "sample_size": 128,
        "block_out_channels": (320, 640, 1280),
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "cross_attention_dim": 2048,
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
    vae=_vae(128, 256, 512, 512, sample_size=1024, scaling_factor=0.13025),
    text_encoders=(
        _clip(768, 12, 12, hidden_act="quick_gelu", projection_dim=768),
        _clip(1280, 32, 20, hidden_act="gelu", projection_dim=1280),
    ),
)
_TINY_SD1: Final = Sizes(
    unet={
        "sample_size": 8,
        "block_out_channels": (32, 32, 32, 32),
        "cross_attention_dim": 32,
        "attention_head_dim": 4,
        "norm_num_groups": 8,
    },
    vae=_vae(8, 8, 8, 8, norm_num_groups=4, scaling_factor=0.18215),
    text_encoders=(_clip(32, 2, 2),),
)
_TINY_SDXL: Final = Sizes(
    unet={
        **_SDXL_UNET,
        "sample_size": 8,
        "block_out_channels": (32, 32, 32),
        "transformer_layers_per_block": (1, 1, 2),
        "attention_head_dim": (2, 2, 2),
        "cross_attention_dim": 64,
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 32 + 6 * 8,
        "norm_num_groups": 8,
    },
    vae=_vae(8, 8, 8, 8, norm_num_groups=4, scaling_factor=0.13025),
    text_encoders=(_clip(32, 2, 2, projection_dim=32), _clip(32, 2, 2, projection_dim=32)),
)


def write_base(folder: Path, family: Family, *, tiny: bool = False) -> None:
    """A diffusers folder with random weights in half precision: 2.1 GB for SD 1.x, 6.8 GB for SDXL.

    Nothing is done if the folder is there. Until it is whole it has another name.
    """
    if folder.is_dir():
        return
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    wanted = sizes(family, tiny=tiny)
    from diffusers import AutoencoderKL, DDIMScheduler, EulerDiscreteScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    _save(partial(UNet2DConditionModel, **wanted.unet), part / "unet")
    _save(partial(AutoencoderKL, **wanted.vae), part / "vae")
    for number, text in enumerate(wanted.text_encoders):
        suffix = f"_{number + 1}" if number else ""
        shutil.copytree(TOKENIZER, part / f"tokenizer{suffix}")
        size = len(json.loads((TOKENIZER / "vocab.json").read_text("utf-8")))
        config = CLIPTextConfig(vocab_size=size, bos_token_id=size - 2, eos_token_id=size - 1, **text)
        kind: Any = CLIPTextModelWithProjection if number else CLIPTextModel
        _save(partial(kind, config), part / f"text_encoder{suffix}")
    (DDIMScheduler if family == "sd1" else EulerDiscreteScheduler)(
        **{key: value for key, value in _SCHEDULE.items() if family == "sd1" or key.startswith("beta")}
    ).save_pretrained(part / "scheduler")
    (part / "model_index.json").write_text(json.dumps(_index(family)), "utf-8")
    part.rename(folder)


def _save(make: Callable[[], Any], folder: Path) -> None:
    """Make a network without its weights, fill it with chance, save it in half precision."""
    import torch

    with torch.device("meta"):
        network = make()
    network.half().to_empty(device="cpu")
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if weight.ndim > 1:
                weight.normal_(0, _SPREAD, generator=rng)
            else:
                weight.fill_(0.0 if name.endswith("bias") else 1.0)
        for name, buffer in network.named_buffers():
            if name.endswith("position_ids"):
                buffer.copy_(torch.arange(buffer.shape[-1]).expand(buffer.shape))
    network.save_pretrained(folder)


def _index(family: Family) -> dict[str, Any]:
    """What `model_index.json` says is in the folder."""
    common = {
        "_diffusers_version": "0.32.1",
        "scheduler": ["diffusers", "DDIMScheduler" if family == "sd1" else "EulerDiscreteScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    if family == "sd1":
        absent = {"feature_extractor": [None, None], "safety_checker": [None, None]}
        return {
            "_class_name": "StableDiffusionPipeline",
            "requires_safety_checker": False,
            **absent,
            **common,
        }
    return {
        "_class_name": "StableDiffusionXLPipeline",
        "force_zeros_for_empty_prompt": True,
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        "tokenizer_2": ["transformers", "CLIPTokenizer"],
        **common,
    }


def write_pictures(folder: Path, count: int, size: int) -> None:
    """`count` square pictures of `size` pixels with captions; each its own soft pattern."""
    import numpy as np
    from PIL import Image

    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = rng.integers(0, 256, size=(8, 8, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)
        picture.save(folder / f"{number:03}.png")
        (folder / f"{number:03}.txt").write_text(f"a red circle, picture {number}\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.model_folder")
    parser.add_argument("folder", type=Path)
    parser.add_argument("family", choices=("sd1", "sdxl"))
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    write_base(options.folder, options.family, tiny=options.tiny)


if __name__ == "__main__":
    main()
