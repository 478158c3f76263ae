"""Settings of the LoRA itself: its kind, its size, the layers that it changes.

Covered: types, hard limits, starting values and help. Not covered: what goes with what (see
`lora_core.planning`) and what files look like (see `files.py`).
"""

from lora_core.settings._description import BUILT_IN, Advice, Concern, described


class NetworkSettings(Concern):
    """The LoRA itself: how large it is and which layers it changes."""

    network_module: str = described(
        "networks.lora",
        label="Kind of network",
        what="The code that builds the LoRA. This is the plain LoRA that every program can load.",
        why="Leave it as it is.",
        level="expert",
        engine_choices={BUILT_IN: ("networks.lora",)},
    )
    network_dim: int = described(
        16,  # sd-scripts: 4
        label="Rank",
        what="How much the LoRA can hold. A higher rank makes a larger file.",
        why="Raise it for a style with many details. Lower it for one simple thing.",
        level="basic",
        ge=1,
        le=4096,
        advice=Advice(4, 128, "Most shared LoRAs use a rank from 4 to 128."),
    )
    network_alpha: float = described(
        8.0,  # sd-scripts: 1
        label="Alpha",
        what="How strongly the LoRA acts. What it learned is scaled by alpha divided by rank.",
        why="Half of the rank is a good start. If you change it, the learning rate acts more or less too.",
        level="basic",
        gt=0,
        advice=Advice(1, 128, "Alpha is mostly set from 1 up to the rank."),
    )
    conv_dim: int | None = described(
        None,
        label="Rank of convolutions",
        what="Adds the LoRA to the larger image filters (3 by 3) too. If it is empty, they are left out.",
        why="Use it for shapes and styles where small forms count.",
        place="network_args",
        ge=1,
        le=4096,
        advice=Advice(1, 64, "It is mostly the same as the rank, or less."),
    )
    conv_alpha: float | None = described(
        None,  # sd-scripts: 1 when conv_dim is set
        label="Alpha of convolutions",
        what="Scales what the larger image filters learn. It works like alpha. If it is empty, 1 is used.",
        why="Set it when you set a rank for the filters. Half of that rank is a good start.",
        place="network_args",
        gt=0,
    )
    network_train_unet_only: bool = described(
        True,  # sd-scripts: off
        label="Train the image part only",
        what="Trains the part that draws. The part that reads your words stays as it is.",
        why="Leave it on. It keeps other words safe and saves memory.",
        level="expert",
        engine_choices={BUILT_IN: (True,)},
    )
