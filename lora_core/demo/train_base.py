"""Train the demo base from nothing: `python -m lora_core.demo.train_base --out DIR`.

Covered: a VAE, then a UNet and a text encoder together, on pictures drawn by shapes.py; a folder
that `StableDiffusionPipeline.from_pretrained` loads. Seeded, and it downloads nothing. The concept
of the demo dataset is never drawn here.

Not covered: going on after an interruption. It runs for less than an hour; start it again.
"""

import argparse
import math
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
import torch.nn.functional as functional
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.training_utils import EMAModel, compute_snr
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from lora_core.demo.parts import new_schedule, new_text_encoder, new_unet, new_vae, save_base
from lora_core.demo.shapes import Scene, draw, random_scene, seeded, varied_caption
from lora_core.demo.tokenizer import LENGTH, write_tokenizer

LATENT_LOG_VARIANCE: Final = -5.0
"""Log of the variance of a latent around its mean: a spread of 0.08, a tenth of the latents' own."""
SNR_GAMMA: Final = 5.0
"""Min-SNR weighting (Hang et al., 2023), so that nearly clean steps do not drown the others."""
NOISE_OFFSET: Final = 0.1
"""Noise shared by all cells of a channel. Without it the mean of a noisy latent betrays the
background, the words are not needed for it, and the base draws grey whatever it is asked for."""
GREATEST_WEIGHT: Final = 8.0
"""Nearly pure noise counts up to this many times: there the words decide what will be drawn."""
EMPTY_CAPTIONS: Final = 0.1
"""Share of captions left empty, which classifier-free guidance needs."""
EMA_DECAY: Final = 0.998


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """A part of the training of UNet and text encoder."""

    steps: int
    batch: int
    rate: float
    """Learning rate at its highest, AdamW's."""
    horizon: int
    """Steps over which the rate falls to zero; more than `steps` to end while it is still high."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How long and how hard to train. The defaults made the bundled base."""

    seed: int = 1
    free_pictures: int = 12_000
    """Pictures with shapes anywhere, for the VAE and the first stage."""
    pictures: int = 4_000
    """Pictures with large shapes near the middle, for the second stage."""
    vae_steps: int = 500
    decoder_steps: int = 1500
    vae_batch: int = 8
    vae_rate: float = 1e-3
    first: Stage = Stage(steps=1600, batch=24, rate=1e-3, horizon=3200)
    second: Stage = Stage(steps=1600, batch=16, rate=8e-4, horizon=1600)
    threads: int = 2


class ProgressLine:
    """Prints done, total, loss, rate and time left every few seconds."""

    def __init__(self, name: str, total: int) -> None:
        self.name, self.total, self.average = name, total, 0.0
        self.started_s = self.printed_s = time.monotonic()

    def step(self, done: int, loss: float) -> None:
        """Tell that `done` of the total are done; `loss` is of the last one."""
        self.average += (loss - self.average) * max(0.02, 1 / done)
        now_s = time.monotonic()
        if now_s - self.printed_s < 5 and done < self.total:
            return
        self.printed_s = now_s
        rate = done / (now_s - self.started_s)
        left_s = (self.total - done) / rate
        sys.stdout.write(
            f"{self.name}: {done} of {self.total}, loss {self.average:.4f}, "
            f"{rate:.2f} a second, {left_s / 60:.1f} min left\n"
        )
        sys.stdout.flush()


def train_base(folder: Path, plan: Plan) -> None:
    """Train all parts by `plan` and save them as a diffusers folder.

    Words, colours and shapes are learned on pictures with shapes anywhere. The second stage, with
    large shapes near the middle, makes their outlines clean.
    """
    torch.set_num_threads(plan.threads)
    rng = seeded(plan.seed)
    scenes = [random_scene(rng, anywhere=True) for _ in range(plan.free_pictures)]
    pictures = as_bytes(scenes)
    vae = trained_vae(pictures, plan)
    write_tokenizer(folder / "tokenizer")
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    torch.manual_seed(plan.seed + 1)
    unet, text_encoder = new_unet(), new_text_encoder(tokenizer)
    learner = Learner(unet, text_encoder, tokenizer)
    learner.fit(encode(vae, pictures), scenes, plan.first, seeded(plan.seed + 1))

    rng = seeded(plan.seed + 1)
    scenes = [random_scene(rng) for _ in range(plan.pictures)]
    latents = encode(vae, as_bytes(scenes))
    torch.manual_seed(plan.seed + 2)
    learner.fit(latents, scenes, plan.second, seeded(plan.seed + 2))
    save_base(folder, vae=vae, unet=unet, text_encoder=text_encoder, tokenizer=tokenizer)
    # Last, because saving the pipeline writes the tokenizer in transformers' newer form.
    for newer in (folder / "tokenizer").iterdir():
        newer.unlink()
    write_tokenizer(folder / "tokenizer")


def as_bytes(scenes: list[Scene]) -> Tensor:
    """The drawn scenes as one uint8 tensor (N, 3, 64, 64)."""
    drawn = np.stack([np.asarray(draw(scene)) for scene in scenes])
    return torch.from_numpy(drawn).permute(0, 3, 1, 2).contiguous()


def as_input(pictures: Tensor) -> Tensor:
    """Bytes to the range -1 to 1 that the VAE sees."""
    return pictures.float().div_(127.5).sub_(1)


def trained_vae(pictures: Tensor, plan: Plan) -> AutoencoderKL:
    """A VAE fitted to the pictures, its scaling factor measured on them, without gradients.

    The whole of it learns first; then the decoder goes on alone, on latents that stay as they are.
    """
    torch.manual_seed(plan.seed)
    vae = new_vae()
    fit_vae(vae, pictures, plan)
    vae.requires_grad_(False)
    vae.register_to_config(scaling_factor=1.0)
    vae.register_to_config(scaling_factor=1 / float(encode(vae, pictures[:2000]).std()))
    fit_decoder(vae, pictures, plan)
    return vae.eval()


def fit_vae(vae: AutoencoderKL, pictures: Tensor, plan: Plan) -> None:
    """Teach encoder and decoder together.

    Three of the four latent channels are held to the picture at a quarter of its size. Left to
    itself, a run this short gave latents in which blue and green could not be told apart: the
    group norms remove absolute colour, and bringing it back is learned last.
    """
    optimizer = torch.optim.AdamW(vae.parameters(), lr=plan.vae_rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, falling(plan.vae_steps))
    line = ProgressLine("VAE", plan.vae_steps)
    for done in range(1, plan.vae_steps + 1):
        batch = as_input(pictures[torch.randint(len(pictures), (plan.vae_batch,))])
        posterior = vae.encode(batch).latent_dist
        small = functional.avg_pool2d(batch, 4)
        loss = picture_loss(vae.decode(posterior.sample()).sample, batch)
        loss = loss + functional.mse_loss(posterior.mean[:, :3], small)
        # In place of a divergence from the normal distribution: bounded means, a narrow spread.
        loss = loss + 1e-3 * posterior.mean[:, 3].square().mean()
        loss = loss + 1e-2 * (posterior.logvar - LATENT_LOG_VARIANCE).square().mean()
        descend(loss, optimizer, vae)
        schedule.step()
        line.step(done, loss.item())


def fit_decoder(vae: AutoencoderKL, pictures: Tensor, plan: Plan) -> None:
    """Teach the decoder alone, on latents with the noise that a UNet's answers have."""
    decoder = nn.ModuleList([vae.post_quant_conv, vae.decoder]).requires_grad_(True)
    latents = encode(vae, pictures) / vae.config.scaling_factor
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=plan.vae_rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, falling(plan.decoder_steps))
    line = ProgressLine("Decoder", plan.decoder_steps)
    for done in range(1, plan.decoder_steps + 1):
        chosen = torch.randint(len(pictures), (plan.vae_batch,))
        noise = torch.randn(plan.vae_batch, *latents.shape[1:])
        spread = math.exp(0.5 * LATENT_LOG_VARIANCE)
        decoded = vae.decode(latents[chosen] + spread * noise).sample
        loss = picture_loss(decoded, as_input(pictures[chosen]))
        descend(loss, optimizer, decoder)
        schedule.step()
        line.step(done, loss.item())
    decoder.requires_grad_(False)


def picture_loss(decoded: Tensor, wanted: Tensor) -> Tensor:
    """The absolute error keeps edges sharp; the squared one settles flat areas."""
    return functional.l1_loss(decoded, wanted) + functional.mse_loss(decoded, wanted)


@torch.no_grad()
def encode(vae: AutoencoderKL, pictures: Tensor) -> Tensor:
    """Latent means of all pictures times the VAE's scaling factor, (N, 4, 16, 16)."""
    parts = [vae.encode(as_input(part)).latent_dist.mean for part in pictures.split(64)]
    latents: Tensor = torch.cat(parts) * vae.config.scaling_factor
    return latents


class Learner:
    """UNet and text encoder, fitted together to latents and freshly worded captions."""

    def __init__(
        self, unet: UNet2DConditionModel, text_encoder: CLIPTextModel, tokenizer: CLIPTokenizer
    ) -> None:
        self.unet, self.text_encoder, self.tokenizer = unet, text_encoder, tokenizer
        self.both = nn.ModuleList([unet, text_encoder])
        self.noising = new_schedule()

    def fit(self, latents: Tensor, scenes: list[Scene], stage: Stage, rng: random.Random) -> None:
        """Go through one stage; both networks then hold the moving average of their weights.

        The average draws steadier shapes than the last weights do.
        """
        self.both.train()
        weights = list(self.both.parameters())
        optimizer = torch.optim.AdamW(weights, lr=stage.rate, weight_decay=1e-3)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, falling(stage.horizon))
        average = EMAModel(weights, decay=EMA_DECAY, use_ema_warmup=True, power=0.75)
        line = ProgressLine("UNet", stage.steps)
        for done in range(1, stage.steps + 1):
            chosen = torch.randint(len(latents), (stage.batch,))
            captions = [
                "" if rng.random() < EMPTY_CAPTIONS else varied_caption(scenes[place], rng)
                for place in chosen.tolist()
            ]
            loss = self.loss(latents[chosen], captions)
            descend(loss, optimizer, self.both)
            schedule.step()
            average.step(weights)
            line.step(done, loss.item())
        average.copy_to(weights)
        self.both.eval()

    def loss(self, clean: Tensor, captions: list[str]) -> Tensor:
        """Weighted squared error of the predicted noise at random timesteps."""
        noise = torch.randn_like(clean) + NOISE_OFFSET * torch.randn(*clean.shape[:2], 1, 1)
        steps = torch.randint(self.noising.config.num_train_timesteps, (len(clean),))
        words = self.text_encoder(tokens(self.tokenizer, captions)).last_hidden_state
        guess = self.unet(self.noising.add_noise(clean, noise, steps), steps, words).sample
        error = functional.mse_loss(guess, noise, reduction="none").mean(dim=(1, 2, 3))
        weighted: Tensor = error * noise_weights(compute_snr(self.noising, steps))
        return weighted.mean()


def noise_weights(snr: Tensor) -> Tensor:
    """Weight of a sample's loss by its ratio of signal to noise: least for nearly clean ones."""
    return snr.clamp(max=SNR_GAMMA) / snr * (1 + snr.rsqrt()).clamp(max=GREATEST_WEIGHT)


def tokens(tokenizer: CLIPTokenizer, captions: list[str]) -> Tensor:
    """Token numbers (N, 77), padded as the pipeline pads them."""
    padded = tokenizer(
        captions, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt"
    )
    ids: Tensor = padded.input_ids
    return ids


def descend(loss: Tensor, optimizer: torch.optim.Optimizer, network: nn.Module) -> None:
    """One optimizer step with the gradient's length held to 1."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()


def falling(steps: int) -> Callable[[int], float]:
    """Factor of the rate at each step: up over the first 2 %, then down to zero along a cosine."""
    warm = max(1, steps // 50)

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))

    return factor


def main(arguments: list[str] | None = None) -> None:
    """Read the command line and train."""
    plan = Plan()
    parser = argparse.ArgumentParser(prog="python -m lora_core.demo.train_base", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write the base to")
    parser.add_argument("--seed", type=int, default=plan.seed)
    parser.add_argument("--threads", type=int, default=plan.threads, help="cores to use")
    given = vars(parser.parse_args(arguments))
    train_base(given.pop("out"), Plan(**given))


if __name__ == "__main__":
    main()
