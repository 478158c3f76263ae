"""Which class an optimizer's or schedule's name stands for, and what it gets; loads no torch.

Covered: the names that sd-scripts knows without case, names of torch.optim, dotted paths; whether
the package is there; arguments of the form key=value. Not covered: building them (see
`optimizers.py` and `schedules.py`).
"""

import ast
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any, Final

from lora_core.errors import Problem, SettingsError
from lora_core.settings import CAME, WITH_TWO_BETAS, RunConfig, arguments_of, further_arguments

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

ONE_RATE: Final = ("prodigyopt.", "dadaptation.")
"""Packages whose optimizers take one rate for all weights."""


def class_path(name: str) -> str:
    """The dotted path of an optimizer; names without a dot that are not sd-scripts' own are torch's."""
    return CLASSES.get(name.lower()) or (name if "." in name else f"torch.optim.{name}")


def finds_its_rate(run: RunConfig) -> bool:
    """True for Adafactor with a rate of its own: its default in sd-scripts, and what `warmup_init` means."""
    arguments = optimizer_arguments(run)
    own = arguments.get("relative_step", True) or arguments.get("warmup_init", False)
    return class_path(run.optimizer.optimizer_type).endswith(".Adafactor") and bool(own)


def schedule_free(name: str) -> bool:
    """True for optimizers that need no schedule; sd-scripts tells them by their name, and so do we."""
    return name.lower().endswith("schedulefree")


def optimizer_arguments(run: RunConfig) -> dict[str, Any]:
    """What goes to the optimizer besides weights and rate: the settings that it owns, then the rest.

    Raises:
        SettingsError: a value is no Python value.
    """
    found = arguments_of(run, "optimizer_args")
    found |= literals(further_arguments(run, "optimizer_args"), "optimizer_args")
    name = run.optimizer.optimizer_type.lower()
    if name.startswith("sgdnesterov"):
        found = {"momentum": 0.9, "nesterov": True, **found}
    return found


def literals(items: Sequence[str], setting: str) -> dict[str, Any]:
    """Texts of the form key=value, the values read as Python writes them, as sd-scripts does.

    Raises:
        SettingsError: a value is something else, such as `true` in place of `True`.
    """
    found: dict[str, Any] = {}
    for item in items:
        key, _, text = (part.strip() for part in item.partition("="))
        try:
            found[key] = ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
            what = f"The value of {key} is {text!r:.80}, which is no Python value."
            fix = 'Write True, 0.5, (0.9, 0.99), or a text in "".'
            problem = Problem(setting=setting, what=what, fix=fix)
            raise SettingsError([problem], what="This run was not started.") from error
    return found


def name_problems(run: RunConfig) -> list[Problem]:
    """What is wrong with the names of the optimizer and of the schedule."""
    name, schedule = run.optimizer.optimizer_type, run.schedule.lr_scheduler_type
    found = list(_betas(run))
    if "." not in name and name not in TORCH and name.lower() not in CLASSES:
        fix = "Take AdamW or Prodigy, or give its full dotted path."
        what, mend = f"There is no optimizer called {name}.", {"optimizer_type": "AdamW"}
        found.append(Problem(setting="optimizer_type", what=what, fix=fix, mend=mend, mend_label="Use AdamW"))
    elif why := _missing(class_path(name)):
        found.append(
            Problem(
                setting="optimizer_type",
                what=why,
                fix=f"Install it, or take {_instead(name)}.",
                mend={"optimizer_type": "AdamW"},
                mend_label="Use AdamW",
            )
        )
    if schedule and (why := _missing(schedule if "." in schedule else f"torch.{schedule}")):
        fix = "Install it, or leave lr_scheduler_type out. The course rex is built in."
        found.append(
            Problem(
                setting="lr_scheduler_type",
                what=why,
                fix=fix,
                mend={"lr_scheduler_type": None},
                mend_label="Leave lr_scheduler_type out",
            )
        )
    return found


def _betas(run: RunConfig) -> Iterator[Problem]:
    # Most optimizers are built with any number of them, and stop at the first step.
    betas, name = run.optimizer.betas, run.optimizer.optimizer_type
    wanted = 3 if name in CAME else 2 if name in WITH_TWO_BETAS else None
    if betas is not None and wanted is not None and len(betas) != wanted:
        what = f"It has {len(betas)} numbers, and {name} takes {wanted}."
        yield Problem(setting="betas", what=what, fix=f"Write {wanted} numbers, or leave it empty.")


def _missing(path: str) -> str | None:
    package = path.partition(".")[0]
    if package.isidentifier() and find_spec(package) is not None:
        return None
    return f"The package {package} is not installed."


def _instead(name: str) -> str:
    return "AdamW" if "8bit" in name.lower() else "another optimizer"
