"""Settings of the images: one record per dataset; those of its folders are in `concern_subset.py`.

Covered: their types, hard limits, starting values and help. Not covered: reading images (see
`lora_core.datasets`) and the levels of the file, which are merged while reading (see `files.py`).
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from lora_core.settings._description import Advice, Concern, as_tuple, described
from lora_core.settings.concern_folder import SubsetSettings


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


class DatasetSettings(Concern):
    """Folders that share one image size and one batch size."""

    subsets: Annotated[tuple[SubsetSettings, ...], BeforeValidator(as_tuple), Field(min_length=1)]
    resolution: SizeValue = described(
        (512, 512),
        label="Training size",
        what="The size at which images are learned, as width and height. One number means a square.",
        why="Take the size that the base model was made for. For SD 1.5 this is 512, and for SDXL it is "
        "1024.",
        higher="Finer detail is learned. Time and GPU memory grow with the number of pixels.",
        lower="Steps are faster and need less GPU memory. Fine detail is lost.",
        unit="pixels",
        level="basic",
        place="dataset",
        argument="resolution",
    )
    batch_size: int = described(
        1,
        label="Batch size",
        what="How many images are learned from at the same time.",
        why="Raise it if you have memory to spare. The training gets faster and calmer.",
        higher="Each step learns from more images and is calmer. It needs more GPU memory, and an epoch has "
        "fewer steps.",
        lower="Each step learns from fewer images and needs less GPU memory. An epoch has more steps.",
        unit="images",
        level="basic",
        place="dataset",
        argument="train_batch_size",
        ge=1,
        advice=Advice(1, 16, "Published recipes use 1 to 8. Large batches need much memory."),
    )
    enable_bucket: bool = described(
        True,  # sd-scripts: off, and then a larger image stops the run
        label="Keep the shape of images",
        what="Sorts wide, tall and square images into groups, called buckets. So little is cut off.",
        why="Leave it on.",
        higher="Images keep their shape. Little is cut off.",
        lower="All images get one shape, and more is cut off. The engine sd-scripts stops at an image that "
        "is "
        "larger.",
        place="dataset",
        argument="enable_bucket",
    )
    min_bucket_reso: int = described(
        256,
        label="Smallest side",
        what="No bucket has a side shorter than this.",
        why="Leave it at 256, as all recipes do. Lower it for very wide or very tall images.",
        higher="Very long shapes are not used. More is cut off from long images.",
        lower="Longer shapes may be used. Less is cut off from long images.",
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
        why="Take 1024 for SD 1.5 and 2048 for SDXL, as recipes do.",
        higher="Longer shapes may be used. Less is cut off from long images.",
        lower="Very long shapes are not used. More is cut off from long images.",
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
        why="Leave it at 64. This fits every base model.",
        higher="There are fewer buckets with more images in each. A bit more is cut off.",
        lower="There are more buckets, and less is cut off. Some may hold one image only.",
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
        higher="Small images stay sharp. They get small buckets, and some may hold one image only.",
        lower="Small images are made as large as the others. They may look soft, and the LoRA may learn "
        "that.",
        place="dataset",
        argument="bucket_no_upscale",
    )
    validation_split: float = described(
        0.0,
        label="Images held back for tests",
        what="This share of the images is not learned from. It is used to test the LoRA: 0.1 is 10 percent.",
        why="Use 0.1 from about 40 images on. With few images, you need all of them to learn.",
        higher="More images are held back. The tests are more exact, but there is less to learn from.",
        lower="Fewer images are held back. At 0 there are no tests.",
        unit="share from 0.0 to below 1.0",
        place="dataset",
        argument="validation_split",
        ge=0,
        lt=1,
    )
    validation_seed: int | None = described(
        None,
        label="Seed of the tests",
        what="Decides which images are held back. If it is empty, the seed of the training is used.",
        why="Keep the same number when you want to compare trainings.",
        higher="A larger number is not better. Other images are held back.",
        lower="A smaller number is not better. Other images are held back.",
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
