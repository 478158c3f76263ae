"""Settings of how a step is put together: batches, seed, precision, memory.

Covered: their types, hard limits, starting values and help. Not covered: what goes with what
(see `lora_core.planning`) and what files look like (see `files.py`).

Starting values here and in the neighbouring files follow published recipes for SD 1.x; sd-scripts'
own defaults are noted where they would spoil a run, and are therefore always written to the file.
"""

from typing import Literal

from lora_core.settings._description import Advice, Concern, described


class BatchSettings(Concern):
    """How images are put together for a step, and the seed."""

    gradient_accumulation_steps: int = described(
        1,
        label="Batches for one step",
        what="Adds up this many batches before the LoRA is changed.",
        why="Raise it if you want larger batches and your memory is too small for them.",
        unit="batches",
        ge=1,
        advice=Advice(1, 16, "Large values make a run slow."),
    )
    seed: int = described(
        42,  # sd-scripts: drawn anew for each run
        label="Seed",
        what="The number that all chance comes from. The same seed gives the same run again.",
        why="Change it to see how much of a result was luck.",
        ge=0,
        le=2**32 - 1,
    )
    prior_loss_weight: float = described(
        1.0,
        label="Weight of the class images",
        what="How much the images of the class count beside your own. At 1 both count the same.",
        why="Lower it if the LoRA learns too little of your own images.",
        ge=0,
        advice=Advice(0, 1, "Above 1 the class images count more than your own."),
    )
    masked_loss: bool = described(
        False,
        label="Use masks",
        what="Only what is white in the mask of an image is learned.",
        why="Turn it on if you set a folder of masks.",
    )


class PrecisionSettings(Concern):
    """How exactly numbers are kept, which decides memory and speed."""

    mixed_precision: Literal["no", "fp16", "bf16"] = described(
        "no",
        label="Precision while training",
        what="bf16 uses half the memory and is faster on newer cards. fp16 is for older cards. "
        "With no, all is kept in full, which works on any machine.",
        why="Take bf16 if your card can do it. On a CPU take no.",
    )
    save_precision: Literal["float", "fp16", "bf16"] = described(
        "fp16",  # sd-scripts: full precision, a file of twice the size
        label="Precision of the file",
        what="How exactly numbers are kept in the LoRA file. fp16 halves its size, float keeps all.",
        why="Leave it at fp16. All programs can read it.",
    )
    cache_latents: bool = described(
        True,  # sd-scripts: off
        label="Keep images ready in memory",
        what="Turns each image into its small inner form once, before the first step.",
        why="Leave it on. It makes each step faster and saves memory on the card.",
    )
    cache_latents_to_disk: bool = described(
        False,
        label="Keep images ready on the disk",
        what="Keeps the small inner form of each image in a file, for this run and the next.",
        why="Turn it on for thousands of images. The next run then starts at once.",
    )
    vae_batch_size: int | None = described(
        None,  # sd-scripts: 1
        label="Images made ready at once",
        what="How many images are turned into their inner form at once. If it is empty, the size decides.",
        why="Set it to 1 if memory runs out before the first step.",
        unit="images",
        level="expert",
        ge=1,
    )
    gradient_checkpointing: bool = described(
        False,
        label="Save memory by working twice",
        what="Forgets steps in between and works them out again when they are needed.",
        why="Turn it on if the memory of your card is too small. Each step then takes longer.",
    )
    fp8_base: bool = described(
        False,
        label="Keep the base model in 8 bits",
        what="Halves the memory of the base model once more. It needs a newer card, and bf16 or fp16.",
        why="Turn it on if the model does not fit on your card. Very fine detail may suffer.",
        level="expert",
    )
    torch_compile: bool = described(
        False,
        label="Build the model for your machine",
        what="Has the model turned into faster code. That takes minutes at first, so it is done only "
        "if the time left is worth it.",
        why="Try it for long runs.",
        level="expert",
    )
