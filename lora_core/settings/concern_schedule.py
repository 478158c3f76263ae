"""Settings of how long a run is, and how the learning rate moves through it.

Covered: types, hard limits, starting values and help. What only some schedules take beside that stands in
`concern_schedule_own.py`; what is described nowhere stands in `lr_scheduler_args` and goes to the schedule as
it is. Not covered: what goes with what (see `lora_core.planning`) and what files look like (see `files.py`).
"""

from typing import Final, Literal, get_args

from lora_core.settings._description import SD_SCRIPTS, Advice, Concern, described
from lora_core.settings.concern_schedule_own import ScheduleArguments

Scheduler = Literal[
    "constant",
    "constant_with_warmup",
    "cosine",
    "linear",
    "cosine_with_restarts",
    "polynomial",
    "inverse_sqrt",
    "cosine_with_min_lr",
    "warmup_stable_decay",
    "rex",
    "piecewise_constant",
    "adafactor",
]
_NOT_IN_SD_SCRIPTS: Final = ("rex",)


class CourseSettings(Concern):
    """The course of the rate, and the length of the run."""

    lr_scheduler: Scheduler = described(
        "cosine",  # sd-scripts: constant
        label="Course of the learning rate",
        what="Says how the rate moves. Cosine lets it sink slowly to zero. Constant keeps it as it is.",
        why="Cosine ends calmly. Take constant if you want to go on training later.",
        engine_choices={
            SD_SCRIPTS: tuple(name for name in get_args(Scheduler) if name not in _NOT_IN_SD_SCRIPTS)
        },
    )
    lr_scheduler_type: str | None = described(
        None,
        label="Another course of the rate",
        what="The name of a schedule of torch, or the full path of another one. "
        "If it is set, the course above is not used.",
        why="Leave it empty, unless a recipe names one.",
        level="expert",
    )
    lr_warmup_steps: int | float = described(
        0,
        label="Warm-up",
        what="The rate grows from zero during this time. A whole number counts steps. "
        "A number with a point is a share of the training: 0.05 is 5 percent.",
        why="A short warm-up of 5 percent can make the start calmer.",
        higher="The start is slower and calmer, and less of the training is left to learn in full.",
        lower="The training learns in full sooner. With 0 it does so at once.",
        unit="steps, or a share from 0.0 to 1.0",
        ge=0,
    )
    lr_decay_steps: int | float = described(
        0,
        label="Time of the fall at the end",
        what="How long the rate falls at the end. It counts for warmup_stable_decay only. "
        "It is written like the warm-up.",
        why="A fifth of the training is a good start: 0.2.",
        higher="The rate begins to fall earlier.",
        lower="The rate stays high for longer. With 0 it does not fall.",
        only={"lr_scheduler": ("warmup_stable_decay",)},
        unit="steps, or a share from 0.0 to 1.0",
        level="expert",
        ge=0,
    )
    lr_scheduler_num_cycles: int = described(
        1,
        label="Cycles of the rate",
        what="How often the rate falls and starts anew. It counts for courses with a cosine in them.",
        why="More cycles can help a long training out of a dead end.",
        higher="The rate falls and starts anew more often.",
        lower="The rate falls fewer times.",
        only={"lr_scheduler": ("cosine_with_restarts", "cosine_with_min_lr", "warmup_stable_decay")},
        unit="cycles",
        level="expert",
        ge=1,
        advice=Advice(1, 10, "Few cycles are enough."),
    )
    lr_scheduler_power: float = described(
        1.0,
        label="Power of the fall",
        what="The shape of the fall for polynomial: 1 is a straight line, 2 falls faster at first.",
        why="Leave it at 1, unless a recipe names it.",
        higher="The rate falls faster at first.",
        lower="The rate stays high for longer and falls faster at the end.",
        only={"lr_scheduler": ("polynomial",)},
        level="expert",
        gt=0,
        advice=Advice(0.5, 4, "1 and 2 are common."),
    )
    lr_scheduler_timescale: int | None = described(
        None,
        label="Time scale of inverse_sqrt",
        what="How slow the rate falls for inverse_sqrt. If it is empty, the steps of the warm-up are used.",
        why="Leave it empty, unless a recipe names it.",
        higher="The rate falls more slowly.",
        lower="The rate falls faster.",
        only={"lr_scheduler": ("inverse_sqrt",)},
        unit="steps",
        level="expert",
        ge=1,
    )
    lr_scheduler_min_lr_ratio: float | None = described(
        None,
        label="Lowest rate",
        what="Where the fall ends, as a share of the learning rate: 0.1 is a tenth of it. It counts for "
        "cosine_with_min_lr, warmup_stable_decay and rex.",
        why="Set it if the last steps should still teach a little.",
        higher="The last steps teach more.",
        lower="The last steps teach less. At 0 the rate ends at zero.",
        only={"lr_scheduler": ("cosine_with_min_lr", "warmup_stable_decay", "rex")},
        level="expert",
        ge=0,
        le=1,
    )
    max_train_epochs: int | None = described(
        None,
        label="Epochs",
        what="How often the training uses all your images. If it is set, the number of steps is not used.",
        why="More epochs teach more, but too many make all pictures look the same.",
        higher="The training is longer and teaches more.",
        lower="The training is shorter and teaches less.",
        unit="epochs",
        level="basic",
        ge=1,
        advice=Advice(1, 100, "Most trainings take 5 to 20 epochs."),
    )
    max_train_steps: int = described(
        1600,
        label="Steps",
        what="How many steps the training takes. It counts only while no number of epochs is set.",
        why="Use it if you think in steps. In most cases 500 to 3000 steps are enough.",
        higher="The training is longer and teaches more.",
        lower="The training is shorter and teaches less.",
        unit="steps",
        level="basic",
        ge=1,
        advice=Advice(200, 10000, "Fewer steps teach little. More cost time and can spoil the LoRA."),
    )


class ScheduleSettings(ScheduleArguments, CourseSettings):
    """How long a run is, and how the learning rate moves through it."""
