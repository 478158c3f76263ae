"""Settings of the LoRA itself: its kind, its size, the parts and files that it begins from.

Covered: types, hard limits, starting values and help. What LyCORIS owns stands in
`concern_network_lycoris.py`, and what is set block by block in `concern_network_blocks.py`. Not covered: what
goes with what (see `lora_core.planning`) and what files look like (see `files.py`).
"""

from lora_core.settings._description import (
    BUILT_IN,
    EVERY_UNET_FAMILY,
    Advice,
    Concern,
    NumbersValue,
    PathsValue,
    PathValue,
    described,
)
from lora_core.settings._owners import LYCORIS, NETWORKS, PLAIN, WITH_CONVOLUTIONS, WITH_DROPOUTS
from lora_core.settings.concern_network_blocks import BlockSettings
from lora_core.settings.concern_network_families import FamilyNetworkSettings
from lora_core.settings.concern_network_lycoris import LycorisSettings

__all__ = ["LYCORIS", "NetworkSettings"]


class PlainNetwork(Concern):
    """What nearly every kind of network has."""

    network_module: str = described(
        "networks.lora",
        label="Kind of network",
        what="The code that builds the LoRA. networks.lora makes the plain LoRA that every program can load. "
        "lycoris.kohya makes LoHa, LoKr and DoRA.",
        why="Leave it as it is, unless a recipe names LyCORIS.",
        engine_choices={BUILT_IN: (PLAIN, LYCORIS)},
        suggestions=NETWORKS,
    )
    network_dim: int = described(
        16,  # sd-scripts: 4
        label="Rank",
        what="How much the LoRA can hold. A higher rank makes a larger file.",
        why="Raise it for a style with many details. Lower it for one simple thing.",
        higher="The LoRA holds more. The file is larger, and it learns your images by heart sooner.",
        lower="The LoRA holds less. The file is smaller, and fine detail may be lost.",
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
        higher="What was learned acts more strongly.",
        lower="What was learned acts less.",
        level="basic",
        gt=0,
        advice=Advice(1, 128, "Alpha is mostly set from 1 up to the rank."),
    )
    conv_dim: int | None = described(
        None,
        label="Rank of convolutions",
        what="Adds the LoRA to the larger image filters (3 by 3) too. If it is empty, they are left out. "
        "LyCORIS always takes them in: if it is empty there, the rank is used.",
        why="Use it for shapes and styles where small forms count.",
        higher="The filters hold more, and the file is larger.",
        lower="The filters hold less, and the file is smaller.",
        only={"network_module": WITH_CONVOLUTIONS},
        place="network_args",
        ge=1,
        le=4096,
        advice=Advice(1, 64, "It is mostly the same as the rank, or less."),
        families=EVERY_UNET_FAMILY,
    )
    conv_alpha: float | None = described(
        None,  # sd-scripts: 1 when conv_dim is set
        label="Alpha of convolutions",
        what="Scales what the larger image filters learn. It works like alpha. If it is empty, 1 is used. "
        "LyCORIS then uses alpha.",
        why="Set it when you set a rank for the filters. Half of that rank is a good start.",
        higher="What the filters learn acts more strongly.",
        lower="What the filters learn acts less.",
        only={"network_module": WITH_CONVOLUTIONS},
        place="network_args",
        gt=0,
        families=EVERY_UNET_FAMILY,
    )
    network_train_unet_only: bool = described(
        True,  # sd-scripts: off
        label="Train the image part only",
        what="Trains the part that draws. The part that reads your words stays as it is.",
        why="Leave it on. It keeps other words safe and saves memory.",
        higher="The part that reads your words stays as it is.",
        lower="Both parts are trained. This needs more memory.",
    )
    network_train_text_encoder_only: bool = described(
        False,
        label="Train the text part only",
        what="Trains the part that reads your words. The part that draws stays as it is.",
        why="Leave it off. It is for tests and rare recipes.",
        higher="The part that draws stays as it is.",
        lower="The part that draws is trained.",
        level="expert",
    )
    text_encoder_lr: NumbersValue | None = described(
        None,
        label="Learning rate of the text part",
        what="A rate of its own for the part that reads your words. If it is empty, the learning "
        "rate is used. "
        "SDXL has two such parts. With two numbers each has its own, but sd-scripts takes the first "
        "for both.",
        why="Set it lower than the rate of the image part, such as 0.00001.",
        higher="Words change their meaning faster, and others may suffer.",
        lower="Words change their meaning more slowly. With 0 this part is not trained.",
        advice=Advice(1e-6, 1e-3, "Published recipes use 0.000001 to 0.0001, and rarely more."),
    )
    network_dropout: float | None = described(
        None,
        label="Dropout",
        what="Leaves out this share of the inner numbers of each layer at every step.",
        why="A small value, such as 0.1, can help if the LoRA learns your images by heart.",
        higher="More is left out at each step, so less is learned by heart.",
        lower="Less is left out, so more is learned.",
        ge=0,
        lt=1,
        advice=Advice(0, 0.5, "Higher values leave little to learn from."),
    )
    rank_dropout: float | None = described(
        None,
        label="Dropout of ranks",
        what="Leaves out this share of the ranks of each layer at every step.",
        why="It works like dropout. Values from 0.1 to 0.3 are common.",
        higher="More is left out at each step, so less is learned by heart.",
        lower="Less is left out, so more is learned.",
        only={"network_module": WITH_DROPOUTS},
        level="expert",
        place="network_args",
        ge=0,
        lt=1,
        advice=Advice(0, 0.5, "Higher values leave little to learn from."),
    )
    module_dropout: float | None = described(
        None,
        label="Dropout of layers",
        what="Leaves out this share of all layers at every step.",
        why="It works like dropout. Values from 0.1 to 0.3 are common.",
        higher="More is left out at each step, so less is learned by heart.",
        lower="Less is left out, so more is learned.",
        only={"network_module": WITH_DROPOUTS},
        level="expert",
        place="network_args",
        ge=0,
        lt=1,
        advice=Advice(0, 0.5, "Higher values leave little to learn from."),
    )
    network_weights: PathValue | None = described(
        None,
        label="LoRA to go on from",
        what="Starts with what is in this LoRA file and not from nothing. It must have the same shape.",
        why="Use it to teach a finished LoRA more.",
    )
    dim_from_weights: bool = described(
        False,
        label="Take the shape from that LoRA",
        what="Takes rank, alpha and layers from the LoRA to go on from. The ranks set here are not "
        "used then.",
        why="Turn it on if you do not know the shape of that file.",
        higher="Rank, alpha and layers are those of the file.",
        lower="The file must have the shape that is set here.",
    )
    base_weights: PathsValue | None = described(
        None,
        label="LoRAs to build in first",
        what="These LoRA files become a part of the base model while you train. "
        "Your new LoRA then learns only what they lack.",
        why="Use it to train on top of another LoRA. Make pictures with both of them later.",
        level="expert",
    )
    base_weights_multiplier: NumbersValue | None = described(
        None,
        label="How strongly they are built in",
        what="One number for each LoRA that is built in. If it is empty, all count in full, as 1.",
        why="Use the strength that you make pictures with.",
        higher="That LoRA counts more while you train.",
        lower="That LoRA counts less while you train.",
        level="expert",
    )


class NetworkSettings(FamilyNetworkSettings, LycorisSettings, BlockSettings, PlainNetwork):
    """The LoRA itself: how large it is and which layers it changes."""
