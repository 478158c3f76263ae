"""Settings of the images: one record per dataset, one per folder in it.

Covered: their types, hard limits, starting values and help. Not covered: reading images (see
`lora_core.datasets`) and the levels of the file, which are merged while reading (see `files.py`).
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from lora_core.settings._description import Advice, Concern, PathValue, as_tuple, described


def _as_size(value: object) -> object:
    """`512`, `[512, 768]` or the argument's text `"512,768"` as (width, height)."""
    if isinstance(value, str):
        parts = [part.strip() for part in value.split(",")]
        if not all(part.isascii() and part.isdigit() for part in parts):
            return value
        value = [int(part) for part in parts]
    if isinstance(value, int) and not isinstance(value, bool):
        value = [value, value]
    if isinstance(value, list | tuple) and len(value) == 1:
        value = [value[0], value[0]]
    return tuple(value) if isinstance(value, list) else value


Side = Annotated[int, Field(ge=16, le=16384)]
SizeValue = Annotated[tuple[Side, Side], BeforeValidator(_as_size)]
"""Width and height in pixels; one number means a square."""


class SubsetSettings(Concern):
    """One folder of images."""

    image_dir: PathValue = described(
        ...,
        label="Folder of images",
        what="The folder that holds the images and their captions.",
        why="Give each group of images a folder of its own, so that you can weigh them.",
        level="basic",
        place="subset",
        part="target",
    )
    num_repeats: int = described(
        1,
        label="Repeats",
        what="How often each image of this folder is used in one epoch.",
        why="Raise it for a small folder, so that it counts as much as a large one.",
        unit="times",
        level="basic",
        place="subset",
        part="target",
        ge=1,
        advice=Advice(1, 100, "More repeats make an epoch longer, and give fewer saves to choose from."),
    )
    caption_extension: str = described(
        ".txt",  # sd-scripts: .caption
        label="Ending of caption files",
        what="A caption file has the name of its image and this ending.",
        why="Leave it at .txt.",
        level="expert",
        place="subset",
        argument="caption_extension",
    )
    shuffle_caption: bool = described(
        False,
        label="Shuffle the tags",
        what="Puts the tags of a caption in a new order each time it is used.",
        why="Turn it on for captions made of tags. Leave it off for whole sentences.",
        place="subset",
        argument="shuffle_caption",
    )
    keep_tokens: int = described(
        0,
        label="Tags that stay in front",
        what="So many tags at the start of a caption keep their place when tags are shuffled.",
        why="Set it to 1 if each caption starts with your trigger word.",
        unit="tags",
        place="subset",
        argument="keep_tokens",
        ge=0,
    )
    caption_separator: str = described(
        ",",
        label="Sign between tags",
        what="The sign that parts one tag from the next.",
        why="Leave it as a comma.",
        level="expert",
        place="subset",
        argument="caption_separator",
    )
    class_tokens: str | None = described(
        None,
        label="Caption for images that have none",
        what="This text is used for an image without a caption file.",
        why="Use it if all images of the folder show the same thing.",
        place="subset",
        part="target",
    )
    other: Mapping[str, Any] = Field(default_factory=dict)
    """Keys of sd-scripts that are not described here, as they stood in the file."""


class DatasetSettings(Concern):
    """Folders that share one image size and one batch size."""

    subsets: Annotated[tuple[SubsetSettings, ...], BeforeValidator(as_tuple), Field(min_length=1)]
    resolution: SizeValue = described(
        (512, 512),
        label="Training size",
        what="The size at which images are learned, as width and height. One number means a square.",
        why="Take the size that the base model was made for. For SD 1.5 this is 512.",
        unit="pixels",
        level="basic",
        place="dataset",
        argument="resolution",
    )
    batch_size: int = described(
        1,
        label="Batch size",
        what="How many images are learned from at the same time.",
        why="Raise it if you have memory to spare. The run gets faster and calmer.",
        unit="images",
        level="basic",
        place="dataset",
        argument="train_batch_size",
        ge=1,
        advice=Advice(1, 16, "Large batches need much memory."),
    )
    enable_bucket: bool = described(
        True,  # sd-scripts: off, and then a larger image stops the run
        label="Keep the shape of images",
        what="Sorts wide, tall and square images into groups, called buckets. So little is cut off.",
        why="Leave it on.",
        place="dataset",
        argument="enable_bucket",
    )
    min_bucket_reso: int = described(
        256,
        label="Smallest side",
        what="No bucket has a side shorter than this.",
        why="Lower it for very wide or very tall images.",
        unit="pixels",
        level="expert",
        place="dataset",
        argument="min_bucket_reso",
        ge=1,
    )
    max_bucket_reso: int = described(
        1024,
        label="Longest side",
        what="No bucket has a side longer than this.",
        why="Raise it for very wide or very tall images.",
        unit="pixels",
        level="expert",
        place="dataset",
        argument="max_bucket_reso",
        ge=1,
    )
    bucket_reso_steps: int = described(
        64,
        label="Grid of bucket sizes",
        what="Each side of a bucket is a multiple of this number.",
        why="Leave it at 64.",
        unit="pixels",
        level="expert",
        place="dataset",
        argument="bucket_reso_steps",
        ge=8,
    )
    bucket_no_upscale: bool = described(
        False,
        label="Never enlarge images",
        what="Keeps small images at their own size. Large ones are still made smaller.",
        why="Turn it on if some images are much smaller than the training size.",
        place="dataset",
        argument="bucket_no_upscale",
    )
    validation_split: float = described(
        0.0,
        label="Images held back for tests",
        what="This share of the images is not learned from. It is used to test the LoRA: 0.1 is 10 percent.",
        why="Use 0.1 from about 40 images on. With few images, you need all of them to learn.",
        unit="share from 0.0 to below 1.0",
        place="dataset",
        argument="validation_split",
        ge=0,
        lt=1,
    )
    validation_seed: int | None = described(
        None,
        label="Seed of the tests",
        what="Decides which images are held back. If it is empty, the seed of the run is used.",
        why="Keep the same number when you want to compare runs.",
        level="expert",
        place="dataset",
        argument="validation_seed",
        ge=0,
        le=2**32 - 1,
    )
    other: Mapping[str, Any] = Field(default_factory=dict)
    """Keys of sd-scripts that are not described here, as they stood in the file."""


class DatasetFile(Concern):
    """All images of a run, as one `dataset.toml` names them."""

    datasets: Annotated[tuple[DatasetSettings, ...], BeforeValidator(as_tuple), Field(min_length=1)]
