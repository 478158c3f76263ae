"""Settings of how a step is put together: batches, seed, precision, memory.

Covered: their types, hard limits, starting values and help. Not covered: what goes with what
(see `lora_core.planning`) and what files look like (see `files.py`).

Starting values here and in the neighbouring files follow published recipes for SD 1.x; sd-scripts'
own defaults are noted where they would spoil a run, and are therefore always written to the file.
"""

from typing import Literal

from lora_core.settings._description import Advice, Concern, all_but, described


class BatchSettings(Concern):
    """How images are put together for a step, and the seed."""

    gradient_accumulation_steps: int = described(
        1,
        label="Batches for one step",
        what="Adds up this many batches before the LoRA is changed.",
        why="Raise it if you want larger batches and your memory is too small for them.",
        higher="Each step learns from more images and is calmer. It takes longer, and an epoch has fewer "
        "steps.",
        lower="Each step is faster and learns from fewer images. At 1 each batch is a step.",
        unit="batches",
        ge=1,
        advice=Advice(1, 16, "Large values make a training slow, and leave few steps to learn in."),
    )
    seed: int = described(
        42,  # sd-scripts: drawn anew for each run
        label="Seed",
        what="The number that all chance comes from. The same seed gives the same result again.",
        why="Change it to see how much of a result was luck.",
        higher="A larger number is not better. It only gives other chance.",
        lower="A smaller number is not better. It only gives other chance.",
        ge=0,
        le=2**32 - 1,
    )
    prior_loss_weight: float = described(
        1.0,
        label="Weight of the class images",
        what="How much the images of the class count beside your own. At 1 both count the same.",
        why="Lower it if the LoRA learns too little of your own images.",
        higher="The class images count more. The model keeps more of what it knew.",
        lower="The class images count less beside your own. At 0 they teach nothing.",
        ge=0,
        advice=Advice(0, 1, "Above 1 the class images count more than your own."),
    )
    masked_loss: bool = described(
        False,
        label="Use masks",
        what="Only what is white in the mask of an image is learned.",
        why="Turn it on if you set a folder of masks.",
        higher="Only the white parts of each mask are learned.",
        lower="The whole image is learned. Masks are not used.",
    )


class PrecisionSettings(Concern):
    """How exactly numbers are kept, which decides memory and speed."""

    mixed_precision: Literal["no", "fp16", "bf16"] = described(
        "no",
        label="Precision while training",
        what="bf16 uses half the memory and is faster on newer cards. fp16 is for older cards. "
        "With no, all is kept in full, which works on any machine.",
        why="Take bf16 if your card can do it, as recipes do. Take fp16 if it cannot. On a CPU take no.",
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
        higher="Each step is faster and needs less GPU memory. Images cannot be cut or colored anew at each "
        "use.",
        lower="Each image is turned into its inner form at each use. Steps are slower and need more GPU "
        "memory.",
    )
    cache_latents_to_disk: bool = described(
        False,
        label="Keep images ready on the disk",
        what="Keeps the small inner form of each image in a file, for this training and the next.",
        why="Turn it on from about 2000 images on.",
        higher="The next training starts sooner. At 1024 by 1024 pixels, an image takes 0.26 MB of disk.",
        lower="Nothing is kept on disk. Each training makes all images ready again.",
    )
    vae_batch_size: int | None = described(
        None,  # sd-scripts: 1
        label="Images made ready at once",
        what="How many images are turned into their inner form at once. If it is empty, the size decides.",
        why="Set it to 1 if memory runs out before the first step.",
        higher="The images are ready sooner. This needs more GPU memory.",
        lower="This needs less GPU memory. At 1 the images are made ready one by one.",
        unit="images",
        level="expert",
        ge=1,
    )
    gradient_checkpointing: bool = described(
        False,
        label="Save memory by working twice",
        what="Forgets what was worked out on the way, and works it out again when it is needed.",
        why="Turn it on if the memory of your card is too small. Each step then takes longer.",
        higher="The training needs far less GPU memory. Each step takes longer.",
        lower="Each step is faster. The training needs more GPU memory.",
    )
    fp8_base: bool = described(
        False,
        label="Keep the base model in 8 bits",
        what="Halves the memory of the base model once more. It needs a newer card, and bf16 or fp16.",
        why="Turn it on if the model does not fit on your card. Very fine detail may suffer.",
        higher="The base model takes half the GPU memory. Very fine detail may suffer.",
        lower="The base model keeps all its detail. It takes more GPU memory.",
        level="expert",
        families=all_but("hunyuan-image", "anima"),
    )
    torch_compile: bool = described(
        False,
        label="Build the model for your machine",
        what="Has the model turned into faster code. That takes minutes at first, so it is done only "
        "if the time left is worth it.",
        why="Try it for long trainings.",
        higher="Steps are faster, after some minutes of work at the start.",
        lower="The training starts at once. Steps have their normal speed.",
        level="expert",
    )
