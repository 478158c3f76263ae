"""Settings that only LyCORIS has: its methods, DoRA, and what single methods own.

Covered: types, hard limits, starting values and help. Not covered: what goes with what (see
`lora_core.planning`), and the networks themselves, which lycoris-lora builds.
"""

from typing import Final, Literal

from lora_core.settings._description import BUILT_IN, SD_SCRIPTS, Advice, Concern, described
from lora_core.settings._owners import LYCORIS

FACTORED: Final = ("lora", "locon", "loha", "lokr")
"""Methods that keep a change as the product of smaller parts; the built-in engine has these."""
_ROTATING: Final = ("boft", "diag-oft")


class LycorisSettings(Concern):
    """The methods of LyCORIS."""

    algo: Literal["lora", "locon", "loha", "lokr", "ia3", "glora", "boft", "diag-oft", "full", "dylora"] = (
        described(
            "lora",
            label="LyCORIS method",
            what="The maths of a LyCORIS network. It counts only if the kind of network is lycoris.kohya.",
            why="LoKr makes small files. LoHa can hold more at the same rank. "
            "Not every program can load them.",
            engine_choices={BUILT_IN: FACTORED},
            only={"network_module": (LYCORIS,)},
            place="network_args",
        )
    )
    dora_wd: bool = described(
        False,
        label="DoRA",
        what="Learns the size and the direction of each weight apart. It needs lycoris.kohya.",
        why="It can learn finer things, and takes longer. diffusers leaves a part of such files out.",
        higher="Finer things can be learned, and each step takes longer.",
        lower="The network learns in the plain way.",
        only={"network_module": (LYCORIS,), "algo": FACTORED},
        place="network_args",
    )
    wd_on_output: bool = described(
        True,
        label="DoRA by output",
        what="Keeps one size for each output of a layer. If it is off, it keeps one for each input.",
        why="Leave it on.",
        higher="One size for each output.",
        lower="One size for each input.",
        only={"network_module": (LYCORIS,), "dora_wd": (True,)},
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
        "ia3",
    ] = described(
        "full",
        label="LyCORIS layers",
        what="Which layers LyCORIS changes. With full it takes all of them.",
        why="Take attn-mlp for the layers of a plain LoRA. The method ia3 has a set of its own.",
        engine_choices={
            BUILT_IN: (
                "full",
                "full-lin",
                "attn-mlp",
                "attn-only",
                "unet-only",
                "unet-transformer-only",
                "unet-convblock-only",
            )
        },
        only={"network_module": (LYCORIS,)},
        level="expert",
        place="network_args",
    )
    factor: int = described(
        -1,
        label="LoKr factor",
        what="How LoKr cuts each layer in parts. With -1 it makes the smallest file.",
        why="Values such as 4 or 8 make larger files that hold more.",
        higher="The file is larger and holds more.",
        lower="The file is smaller and holds less. With -1 it is as small as it can be.",
        only={"network_module": (LYCORIS,), "algo": ("lokr",)},
        level="expert",
        place="network_args",
        ge=-1,
        # LyCORIS' own guideline: -1 for small files, about 8 for large ones.
        advice=Advice(-1, 16, "Its guide names -1 for small files and 4 to 8 for large ones."),
    )
    decompose_both: bool = described(
        False,
        label="LoKr: cut both parts",
        what="Uses the rank for the small part of a LoKr layer too.",
        why="Turn it on for a still smaller file.",
        higher="The file is smaller and holds less.",
        lower="The small part is kept whole.",
        only={"network_module": (LYCORIS,), "algo": ("lokr",)},
        level="expert",
        place="network_args",
    )
    full_matrix: bool = described(
        False,
        label="LoKr: no rank",
        what="Keeps both parts of a LoKr layer whole. The rank is not used then.",
        why="Turn it on if the LoRA learns too little.",
        higher="The file is larger and holds more.",
        lower="The rank sets how much it holds.",
        only={"network_module": (LYCORIS,), "algo": ("lokr",)},
        level="expert",
        place="network_args",
    )
    unbalanced_factorization: bool = described(
        False,
        label="LoKr: uneven parts",
        what="Swaps the two sizes in which LoKr cuts the outputs of a layer.",
        why="Leave it off, unless a recipe names it.",
        higher="The two sizes are swapped.",
        lower="The sizes stay as they are.",
        only={"network_module": (LYCORIS,), "algo": ("lokr",)},
        level="expert",
        place="network_args",
    )
    use_tucker: bool = described(
        False,
        label="LyCORIS: smaller filters",
        what="Cuts the larger image filters once more, so that the file gets smaller.",
        why="Use it if the file is too large.",
        higher="The file is smaller.",
        lower="The filters are kept as they are.",
        only={"network_module": (LYCORIS,), "algo": FACTORED},
        level="expert",
        place="network_args",
    )
    rs_lora: bool = described(
        False,
        label="LyCORIS: scale by the root of the rank",
        what="Divides alpha by the square root of the rank and not by the rank.",
        why="Use it for high ranks, if a recipe names it.",
        higher="With a high rank, what was learned acts more strongly.",
        lower="Alpha is divided by the rank.",
        only={"network_module": (LYCORIS,), "algo": FACTORED},
        level="expert",
        place="network_args",
    )
    use_scalar: bool = described(
        False,
        label="LyCORIS: one more number",
        what="Learns one number for each layer that scales all of it, and begins in another way.",
        why="Leave it off, unless a recipe names it.",
        higher="The strength of each layer is learned too.",
        lower="Alpha alone sets the strength.",
        level="expert",
        place="network_args",
        only={"network_module": (LYCORIS,), "algo": (*FACTORED, "glora", "full", *_ROTATING)},
    )
    train_norm: bool = described(
        False,
        label="LyCORIS: layers of norms",
        what="Also trains the layers that keep numbers in range, called norms.",
        why="Leave it off. Not every program can load such files.",
        higher="Norms are trained too.",
        lower="Norms stay as they are.",
        level="expert",
        place="network_args",
        engines=(SD_SCRIPTS,),
        only={"network_module": (LYCORIS,)},
    )
    bypass_mode: bool = described(
        False,
        label="LyCORIS: answer beside the layer",
        what="Adds the answer of the LoRA to that of the layer. If it is off, the weights "
        "are put together first.",
        why="Turn it on for a base model in 8 bits.",
        higher="The base model is left as it is.",
        lower="The weights are put together at each step.",
        level="expert",
        place="network_args",
        engines=(SD_SCRIPTS,),
        only={"network_module": (LYCORIS,)},
    )
    rescaled: bool = described(
        False,
        label="OFT: learn the size too",
        what="Learns how strong each layer is, and not only how it is turned.",
        why="Leave it off, unless a recipe names it.",
        higher="The size of each layer is learned too.",
        lower="Layers are turned and keep their size.",
        level="expert",
        place="network_args",
        engines=(SD_SCRIPTS,),
        only={"network_module": (LYCORIS,), "algo": _ROTATING},
    )
    constraint: float = described(
        0.0,
        label="OFT: limit of the turn",
        what="Keeps each layer from being turned further than this. 0 sets no limit.",
        why="Use a small value if the pictures get harsh.",
        higher="Layers may turn further.",
        lower="Layers turn less. At 0 there is no limit.",
        level="expert",
        place="network_args",
        engines=(SD_SCRIPTS,),
        only={"network_module": (LYCORIS,), "algo": _ROTATING},
        ge=0,
    )
    block_size: int = described(
        4,
        label="DyLoRA: ranks at once",
        what="How many ranks are trained together at each step. The rank must be a multiple of it.",
        why="Leave it at 4.",
        higher="Fewer sizes can be cut from the file later.",
        lower="More sizes can be cut from the file later.",
        unit="ranks",
        level="expert",
        place="network_args",
        engines=(SD_SCRIPTS,),
        only={"network_module": (LYCORIS,), "algo": ("dylora",)},
        ge=1,
    )
