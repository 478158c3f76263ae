"""Settings of speed and memory that only sd-scripts has: numbers, attention, reading images, loading.

Covered: types, hard limits, starting values and help. Not covered: what both engines have (see
`concern_training.py`). Those in `known.CHANGES_NO_RESULT` change no result, so a run of another engine that
carries them is the same run.
"""

from typing import Any, Final, Literal

from lora_core.settings._description import EVERY_UNET_FAMILY, SD_SCRIPTS, Advice, Concern, all_but, described
from lora_core.settings.concern_speed_families import FamilySpeedSettings
from lora_core.settings.concern_speed_machines import MachineSettings

_ONE: Final[dict[str, Any]] = {"engines": (SD_SCRIPTS,), "level": "expert"}


class CommonSpeedSettings(Concern):
    """Speed and memory of all families."""

    full_fp16: bool = described(
        False,
        label="Train in fp16 throughout",
        what="Keeps the LoRA and its changes in fp16 too. It needs fp16 as the precision while training.",
        why="Leave it off, unless memory is very short. Trainings can break with it.",
        higher="Less memory is used, and small changes may get lost.",
        lower="The LoRA is kept in full.",
        **_ONE,
    )
    full_bf16: bool = described(
        False,
        label="Train in bf16 throughout",
        what="Keeps the LoRA and its changes in bf16 too. It needs bf16 as the precision while training.",
        why="Turn it on if memory is short. Small changes may get lost.",
        higher="Less memory is used, and small changes may get lost.",
        lower="The LoRA is kept in full.",
        **_ONE,
    )
    fp8_base_unet: bool = described(
        False,
        label="Keep the image part in 8 bits",
        what="Keeps the part of the base model that draws in 8 bits, and the text part in 16.",
        why="Turn it on if the model does not fit on your card. It harms the words less than all in 8 bits.",
        higher="Less memory is used, and very fine detail may suffer.",
        lower="The image part is kept as the precision says.",
        **_ONE,
        families=all_but("hunyuan-image", "anima"),
    )
    sdpa: bool = described(
        True,  # sd-scripts: off, at which steps take longer and need more memory
        label="Attention of torch",
        what="Uses the fast way of torch for the largest part of the work.",
        why="Leave it on. All recipes for newer versions use it.",
        higher="Steps are faster and need less memory.",
        lower="Steps are slower and need more memory.",
        **_ONE,
        families=EVERY_UNET_FAMILY,
    )
    xformers: bool = described(
        False,
        label="Attention of xformers",
        what="Uses the package xformers for the largest part of the work. It must be installed.",
        why="Leave it off. The attention of torch is as fast today.",
        higher="Xformers is used in place of torch.",
        lower="Xformers is not needed.",
        **_ONE,
        families=(*EVERY_UNET_FAMILY, "hunyuan-image", "anima"),
    )
    mem_eff_attn: bool = described(
        False,
        label="Attention in small pieces",
        what="Works in small pieces, which needs little memory and is slow. It wins over the other two.",
        why="Leave it off, unless neither of the others works on your card.",
        higher="Less memory is used, and steps are slower.",
        lower="One of the other two is used.",
        **_ONE,
        families=EVERY_UNET_FAMILY,
    )
    max_data_loader_n_workers: int = described(
        2,  # sd-scripts: 8, which many machines have no memory for
        label="Helpers that read images",
        what="How many processes read images while the card works. 0 means that the training does it itself.",
        why="Lower it if memory runs out while images are read. Raise it if the card has to wait.",
        higher="Images are ready sooner, and more memory is used.",
        lower="Less memory is used, and the card may have to wait.",
        unit="processes",
        **_ONE,
        ge=0,
        advice=Advice(0, 8, "Each helper needs memory of its own."),
    )
    persistent_data_loader_workers: bool = described(
        True,  # sd-scripts: off, and then each epoch begins with a pause
        label="Keep the helpers",
        what="Keeps the helpers that read images from one epoch to the next.",
        why="Leave it on. It saves a pause at the start of each epoch.",
        higher="Epochs start at once, and memory stays in use.",
        lower="Each epoch begins with a pause.",
        **_ONE,
    )
    lowram: bool = described(
        False,
        label="Load the model to the card at once",
        what="Reads the base model straight into the memory of the card.",
        why="Turn it on if the card has more memory than the machine.",
        higher="Less memory of the machine is used.",
        lower="The model is read into the machine first.",
        **_ONE,
    )
    highvram: bool = described(
        False,
        label="Do not free memory in between",
        what="Leaves out the pauses in which unused memory of the card is given back.",
        why="Turn it on if your card has far more memory than the training needs.",
        higher="Getting images ready is a bit faster.",
        lower="Unused memory is given back.",
        **_ONE,
    )
    skip_cache_check: bool = described(
        False,
        label="Trust images made ready before",
        what="Uses files of an earlier training without a look inside. Wrong ones are then not noticed.",
        why="Turn it on for thousands of images that have not changed.",
        higher="The training starts sooner.",
        lower="Each file is looked at first.",
        **_ONE,
    )
    disable_mmap_load_safetensors: bool = described(
        False,
        label="Read model files in one go",
        what="Reads the file of the base model in one go and not piece by piece.",
        why="Turn it on if loading takes very long, as it does on some shared disks and in WSL.",
        higher="Loading can be faster, and needs more memory for a while.",
        lower="The file is read piece by piece.",
        **_ONE,
        families=("sdxl", "sd3", "flux1", "chroma", "lumina", "hunyuan-image"),
    )
    dynamo_backend: Literal["eager", "aot_eager", "inductor", "cudagraphs", "onnxrt", "ipex", "tvm"] = (
        described(
            "inductor",
            label="Maker of the faster code",
            what="The part of torch that turns the model into faster code.",
            why="Leave it at inductor.",
            **_ONE,
            only={"torch_compile": (True,)},
        )
    )


class SpeedSettings(MachineSettings, FamilySpeedSettings, CommonSpeedSettings):
    """Speed and memory of sd-scripts."""
