"""Settings of the frozen base model.

Covered: types, hard limits, starting values and help. Not covered: what goes with what (see
`lora_core.planning`) and what files look like (see `files.py`).
"""

from lora_core.settings._description import Concern, PathValue, described


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
