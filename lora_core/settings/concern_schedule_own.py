"""Settings that some courses of the learning rate own.

Covered: types, hard limits, starting values and help of what is written in `lr_scheduler_args`. Each starting
value is that of the schedule itself; what a schedule cannot do without has none. Not covered: the courses
themselves and what more of them share (see `concern_schedule.py`).
"""

from typing import Any

from lora_core.settings._description import BUILT_IN, Advice, Concern, described
from lora_core.settings._owners import REX_AND_CAWR, torch_schedules


def _of(*types: str) -> dict[str, Any]:
    """What these descriptions share: the schedules that own them, and where they are written."""
    return {"only": {"lr_scheduler_type": types}, "place": "lr_scheduler_args", "level": "expert"}


class ScheduleArguments(Concern):
    """What one course of the rate has and others do not."""

    step_rules: str | None = described(
        None,
        label="Pieces of the rate",
        what="Shares of the rate and the step at which each ends. 1:500,0.1 means: in full for 500 steps, "
        "then a tenth. The course piecewise_constant cannot do without it.",
        why="Write it if you take that course.",
        place="lr_scheduler_args",
        level="expert",
        only={"lr_scheduler": ("piecewise_constant",), "lr_scheduler_type": (None, "")},
    )
    d: float = described(
        0.5,
        label="Bend of rex",
        what="How late the rate of rex falls. It goes from 0, which is a straight line, to below 1.",
        why="Leave it at 0.5, which is the value of its paper.",
        higher="The rate stays high for longer and falls faster at the end.",
        lower="The rate falls more evenly.",
        place="lr_scheduler_args",
        level="expert",
        engines=(BUILT_IN,),
        only={"lr_scheduler": ("rex",), "lr_scheduler_type": (None, "")},
        ge=0,
        lt=1,
    )
    gamma: float | None = described(
        None,
        label="Factor of each fall",
        what="The rate is multiplied by this at each fall, or at each new cycle.",
        why="Set it if the course cannot do without it. 0.1 is common for steps, 0.9 for cycles.",
        higher="Each fall is smaller.",
        lower="Each fall is larger.",
        **_of(*torch_schedules("StepLR", "MultiStepLR", "ExponentialLR"), *REX_AND_CAWR),
        gt=0,
        le=1,
    )
    step_size: int | None = described(
        None,
        label="Steps between falls",
        what="The rate of StepLR falls each time so many steps are done. It cannot do without this.",
        why="A third of the training gives two falls.",
        higher="The rate falls fewer times.",
        lower="The rate falls more often.",
        unit="steps",
        **_of(*torch_schedules("StepLR")),
        ge=1,
    )
    eta_min: float = described(
        0.0,
        label="Lowest rate of the cosine",
        what="The rate at which the cosine ends. It is a rate and not a share.",
        why="Leave it at 0, unless a recipe names it.",
        higher="The last steps teach more.",
        lower="The last steps teach less.",
        **_of(*torch_schedules("CosineAnnealingLR", "CosineAnnealingWarmRestarts")),
        ge=0,
    )
    first_cycle_max_steps: int | None = described(
        None,
        label="Steps of the first cycle",
        what="How long the first cycle is. If it is empty, a new cycle begins at each step, "
        "which spoils the training.",
        why="Set it to the steps of the training divided by the number of cycles.",
        higher="Cycles are longer and fewer.",
        lower="Cycles are shorter and more.",
        unit="steps",
        **_of(*REX_AND_CAWR),
        ge=1,
    )
    cycle_multiplier: float = described(
        1.0,
        label="Growth of the cycles",
        what="How much longer each cycle is than the one before. With 1 all are the same.",
        why="Leave it at 1.",
        higher="Later cycles are longer.",
        lower="Cycles stay more alike.",
        **_of(*REX_AND_CAWR),
        gt=0,
    )
    min_lr: float = described(
        1e-6,
        label="Lowest rate of a cycle",
        what="The rate at which each cycle ends. It is a rate and not a share.",
        why="Keep it far below the learning rate.",
        higher="The end of a cycle teaches more.",
        lower="The end of a cycle teaches less.",
        **_of(*REX_AND_CAWR),
        ge=0,
        advice=Advice(0, 1e-5, "Recipes use 0.000001 or less."),
    )
