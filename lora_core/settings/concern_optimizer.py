"""Settings of the optimizer: the rule that turns mistakes into changes.

Covered: types, hard limits, starting values and help. What an optimizer of its own takes stands in
`concern_optimizer_own.py`; what is described nowhere stands in `optimizer_args` and goes to the optimizer as
it is. Not covered: what goes with what (see `lora_core.planning`) and what files look like (see `files.py`).
"""

from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field

from lora_core.settings._description import Advice, Concern, as_tuple, described
from lora_core.settings._owners import ANY_OTHER, NESTEROV, WITH_BETAS, WITH_DECAY, WITH_EPS, WITH_NORMS
from lora_core.settings.concern_optimizer_own import OptimizerArguments

OPTIMIZERS: Final = (
    "AdamW",
    "AdamW8bit",
    "Adafactor",
    "Prodigy",
    "Lion",
    "came_pytorch.CAME",
    "AdamWScheduleFree",
    "RAdamScheduleFree",
    "SGDScheduleFree",
)
"""Optimizers with a name of their own in both engines; any other is named by its dotted path.

CAME has no short name in sd-scripts, so it goes by its path, which both engines take.
"""
_OTHER_NAMES: Final = (
    "Lion8bit",
    "PagedAdamW",
    "PagedAdamW8bit",
    "PagedAdamW32bit",
    "PagedLion8bit",
    *NESTEROV,
)
_KNOWN: Final = {
    **{name.lower(): name for name in (*OPTIMIZERS, *_OTHER_NAMES)},
    "": "AdamW",
    "came": "came_pytorch.CAME",
}


def _optimizer_name(value: object) -> object:
    # sd-scripts compares its own names without case and takes empty text as AdamW.
    return _KNOWN.get(value.strip().lower(), value) if isinstance(value, str) else value


def _below_one(betas: tuple[float, ...]) -> tuple[float, ...]:
    if not all(0 <= beta < 1 for beta in betas):  # optimizers stop at such a one when they are made
        raise ValueError
    return betas


BetasValue = Annotated[
    tuple[float, ...],
    BeforeValidator(as_tuple),
    Field(min_length=2, max_length=3),
    AfterValidator(_below_one),
]
"""Two numbers, or the three of CAME."""


class OptimizerChoice(Concern):
    """The optimizer, its rates, and what nearly every optimizer takes."""

    optimizer_type: Annotated[str, BeforeValidator(_optimizer_name)] = described(
        "AdamW",
        label="Optimizer",
        what="The rule that turns each mistake into a small change of the LoRA. "
        "Any rule of torch, or the full path of another one, can be typed in too.",
        why="AdamW is a safe choice. Prodigy finds the rate by itself: set the learning rate to 1 for it.",
        suggestions=OPTIMIZERS,
    )
    learning_rate: float = described(
        1e-4,  # sd-scripts: 2e-6, at which nothing is learned
        label="Learning rate",
        what="How big each step of learning is.",
        why="Lower it if the pictures get harsh or broken. Raise it if nothing is learned.",
        higher="Each step changes the LoRA more. It learns faster, and it can break.",
        lower="Each step changes the LoRA less. It learns more slowly and more evenly.",
        level="basic",
        ge=0,
        advice=Advice(1e-5, 1e-3, "Published recipes use 0.00001 to 0.001."),
    )
    unet_lr: float | None = described(
        None,
        label="Learning rate of the image part",
        what="A rate of its own for the part that draws. If it is empty, the learning rate is used.",
        why="Set it only if you follow a recipe that names it.",
        higher="The image part learns faster than the rest.",
        lower="The image part learns more slowly than the rest. With 0 it is not trained.",
        level="expert",
        ge=0,
        advice=Advice(1e-5, 1e-3, "Published recipes use 0.00001 to 0.001."),
    )
    max_grad_norm: float = described(
        1.0,
        label="Limit for one step",
        what="Cuts very large steps down to this size. 0 turns the limit off.",
        why="Leave it at 1. A lower value can calm a training that jumps.",
        higher="Large steps count more.",
        lower="Large steps are cut more. At 0 nothing is cut.",
        level="expert",
        ge=0,
        advice=Advice(0, 1, "Recipes use 1, or 0 with Adafactor at a fixed rate."),
    )
    scale_weight_norms: float | None = described(
        None,
        label="Limit for the weights",
        what="Keeps each layer of the LoRA below this size after each step. If it is empty, there is none.",
        why="Set it to 1 if the pictures get harsh, or if you want to mix the LoRA with others.",
        higher="The LoRA may grow stronger.",
        lower="The LoRA stays weaker and mixes more easily with others.",
        level="expert",
        only={"network_module": (*WITH_NORMS, ANY_OTHER)},
        gt=0,
        advice=Advice(0.5, 5, "1 is a good start."),
    )
    weight_decay: float | None = described(
        None,
        label="Weight decay",
        what="Pulls the LoRA back to zero by a tiny bit at each step. If it is empty, the optimizer's own "
        "value is used: 0.01 for AdamW, 0 for most others.",
        why="A higher value can help against learning the pictures by heart.",
        higher="The LoRA is pulled back more, and learns a bit less.",
        lower="The LoRA is pulled back less. At 0 it is left alone.",
        level="expert",
        place="optimizer_args",
        only={"optimizer_type": WITH_DECAY},
        ge=0,
        advice=Advice(0, 0.2, "Common values go from 0 to 0.2."),
    )
    betas: BetasValue | None = described(
        None,
        label="Betas",
        what="How long the optimizer looks back. There are two numbers, both from 0 to below 1. CAME has "
        "three. If it is empty, its own are used.",
        why="Leave them as they are, unless a recipe names them.",
        higher="It looks back longer, so its steps are more even.",
        lower="It forgets sooner, so it follows new pictures faster.",
        level="expert",
        place="optimizer_args",
        only={"optimizer_type": WITH_BETAS},
    )
    eps: float | None = described(
        None,
        label="Epsilon",
        what="A tiny number that keeps the optimizer from dividing by zero. If it is empty, its own is used.",
        why="Leave it as it is.",
        higher="Very small steps get smaller still.",
        lower="Very small steps stay as they are.",
        level="expert",
        place="optimizer_args",
        only={"optimizer_type": WITH_EPS},
        gt=0,
    )


class OptimizerSettings(OptimizerArguments, OptimizerChoice):
    """How the weights move."""
