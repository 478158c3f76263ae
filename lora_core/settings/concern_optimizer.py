"""Settings of the optimizer: the rule that turns mistakes into changes.

Covered: types, hard limits, starting values and help. Not covered: what goes with what (see
`lora_core.planning`) and what files look like (see `files.py`).
"""

from typing import Annotated

from pydantic import BeforeValidator

from lora_core.settings._description import BUILT_IN, Advice, Concern, PairValue, described


def _optimizer_name(value: object) -> object:
    # sd-scripts compares without case and takes empty text as AdamW.
    return "AdamW" if isinstance(value, str) and value.strip().lower() in {"", "adamw"} else value


class OptimizerSettings(Concern):
    """How the weights move."""

    optimizer_type: Annotated[str, BeforeValidator(_optimizer_name)] = described(
        "AdamW",
        label="Optimizer",
        what="The rule that turns each mistake into a small change of the LoRA.",
        why="AdamW is a safe choice. There is no need to change it.",
        engine_choices={BUILT_IN: ("AdamW",)},
    )
    learning_rate: float = described(
        1e-4,  # sd-scripts: 2e-6, at which nothing is learned
        label="Learning rate",
        what="How big each step of learning is.",
        why="Lower it if the pictures get harsh or broken. Raise it if nothing is learned.",
        level="basic",
        ge=0,
        advice=Advice(1e-5, 1e-3, "Published recipes use 0.00001 to 0.001."),
    )
    unet_lr: float | None = described(
        None,
        label="Learning rate of the image part",
        what="A rate of its own for the part that draws. If it is empty, the learning rate is used.",
        why="Set it only if you follow a recipe that names it.",
        level="expert",
        ge=0,
        advice=Advice(1e-5, 1e-3, "Published recipes use 0.00001 to 0.001."),
    )
    max_grad_norm: float = described(
        1.0,
        label="Limit for one step",
        what="Cuts very large steps down to this size. 0 turns the limit off.",
        why="Leave it at 1. A lower value can calm a run that jumps.",
        level="expert",
        ge=0,
    )
    weight_decay: float = described(
        0.01,
        label="Weight decay",
        what="Pulls the LoRA back to zero by a tiny bit at each step.",
        why="A higher value can help against learning the pictures by heart.",
        level="expert",
        place="optimizer_args",
        ge=0,
        advice=Advice(0, 0.2, "Common values go from 0 to 0.2."),
    )
    betas: PairValue = described(
        (0.9, 0.999),
        label="Betas",
        what="How long the optimizer looks back. There are two numbers, both from 0 to below 1.",
        why="Leave them as they are, unless a recipe names them.",
        level="expert",
        place="optimizer_args",
    )
    eps: float = described(
        1e-8,
        label="Epsilon",
        what="A tiny number that keeps the optimizer from dividing by zero.",
        why="Leave it as it is.",
        level="expert",
        place="optimizer_args",
        gt=0,
    )
