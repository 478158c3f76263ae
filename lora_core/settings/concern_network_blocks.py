"""Settings of a plain LoRA that differ from block to block, and LoRA+.

Covered: types, hard limits, starting values and help. Not covered: how the lists are read (see
`network_blocks.py` of the built-in engine) and what goes with what (see `lora_core.planning`).
"""

from lora_core.settings._description import SD_SCRIPTS, Advice, Concern, described
from lora_core.settings._owners import DYLORA, WITH_BLOCKS, WITH_LORA_PLUS


class BlockSettings(Concern):
    """Ranks and rates of single blocks."""

    block_dims: str | None = described(
        None,
        label="Ranks of the blocks",
        what="A rank for each block of the image part, with commas between. 0 leaves a block out. "
        "SD 1.x has 25 blocks and SDXL has 23.",
        why="Use it if you follow a recipe that names each block.",
        only={"network_module": WITH_BLOCKS},
        level="expert",
        place="network_args",
    )
    block_alphas: str | None = described(
        None,
        label="Alphas of the blocks",
        what="An alpha for each block. If it is empty, all use the one alpha.",
        why="Set it when you set the ranks of the blocks.",
        only={"network_module": WITH_BLOCKS},
        level="expert",
        place="network_args",
    )
    conv_block_dims: str | None = described(
        None,
        label="Ranks of convolutions by block",
        what="A rank for the larger image filters of each block. 0 leaves a block out.",
        why="Use it with the ranks of the blocks.",
        only={"network_module": WITH_BLOCKS},
        level="expert",
        place="network_args",
    )
    conv_block_alphas: str | None = described(
        None,
        label="Alphas of convolutions by block",
        what="An alpha for the larger image filters of each block.",
        why="Set it when you set their ranks.",
        only={"network_module": WITH_BLOCKS},
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
        only={"network_module": WITH_BLOCKS},
        level="expert",
        place="network_args",
    )
    mid_lr_weight: str | None = described(
        None,
        label="Rates in the middle",
        what="How much of the rate the blocks in the middle get. SD 1.x has one, SDXL has 3.",
        why="Use it if you follow a recipe that names each block.",
        only={"network_module": WITH_BLOCKS},
        level="expert",
        place="network_args",
    )
    up_lr_weight: str | None = described(
        None,
        label="Rates on the way up",
        what="How much of the rate each of the last blocks gets. It is written like the one on the way down.",
        why="Use it if you follow a recipe that names each block.",
        only={"network_module": WITH_BLOCKS},
        level="expert",
        place="network_args",
    )
    block_lr_zero_threshold: float = described(
        0.0,
        label="Smallest rate of a block",
        what="A block whose share of the rate is not above this gets no layers at all.",
        why="Leave it at 0, unless a recipe names it.",
        higher="More blocks are left out.",
        lower="Fewer blocks are left out.",
        only={"network_module": WITH_BLOCKS},
        level="expert",
        place="network_args",
        ge=0,
    )
    unit: int | None = described(
        None,
        label="DyLoRA: ranks in a group",
        what="How many ranks are trained together at each step. The rank must be a multiple of it.",
        why="Use 4. DyLoRA cannot do without a number here.",
        higher="Fewer sizes can be cut from the file later.",
        lower="More sizes can be cut from the file later.",
        unit="ranks",
        level="expert",
        place="network_args",
        engines=(SD_SCRIPTS,),
        only={"network_module": (DYLORA,)},
        ge=1,
    )
    loraplus_lr_ratio: float | None = described(
        None,
        label="LoRA+",
        what="The second half of each layer learns this many times as fast as the first. "
        "If it is empty, both learn the same.",
        why="Its paper names 16. Lower the learning rate when you use it. It does not go with Prodigy.",
        higher="The second half learns faster, and the training can break.",
        lower="Both halves learn more alike.",
        unit="times",
        level="expert",
        place="network_args",
        only={"network_module": WITH_LORA_PLUS},
        gt=0,
        advice=Advice(1, 32, "The paper of LoRA+ names 16."),
    )
    loraplus_unet_lr_ratio: float | None = described(
        None,
        label="LoRA+ of the image part",
        what="LoRA+ for the part that draws alone. If it is empty, the number for both parts is used.",
        why="Set it if you follow a recipe that names it.",
        higher="The second half of each layer learns faster.",
        lower="Both halves learn more alike.",
        unit="times",
        level="expert",
        place="network_args",
        only={"network_module": WITH_LORA_PLUS},
        gt=0,
    )
    loraplus_text_encoder_lr_ratio: float | None = described(
        None,
        label="LoRA+ of the text part",
        what="LoRA+ for the part that reads your words alone. If it is empty, the number for both is used.",
        why="Set it if you follow a recipe that names it.",
        higher="The second half of each layer learns faster.",
        lower="Both halves learn more alike.",
        unit="times",
        level="expert",
        place="network_args",
        only={"network_module": WITH_LORA_PLUS},
        gt=0,
    )
