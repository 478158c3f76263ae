"""Masks of images: pictures of the same name and size in a folder of their own.

White is learned, black is not, and grey counts in part. Only the red channel is read, as in sd-scripts.

Covered: finding the mask of each image and checking its size. Not covered: pixels, transparency as a mask,
making masks.
"""

from collections.abc import Sequence
from pathlib import Path

from lora_core.datasets.images import ImageEntry, listing, read_header
from lora_core.errors import DatasetError

_NAMED = 10
"""More names than this in one message help nobody; the count is always told."""


def find_masks(folder: Path, images: Sequence[ImageEntry]) -> dict[Path, Path]:
    """The mask of each image, by the image's path.

    Raises:
        DatasetError: the folder cannot be listed, an image has no mask, or a mask is damaged or of another
            size; every such image is counted and the first ones are named.
    """
    found = listing(folder)
    by_stem: dict[str, Path] = {}
    for name in found.images:
        by_stem.setdefault(Path(name).stem, found.root / name)
    missing = [image.name for image in images if image.path.stem not in by_stem]
    if missing:
        raise DatasetError(
            f"{_count(missing, 'picture has', 'pictures have')} no mask in {found.root.name}.",
            why=f"These are without one: {_named(missing)}.",
            fix="Add a mask with the same name for each picture, or turn the masks off.",
        )
    masks = {image.path: by_stem[image.path.stem] for image in images}
    wrong = []
    for image in images:
        mask = masks[image.path]
        try:
            header = read_header(mask)
        except DatasetError as error:
            what = f"The mask {mask.name} in {found.root.name} was not read."
            raise DatasetError(what, why=error.why, fix="Replace it by a good copy.") from error
        if (header.width, header.height) != (image.width, image.height):
            wrong.append(
                f"{image.name} is {image.width}x{image.height}, its mask {header.width}x{header.height}"
            )
    if wrong:
        raise DatasetError(
            f"{_count(wrong, 'mask has', 'masks have')} another size than the picture.",
            why=f"A mask is laid over its picture point by point. {_named(wrong)}.",
            fix="Save each mask in the size of its picture.",
        )
    return masks


def _count(items: Sequence[str], one: str, many: str) -> str:
    return f"{len(items)} {one if len(items) == 1 else many}"


def _named(items: Sequence[str]) -> str:
    return ", ".join(items[:_NAMED]) + (", …" if len(items) > _NAMED else "")
