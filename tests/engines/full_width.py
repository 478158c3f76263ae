"""Base models of the families' real width with random weights in bf16, for runs that are marked slow.

Covered: Stable Diffusion 1.x with all its parts (2.1 GB), and the UNet of SDXL (5.1 GB) beside text
encoders of the right width and few layers. Not covered: weights that draw anything. No weight is
ever held in float32, so the models can be made where there is room for little more than their files.
"""

import json
from pathlib import Path
from typing import Any

from tiny_models import sd1_unet, sdxl_unet, text_encoder, tiny_sd1, tiny_sdxl

SHARD_WEIGHTS = 500_000_000
"""Weights in one file: a shard is written before the next is made."""


def full_sd1(folder: Path) -> Path:
    """A Stable Diffusion 1.x folder of real width; the vocabulary is the tiny models' one."""
    import torch
    from diffusers import AutoencoderKL

    tiny_sd1(folder)
    with torch.device("meta"):
        unet: Any = sd1_unet((320, 640, 1280, 1280), 768)
        vae: Any = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
            sample_size=512,
        )
        text = text_encoder(folder / "tokenizer", 768, layers=12)
    for part, network in (("unet", unet), ("vae", vae), ("text_encoder", text)):
        _write(folder / part, network)
    return folder


def full_sdxl(folder: Path) -> Path:
    """An SDXL folder whose UNet has its real width and depth; the VAE is tiny, the texts are shallow."""
    import torch

    tiny_sdxl(folder)
    with torch.device("meta"):
        unet = sdxl_unet((320, 640, 1280), 2048, 1280, (1, 2, 10))
        first = text_encoder(folder / "tokenizer", 768, layers=2)
        second = text_encoder(folder / "tokenizer_2", 1280, layers=2, projected=True)
    for part, network in (("unet", unet), ("text_encoder", first), ("text_encoder_2", second)):
        _write(folder / part, network)
    return folder


def _write(folder: Path, network: Any) -> None:
    """Random weights for `network`, whose own are on the meta device, in files of a few hundred MB."""
    import torch
    from safetensors.torch import save_file

    for old in folder.glob("*.safetensors"):
        old.unlink()
    of_diffusers = hasattr(network, "save_config")
    (network.save_config if of_diffusers else network.config.save_pretrained)(folder)
    name = "diffusion_pytorch_model" if of_diffusers else "model"
    chance = torch.Generator().manual_seed(0)
    # One block of numbers, again and again: drawing billions of them would take longer than a step.
    block = torch.randn(1 << 20, generator=chance).to(torch.bfloat16)
    shards: list[list[str]] = [[]]
    filled = 0
    state = network.state_dict()
    for key, empty in state.items():
        if filled + empty.numel() > SHARD_WEIGHTS and shards[-1]:
            shards.append([])
            filled = 0
        shards[-1].append(key)
        filled += empty.numel()
    places: dict[str, str] = {}
    for number, keys in enumerate(shards, start=1):
        file = (
            f"{name}-{number:05d}-of-{len(shards):05d}.safetensors"
            if len(shards) > 1
            else f"{name}.safetensors"
        )
        save_file(
            {key: _random(key, state[key].shape, block) for key in keys}, folder / file, {"format": "pt"}
        )
        places |= dict.fromkeys(keys, file)
    if len(shards) > 1:
        index = {"metadata": {}, "weight_map": places}
        (folder / f"{name}.safetensors.index.json").write_text(json.dumps(index), "utf-8")


def _random(key: str, shape: Any, block: Any) -> Any:
    """Norms that change nothing, biases of zero, and weights that keep the size of what they are given."""
    import torch

    if len(shape) == 1:
        return torch.full(shape, float("norm" in key and key.endswith("weight")), dtype=torch.bfloat16)
    count = shape.numel()
    values = block.repeat(-(-count // block.numel()))[:count].reshape(shape)
    return values / (count // shape[0]) ** 0.5
