"""Settings of what a run gives back: saves, samples, validation, and the notes in the file.

Covered: their types, hard limits, starting values and help. Not covered: where the files go; the
app decides that (see `lora_core.runs`).
"""

from pathlib import Path
from typing import Literal

from lora_core.settings._description import (
    EVERY_UNET_FAMILY,
    SD_SCRIPTS,
    Advice,
    Concern,
    PathValue,
    TextsValue,
    described,
)
from lora_core.settings.concern_output_hub import HubSettings


class FileSettings(Concern):
    """Saves on the machine."""

    output_name: str = described(
        "lora",
        label="Name of the LoRA file",
        what="The file gets this name. Its ending is added for you.",
        why="Choose a name that you will know again.",
        level="basic",
        part="target",
    )
    save_every_n_epochs: int | None = described(
        None,
        label="Save after this many epochs",
        what="Writes a LoRA file each time so many epochs are done. If it is empty, this is not done.",
        why="Set it to 1, as recipes do. You can then try each epoch and keep the best.",
        higher="Fewer files are saved. There are fewer to choose from.",
        lower="More files are saved. They take more space on the disk.",
        unit="epochs",
        ge=1,
    )
    save_every_n_steps: int | None = described(
        None,
        label="Save after this many steps",
        what="Writes a LoRA file each time so many steps are done. If it is empty, this is not done.",
        why="Use it for long epochs.",
        higher="Fewer files are saved. There are fewer to choose from.",
        lower="More files are saved. They take more space on the disk.",
        unit="steps",
        ge=1,
        advice=Advice(50, None, "Saving more often fills the disk."),
    )
    save_last_n_epochs: int | None = described(
        None,
        label="Epoch files to keep",
        what="Keeps so many of the newest epoch files and removes older ones. If it is empty, all are kept.",
        why="Set it if your disk is small.",
        higher="More files are kept. They take more space on the disk.",
        lower="Fewer files are kept. Those that are removed cannot be brought back.",
        unit="files",
        ge=1,
    )
    save_last_n_steps: int | None = described(
        None,
        label="How far back step files are kept",
        what="Removes step files that are older than this many steps. If it is empty, all are kept.",
        why="Set it if your disk is small.",
        higher="More files are kept. They take more space on the disk.",
        lower="Fewer files are kept. Those that are removed cannot be brought back.",
        unit="steps",
        ge=1,
    )
    save_state: bool = described(
        False,
        label="Save a state with each file",
        what="Keeps all that is needed to go on from this point, next to each saved file.",
        why="Turn it on for a long training. If the power fails, you lose only the time since the last save.",
        higher="The training can go on from each saved file. States take much space on the disk.",
        lower="Saves take less space. After a power cut, the training may have to start anew.",
    )
    save_last_n_epochs_state: int | None = described(
        None,
        label="Epoch states to keep",
        what="Keeps so many of the newest states and removes older ones. If it is empty, the number of epoch "
        "files counts.",
        why="Set it to 2. A state is large, and only the last one is needed to go on.",
        higher="More states stay on the disk.",
        lower="Fewer states stay on the disk.",
        unit="states",
        level="expert",
        only={"save_state": (True,)},
        ge=1,
    )
    save_last_n_steps_state: int | None = described(
        None,
        label="How far back step states are kept",
        what="Removes states that are older than this many steps. If it is empty, that for files counts.",
        why="Set it if your disk is small.",
        higher="More states stay on the disk.",
        lower="Fewer states stay on the disk.",
        unit="steps",
        level="expert",
        only={"save_state": (True,)},
        ge=1,
    )
    save_state_on_train_end: bool = described(
        False,
        label="Save a state at the end",
        what="Keeps all that is needed to go on when the training is done.",
        why="Turn it on if you may want to train longer later.",
        higher="You can train longer later. The state takes space on the disk.",
        lower="No state is kept at the end. This saves space on the disk.",
    )
    resume: PathValue | None = described(
        None,
        label="Go on from a state",
        what="The folder of a saved state. The training goes on from there.",
        why="The app fills it in when you go on with a training that was stopped.",
        level="expert",
        part="target",
    )


class SavingSettings(HubSettings, FileSettings):
    """LoRA files and states that a run leaves on disk."""


class SamplingSettings(Concern):
    """Pictures that are drawn while the run goes on."""

    sample_prompts: PathValue | TextsValue | None = described(
        None,
        label="Prompts for samples",
        what="What the sample pictures show, one prompt a line. You can also name a text file.",
        why="Write one prompt with your trigger word and one without it. So you see what is learned "
        "and what is harmed.",
        level="basic",
        part="target",
    )
    sample_every_n_epochs: int | None = described(
        None,
        label="Samples after this many epochs",
        what="Draws the samples each time so many epochs are done.",
        why="Set it to 1 to see how each epoch looks.",
        higher="Samples come less often. The training takes less time.",
        lower="Samples come more often. The training takes more time.",
        unit="epochs",
        ge=1,
    )
    sample_every_n_steps: int | None = described(
        None,
        label="Samples after this many steps",
        what="Draws the samples each time so many steps are done. It does nothing if epochs are set too.",
        why="Use it for long epochs. Each time costs a bit of time.",
        higher="Samples come less often. The training takes less time.",
        lower="Samples come more often. The training takes more time.",
        unit="steps",
        ge=1,
    )
    sample_at_first: bool = described(
        False,
        label="Samples before the first step",
        what="Draws the samples once before the training starts to learn.",
        why="Turn it on. With the first pictures you can see what has changed.",
        higher="You see what the model draws before it learns. This takes a bit of time.",
        lower="The first samples come when the training has learned for a while.",
    )
    sample_sampler: Literal[
        "ddim", "pndm", "lms", "euler", "euler_a", "heun", "dpm_2", "dpm_2_a", "dpmsolver", "dpmsolver++",
        "dpmsingle", "k_lms", "k_euler", "k_euler_a", "k_dpm_2", "k_dpm_2_a",
    ] = described(
        "ddim",
        label="Way to draw samples",
        what="The sampler, which is the method that draws the sample pictures. It changes nothing that is "
        "learned.",
        why="Leave it as it is, or take the one that you use for your own pictures.",
        level="expert",
        families=EVERY_UNET_FAMILY,
    )  # fmt: skip
    sample_batch_size: int | None = described(
        None,
        label="Samples drawn at once",
        what="How many samples of the same size Lumina draws at once. If it is empty, it is as many as "
        "there are "
        "images in a batch.",
        why="Lower it if memory runs out while samples are drawn.",
        higher="Samples are drawn sooner. This needs more GPU memory.",
        lower="This needs less GPU memory. At 1 they are drawn one by one.",
        unit="images",
        level="expert",
        engines=(SD_SCRIPTS,),
        families=("lumina",),
        ge=1,
    )


class ValidationSettings(Concern):
    """A test on images that the run does not learn from."""

    validate_every_n_epochs: int | None = described(
        None,
        label="Test after this many epochs",
        what="Tests the LoRA on the images held back, each time so many epochs are done.",
        why="Leave it empty to test after each epoch. Raise it if the tests take too long.",
        higher="Tests come less often. The training takes less time.",
        lower="Tests come more often. The training takes more time.",
        unit="epochs",
        ge=1,
    )
    validate_every_n_steps: int | None = described(
        None,
        label="Test after this many steps",
        what="Tests the LoRA on the images held back, each time so many steps are done.",
        why="Use it for long epochs.",
        higher="Tests come less often. The training takes less time.",
        lower="Tests come more often. The training takes more time.",
        unit="steps",
        ge=1,
    )
    max_validation_steps: int | None = described(
        None,
        label="Longest test",
        what="Stops a test after this many batches. If it is empty, all images held back are used.",
        why="Set it if you hold back many images and the tests take too long.",
        higher="A test uses more images. It is more exact and takes longer.",
        lower="A test uses fewer images. It is faster and less exact.",
        unit="batches",
        ge=1,
    )


class MetadataSettings(Concern):
    """Notes that are written into the LoRA file."""

    metadata_title: str | None = described(
        None,
        label="Title in the file",
        what="The title that other programs show. If it is empty, the name of the file is used.",
        why="Fill it in before you share the LoRA.",
        part="target",
    )
    metadata_author: str | None = described(
        None,
        label="Author in the file",
        what="The name of who made the LoRA. It stands in the file for all to read.",
        why="Fill it in if you want to be named.",
        part="target",
    )
    metadata_trigger_phrase: str | None = described(
        None,
        label="Trigger word",
        what="The word in a prompt that makes the LoRA draw what it has learned. It stands in the file for "
        "all to read.",
        why="Choose a word that the base model does not know yet.",
        level="basic",
        part="target",
    )
    training_comment: str | None = described(
        None,
        label="Note in the file",
        what="A note of your own. It stands in the file for all to read.",
        why="Use it to tell what you tried in this training.",
        part="target",
    )


def is_prompt_file(value: object) -> bool:
    """True when samples come from a file and not from lines in the settings."""
    return isinstance(value, Path)
