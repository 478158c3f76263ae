"""The optimizers: AdamW, Adafactor, Prodigy, Lion, CAME, schedule-free, 8 bit ones, any of torch.

All are their authors' own packages; what is here is how a run's settings reach them, which is what
sd-scripts does at 48d368f, except that two mistakes are refused which it lets pass: an argument
that the optimizer does not have, and a second rate for an optimizer that takes only one.

Covered: building, a first step for trial, the averaged weights of schedule-free optimizers (Defazio et al.,
2024). Not covered: names and arguments (see `optimizer_names.py`) and schedules (see `schedules.py`).
"""

import importlib
import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from lora_core.engines.diffusers.optimizer_names import (
    ONE_RATE,
    class_path,
    finds_its_rate,
    optimizer_arguments,
)
from lora_core.errors import Problem, SettingsError
from lora_core.settings import RunConfig

Groups = Sequence[dict[str, Any]]
"""What `Network.groups` gives: `params`, `lr` and `name` of each."""
_FUSED = (torch.optim.Adam, torch.optim.AdamW)
"""One kernel for a weight where the default takes ten: a LoRA has hundreds of small ones."""


def new_optimizer(run: RunConfig, groups: Groups) -> torch.optim.Optimizer:
    """The optimizer of `run` over `groups`.

    Raises:
        SettingsError: it cannot be built so; the message names the setting.
    """
    path = class_path(run.optimizer.optimizer_type)
    kind = load_class(path, "optimizer_type", torch.optim.Optimizer)
    arguments = optimizer_arguments(run)
    if path.startswith("bitsandbytes.") and not torch.cuda.is_available():
        raise _refused("optimizer_type", f"{kind.__name__} works on a GPU with CUDA only.", "Take AdamW.")
    if path.startswith(ONE_RATE) and len({group["lr"] for group in groups}) > 1:
        what = f"{kind.__name__} takes one learning rate for all parts of the LoRA."
        raise _refused("optimizer_type", what, "Leave the rates of the parts out.")
    if kind in _FUSED and not {"fused", "foreach", "differentiable"} & arguments.keys():
        arguments["fused"] = True
    lr: float | None = run.optimizer.learning_rate
    if finds_its_rate(run):
        # It finds its own rate, and refuses a run that names one.
        arguments["relative_step"], lr = True, None
        groups = [{key: value for key, value in group.items() if key != "lr"} for group in groups]
    try:
        optimizer: torch.optim.Optimizer = kind(list(groups), lr=lr, **arguments)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        why = " ".join(str(error).split()) or "it does not accept these values"
        fix = f"It knows {', '.join(_known_arguments(kind))}."
        raise _refused("optimizer_args", f"{kind.__name__} was not set up: {why}.", fix) from error
    if hasattr(optimizer, "train"):
        optimizer.train()
    return optimizer


def try_step(optimizer: torch.optim.Optimizer) -> None:
    """Take a step over weights that nobody needs; some optimizers are built well and cannot train a LoRA.

    Raises:
        SettingsError: it stops.
    """
    kind = type(optimizer)
    if kind.__module__.startswith("bitsandbytes"):  # it steps on a GPU only, where no weights are yet
        return
    for group in optimizer.param_groups:
        for weight in group["params"]:
            weight.grad = torch.zeros_like(weight)
    try:
        optimizer.step()
    except (TypeError, ValueError, RuntimeError, KeyError, AttributeError) as error:
        what = f"{kind.__name__} cannot train a LoRA here: {' '.join(str(error).split())}."
        raise _refused("optimizer_type", what, "Take AdamW.") from error


def optimizer_class(run: RunConfig) -> str:
    """The class of the optimizer, by its full name; two settings may stand for the same one."""
    kind = load_class(class_path(run.optimizer.optimizer_type), "optimizer_type", torch.optim.Optimizer)
    return f"{kind.__module__}.{kind.__name__}"


def load_class(path: str, setting: str, base: type) -> Any:
    """The class at a dotted path.

    Raises:
        SettingsError: there is none, its package is broken, or it is not a subclass of `base`.
    """
    module, _, name = path.rpartition(".")
    try:
        kind = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise _refused(
            setting, f"{path} was not found: {error}.", "Check its spelling and its case."
        ) from error
    if not (isinstance(kind, type) and issubclass(kind, base)):
        raise _refused(setting, f"{path} is not of the kind {base.__name__}.", "Name a class of that kind.")
    return kind


def optimizer_name(run: RunConfig) -> str:
    """The optimizer with its arguments, as sd-scripts names it in a LoRA file's metadata."""
    arguments = ",".join(f"{key}={value}" for key, value in optimizer_arguments(run).items())
    return optimizer_class(run) + (f"({arguments})" if arguments else "")


@contextmanager
def averaged(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """For saves, samples and tests: the weights that a schedule-free optimizer means, for others no change.

    Such an optimizer trains at one point and means an average beside it. Its own way back from
    there rounds, so the weights are kept and put back: a run that was looked at stays the same to
    the last bit.
    """
    switch: Any = optimizer
    if not hasattr(switch, "eval"):
        yield
        return
    weights: list[nn.Parameter] = [weight for group in switch.param_groups for weight in group["params"]]
    kept = [weight.detach().clone() for weight in weights]
    switch.eval()
    try:
        yield
    finally:
        switch.train()
        with torch.no_grad():
            for weight, value in zip(weights, kept, strict=True):
                weight.copy_(value)


def _known_arguments(kind: type) -> list[str]:
    names = inspect.signature(kind).parameters
    return [name for name in names if name not in {"params", "lr", "args", "kwargs"}]


def _refused(setting: str, what: str, fix: str) -> SettingsError:
    return SettingsError([Problem(setting=setting, what=what, fix=fix)], what="This run was not started.")
