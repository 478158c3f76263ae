"""Settings of saved states and of going on, as far as only sd-scripts has them.

Covered: types, hard limits, starting values and help. Not covered: saves and states that both engines have
(see `concern_output.py`), and how a stopped run is taken up again, which the app does.
"""

from typing import Any, Final

from lora_core.settings._description import SD_SCRIPTS, Concern, described

_ONE: Final[dict[str, Any]] = {"engines": (SD_SCRIPTS,), "level": "expert"}


class ContinuingSettings(Concern):
    """Saved states, and where a run goes on."""

    save_n_epoch_ratio: int | None = described(
        None,
        label="Saves in the whole training",
        what="Saves at least so many LoRA files, spread over the epochs. If it is empty, this is not done.",
        why="Use it in place of a number of epochs, if you think in files.",
        higher="There are more files to choose from, and the disk fills sooner.",
        lower="There are fewer files.",
        unit="files",
        **_ONE,
        ge=1,
    )
    initial_epoch: int | None = described(
        None,
        label="First epoch",
        what="The number of the epoch that the training begins with. 1 is the first.",
        why="The app fills it in when you go on with a training that was stopped.",
        higher="More epochs count as done.",
        lower="Fewer epochs count as done.",
        unit="epochs",
        **_ONE,
        part="target",
        ge=1,
    )
    initial_step: int | None = described(
        None,
        label="First step",
        what="The number of steps that count as done when the training begins. It wins over the first epoch.",
        why="The app fills it in when you go on with a training that was stopped.",
        higher="More steps count as done.",
        lower="Fewer steps count as done.",
        unit="steps",
        **_ONE,
        part="target",
        ge=0,
    )
    skip_until_initial_step: bool = described(
        False,
        label="Read over what was done",
        what="Goes through the images of the steps that count as done, without learning from them.",
        why="Leave it off. It costs time, and a training goes on without it too.",
        higher="The images come in the order of a training that was not stopped.",
        lower="The training goes on at once.",
        **_ONE,
    )
