"""Settings of sending saved files to Hugging Face while a run goes on, which sd-scripts does by itself.

Covered: types and help. Not covered: the key of the account, which is never written to a file (log in on the
machine, or set HF_TOKEN), and publishing a finished LoRA, which the app does.
"""

from typing import Any, Final, Literal

from lora_core.settings._description import SD_SCRIPTS, Concern, described

_ONE: Final[dict[str, Any]] = {"engines": (SD_SCRIPTS,), "level": "expert", "part": "target"}


class HubSettings(Concern):
    """Where saved files are sent to."""

    huggingface_repo_id: str | None = described(
        None,
        label="Send files to Hugging Face",
        what="Sends each saved file to this place there, such as `name/my-lora`. It is made if it does "
        "not exist. "
        "If it is empty, nothing is sent. The machine must be logged in.",
        why="Use it on a rented machine that may go away.",
        **_ONE,
    )
    huggingface_repo_type: Literal["model", "dataset", "space"] | None = described(
        None,
        label="Kind of place",
        what="What the place is there. If it is empty, it is a model.",
        why="Leave it empty, or take model.",
        **_ONE,
    )
    huggingface_path_in_repo: str | None = described(
        None,
        label="Folder there",
        what="The folder in that place that the files go to.",
        why="Set it when you send files. Without a folder, Hugging Face does not take them.",
        **_ONE,
    )
    huggingface_repo_visibility: Literal["public", "private"] | None = described(
        None,
        label="Who may see it",
        what="With public, all can see the place that is made. With private or if it is empty, only you can.",
        why="Leave it empty while you test.",
        **_ONE,
    )
    save_state_to_huggingface: bool = described(
        False,
        label="Send states too",
        what="Sends the saved states as well, not the LoRA files alone. A state is many times as large.",
        why="Turn it on if you want to go on with the training on another machine.",
        higher="States are sent too, which takes time.",
        lower="Only LoRA files are sent.",
        **_ONE,
    )
    async_upload: bool = described(
        False,
        label="Send while the training goes on",
        what="Goes on with the training while a file is sent. The last file is always waited for.",
        why="Turn it on if sending takes long.",
        higher="The training does not wait for a file to be sent.",
        lower="The training waits until each file is sent.",
        **_ONE,
    )
