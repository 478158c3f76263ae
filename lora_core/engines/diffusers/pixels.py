"""The pixels of one use of a picture: decoding, resizing, cutting, masks, changes of colour.

All of it as sd-scripts does (48d368f: `trim_and_resize_if_required`, `AugHelper`, alpha masks), with two
differences: a mask from a folder is resized and cut like its picture, so that the two stay in line
(sd-scripts stretches it to the size of the bucket), and greys of 16 bits stay greys (Pillow's own way, which
sd-scripts takes, turns nearly all of them white). Transparency is dropped, EXIF turns are not applied.

Covered: one picture, from the file to numbers. Not covered: which pictures there are (`pictures.py`),
the VAE and mirroring (`latents.py`).
"""

import hashlib
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

import cv2
import numpy as np
from PIL import Image

from lora_core.datasets.buckets import Placement
from lora_core.datasets.images import BROKEN, FORMATS
from lora_core.engines.diffusers.pictures import Picture
from lora_core.errors import DatasetError

_WAYS: Final = {
    "nearest": cv2.INTER_NEAREST_EXACT,
    "bilinear": cv2.INTER_LINEAR,
    "linear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "cubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
}
"""The values of `resize_interpolation` that cv2 has; PIL does lanczos."""

Values = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


@dataclass(frozen=True, slots=True)
class Change:
    """What chance decided for one use of a picture; nothing of it is drawn unless the folder asks for it."""

    offset: tuple[int, int] | None = None
    """Left and top of the cut in the resized picture; None for the middle."""
    color: np.random.Generator | None = None
    """Where the change of colours is drawn from; None for none."""


UNCHANGED = Change()


@dataclass(frozen=True, slots=True)
class Source:
    """The bytes of a picture and of its mask, before anything is decoded."""

    picture: Picture
    data: bytes
    mask: bytes | None
    digest: str
    """Hex, 64 digits: stands for the bytes and the cut; equal only if the pixels are."""


@dataclass(frozen=True, slots=True)
class Pixels:
    """One picture as the VAE wants it."""

    picture: Picture
    values: Values
    """(height, width, 3), RGB."""
    mask: Values | None
    """(height, width): 255 where all is learned, 0 where nothing is; None when there is no mask."""
    digest: str
    """That of the source; another one where the picture was cut elsewhere or recoloured."""

    @property
    def content(self) -> int:
        """64 bits of the digest, as a counter of chance."""
        return int(self.digest[:16], 16)


def read_source(picture: Picture) -> Source:
    """Read a picture's file, and that of its mask.

    Raises:
        DatasetError: a file cannot be read.
    """
    try:
        data = picture.path.read_bytes()
        mask = picture.mask.read_bytes() if picture.mask is not None else None
    except OSError as error:
        raise _unusable(picture, f"The system answered: {error.strerror}.") from error
    known = data + repr(picture.placement).encode()
    if mask is not None:
        known += b"mask" + mask
    elif picture.subset.alpha_mask:
        known += b"alpha"
    if picture.subset.resize_interpolation is not None:
        known += b"resized by " + picture.subset.resize_interpolation.encode()
    return Source(picture, data, mask, hashlib.sha256(known).hexdigest())


def decode(source: Source, change: Change = UNCHANGED) -> Pixels:
    """Decode, resize, cut and recolour one picture.

    Raises:
        DatasetError: the file is damaged, or its size is another one than when it was listed.
    """
    picture, placement = source.picture, source.picture.placement
    alpha = picture.mask is None and picture.subset.alpha_mask
    decoded = _decoded(picture, source.data, "RGBA" if alpha else "RGB")
    left, top = change.offset or placement.offset
    here = slice(top, top + placement.bucket.height), slice(left, left + placement.bucket.width)
    # With its fourth channel, because that decides how colours at an edge are averaged.
    way = picture.subset.resize_interpolation
    resized = _resized(decoded, placement, way)[here]
    values, mask = resized[..., :3], resized[..., 3] if alpha else None
    if source.mask is not None:
        mask = _resized(_decoded(picture, source.mask, "RGB")[..., 0], placement, way)[here]
    if change.color is not None:
        values = recoloured(values, change.color)
    digest = source.digest
    if change != UNCHANGED:
        digest = hashlib.sha256(digest.encode() + values.tobytes()).hexdigest()
    return Pixels(picture, values, mask, digest)


def read_pixels(picture: Picture) -> Pixels:
    """Read and decode one picture as it is without chance.

    Raises:
        DatasetError: the file is damaged, or is another one than when it was listed.
    """
    return decode(read_source(picture))


def random_offset(placement: Placement, rng: np.random.Generator) -> tuple[int, int]:
    """Left and top of a cut at a random place; an axis that fits draws nothing."""
    spare = (
        placement.resized.width - placement.bucket.width,
        placement.resized.height - placement.bucket.height,
    )
    left, top = (int(rng.integers(trim + 1)) if trim > 0 else 0 for trim in spare)
    return left, top


def recoloured(values: Values, rng: np.random.Generator) -> Values:
    """In a third of uses another hue, or another brightness (sd-scripts' `color_aug`, oddities included)."""
    if rng.random() > 0.33:
        return values
    if rng.random() > 0.5:
        # As there, red and blue are taken for each other; for a turn of the hue by chance it is all the same.
        hsv: Any = cv2.cvtColor(np.ascontiguousarray(values), cv2.COLOR_BGR2HSV)
        turn = rng.uniform(-8, 8)
        hsv[:, :, 0] = (hsv[:, :, 0] + (turn + 180 if turn < 0 else turn)) % 180
        return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR), np.uint8)
    brighter = np.clip(values ** rng.uniform(0.95, 1.05), 0, 255)
    return np.asarray(brighter, np.uint8)


def _decoded(picture: Picture, data: bytes, mode: str) -> Values:
    """(height, width, channels)."""
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            values = np.asarray(_in_8_bits(image).convert(mode))
    except BROKEN as error:
        raise _unusable(picture, "The file is damaged or cut off.") from error
    if values.shape[:2] != (picture.entry.height, picture.entry.width):
        raise _unusable(picture, "Its size was changed after the run began.")
    return values


def _in_8_bits(image: Image.Image) -> Image.Image:
    if not image.mode.startswith("I;16"):
        return image
    return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))


def _resized(values: Values, placement: Placement, way: str | None) -> Values:
    height, width = values.shape[:2]
    wanted = placement.resized
    if (width, height) == wanted:
        return values
    if way is None:
        # The area averages every source pixel; the other ways skip some when shrinking a lot.
        way = "area" if width >= wanted.width and height >= wanted.height else "lanczos"
    if way == "lanczos":
        return np.asarray(Image.fromarray(values).resize(wanted, Image.Resampling.LANCZOS))
    contiguous = np.ascontiguousarray(values)
    return np.asarray(cv2.resize(contiguous, wanted, interpolation=_WAYS[way]), np.uint8)


def _unusable(picture: Picture, why: str) -> DatasetError:
    return DatasetError(
        f"The picture {picture.entry.name} was not read.",
        why=why,
        fix="Replace it by a good copy, or remove it.",
    )
