"""Settings of speed and memory for newer families of base models, all of sd-scripts alone.

Covered: types, hard limits, starting values and help. Not covered: speed and memory of all families (see
`concern_speed.py`) and several cards or machines (see `concern_speed_machines.py`).
"""

from typing import Any, Final, Literal

from lora_core.settings._description import FLOW_FAMILIES, SD_SCRIPTS, Advice, Concern, described

_ONE: Final[dict[str, Any]] = {"engines": (SD_SCRIPTS,), "level": "expert"}
_HUNYUAN: Final = ("hunyuan-image",)
_ANIMA: Final = ("anima",)
_LUMINA: Final = ("lumina",)


class FamilySpeedSettings(Concern):
    """Speed and memory of newer families."""

    blocks_to_swap: int | None = described(
        None,
        label="Blocks kept off the card",
        what="Keeps this many blocks of the model in the memory of the machine and brings each to the "
        "card when "
        "it is needed. If it is empty, all stay on the card.",
        why="Raise it if the model does not fit on your card. FLUX can do 35 at most, HunyuanImage 37 and "
        "Anima 26.",
        higher="Less GPU memory is used, and each step takes longer.",
        lower="Steps are faster, and more GPU memory is used.",
        unit="blocks",
        families=FLOW_FAMILIES,
        engines=(SD_SCRIPTS,),
        ge=0,
        advice=Advice(0, 37, "For FLUX, 16 serve a card of 12 GB and 28 one of 8 GB."),
    )
    cpu_offload_checkpointing: bool = described(
        False,
        label="Keep what was worked out in main memory",
        what="Moves what is kept on the way from the card to the memory of the machine. "
        "It needs the setting that saves memory by working twice.",
        why="Turn it on if a little GPU memory is missing. It does not go with blocks off the card.",
        higher="A little less GPU memory is used, and each step takes longer.",
        lower="All stays on the card.",
        # Stable Diffusion and SD3 stop with an error at it, and Chroma reads over it.
        families=("flux1", "lumina", "hunyuan-image", "anima"),
        only={"gradient_checkpointing": (True,)},
        **_ONE,
    )
    unsloth_offload_checkpointing: bool = described(
        False,
        label="Keep it in main memory, the fast way",
        what="Moves what is kept on the way to the memory of the machine while the card works on.",
        why="Turn it on if GPU memory is short. It is faster than the other way, and goes with neither "
        "that nor "
        "blocks off the card.",
        higher="Less GPU memory is used, and each step takes a bit longer.",
        lower="All stays on the card.",
        families=_ANIMA,
        **_ONE,
    )
    fp8_scaled: bool = described(
        False,
        label="Image part in scaled 8 bits",
        what="Keeps the part that draws in 8 bits, with a scale that saves detail.",
        why="Turn it on if HunyuanImage does not fit on your card. The result may differ a little.",
        higher="Far less GPU memory is used, and very fine detail may suffer.",
        lower="The image part is kept as the precision says.",
        families=_HUNYUAN,
        **_ONE,
    )
    fp8_vl: bool = described(
        False,
        label="Text encoder in 8 bits",
        what="Keeps the large text encoder of HunyuanImage in 8 bits.",
        why="Turn it on if memory runs out while captions are read.",
        higher="Less memory is used while captions are read.",
        lower="The text encoder is kept in bf16.",
        families=_HUNYUAN,
        **_ONE,
    )
    text_encoder_cpu: bool = described(
        False,
        label="Read captions on the CPU",
        what="Lets the CPU read the captions and not the card.",
        why="Turn it on if memory runs out while captions are read. It is much slower.",
        higher="The card needs no memory for the text encoders.",
        lower="The card reads the captions, which is fast.",
        families=_HUNYUAN,
        **_ONE,
    )
    vae_chunk_size: int | None = described(
        None,
        label="Size of the pieces of the VAE",
        what="Lets the VAE work on pieces of this size. If it is empty, it works on all at once. Anima "
        "needs an "
        "even number.",
        why="Set it if memory runs out while images are made ready. The recipes take 16 for HunyuanImage and "
        "64 for Anima.",
        higher="The VAE is faster and needs more memory.",
        lower="The VAE needs less memory and is slower.",
        families=("hunyuan-image", "anima"),
        **_ONE,
        ge=1,
        advice=Advice(16, 128, "16 serves HunyuanImage and 64 serves Anima."),
    )
    vae_disable_cache: bool = described(
        False,
        label="VAE without a store",
        what="Lets the VAE of Anima keep nothing between its pieces.",
        why="Turn it on to save memory, as the recipe does. The images come out a little different.",
        higher="Less memory is used, and images are ready sooner.",
        lower="The VAE works as its makers meant it.",
        families=_ANIMA,
        **_ONE,
    )
    attn_mode: Literal["torch", "xformers", "flash", "sageattn", "sdpa"] | None = described(
        None,
        label="Kind of attention",
        what="Which package does the largest part of the work. If it is empty, torch does it. "
        "xformers needs split attention. sageattn can make pictures but cannot train. sdpa is torch.",
        why="Leave it empty, unless you know that flash works on your card.",
        families=("hunyuan-image", "anima"),
        **_ONE,
    )
    split_attn: bool = described(
        False,
        label="Split attention",
        what="Does the largest part of the work image by image and not for the whole batch.",
        why="Turn it on to save memory, and for the attention of xformers.",
        higher="Less GPU memory is used, and steps can be slower.",
        lower="The whole batch is worked on at once.",
        families=("hunyuan-image", "anima"),
        **_ONE,
    )
    use_flash_attn: bool = described(
        False,
        label="Flash attention",
        what="Uses the package flash-attn for the largest part of the work. It must be installed.",
        why="Leave it off, unless you know that it works on your card.",
        higher="Steps can be faster.",
        lower="Torch does the work.",
        families=_LUMINA,
        **_ONE,
    )
    use_sage_attn: bool = described(
        False,
        label="Sage attention",
        what="Uses the package sageattention for the largest part of the work. It must be installed. It wins "
        "over flash attention.",
        why="Leave it off. It is made for pictures and not for training.",
        higher="The package does the work.",
        lower="Torch or flash attention does the work.",
        families=_LUMINA,
        **_ONE,
    )
