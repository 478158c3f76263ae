"""The course of the learning rate.

The shapes are transformers' own, which sd-scripts uses too, with the arguments that it gives them
at 48d368f. REX (Chen, Wolfe and Kyrillidis, 2021), which it lacks, is written here.

Covered: every `lr_scheduler`, any schedule of torch or of a package by `lr_scheduler_type`, warm-up
in steps or as a share. Not covered: schedules that follow the loss.
"""

from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from typing import Any, Final

import torch
from diffusers.optimization import get_piecewise_constant_schedule
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau
from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION, AdafactorSchedule
from transformers.trainer_utils import SchedulerType

from lora_core.engines.diffusers.optimizer_names import finds_its_rate, literals, schedule_free
from lora_core.engines.diffusers.optimizers import load_class, new_optimizer, try_step
from lora_core.errors import Problem, SettingsError
from lora_core.settings import RunConfig, ScheduleSettings, arguments_of, further_arguments

_REX_DECAY: Final = 0.5


def new_schedule(run: RunConfig, optimizer: torch.optim.Optimizer, steps: int) -> LRScheduler:
    """The learning rate over `steps` optimizer steps.

    As in sd-scripts, an optimizer without a schedule has a constant rate, and an Adafactor that
    finds its own rate only reports it.

    Raises:
        SettingsError: it cannot be built so; the message names the setting.
    """
    settings = run.schedule
    extra = arguments_of(run, "lr_scheduler_args")
    extra |= literals(further_arguments(run, "lr_scheduler_args"), "lr_scheduler_args")
    try:
        if schedule_free(run.optimizer.optimizer_type):
            return LambdaLR(optimizer, _unchanged)
        if settings.lr_scheduler_type:
            return _by_name(settings.lr_scheduler_type, optimizer, extra)
        if finds_its_rate(run):
            own: LRScheduler = AdafactorSchedule(optimizer, run.optimizer.learning_rate)
            return own
        return _by_shape(settings, optimizer, steps, extra)
    except (TypeError, ValueError, AssertionError, KeyError) as error:
        why = " ".join(str(error).split())
        raise _refused("lr_scheduler_args", f"The course of the rate was not set up: {why}.") from error


def try_out(run: RunConfig) -> None:
    """Build optimizer and schedule over one number, and take a step, so that what they refuse is told early.

    Raises:
        SettingsError: one of them cannot be built, or the optimizer cannot step.
    """
    toy = [{"params": [nn.Parameter(torch.zeros(1, 1))], "lr": run.optimizer.learning_rate, "name": "toy"}]
    with redirect_stdout(StringIO()):  # Prodigy prints
        optimizer = new_optimizer(run, toy)
        new_schedule(run, optimizer, run.schedule.max_train_steps)
        try_step(optimizer)


def _unchanged(_step: int) -> float:
    return 1.0


def _by_name(name: str, optimizer: torch.optim.Optimizer, extra: dict[str, Any]) -> LRScheduler:
    path = name if "." in name else f"torch.optim.lr_scheduler.{name}"
    kind = load_class(path, "lr_scheduler_type", LRScheduler)
    if issubclass(kind, ReduceLROnPlateau):
        raise _refused(
            "lr_scheduler_type", f"{kind.__name__} follows a test loss, which this trainer does not."
        )
    schedule: LRScheduler = kind(optimizer, **extra)
    return schedule


def _by_shape(
    settings: ScheduleSettings, optimizer: torch.optim.Optimizer, steps: int, extra: dict[str, Any]
) -> LRScheduler:
    name = settings.lr_scheduler
    warmup, decay = warmup_steps(settings, steps), _steps(settings.lr_decay_steps, steps)
    rising = {"num_warmup_steps": warmup}
    whole = {**rising, "num_training_steps": steps}
    lowest = settings.lr_scheduler_min_lr_ratio
    half_cycles = settings.lr_scheduler_num_cycles / 2
    arguments: dict[str, dict[str, Any]] = {
        "constant_with_warmup": rising,
        "inverse_sqrt": {**rising, "timescale": settings.lr_scheduler_timescale},
        "linear": whole,
        "cosine": whole,
        "cosine_with_restarts": {**whole, "num_cycles": settings.lr_scheduler_num_cycles},
        "polynomial": {**whole, "power": settings.lr_scheduler_power},
        "cosine_with_min_lr": {**whole, "num_cycles": half_cycles, "min_lr_rate": lowest},
        "warmup_stable_decay": {
            **rising,
            "num_stable_steps": steps - warmup - decay,
            "num_decay_steps": decay,
            "num_cycles": half_cycles,
            "min_lr_ratio": lowest or 0.0,
        },
        "rex": {**whole, "min_lr_ratio": lowest or 0.0},
    }
    given = {**arguments.get(name, {}), **extra}
    if name == "rex":
        return LambdaLR(optimizer, partial(rex, **given))
    if name == "piecewise_constant":
        pieces: LRScheduler = get_piecewise_constant_schedule(optimizer, **given)
        return pieces
    schedule: LRScheduler = TYPE_TO_SCHEDULER_FUNCTION[SchedulerType(name)](optimizer, **given)
    return schedule


def rex(
    step: int,
    *,
    num_warmup_steps: int,
    num_training_steps: int,
    min_lr_ratio: float = 0.0,
    d: float = _REX_DECAY,
) -> float:
    """The share of the rate at `step`: a rise in a line, then REX down to `min_lr_ratio`.

    REX is (1 - z) / (1 - d + d (1 - z)) where z goes from 0 to 1; d = 1/2 is the paper's. It falls
    slowly first and fast at the end.
    """
    if step < num_warmup_steps:
        return step / num_warmup_steps
    left = 1 - min(1.0, (step - num_warmup_steps) / max(1, num_training_steps - num_warmup_steps))
    return min_lr_ratio + (1 - min_lr_ratio) * left / (1 - d + d * left)


def warmup_steps(settings: ScheduleSettings, steps: int) -> int:
    """Steps of warm-up: a whole number is steps, a number with a point is a share of the run."""
    return _steps(settings.lr_warmup_steps, steps)


def _steps(value: int | float, steps: int) -> int:
    return int(value * steps) if isinstance(value, float) else value


def _refused(setting: str, what: str) -> SettingsError:
    fix = "Change it, or take another course, such as cosine."
    return SettingsError([Problem(setting=setting, what=what, fix=fix)], what="This run was not started.")
