"""Settings of how long a run is, and how the learning rate moves through it.

Covered: types, hard limits, starting values and help. Not covered: what goes with what (see
`lora_core.planning`) and what files look like (see `files.py`).
"""

from typing import Literal

from lora_core.settings._description import BUILT_IN, Advice, Concern, described

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
    "piecewise_constant",
    "adafactor",
]


class ScheduleSettings(Concern):
    """How long a run is, and how the learning rate moves through it."""

    lr_scheduler: Scheduler = described(
        "cosine",  # sd-scripts: constant
        label="Course of the learning rate",
        what="Says how the rate moves. Cosine lets it sink slowly to zero. Constant keeps it as it is.",
        why="Cosine ends calmly. Take constant if you want to go on training later.",
        engine_choices={BUILT_IN: ("constant", "constant_with_warmup", "cosine")},
    )
    lr_warmup_steps: int | float = described(
        0,
        label="Warm-up",
        what="The rate grows from zero during this time. A whole number counts steps. "
        "A number with a point is a share of the run: 0.05 is 5 percent.",
        why="A short warm-up of 5 percent can make the start calmer.",
        unit="steps, or a share from 0.0 to 1.0",
        ge=0,
    )
    max_train_epochs: int | None = described(
        None,
        label="Epochs",
        what="How often the run goes through all your images. If it is set, the number of steps is not used.",
        why="More epochs teach more, but too many make all pictures look the same.",
        unit="epochs",
        level="basic",
        ge=1,
        advice=Advice(1, 100, "Most runs take 5 to 20 epochs."),
    )
    max_train_steps: int = described(
        1600,
        label="Steps",
        what="How many steps the run takes. It counts only while no number of epochs is set.",
        why="Use it if you think in steps. In most cases 500 to 3000 steps are enough.",
        unit="steps",
        level="basic",
        ge=1,
        advice=Advice(200, 10000, "Fewer steps teach little. More cost time and can spoil the LoRA."),
    )
