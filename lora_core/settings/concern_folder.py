"""Settings of one folder of images, complete: those of both engines, and those of sd-scripts alone.

Covered: types, hard limits, starting values and help of cutting and resizing, and of what only sd-scripts
has. Not covered: the rest (see
`concern_subset.py`), and what is done with images (see the engines).
"""

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator

from lora_core.settings._description import SD_SCRIPTS, Advice, Concern, described
from lora_core.settings.concern_subset import FolderSettings


def _as_range(value: object) -> object:
    """A list of two numbers, or the argument's text `"2.0,4.0"`."""
    if isinstance(value, str):
        try:
            return tuple(float(part) for part in value.split(","))
        except ValueError:
            return value
    return tuple(value) if isinstance(value, list) else value


RangeValue = Annotated[tuple[float, float], BeforeValidator(_as_range)]
"""Two numbers, the smaller one first."""
_ONE: Final[dict[str, Any]] = {"engines": (SD_SCRIPTS,), "level": "expert", "place": "subset"}


class CuttingSettings(Concern):
    """How the images of a folder are cut and resized."""

    resize_interpolation: (
        Literal["lanczos", "nearest", "bilinear", "linear", "bicubic", "cubic", "area"] | None
    ) = described(
        None,
        label="Way to resize images",
        what="How images are made smaller or larger. If it is empty, area is used to make them smaller, and "
        "lanczos to make them larger.",
        why="Leave it empty. For pixel art, take nearest.",
        level="expert",
        place="subset",
        argument="resize_interpolation",
    )
    face_crop_aug_range: RangeValue | None = described(
        None,
        label="Cut around the face",
        what="Cuts images around the face. The two numbers say how large the cut is, in sizes of the face. "
        "The place of the face must stand in the name of the file.",
        why="Leave it empty, unless a tool has named your files in this way.",
        higher="More of the picture around the face is kept.",
        lower="Less of the picture around the face is kept.",
        **_ONE,
        argument="face_crop_aug_range",
        advice=Advice(1, 4, "The text of sd-scripts names 2 to 4."),
    )
    cache_info: bool = described(
        False,
        label="Remember what the folder holds",
        what="Writes names, captions and sizes of all images into a file in their folder. Later trainings "
        "believe it "
        "without a look at the images.",
        why="Turn it on for many thousands of images that stay as they are. Delete the file after a change.",
        higher="Later trainings start sooner. A changed caption is not noticed.",
        lower="Each training looks at all images again.",
        **_ONE,
        argument="cache_info",
    )


class SubsetSettings(CuttingSettings, FolderSettings):
    """One folder of images."""
