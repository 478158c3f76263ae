"""Settings of the LoRA file itself, as far as only sd-scripts has them: its form, and more notes in it.

Covered: types, hard limits, starting values and help. Not covered: the notes that both engines write (see
`concern_output.py`).
"""

from typing import Any, Final, Literal

from lora_core.settings._description import SD_SCRIPTS, Concern, described

_ONE: Final[dict[str, Any]] = {"engines": (SD_SCRIPTS,), "level": "expert"}
_NOTE: Final[dict[str, Any]] = {**_ONE, "part": "target"}


class NotesSettings(Concern):
    """The form of the LoRA file, and more notes in it."""

    save_model_as: Literal["safetensors", "ckpt", "pt"] = described(
        "safetensors",
        label="Form of the file",
        what="The form of the LoRA file. Files of the forms ckpt and pt can hold code that harms a computer.",
        why="Leave it at safetensors. All programs read it, and many refuse the others.",
        **_ONE,
    )
    no_metadata: bool = described(
        False,
        label="Leave the notes out",
        what="Writes the LoRA file without the notes on how it was trained. The few that programs need stay.",
        why="Turn it on if nobody should see your settings or the names of your folders.",
        higher="The file does not tell how it was trained.",
        lower="The file tells how it was trained.",
        **_ONE,
    )
    metadata_description: str | None = described(
        None,
        label="Text about the LoRA",
        what="A few sentences on what the LoRA is. They stand in the file for all to read.",
        why="Fill it in before you share the LoRA.",
        **_NOTE,
    )
    metadata_license: str | None = described(
        None,
        label="License in the file",
        what="What others may do with the LoRA. It stands in the file for all to read.",
        why="Fill it in before you share the LoRA.",
        **_NOTE,
    )
    metadata_tags: str | None = described(
        None,
        label="Tags in the file",
        what="Words to find the LoRA by, with commas between. They stand in the file for all to read.",
        why="Fill it in before you share the LoRA.",
        **_NOTE,
    )
    metadata_usage_hint: str | None = described(
        None,
        label="How to use it",
        what="How to make pictures with the LoRA, such as its strength. It stands in the file.",
        why="Fill it in before you share the LoRA.",
        **_NOTE,
    )
    metadata_thumbnail: str | None = described(
        None,
        label="Small picture in the file",
        what="The path of a picture that some programs show for the LoRA. It is put into the file.",
        why="Use a small picture, as it makes the file larger.",
        **_NOTE,
    )
    metadata_merged_from: str | None = described(
        None,
        label="Made from",
        what="The names of the models that the LoRA was made from. They stand in the file.",
        why="Fill it in if you build on the work of others.",
        **_NOTE,
    )
    metadata_preprocessor: str | None = described(
        None,
        label="Way images were prepared",
        what="How images were prepared, as a note. It stands in the file for all to read.",
        why="Leave it empty, unless a program asks for it.",
        **_NOTE,
    )
    metadata_is_negative_embedding: str | None = described(
        None,
        label="Mark of a negative embedding",
        what="The note `true` says that the file belongs in the negative prompt. It is made for other files "
        "than LoRAs.",
        why="Leave it empty.",
        **_NOTE,
    )
