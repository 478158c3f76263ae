"""Chance, noise and loss: what one training sample is asked to predict.

Every random number of a run is drawn here or from `generator`, as a pure function of the run's
seed, what it is for, the step and the sample. No stream is carried from step to step, so a run
that was interrupted, resumed or given other workers draws exactly the same numbers.

Covered: the counter-based generators, timesteps and noise, the epsilon loss of Ho et al. (2020).
Not covered: v-prediction and loss weights, which would join `NoiseSchedule` and `loss`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor


class Purpose(IntEnum):
    """What random numbers are for; each purpose has a stream of its own. Never renumber."""

    NETWORK = 1
    ORDER = 2
    CAPTION = 3
    TRAINING = 4
    VALIDATION = 5
    LATENT = 6
    SAMPLE = 7


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
    """What chance decides for one batch."""

    timesteps: Tensor
    """int64, one per sample."""
    noise: Tensor
    """float32, the shape of the latents."""


def draw(seed: int, step: int, first: int, shape: Sequence[int], timestep_count: int) -> Draw:
    """Timesteps and noise of the batch whose first sample is number `first` of `step`.

    The sample's number within its step decides, not its place in the batch: accumulation changes
    how samples are grouped, and must not change what they are.
    """
    rngs = [generator(seed, Purpose.TRAINING, step, first + index) for index in range(shape[0])]
    timesteps = [int(rng.integers(timestep_count)) for rng in rngs]
    return Draw(torch.tensor(timesteps), torch.stack([normal(rng, shape[1:]) for rng in rngs]))


VALIDATION_TIMESTEPS: Final = 4
"""As sd-scripts: few enough to be cheap, spread enough to see all kinds of detail."""


def validation_timesteps(timestep_count: int) -> list[int]:
    """Four timesteps spread evenly, ends left out; the choice of sd-scripts."""
    ends = np.linspace(0, timestep_count, VALIDATION_TIMESTEPS + 2, dtype=int)
    return [int(timestep) for timestep in ends[1:-1]]


class NoiseSchedule:
    """The base model's own noise levels, on the device that trains."""

    def __init__(self, scheduler: Any, device: torch.device) -> None:
        """`scheduler` is a diffusers scheduler; only its cumulative alphas are used."""
        kept = scheduler.alphas_cumprod.to(device=device, dtype=torch.float32)
        self._signal, self._noise = kept.sqrt(), (1 - kept).sqrt()

    def __len__(self) -> int:
        return len(self._signal)

    def noisy(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """`latents` (batch, channels, height, width) as they look at `timesteps` (batch)."""
        signal, level = (levels[timesteps].view(-1, 1, 1, 1) for levels in (self._signal, self._noise))
        mixed: Tensor = signal * latents + level * noise
        return mixed

    def target(self, noise: Tensor) -> Tensor:
        """What the UNet should answer: the noise itself (epsilon prediction)."""
        return noise


def loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Squared error, averaged within each sample and then over the batch, in float32."""
    per_sample: Tensor = (predicted.float() - target.float()).square().mean(dim=(1, 2, 3))
    return per_sample.mean()
