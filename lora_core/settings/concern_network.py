"""Settings of the LoRA itself: its kind, its size, the layers that it changes.

Covered: types, hard limits, starting values and help. Not covered: what goes with what (see
`lora_core.planning`) and what files look like (see `files.py`).
"""

from typing import Final, Literal

from lora_core.settings._description import (
    BUILT_IN,
    Advice,
    Concern,
    NumbersValue,
    PathsValue,
    PathValue,
    described,
)

LYCORIS: Final = "lycoris.kohya"
"""The `network_module` that builds LoHa, LoKr and DoRA."""


class NetworkSettings(Concern):
    """The LoRA itself: how large it is and which layers it changes."""

    network_module: str = described(
        "networks.lora",
        label="Kind of network",
        what="The code that builds the LoRA. networks.lora makes the plain LoRA that every program can load. "
        "lycoris.kohya makes LoHa, LoKr and DoRA.",
        why="Leave it as it is, unless a recipe names LyCORIS.",
        engine_choices={BUILT_IN: ("networks.lora", LYCORIS)},
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
        what="Adds the LoRA to the larger image filters (3 by 3) too. If it is empty, they are left out. "
        "LyCORIS always takes them in: if it is empty there, the rank is used.",
        why="Use it for shapes and styles where small forms count.",
        place="network_args",
        ge=1,
        le=4096,
        advice=Advice(1, 64, "It is mostly the same as the rank, or less."),
    )
    conv_alpha: float | None = described(
        None,  # sd-scripts: 1 when conv_dim is set
        label="Alpha of convolutions",
        what="Scales what the larger image filters learn. It works like alpha. If it is empty, 1 is used. "
        "LyCORIS then uses alpha.",
        why="Set it when you set a rank for the filters. Half of that rank is a good start.",
        place="network_args",
        gt=0,
    )
    network_train_unet_only: bool = described(
        True,  # sd-scripts: off
        label="Train the image part only",
        what="Trains the part that draws. The part that reads your words stays as it is.",
        why="Leave it on. It keeps other words safe and saves memory.",
    )
    network_train_text_encoder_only: bool = described(
        False,
        label="Train the text part only",
        what="Trains the part that reads your words. The part that draws stays as it is.",
        why="Leave it off. It is for tests and rare recipes.",
        level="expert",
    )
    text_encoder_lr: NumbersValue | None = described(
        None,
        label="Learning rate of the text part",
        what="A rate of its own for the part that reads your words. If it is empty, the learning "
        "rate is used. "
        "SDXL has two such parts: write two numbers to give each its own.",
        why="Set it lower than the rate of the image part, such as 0.00001.",
    )
    network_dropout: float | None = described(
        None,
        label="Dropout",
        what="Leaves out this share of the inner numbers of each layer at every step.",
        why="A small value, such as 0.1, can help if the LoRA learns your images by heart.",
        ge=0,
        lt=1,
        advice=Advice(0, 0.5, "Higher values leave little to learn from."),
    )
    rank_dropout: float | None = described(
        None,
        label="Dropout of ranks",
        what="Leaves out this share of the ranks of each layer at every step.",
        why="It works like dropout. Values from 0.1 to 0.3 are common.",
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
        level="expert",
    )
    block_dims: str | None = described(
        None,
        label="Ranks of the blocks",
        what="A rank for each block of the image part, with commas between. 0 leaves a block out. "
        "SD 1.x has 25 blocks and SDXL has 23.",
        why="Use it if you follow a recipe that names each block.",
        level="expert",
        place="network_args",
    )
    block_alphas: str | None = described(
        None,
        label="Alphas of the blocks",
        what="An alpha for each block. If it is empty, all use the one alpha.",
        why="Set it when you set the ranks of the blocks.",
        level="expert",
        place="network_args",
    )
    conv_block_dims: str | None = described(
        None,
        label="Ranks of convolutions by block",
        what="A rank for the larger image filters of each block. 0 leaves a block out.",
        why="Use it with the ranks of the blocks.",
        level="expert",
        place="network_args",
    )
    conv_block_alphas: str | None = described(
        None,
        label="Alphas of convolutions by block",
        what="An alpha for the larger image filters of each block.",
        why="Set it when you set their ranks.",
        level="expert",
        place="network_args",
    )
    down_lr_weight: str | None = described(
        None,
        label="Rates on the way down",
        what="How much of the rate each of the first blocks gets, with commas between. SD 1.x has "
        "12 of them, "
        "SDXL has 9. A curve works too: sine, cosine, linear, reverse_linear or zeros.",
        why="Use it if you follow a recipe that names each block.",
        level="expert",
        place="network_args",
    )
    mid_lr_weight: str | None = described(
        None,
        label="Rates in the middle",
        what="How much of the rate the blocks in the middle get. SD 1.x has one, SDXL has 3.",
        why="Use it if you follow a recipe that names each block.",
        level="expert",
        place="network_args",
    )
    up_lr_weight: str | None = described(
        None,
        label="Rates on the way up",
        what="How much of the rate each of the last blocks gets. It is written like the one on the way down.",
        why="Use it if you follow a recipe that names each block.",
        level="expert",
        place="network_args",
    )
    block_lr_zero_threshold: float = described(
        0.0,
        label="Smallest rate of a block",
        what="A block whose share of the rate is not above this gets no layers at all.",
        why="Leave it at 0, unless a recipe names it.",
        level="expert",
        place="network_args",
        ge=0,
    )
    algo: Literal["lora", "locon", "loha", "lokr"] = described(
        "lora",
        label="LyCORIS method",
        what="The maths of a LyCORIS network. It counts only if the kind of network is lycoris.kohya.",
        why="LoKr makes small files. LoHa can hold more at the same rank. Not every program can load them.",
        place="network_args",
    )
    dora_wd: bool = described(
        False,
        label="DoRA",
        what="Learns the size and the direction of each weight apart. It needs lycoris.kohya.",
        why="It can learn finer things, and takes longer. diffusers leaves a part of such files out.",
        place="network_args",
    )
    wd_on_output: bool = described(
        True,
        label="DoRA by output",
        what="Keeps one size for each output of a layer. If it is off, it keeps one for each input.",
        why="Leave it on.",
        level="expert",
        place="network_args",
    )
    preset: Literal[
        "full",
        "full-lin",
        "attn-mlp",
        "attn-only",
        "unet-only",
        "unet-transformer-only",
        "unet-convblock-only",
    ] = described(
        "full",
        label="LyCORIS layers",
        what="Which layers LyCORIS changes. With full it takes all of them.",
        why="Take attn-mlp for the layers of a plain LoRA.",
        level="expert",
        place="network_args",
    )
    factor: int = described(
        -1,
        label="LoKr factor",
        what="How LoKr cuts each layer in parts. With -1 it makes the smallest file.",
        why="Values such as 4 or 8 make larger files that hold more.",
        level="expert",
        place="network_args",
        ge=-1,
    )
    decompose_both: bool = described(
        False,
        label="LoKr: cut both parts",
        what="Uses the rank for the small part of a LoKr layer too.",
        why="Turn it on for a still smaller file.",
        level="expert",
        place="network_args",
    )
    full_matrix: bool = described(
        False,
        label="LoKr: no rank",
        what="Keeps both parts of a LoKr layer whole. The rank is not used then.",
        why="Turn it on if the LoRA learns too little.",
        level="expert",
        place="network_args",
    )
    unbalanced_factorization: bool = described(
        False,
        label="LoKr: uneven parts",
        what="Swaps the two sizes in which LoKr cuts the outputs of a layer.",
        why="Leave it off, unless a recipe names it.",
        level="expert",
        place="network_args",
    )
    use_tucker: bool = described(
        False,
        label="LyCORIS: smaller filters",
        what="Cuts the larger image filters once more, so that the file gets smaller.",
        why="Use it if the file is too large.",
        level="expert",
        place="network_args",
    )
    rs_lora: bool = described(
        False,
        label="LyCORIS: scale by the root of the rank",
        what="Divides alpha by the square root of the rank and not by the rank.",
        why="Use it for high ranks, if a recipe names it.",
        level="expert",
        place="network_args",
    )
