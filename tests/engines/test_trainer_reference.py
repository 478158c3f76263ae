"""The trainer held against training as a textbook would write it."""

import math
from pathlib import Path
from typing import Any

import torch
from trainer_rig import Ears, Rig, Trained, losses


def test_losses_agree_with_a_plain_loop_over_the_same_data(
    rig: Rig, train: Trained, base_model: Path
) -> None:
    folder = rig.folder(
        max_train_steps=5,
        gradient_accumulation_steps=2,
        lr_scheduler="cosine",
        lr_warmup_steps=2,
        max_grad_norm=0.03,
        network_alpha=3.0,
        subset={"num_repeats": 1, "shuffle_caption": True, "keep_tokens": 1},
    )
    train(folder)
    torch.testing.assert_close(losses(folder), _plain_loop(folder, base_model, 5), rtol=1e-5, atol=0)


def _plain_loop(folder: Path, base_model: Path, steps: int) -> list[float]:
    """Training as a textbook would write it: LoRA by forward hooks, AdamW and cosine by hand."""
    from diffusers import StableDiffusionPipeline

    from lora_core.engines.diffusers import noise
    from lora_core.engines.diffusers.batches import Plan
    from lora_core.engines.diffusers.latents import Latents
    from lora_core.engines.diffusers.pictures import read_pictures
    from lora_core.settings import load_run

    run = load_run(folder / "config.toml")
    pipe = StableDiffusionPipeline.from_pretrained(base_model, local_files_only=True)
    pipe.unet.requires_grad_(False)
    pictures = read_pictures(run, Ears()).training
    latents = Latents(pipe.vae, torch.device("cpu"), cached=True)
    latents.prepare(pictures, lambda _done: None)
    plan = Plan(run, pictures)
    weights = _hooked_lora(pipe.unet, run)
    moments = [(torch.zeros_like(weight), torch.zeros_like(weight)) for weight in weights]
    kept = (
        torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64).square().neg().add(1).cumprod(0)
    )
    found = []
    for step in range(steps):
        batches, first, parts = plan.batches(plan.place(step)), 0, []
        for batch in batches:
            drawn = noise.draw(7, step, first, (len(batch), *latents.batch(batch).latents.shape[1:]), 1000)
            words = plan.words(plan.place(step), batch, first)
            tokens = pipe.tokenizer(
                words, padding="max_length", truncation=True, return_tensors="pt"
            ).input_ids
            alphas = kept[drawn.timesteps].view(-1, 1, 1, 1)
            noisy = (
                alphas.sqrt().float() * latents.batch(batch).latents
                + (1 - alphas).sqrt().float() * drawn.noise
            )
            answer = pipe.unet(noisy, drawn.timesteps, pipe.text_encoder(tokens)[0].detach()).sample
            loss = torch.nn.functional.mse_loss(answer, drawn.noise)
            (loss / 2).backward()
            parts.append(float(loss.detach()))
            first += len(batch)
        found.append(sum(parts) / len(parts))
        rate = 0.01 * (step / 2 if step < 2 else 0.5 * (1 + math.cos(math.pi * (step - 2) / (steps - 2))))
        _adamw(weights, moments, step + 1, rate, clip=0.03)
    return found


def _hooked_lora(unet: Any, run: Any) -> list[torch.Tensor]:
    from lora_core.engines.diffusers.network import _first_down, sizes
    from lora_core.engines.diffusers.noise import Purpose, generator

    weights: list[torch.Tensor] = []
    for number, name in enumerate(sizes(unet, run.network)):
        module = unet.get_submodule(name)
        shape = (4, *module.weight.shape[1:])
        down = _first_down(torch.empty(shape), generator(7, Purpose.NETWORK, number)).requires_grad_()
        up = torch.zeros(module.weight.shape[0], 4, *module.weight.shape[2:], requires_grad=True)
        weights += [down, up]

        def add(
            module: Any, inputs: Any, output: Any, down: torch.Tensor = down, up: torch.Tensor = up
        ) -> Any:
            apply = torch.nn.functional.conv2d if down.dim() == 4 else torch.nn.functional.linear
            return output + 3.0 / 4 * apply(apply(inputs[0], down), up)

        module.register_forward_hook(add)
    return weights


def _adamw(weights: list[torch.Tensor], moments: Any, step: int, rate: float, clip: float) -> None:
    length = torch.cat([weight.grad.flatten() for weight in weights]).norm()
    scale = min(1.0, clip / float(length))
    with torch.no_grad():
        for weight, (mean, spread) in zip(weights, moments, strict=True):
            gradient = weight.grad * scale
            mean.mul_(0.9).add_(gradient, alpha=0.1)
            spread.mul_(0.999).add_(gradient.square(), alpha=0.001)
            weight.mul_(1 - rate * 0.01)
            corrected = (spread / (1 - 0.999**step)).sqrt() + 1e-8
            weight.sub_(rate * (mean / (1 - 0.9**step)) / corrected)
            weight.grad = None
