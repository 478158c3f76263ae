"""Which class an optimizer's or schedule's name stands for, as sd-scripts reads names; loads no torch.

Covered: the names that sd-scripts knows without case, names of torch.optim, dotted paths; whether
the package is there. Not covered: building them (see `optimizers.py` and `schedules.py`).
"""

from importlib.util import find_spec
from typing import Final

from lora_core.errors import Problem
from lora_core.settings import RunConfig

CLASSES: Final = {
    "adamw": "torch.optim.AdamW",
    "sgdnesterov": "torch.optim.SGD",
    "adafactor": "transformers.optimization.Adafactor",
    "prodigy": "prodigyopt.Prodigy",
    "lion": "lion_pytorch.Lion",
    "adamwschedulefree": "schedulefree.AdamWScheduleFree",
    "radamschedulefree": "schedulefree.RAdamScheduleFree",
    "sgdschedulefree": "schedulefree.SGDScheduleFree",
    "adamw8bit": "bitsandbytes.optim.AdamW8bit",
    "lion8bit": "bitsandbytes.optim.Lion8bit",
    "sgdnesterov8bit": "bitsandbytes.optim.SGD8bit",
    "pagedadamw": "bitsandbytes.optim.PagedAdamW",
    "pagedadamw8bit": "bitsandbytes.optim.PagedAdamW8bit",
    "pagedadamw32bit": "bitsandbytes.optim.PagedAdamW32bit",
    "pagedlion8bit": "bitsandbytes.optim.PagedLion8bit",
}
"""What sd-scripts takes for each of its own names, which it compares without case."""
TORCH: Final = frozenset({
    "ASGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "Rprop", "SGD",
})  # fmt: skip
"""Optimizers of torch that step without a closure and take weights of any shape."""


def class_path(name: str) -> str:
    """The dotted path of an optimizer; names without a dot that are not sd-scripts' own are torch's."""
    return CLASSES.get(name.lower()) or (name if "." in name else f"torch.optim.{name}")


def relative_step(arguments: dict[str, object]) -> bool:
    """Whether Adafactor finds its own rate: the default of sd-scripts, and what `warmup_init` means."""
    return bool(arguments.get("relative_step", True) or arguments.get("warmup_init", False))


def schedule_free(name: str) -> bool:
    """True for optimizers that need no schedule; sd-scripts tells them by their name, and so do we."""
    return name.lower().endswith("schedulefree")


def name_problems(run: RunConfig) -> list[Problem]:
    """What is wrong with the names of the optimizer and of the schedule."""
    name, schedule = run.optimizer.optimizer_type, run.schedule.lr_scheduler_type
    found = []
    if "." not in name and name not in TORCH and name.lower() not in CLASSES:
        fix = "Take AdamW or Prodigy, or give its full dotted path."
        found.append(Problem(setting="optimizer_type", what=f"There is no optimizer called {name}.", fix=fix))
    elif why := _missing(class_path(name)):
        found.append(
            Problem(setting="optimizer_type", what=why, fix=f"Install it, or take {_instead(name)}.")
        )
    if schedule and (why := _missing(schedule if "." in schedule else f"torch.{schedule}")):
        fix = "Install it, or leave lr_scheduler_type out. The course rex is built in."
        found.append(Problem(setting="lr_scheduler_type", what=why, fix=fix))
    return found


def _missing(path: str) -> str | None:
    package = path.partition(".")[0]
    if package.isidentifier() and find_spec(package) is not None:
        return None
    return f"The package {package} is not installed."


def _instead(name: str) -> str:
    return "AdamW" if "8bit" in name.lower() else "another optimizer"
