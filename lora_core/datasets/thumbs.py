"""Small pictures for pages: 192 px WebP, made when first asked for and kept by content.

The name of a thumbnail is the hash of its image, so a changed image gets a new one and a browser
may keep what it has for ever. They show the image as it is trained on: without EXIF rotation,
without transparency. The folder can be deleted at any time.

Covered: making and finding thumbnails of a dataset. Not covered: serving them (see
`ui/thumb_routes.py`), samples of a run (small already).
"""

import re
from pathlib import Path
from typing import Final

from PIL import Image

from lora_core.datasets.images import BROKEN, FORMATS
from lora_core.datasets.index import open_index
from lora_core.errors import DiskFullError
from lora_core.workspace import replacing

SIDE_PX: Final = 192
QUALITY: Final = 70  # about 7 kB each; more is not seen at this size
_DIGEST = re.compile(r"[0-9a-f]{64}")


def thumb_path(folder: Path, digest: str) -> Path:
    """Where the thumbnail of an image with this SHA-256 lies, made or not.

    Raises:
        ValueError: `digest` is not 64 hex digits; no other text becomes part of a path.
    """
    if not _DIGEST.fullmatch(digest):
        raise ValueError(f"not a SHA-256 in hex: {digest!r}")
    return folder / ".lora" / "thumbs" / digest[:2] / f"{digest}.webp"


def thumbnail(folder: Path, digest: str) -> Path | None:
    """The thumbnail of the image with this SHA-256, made now if there is none.

    None when the dataset has no such image, or when it cannot be decoded. An image is read whole;
    call this away from the thread that serves others.
    """
    if not _DIGEST.fullmatch(digest):
        return None
    target = thumb_path(folder, digest)
    if target.is_file():
        return target
    with open_index(folder) as index:
        source = index.path_of(digest)
    if source is None:
        return None
    try:
        small = _small(source)
    except BROKEN:
        return None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as part:
            small.save(part, "WEBP", quality=QUALITY)
    except DiskFullError:
        return None  # a page without a small picture is still a page
    return target


def _small(source: Path) -> Image.Image:
    with Image.open(source, formats=FORMATS) as image:
        if Image.MAX_IMAGE_PIXELS is not None and image.width * image.height > Image.MAX_IMAGE_PIXELS:
            raise Image.DecompressionBombError(source.name)
        image.draft("RGB", (SIDE_PX, SIDE_PX))  # jpeg is decoded at a fraction of its size
        small = image.convert("RGB")
    small.thumbnail((SIDE_PX, SIDE_PX))
    return small
