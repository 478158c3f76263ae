"""Settings of how a run learns: base model, network, optimizer, schedule, batches, precision.

Covered: their types, hard limits, starting values and help. Not covered: what goes with what
(see `lora_core.planning`) and what files look like (see `files.py`).

Starting values follow published recipes for SD 1.x; sd-scripts' own defaults are noted where they
would spoil a run, and are therefore always written to the file.
"""

from typing import Annotated, Literal

from pydantic import BeforeValidator

from lora_core.settings._description import BUILT_IN, Advice, Concern, PairValue, PathValue, described


class ModelSettings(Concern):
    """The frozen model that the LoRA is trained on."""

    pretrained_model_name_or_path: PathValue = described(
        ...,
        label="Base model",
        what="The model that your LoRA builds on. It is read and never changed.",
        why="Pick the model that you will make pictures with, or one close to it.",
        level="basic",
        part="target",
    )


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


def _optimizer_name(value: object) -> object:
    # sd-scripts compares without case and takes empty text as AdamW.
    return "AdamW" if isinstance(value, str) and value.strip().lower() in {"", "adamw"} else value


class OptimizerSettings(Concern):
    """How the weights move."""

    optimizer_type: Annotated[str, BeforeValidator(_optimizer_name)] = described(
        "AdamW",
        label="Optimizer",
        what="The rule that turns each mistake into a small change of the LoRA.",
        why="AdamW is a safe choice. There is no need to change it.",
        engine_choices={BUILT_IN: ("AdamW",)},
    )
    learning_rate: float = described(
        1e-4,  # sd-scripts: 2e-6, at which nothing is learned
        label="Learning rate",
        what="How big each step of learning is.",
        why="Lower it if the pictures get harsh or broken. Raise it if nothing is learned.",
        level="basic",
        ge=0,
        advice=Advice(1e-5, 1e-3, "Published recipes use 0.00001 to 0.001."),
    )
    unet_lr: float | None = described(
        None,
        label="Learning rate of the image part",
        what="A rate of its own for the part that draws. If it is empty, the learning rate is used.",
        why="Set it only if you follow a recipe that names it.",
        level="expert",
        ge=0,
        advice=Advice(1e-5, 1e-3, "Published recipes use 0.00001 to 0.001."),
    )
    max_grad_norm: float = described(
        1.0,
        label="Limit for one step",
        what="Cuts very large steps down to this size. 0 turns the limit off.",
        why="Leave it at 1. A lower value can calm a run that jumps.",
        level="expert",
        ge=0,
    )
    weight_decay: float = described(
        0.01,
        label="Weight decay",
        what="Pulls the LoRA back to zero by a tiny bit at each step.",
        why="A higher value can help against learning the pictures by heart.",
        level="expert",
        place="optimizer_args",
        ge=0,
        advice=Advice(0, 0.2, "Common values go from 0 to 0.2."),
    )
    betas: PairValue = described(
        (0.9, 0.999),
        label="Betas",
        what="How long the optimizer looks back. There are two numbers, both from 0 to below 1.",
        why="Leave them as they are, unless a recipe names them.",
        level="expert",
        place="optimizer_args",
    )
    eps: float = described(
        1e-8,
        label="Epsilon",
        what="A tiny number that keeps the optimizer from dividing by zero.",
        why="Leave it as it is.",
        level="expert",
        place="optimizer_args",
        gt=0,
    )


Scheduler = Literal[
    "constant",
    "constant_with_warmup",
    "cosine",
    "linear",
    "cosine_with_restarts",
    "polynomial",
    "inverse_sqrt",
    "cosine_with_min_lr",
    "warmup_stable_decay",
    "piecewise_constant",
    "adafactor",
]


class ScheduleSettings(Concern):
    """How long a run is, and how the learning rate moves through it."""

    lr_scheduler: Scheduler = described(
        "cosine",  # sd-scripts: constant
        label="Course of the learning rate",
        what="Says how the rate moves. Cosine lets it sink slowly to zero. Constant keeps it as it is.",
        why="Cosine ends calmly. Take constant if you want to go on training later.",
        engine_choices={BUILT_IN: ("constant", "constant_with_warmup", "cosine")},
    )
    lr_warmup_steps: int | float = described(
        0,
        label="Warm-up",
        what="The rate grows from zero during this time. A whole number counts steps. "
        "A number with a point is a share of the run: 0.05 is 5 percent.",
        why="A short warm-up of 5 percent can make the start calmer.",
        unit="steps, or a share from 0.0 to 1.0",
        ge=0,
    )
    max_train_epochs: int | None = described(
        None,
        label="Epochs",
        what="How often the run goes through all your images. If it is set, the number of steps is not used.",
        why="More epochs teach more, but too many make all pictures look the same.",
        unit="epochs",
        level="basic",
        ge=1,
        advice=Advice(1, 100, "Most runs take 5 to 20 epochs."),
    )
    max_train_steps: int = described(
        1600,
        label="Steps",
        what="How many steps the run takes. It counts only while no number of epochs is set.",
        why="Use it if you think in steps. In most cases 500 to 3000 steps are enough.",
        unit="steps",
        level="basic",
        ge=1,
        advice=Advice(200, 10000, "Fewer steps teach little. More cost time and can spoil the LoRA."),
    )


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


class PrecisionSettings(Concern):
    """How exactly numbers are kept, which decides memory and speed."""

    mixed_precision: Literal["no", "fp16", "bf16"] = described(
        "no",
        label="Precision while training",
        what="bf16 uses half the memory and is faster on newer cards. "
        "With no, all is kept in full, which works on any machine.",
        why="Take bf16 if your card can do it. On a CPU take no.",
        engine_choices={BUILT_IN: ("no", "bf16")},
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
    gradient_checkpointing: bool = described(
        False,
        label="Save memory by working twice",
        what="Forgets steps in between and works them out again when they are needed.",
        why="Turn it on if the memory of your card is too small. Each step then takes longer.",
    )
