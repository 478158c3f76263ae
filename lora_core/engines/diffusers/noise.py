"""Chance and noise: what one training sample is asked to predict.

Every random number of a run is drawn here or from `generator`, as a pure function of the run's
seed, what it is for, the step and the sample. No stream is carried from step to step, so a run
that was interrupted, resumed or given other workers draws exactly the same numbers.

The kinds of noise are those of sd-scripts at 48d368f, with one difference: what it draws once for
a batch (the random strengths, the sizes of coarse noise and their common spread) is drawn here for
each sample. With a batch of one the two are the same.

Covered: the counter-based generators, timesteps, noise with offset, coarse layers and perturbation,
epsilon and v targets. Not covered: how a mistake counts (see `losses.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from lora_core.settings import LossSettings


class Purpose(IntEnum):
    """What random numbers are for; each purpose has a stream of its own. Never renumber."""

    NETWORK = 1
    ORDER = 2
    CAPTION = 3
    TRAINING = 4
    VALIDATION = 5
    LATENT = 6
    SAMPLE = 7
    FLIP = 8
    CROP = 9
    COLOR = 10
    DROPOUT = 11


def generator(seed: int, purpose: Purpose, *place: int) -> np.random.Generator:
    """The generator of one place: up to three counters, such as step and sample, each 0 or more.

    Philox is a keyed function of a counter (Salmon et al., 2011): neighbouring places are as
    independent as far ones, and reaching any of them costs the same.
    """
    first, second, third = (*place, *(0,) * (3 - len(place)))
    # The lowest word counts the draws within one place, so places never overlap.
    return np.random.Generator(np.random.Philox(key=[seed, purpose], counter=[0, first, second, third]))


def normal(rng: np.random.Generator, shape: Sequence[int]) -> Tensor:
    """Standard normal float32 numbers."""
    return torch.from_numpy(rng.standard_normal(tuple(shape), dtype=np.float32))


@dataclass(frozen=True, slots=True)
class Draw:
    """What chance decides for one batch; float32, on the CPU until `to` is called."""

    timesteps: Tensor
    """int64, one per sample."""
    noise: Tensor
    """(batch, channels, height, width), the shape of the latents."""
    offset: Tensor | None = None
    """(batch, channels, 1, 1): standard normal, times the share of `noise_offset` that is used."""
    share: Tensor | None = None
    """(batch, 1, 1, 1): that share, 1 unless it is random."""
    coarse: Tensor | None = None
    """The shape of the latents: layers of coarser noise, already weighed."""
    perturbation: Tensor | None = None
    """The shape of the latents: what the UNet sees and need not find, already scaled."""

    def to(self, device: torch.device) -> "Draw":
        """The same numbers on a device; from pinned memory the copy does not hold up the CPU."""
        moved = {}
        for part in fields(self):
            value = getattr(self, part.name)
            if value is not None:
                held = value.pin_memory() if device.type == "cuda" else value
                value = held.to(device, non_blocking=device.type == "cuda")
            moved[part.name] = value
        return Draw(**moved)


def draw(
    seed: int,
    step: int,
    first: int,
    shape: Sequence[int],
    timestep_count: int,
    settings: LossSettings | None = None,
) -> Draw:
    """Chance for the batch whose first sample is number `first` of `step`.

    The sample's number within its step decides, not its place in the batch: accumulation changes
    how samples are grouped, and must not change what they are.
    """
    settings = settings or LossSettings()
    samples = [
        _sample(generator(seed, Purpose.TRAINING, step, first + index), shape[1:], timestep_count, settings)
        for index in range(shape[0])
    ]
    parts: list[Any] = [None if part[0] is None else torch.stack(part) for part in zip(*samples, strict=True)]
    return Draw(*parts)


def _sample(
    rng: np.random.Generator, shape: Sequence[int], timestep_count: int, settings: LossSettings
) -> tuple[Tensor | None, ...]:
    """The parts of a `Draw` for one sample; what is off draws nothing and comes last."""
    highest = timestep_count if settings.max_timestep is None else settings.max_timestep
    timestep = torch.tensor(int(rng.integers(settings.min_timestep or 0, highest)))
    noise = normal(rng, shape)
    offset = share = coarse = perturbation = None
    if settings.noise_offset:
        share = _share(rng, random=settings.noise_offset_random_strength)
        offset = normal(rng, (shape[0], 1, 1))
    if settings.multires_noise_iterations:
        coarse = _coarse(rng, shape, settings.multires_noise_iterations, settings.multires_noise_discount)
    if settings.ip_noise_gamma:
        strength = settings.ip_noise_gamma * _share(rng, random=settings.ip_noise_gamma_random_strength)
        perturbation = strength * normal(rng, shape)
    return timestep, noise, offset, share, coarse, perturbation


def _share(rng: np.random.Generator, *, random: bool) -> Tensor:
    return torch.full((1, 1, 1), float(rng.random(dtype=np.float32)) if random else 1.0)


def _coarse(rng: np.random.Generator, shape: Sequence[int], layers: int, discount: float) -> Tensor:
    """Noise at sizes that shrink by a factor drawn from 2 to 4, each enlarged again and weaker."""
    channels, height, width = shape
    total = torch.zeros(channels, height, width)
    for layer in range(layers):
        shrink = (float(rng.random()) * 2 + 2) ** layer
        small = (max(1, int(height / shrink)), max(1, int(width / shrink)))
        noise = normal(rng, (1, channels, *small))
        enlarged = torch.nn.functional.interpolate(noise, size=(height, width), mode="bilinear")
        total += enlarged[0] * discount**layer
        if 1 in small:
            break
    return total


VALIDATION_TIMESTEPS: Final = 4
"""As sd-scripts: few enough to be cheap, spread enough to see all kinds of detail."""


def validation_timesteps(timestep_count: int) -> list[int]:
    """Four timesteps spread evenly, ends left out; the choice of sd-scripts."""
    ends = np.linspace(0, timestep_count, VALIDATION_TIMESTEPS + 2, dtype=int)
    return [int(timestep) for timestep in ends[1:-1]]


class NoiseSchedule:
    """The base model's own noise levels, on the device that trains."""

    def __init__(self, scheduler: Any, device: torch.device) -> None:
        """`scheduler` is a diffusers scheduler; its cumulative alphas and prediction type are used."""
        kept = scheduler.alphas_cumprod.to(device=device, dtype=torch.float32)
        self._signal, self._noise = kept.sqrt(), (1 - kept).sqrt()
        self.v_prediction: bool = scheduler.config.get("prediction_type") == "v_prediction"
        snr = (self._signal / self._noise) ** 2
        # A schedule with zero terminal SNR has one level without signal. Weights that divide by it
        # take the level before in its place, as good a number as any that is not infinite.
        self.snr = torch.where(snr > 0, snr, snr[snr > 0].min())
        """Signal to noise ratio of each timestep, above 0."""
        self.sigma = self._noise / self._signal
        """Noise to signal of each timestep; infinite where there is no signal."""

    def __len__(self) -> int:
        return len(self._signal)

    def noises(self, latents: Tensor, drawn: Draw, settings: LossSettings) -> tuple[Tensor, Tensor]:
        """The noise to be found, and the noise that is added, which input perturbation makes another."""
        noise = drawn.noise
        if drawn.offset is not None and drawn.share is not None:
            strength = drawn.share * (settings.noise_offset or 0.0)
            if settings.adaptive_noise_scale is not None:
                brightness = latents.mean(dim=(2, 3), keepdim=True).abs()
                strength = (strength + settings.adaptive_noise_scale * brightness).clamp(min=0)
            noise = noise + strength * drawn.offset
        if drawn.coarse is not None:
            noise = noise + drawn.coarse
            noise = noise / noise.std(dim=(1, 2, 3), keepdim=True)
        return noise, noise if drawn.perturbation is None else noise + drawn.perturbation

    def noisy(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """`latents` (batch, channels, height, width) as they look at `timesteps` (batch)."""
        mixed: Tensor = self._at(self._signal, timesteps) * latents + self._at(self._noise, timesteps) * noise
        return mixed

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What the UNet should answer: the noise, or the v of Salimans and Ho (2022)."""
        if not self.v_prediction:
            return noise
        velocity: Tensor = (
            self._at(self._signal, timesteps) * noise - self._at(self._noise, timesteps) * latents
        )
        return velocity

    @staticmethod
    def _at(levels: Tensor, timesteps: Tensor) -> Tensor:
        return levels[timesteps].view(-1, 1, 1, 1)
