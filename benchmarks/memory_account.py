"""How much memory a training step needs on a GPU, tensor by tensor, without a GPU.

Counted, in each phase of a run with the settings that save memory: encoding a picture, encoding a
caption, and one training step with AdamW, from the real sizes of SD 1.x at 512 px and SDXL at 1024
px, batch 1. Weights of the UNet in bfloat16, LoRA and its optimizer in float32, gradient
checkpointing, latents and text made before, VAE and text encoders off the GPU during the steps.
The alternative is the same step without gradient checkpointing.

Where there is a GPU the step is also run for real, with torch held to the target's size.
"""

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from benchmarks.machine import machine
from benchmarks.model_folder import Family, sizes
from benchmarks.record import Measurement, emit, tell

TARGETS_MB: Final[dict[Family, float]] = {"sd1": 6000.0, "sdxl": 8000.0}
_SIZES: Final[dict[Family, int]] = {"sd1": 512, "sdxl": 1024}
_CLIP_TOKENS: Final = 49_408
_STEPS: Final = 2
"""The optimizer's moments are made in the first step and are there during the second."""


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--family", nargs="+", choices=("sd1", "sdxl"), default=["sd1", "sdxl"], help="models; both")
    add("--size", type=int, help="pixels of a side; 512 for sd1, 1024 for sdxl")
    add("--rank", type=int, default=16, help="rank of the LoRA; 16 unless told otherwise")
    add("--batch", type=int, default=1, help="pictures in a step; 1 unless told otherwise")
    add("--tiny", action="store_true", help="a tiny model, to try the benchmark itself")


@dataclass(frozen=True, slots=True)
class Phase:
    """What one phase of a run holds, in bytes."""

    name: str
    peak: int
    parts: Mapping[str, int] = field(default_factory=dict)
    """What of it is known by name; the rest of the peak is what comes and goes within the phase."""

    def as_mb(self) -> dict[str, float]:
        named = dict(self.parts)
        named["working memory at the peak"] = self.peak - sum(named.values())
        named["peak"] = self.peak
        return {part: round(size / 1e6, 1) for part, size in named.items()}


def run(options: argparse.Namespace) -> None:
    for family in options.family:
        size = options.size or _SIZES[family]
        found = list(_phases(family, size, options))
        for phase in found:
            tell(f"{family}, {size} px, batch {options.batch}, {phase.name}:")
            for part, megabytes in phase.as_mb().items():
                tell(f"  {megabytes:10,.1f} MB  {part}")
        *saving, whole = found  # the last one is the alternative
        name = f"memory_{family}_{size}px_b{options.batch}"
        settings = {"rank": options.rank, "dtype": "bf16", "tiny": options.tiny}
        emit(
            Measurement(
                name=name,
                what="account of the tensors at the peak of the largest phase, low-memory settings",
                unit="MB",
                values=[max(phase.peak for phase in saving) / 1e6],
                against=whole.name,
                against_values=[whole.peak / 1e6],
                target=None if options.tiny else TARGETS_MB[family],
                settings={**settings, "phases": {phase.name: phase.as_mb() for phase in found}},
            )
        )
        if machine()["gpu"] is not None:
            emit(_on_the_gpu(name, family, size, options, settings))


def _phases(family: Family, size: int, options: argparse.Namespace) -> Iterator[Phase]:
    yield _pictures(family, size, tiny=options.tiny)
    yield _captions(family, tiny=options.tiny)
    for checkpointing in (True, False):
        yield _step(family, size, options, checkpointing=checkpointing)


def _pictures(family: Family, size: int, *, tiny: bool) -> Phase:
    """One picture through the VAE in float32."""
    import torch
    from diffusers import AutoencoderKL

    from benchmarks.live_bytes import counting, made_fake

    with torch.device("meta"):
        vae = AutoencoderKL(**sizes(family, tiny=tiny).vae).requires_grad_(False)
    with counting() as live, torch.no_grad():
        made_fake(vae)
        weights = live.now
        vae.encode(torch.empty(1, 3, size, size)).latent_dist.mode()
        return Phase("encoding a picture", live.peak, {"VAE, float32": weights})


def _captions(family: Family, *, tiny: bool) -> Phase:
    """One caption through all text encoders in float32."""
    import torch
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    from benchmarks.bare_loop import TOKENS
    from benchmarks.live_bytes import counting, made_fake

    configs = [
        CLIPTextConfig(vocab_size=_CLIP_TOKENS, **text) for text in sizes(family, tiny=tiny).text_encoders
    ]
    with torch.device("meta"):
        encoders = [
            (CLIPTextModelWithProjection if number else CLIPTextModel)(config).requires_grad_(False)
            for number, config in enumerate(configs)
        ]
    with counting() as live, torch.no_grad():
        for encoder in encoders:
            made_fake(encoder)
        weights = live.now
        for encoder in encoders:
            encoder(torch.empty(1, TOKENS, dtype=torch.int64), output_hidden_states=True)
        return Phase("encoding a caption", live.peak, {"text encoders, float32": weights})


def _step(family: Family, size: int, options: argparse.Namespace, *, checkpointing: bool) -> Phase:
    """Training steps with AdamW; the last one counts."""
    import torch

    from benchmarks.bare_loop import inputs
    from benchmarks.live_bytes import counting, made_fake, norms_as_on_cuda

    unet = _unet(family, options, checkpointing=checkpointing)
    with counting() as live:
        made_fake(unet)
        norms_as_on_cuda(unet)
        all_weights = live.now
        trained = [weight for weight in unet.parameters() if weight.requires_grad]
        lora = sum(weight.nbytes for weight in trained)
        optimizer = torch.optim.AdamW(trained, lr=1e-4, foreach=False)
        before = live.now
        latents, told = inputs(unet, options.batch, size, "cpu")
        read = live.now - before
        kept = 0
        for _ in range(_STEPS):
            live.peak = live.now
            at_start = live.now
            loss = _loss(unet, latents, told, "cpu")
            kept = live.now - at_start
            _learn(loss, optimizer)
            del loss
        moments = live.now - all_weights - read
        parts = {
            "frozen UNet, bfloat16": all_weights - lora,
            "LoRA, float32": lora,
            "optimizer, float32": moments,
            "latents and text": read,
            "activations kept for the backward pass": kept,
        }
        name = "training step" if checkpointing else "training step without gradient checkpointing"
        return Phase(name, live.peak, parts)


def _unet(family: Family, options: argparse.Namespace, *, checkpointing: bool) -> Any:
    """The UNet in bfloat16 with its LoRA, without memory yet."""
    import torch
    from diffusers import UNet2DConditionModel

    from benchmarks.bare_loop import add_lora

    with torch.device("meta"):
        unet = UNet2DConditionModel(**sizes(family, tiny=options.tiny).unet)
        for weight in unet.parameters():
            weight.data = weight.data.bfloat16()
        add_lora(unet, options.rank)
    if checkpointing:
        unet.enable_gradient_checkpointing()
    return unet.train()


def _loss(unet: Any, latents: Any, told: dict[str, Any], device: str) -> Any:
    import torch

    noise = torch.randn_like(latents)
    timesteps = torch.randint(0, 1000, (latents.shape[0],), device=device)
    with torch.autocast(device, torch.bfloat16):
        predicted = unet(latents + noise, timesteps, **told, return_dict=False)[0]
    return torch.nn.functional.mse_loss(predicted.float(), noise)


def _learn(loss: Any, optimizer: Any) -> None:
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _on_the_gpu(
    name: str, family: Family, size: int, options: argparse.Namespace, settings: dict[str, Any]
) -> Measurement:
    """The same step for real; torch may not take more than the target."""
    import torch

    from benchmarks.bare_loop import inputs

    card = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, TARGETS_MB[family] * 1e6 / card))
    torch.cuda.reset_peak_memory_stats()
    unet = _unet(family, options, checkpointing=True).to_empty(device="cuda")
    for weight in unet.parameters():
        torch.nn.init.normal_(weight, std=0.02)
    trained = [weight for weight in unet.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=True)
    latents, told = inputs(unet, options.batch, size, "cuda")
    for _ in range(_STEPS):
        _learn(_loss(unet, latents, told, "cuda"), optimizer)
    return Measurement(
        name=f"{name}_on_gpu",
        what="training step for real: most that torch held, limited to the target",
        unit="MB",
        values=[torch.cuda.max_memory_allocated() / 1e6],
        target=None if options.tiny else TARGETS_MB[family],
        settings=settings,
    )
