"""How a mistake of the UNet counts.

The formulas and their order are those of sd-scripts at 48d368f: the difference is measured, the
mask takes part of the picture out, what is left is averaged within each sample, and each sample
has its weight by its folder and its noise level.

Covered: l2, l1, Huber and smooth l1 with their schedules, masks, sample weights, min-SNR (Hang et
al., 2023), debiased estimation (Yu et al., 2023), v weights. Not covered: the noise (see `noise.py`).
"""

import math

import torch
from torch import Tensor

from lora_core.engines.diffusers.noise import NoiseSchedule
from lora_core.settings import LossSettings

_LARGEST_SNR = 1000.0
"""Weights by SNR see no more than this; with hardly any noise it grows without end."""


def loss(
    predicted: Tensor,
    target: Tensor,
    timesteps: Tensor,
    schedule: NoiseSchedule,
    settings: LossSettings,
    *,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """The mean over the batch, in float32.

    `predicted` and `target` are (batch, channels, height, width), `mask` (batch, 1, height, width)
    from 0 to 1, `timesteps` and `weights` (batch).
    """
    limit = _limit(timesteps, schedule, settings)
    per_value = _measured(predicted.float(), target.float(), settings.loss_type, limit)
    if mask is not None:
        per_value = per_value * mask
    per_sample = per_value.mean(dim=(1, 2, 3))
    if weights is not None:
        per_sample = per_sample * weights
    return _weighed(per_sample, schedule.snr[timesteps], settings, v=schedule.v_prediction).mean()


def squared(predicted: Tensor, target: Tensor) -> Tensor:
    """The plain squared error over the batch: what tests on held-back pictures measure."""
    return (predicted.float() - target.float()).square().mean(dim=(1, 2, 3)).mean()


def _measured(predicted: Tensor, target: Tensor, kind: str, limit: Tensor) -> Tensor:
    difference = predicted - target
    if kind == "l2":
        return difference.square()
    if kind == "l1":
        return difference.abs()
    above = torch.sqrt(difference.square() + limit.square()) - limit
    return 2 * limit * above if kind == "huber" else 2 * above


def _limit(timesteps: Tensor, schedule: NoiseSchedule, settings: LossSettings) -> Tensor:
    """(batch, 1, 1, 1): the difference above which huber and smooth l1 leave the square."""
    lowest, scale = settings.huber_c, settings.huber_scale
    if settings.huber_schedule == "exponential":
        limit = torch.exp(math.log(lowest) / len(schedule) * timesteps) * scale
    elif settings.huber_schedule == "snr":
        limit = (1 - lowest) / (1 + schedule.sigma[timesteps]) ** 2 + lowest
    else:
        limit = torch.full_like(timesteps, lowest * scale, dtype=torch.float32)
    return limit.view(-1, 1, 1, 1)


def _weighed(losses: Tensor, snr: Tensor, settings: LossSettings, *, v: bool) -> Tensor:
    capped = snr.clamp(max=_LARGEST_SNR)
    if settings.min_snr_gamma:
        losses = losses * snr.clamp(max=settings.min_snr_gamma) / (snr + 1 if v else snr)
    if settings.scale_v_pred_loss_like_noise_pred:
        losses = losses * capped / (capped + 1)
    if settings.v_pred_like_loss:
        losses = losses + losses * (capped + 1) / capped * settings.v_pred_like_loss
    if settings.debiased_estimation_loss:
        losses = losses / (capped + 1 if v else capped.sqrt())
    return losses
