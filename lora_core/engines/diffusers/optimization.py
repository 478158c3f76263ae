"""The optimizer and the course of its learning rate.

Covered: AdamW (Loshchilov and Hutter, 2019); constant and cosine rates with warm-up, from
diffusers' own schedules, which sd-scripts uses too. Not covered: other optimizers and schedules;
`checks.py` refuses them by name.
"""

from typing import Any

import torch
from diffusers.optimization import get_scheduler
from torch import nn

from lora_core.settings import OptimizerSettings, ScheduleSettings


def new_optimizer(settings: OptimizerSettings, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """AdamW over the LoRA weights; `unet_lr`, if set, goes before `learning_rate`."""
    return torch.optim.AdamW(
        parameters,
        lr=settings.learning_rate if settings.unet_lr is None else settings.unet_lr,
        betas=settings.betas,
        eps=settings.eps,
        weight_decay=settings.weight_decay,
        fused=True,  # one kernel for hundreds of small tensors instead of a dozen for each
    )


def new_schedule(settings: ScheduleSettings, optimizer: torch.optim.Optimizer, steps: int) -> Any:
    """The learning rate over `steps` optimizer steps, as a torch LambdaLR."""
    return get_scheduler(
        settings.lr_scheduler,
        optimizer=optimizer,
        num_warmup_steps=warmup_steps(settings, steps),
        num_training_steps=steps,
    )


def warmup_steps(settings: ScheduleSettings, steps: int) -> int:
    """Steps of warm-up: a whole number is steps, a number with a point is a share of the run."""
    warmup = settings.lr_warmup_steps
    return int(warmup * steps) if isinstance(warmup, float) else warmup


def optimizer_name(settings: OptimizerSettings) -> str:
    """The optimizer with its arguments, as sd-scripts names it in a LoRA file's metadata."""
    kind = torch.optim.AdamW
    arguments = f"weight_decay={settings.weight_decay},betas={settings.betas},eps={settings.eps}"
    return f"{kind.__module__}.{kind.__name__}({arguments})"
