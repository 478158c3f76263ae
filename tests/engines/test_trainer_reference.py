"""The trainer on the demo, held against training as a textbook would write it.

The plain loop below shares with the trainer what is compared elsewhere: which pictures a step uses,
their latents, captions, noise and timesteps. All that is computed of them is written out here.
"""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional
from trainer_rig import Ears, Rig, Trained, losses

from lora_core.demo import BASE_DIR, write_dataset

STEPS = 5
SEED = 7
RATE = 0.01


@dataclass(frozen=True)
class Case:
    """A feature: what the files say, and the same in formulas."""

    config: dict[str, Any] = field(default_factory=dict)
    subset: dict[str, Any] = field(default_factory=dict)
    weight: Callable[[float], float] = lambda _snr: 1.0
    """What a sample's loss is multiplied by, from its signal to noise ratio."""
    predicts_v: bool = False
    offset: float = 0.0
    scale: float = 0.5
    """Alpha by rank."""
    group: int = 1
    """Batches for one step."""
    layer: int = 1
    """Counted from the end of the text encoder."""
    prior: float | None = None
    """Weight of a second folder, of class images."""
    masked: bool = False


CASES = {
    "plain": Case(),
    "min-SNR": Case({"min_snr_gamma": 5.0}, weight=lambda snr: min(snr, 5) / snr),
    "v-prediction": Case({"v_parameterization": True}, predicts_v=True),
    "min-SNR of v": Case(
        {"v_parameterization": True, "min_snr_gamma": 1.0},
        weight=lambda snr: min(snr, 1) / (snr + 1),
        predicts_v=True,
    ),
    "noise offset": Case({"noise_offset": 0.1}, offset=0.1),
    "alpha scaling": Case({"network_alpha": 3.0}, scale=0.75),
    "accumulation": Case({"gradient_accumulation_steps": 3}, group=3),
    "clip skip": Case({"clip_skip": 2}, layer=2),
    "prior weight": Case({"prior_loss_weight": 0.25}, prior=0.25),
    "masked loss": Case({"masked_loss": True}, masked=True),
    "shuffled captions": Case(subset={"shuffle_caption": True, "caption_separator": " "}),
}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's pictures, and a mask beside each: the left half, with a soft edge."""
    folder = tmp_path_factory.mktemp("demo")
    write_dataset(folder)
    (folder / "masks").mkdir()
    for picture in (folder / "concept").glob("*.png"):
        with Image.open(picture) as image:
            mask = np.zeros((image.height, image.width), np.uint8)
        mask[:, : mask.shape[1] // 2] = 255
        mask[:, mask.shape[1] // 2] = 90
        Image.fromarray(mask).save(folder / "masks" / picture.name)
    return folder


@pytest.mark.parametrize("name", CASES)
def test_losses_on_the_demo_agree_with_a_plain_loop(
    tmp_path: Path, train: Trained, demo: Path, name: str
) -> None:
    case = CASES[name]
    masks = {"conditioning_data_dir": str(demo / "masks")} if case.masked else {}
    folder = Rig(tmp_path, BASE_DIR).folder(
        max_train_steps=STEPS,
        learning_rate=RATE,
        lr_scheduler="cosine",
        lr_warmup_steps=2,
        max_grad_norm=0.03,
        dataset={"resolution": 64, "enable_bucket": False},
        subset={"image_dir": str(demo / "concept"), "num_repeats": 1, **masks, **case.subset},
        **case.config,
    )
    if case.prior is not None:
        with (folder / "dataset.toml").open("a") as file:
            file.write(
                f"[[datasets.subsets]]\nimage_dir = {json.dumps(str(demo / 'ordinary'))}\nis_reg = true\n"
            )
    train(folder)
    torch.testing.assert_close(losses(folder), _plain_loop(folder, case, demo), rtol=1e-5, atol=0)


def _plain_loop(folder: Path, case: Case, demo: Path) -> list[float]:
    """Training as a textbook would write it: LoRA by forward hooks, AdamW and cosine by hand."""
    from diffusers import DDPMScheduler, StableDiffusionPipeline

    from lora_core.settings import load_run

    run = load_run(folder / "config.toml")
    pipe = StableDiffusionPipeline.from_pretrained(BASE_DIR, local_files_only=True, dtype=torch.float32)
    pipe.unet.requires_grad_(False)
    plan, latents = _same_data(run, pipe.vae)
    weights = _hooked_lora(pipe.unet, run, case.scale)
    moments = [(torch.zeros_like(weight), torch.zeros_like(weight)) for weight in weights]
    kept = DDPMScheduler.from_config(pipe.scheduler.config).alphas_cumprod.double()
    found = []
    for step in range(STEPS):
        parts = []
        for batch, words, values, drawn in _batches(plan, latents, run, step):
            loss = _loss(pipe, case, kept, batch, _read(pipe, words, case.layer), values, drawn, demo)
            (loss / case.group).backward()
            parts.append(float(loss.detach()))
        found.append(sum(parts) / len(parts))
        rate = RATE * (step / 2 if step < 2 else 0.5 * (1 + math.cos(math.pi * (step - 2) / (STEPS - 2))))
        _adamw(weights, moments, step + 1, rate, clip=0.03)
    return found


def _same_data(run: Any, vae: Any) -> tuple[Any, Any]:
    from lora_core.engines.diffusers.batches import Plan
    from lora_core.engines.diffusers.latents import Latents
    from lora_core.engines.diffusers.pictures import read_pictures

    pictures = read_pictures(run, Ears()).training
    latents = Latents(vae, torch.device("cpu"), cached=True)
    latents.prepare(pictures, lambda _done: None)
    return Plan(run, pictures), latents


def _batches(
    plan: Any, latents: Any, run: Any, step: int
) -> Iterator[tuple[Any, list[str], torch.Tensor, Any]]:
    from lora_core.engines.diffusers import noise

    place, first = plan.place(step), 0
    for batch in plan.batches(place):
        values = latents.batch(batch).latents
        yield (
            batch,
            plan.words(place, batch, first),
            values,
            noise.draw(SEED, step, first, values.shape, 1000, run.loss),
        )
        first += len(batch)


def _read(pipe: Any, words: list[str], layer: int) -> torch.Tensor:
    tokens = pipe.tokenizer(words, padding="max_length", truncation=True, return_tensors="pt").input_ids
    with torch.no_grad():
        told = pipe.text_encoder(tokens, output_hidden_states=True)
    if layer == 1:
        return told.last_hidden_state
    norms = [m for n, m in pipe.text_encoder.named_modules() if n.endswith("final_layer_norm")]
    return norms[0](told.hidden_states[-layer]).detach()


def _loss(
    pipe: Any, case: Case, kept: torch.Tensor, batch: Any, told: Any, values: Any, drawn: Any, demo: Path
) -> torch.Tensor:
    noise = drawn.noise + case.offset * drawn.offset if case.offset else drawn.noise
    alphas = kept[drawn.timesteps].view(-1, 1, 1, 1)
    signal, level = alphas.sqrt().float(), (1 - alphas).sqrt().float()
    answer = pipe.unet(signal * values + level * noise, drawn.timesteps, told).sample
    target = signal * noise - level * values if case.predicts_v else noise
    total = torch.zeros(())
    for index, picture in enumerate(batch):
        squares = (answer[index] - target[index]) ** 2
        if case.masked:
            with Image.open(demo / "masks" / picture.path.name) as image:
                mask = torch.from_numpy(np.asarray(image.convert("L"), np.float32) / 255)
            squares = squares * functional.adaptive_avg_pool2d(mask[None], squares.shape[1:])
        alpha = float(alphas[index])
        weight = case.weight(alpha / (1 - alpha))
        if case.prior is not None and picture.subset.is_reg:
            weight *= case.prior
        total = total + weight * squares.mean()
    return total / len(batch)


def _hooked_lora(unet: Any, run: Any, scale: float) -> list[torch.Tensor]:
    """The layers that the trainer begins with, each as a hook on its module."""
    from lora_core.engines.diffusers.model import load_base
    from lora_core.engines.diffusers.network import Network

    base = load_base(run.model, run.precision)
    start = Network(base, run.network, run.batch.seed).tensors()
    weights: list[torch.Tensor] = []
    for name, module in unet.named_modules():
        key = f"lora_unet_{name.replace('.', '_')}"
        if f"{key}.alpha" not in start:
            continue
        down, up = (start[f"{key}.lora_{part}.weight"].requires_grad_() for part in ("down", "up"))
        weights += [down, up]

        def add(
            module: Any, inputs: Any, output: Any, down: torch.Tensor = down, up: torch.Tensor = up
        ) -> Any:
            apply = functional.conv2d if down.dim() == 4 else functional.linear
            return output + scale * apply(apply(inputs[0], down), up)

        module.register_forward_hook(add)
    assert len(weights) * 3 == len(start) * 2
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
