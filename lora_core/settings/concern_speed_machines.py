"""Settings for several cards at once, and for models that are spread over them, all of sd-scripts alone.

Covered: types, hard limits, starting values and help. Not covered: how many cards a run gets, which is said
where it is started.
"""

from typing import Any, Final, Literal

from lora_core.settings._description import SD_SCRIPTS, Advice, Concern, PathValue, described

_ONE: Final[dict[str, Any]] = {"engines": (SD_SCRIPTS,), "level": "expert"}
_WITH: Final[dict[str, Any]] = {**_ONE, "only": {"deepspeed": (True,)}}


class MachineSettings(Concern):
    """Several cards at once."""

    ddp_timeout: int | None = described(
        None,
        label="How long cards wait for each other",
        what="After this many minutes of waiting for another card the training stops. If it is empty, torch "
        "decides.",
        why="Raise it if a training on several cards stops while images are made ready.",
        higher="A slow card is waited for longer.",
        lower="A training that hangs ends sooner.",
        unit="minutes",
        **_ONE,
        ge=0,
        advice=Advice(10, 240, "Many images can take an hour to make ready."),
    )
    ddp_gradient_as_bucket_view: bool = described(
        False,
        label="Cards share one copy of changes",
        what="Saves the second copy of the changes that cards send to each other.",
        why="Turn it on for several cards if memory is short.",
        higher="A bit less GPU memory is used.",
        lower="Each card keeps a second copy.",
        **_ONE,
    )
    ddp_static_graph: bool = described(
        False,
        label="All steps are alike",
        what="Tells torch that all steps use the same layers, so that several cards can be faster.",
        why="Leave it off, unless you know that no layers are left out by chance.",
        higher="Several cards can be a bit faster.",
        lower="Steps may differ from each other.",
        **_ONE,
    )
    deepspeed: bool = described(
        False,
        label="DeepSpeed",
        what="Uses the package DeepSpeed, which spreads a training over cards and memory. Install it first.",
        why="Leave it off on one card. Then other settings save as much.",
        higher="DeepSpeed runs the training. One helper reads the images.",
        lower="Torch alone runs the training.",
        **_ONE,
    )
    zero_stage: int = described(
        2,
        label="DeepSpeed: what is spread",
        what="With 0 nothing is spread. 1 spreads the state of the optimizer, 2 the gradients too and 3 "
        "the model too.",
        why="Take 2. Take 3 only if the model does not fit on one card.",
        higher="More is spread, so each card needs less memory. Steps take longer.",
        lower="Less is spread, and steps are faster.",
        **_WITH,
        ge=0,
        le=3,
    )
    offload_optimizer_device: Literal["cpu", "nvme"] | None = described(
        None,
        label="DeepSpeed: place of the optimizer",
        what="Keeps the state of the optimizer in main memory (cpu) or on a fast disk (nvme). It needs "
        "stage 2 or "
        "3, and nvme needs 3. If it is empty, it stays on the card.",
        why="Use it if the card has too little memory.",
        **_WITH,
    )
    offload_optimizer_nvme_path: PathValue | None = described(
        None,
        label="DeepSpeed: folder for the optimizer",
        what="The folder on a fast disk for the state of the optimizer.",
        why="Name it if that state is kept on such a disk.",
        **_ONE,
        part="target",
        only={"deepspeed": (True,), "offload_optimizer_device": ("nvme",)},
    )
    offload_param_device: Literal["cpu", "nvme"] | None = described(
        None,
        label="DeepSpeed: place of the model",
        what="Keeps the model in main memory (cpu) or on a fast disk (nvme). It needs stage 3. If it is "
        "empty, "
        "it stays on the card.",
        why="Use it if the model does not fit on the card.",
        **_WITH,
    )
    offload_param_nvme_path: PathValue | None = described(
        None,
        label="DeepSpeed: folder for the model",
        what="The folder on a fast disk for the model.",
        why="Name it if the model is kept on such a disk.",
        **_ONE,
        part="target",
        only={"deepspeed": (True,), "offload_param_device": ("nvme",)},
    )
    zero3_init_flag: bool = described(
        False,
        label="DeepSpeed: spread the model at once",
        what="Spreads the model while it is read and not after. It needs stage 3.",
        why="Turn it on if the model does not fit into the memory of one card.",
        higher="Less memory is needed at the start.",
        lower="The model is read as a whole first.",
        **_WITH,
    )
    zero3_save_16bit_model: bool = described(
        False,
        label="DeepSpeed: save in 16 bits",
        what="Lets DeepSpeed put the spread parts together in 16 bits when it saves. It needs stage 3.",
        why="Turn it on for stage 3. Leave it off for the others.",
        higher="What is saved is whole, in 16 bits.",
        lower="Each card saves its own part.",
        **_WITH,
    )
    fp16_master_weights_and_gradients: bool = described(
        False,
        label="DeepSpeed: all in fp16",
        what="Keeps weights and gradients in fp16 too. It counts for stage 2 with the optimizer in main "
        "memory.",
        why="Leave it off, unless memory is very short. Small changes may get lost.",
        higher="Less memory is used, and small changes may get lost.",
        lower="Weights and gradients are kept in full.",
        **_WITH,
    )
