"""The alternative that needs no trainer: diffusers' UNet, PEFT's LoRA layers, and a loop.

    python -m benchmarks.bare_loop BASE --family sd1 --size 256 --batch 2 --rank 8 --dtype fp32 --steps 8

What somebody writes who knows both libraries, with nothing round it: no pictures, no captions, no
files. Latents and text are random numbers made before the first step, which favours it. It trains
the same layers as our trainer, in the same dtype: frozen weights in bf16 for bf16, LoRA in float32.

Prints a JSON line for each step: its number and when it ended, in Unix time.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any, Final

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from peft import LoraConfig
from torch import Tensor, nn

TOKENS: Final = 77
LATENT_CHANNELS: Final = 4
PIXELS_PER_LATENT: Final = 8


def lora_targets(unet: Any) -> list[str]:
    """The linear layers and 1x1 convolutions of attention and feed-forward, by name."""
    return [
        name
        for block_name, block in unet.named_modules()
        if isinstance(block, Transformer2DModel)
        for name, module in block.named_modules(prefix=block_name)
        if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1))
    ]


def add_lora(unet: Any, rank: int) -> None:
    """Freeze `unet` and put float32 LoRA layers on it."""
    unet.requires_grad_(False)
    unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=lora_targets(unet)))
    for weight in unet.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()


def inputs(unet: Any, batch: int, size: int, device: str) -> tuple[Tensor, dict[str, Any]]:
    """Latents, and what the UNet is told beside them."""
    config = unet.config
    side = size // PIXELS_PER_LATENT
    latents = torch.randn(batch, LATENT_CHANNELS, side, side, device=device)
    text = torch.randn(batch, TOKENS, config.cross_attention_dim, device=device)
    told: dict[str, Any] = {"encoder_hidden_states": text}
    if config.addition_embed_type == "text_time":
        pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
        told["added_cond_kwargs"] = {
            "text_embeds": torch.randn(batch, pooled, device=device),
            "time_ids": torch.tensor([[size, size, 0, 0, size, size]] * batch, device=device),
        }
    return latents, told


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bare_loop")
    parser.add_argument("base", type=Path)
    for name in ("size", "batch", "rank", "steps"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--dtype", choices=("fp32", "bf16"), required=True)
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if options.dtype == "bf16" else torch.float32
    unet = UNet2DConditionModel.from_pretrained(options.base, subfolder="unet", torch_dtype=dtype).to(device)
    add_lora(unet, options.rank)
    if options.checkpointing:
        unet.enable_gradient_checkpointing()
        unet.train()
    trained = [weight for weight in unet.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4)
    schedule = DDPMScheduler.from_pretrained(options.base, subfolder="scheduler")
    latents, told = inputs(unet, options.batch, options.size, device)
    called = torch.compile(unet) if options.compile else unet
    for step in range(1, options.steps + 1):
        noise = torch.randn_like(latents)
        timesteps = torch.randint(0, schedule.config.num_train_timesteps, (options.batch,), device=device)
        noisy = schedule.add_noise(latents, noise, timesteps)
        with torch.autocast(device, dtype, enabled=dtype != torch.float32):
            predicted = called(noisy, timesteps, **told, return_dict=False)[0]
        loss = nn.functional.mse_loss(predicted.float(), noise)
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()  # whoever trains wants to see it, so every loop waits for it
        print(json.dumps({"step": step, "time": time.time()}), flush=True)


if __name__ == "__main__":
    main()
