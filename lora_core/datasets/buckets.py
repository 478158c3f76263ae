"""Which size each image is trained at, by the rules of sd-scripts.

Images of many shapes cannot share a batch, so each is resized and cut to one of a few sizes
("buckets") of about the same area. The rules are those of `BucketManager` and
`make_bucket_resolutions` in sd-scripts at 48d368f, down to the rounding, because a different
bucket is a different training.

Covered: the table of sizes, the choice for one image in both modes, resize, centre cut, what
the cut costs, batches of an epoch. Not covered: random crop (a choice made at training time),
face crop, and the reading of images (see `lora_core.datasets.images`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil, sqrt
from typing import Final, NamedTuple

from lora_core.errors import Problem

MAX_RESIZED_PIXELS: Final = 89_478_485
"""Above this an image is not resized but reported: Pillow's own bound for a picture held in memory.
A 2 x 2000 strip would otherwise be blown up to gigabytes and then cut down again."""

_SMALLEST_STEP: Final = 8
"""Pixels; the smallest training size has a bucket at this step."""


class Size(NamedTuple):
    """Width and height in pixels."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"

    @property
    def pixels(self) -> int:
        return self.width * self.height


@dataclass(frozen=True, slots=True)
class Placement:
    """What happens to one image: resize it to `resized`, then cut `bucket` out at `offset`."""

    bucket: Size
    """Size of the training image."""
    resized: Size
    """Size after the resize, before the cut. Never smaller than the bucket."""
    offset: tuple[int, int]
    """Left and top of the cut, in pixels of the resized image."""
    loss: float
    """Share of the resized image that is cut off, 0.0 to below 1.0."""

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of the cut, as `PIL.Image.crop` takes it."""
        left, top = self.offset
        return left, top, left + self.bucket.width, top + self.bucket.height


@dataclass(frozen=True, kw_only=True)
class Buckets:
    """The sizes of one dataset table, and the rule that picks one. Every size is in pixels."""

    resolution: tuple[int, int]
    """Width and height whose product every bucket comes close to and never exceeds."""
    min_bucket_reso: int = 256
    """Shortest side of a bucket; rounded down to a multiple of the step."""
    max_bucket_reso: int = 1024
    """Longest side of a bucket; rounded up to a multiple of the step."""
    bucket_reso_steps: int = 64
    """Every side is a multiple of this."""
    bucket_no_upscale: bool = False
    """Never enlarge an image: each size below `resolution` then opens a bucket of its own."""
    enable_bucket: bool = True
    """False: one bucket, exactly `resolution`."""
    table: tuple[Size, ...] = field(init=False)
    """Every bucket of the normal mode, in rising order. In no-upscale mode it plays no part."""

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "table", self._make_table() if self.enable_bucket else (Size(*self.resolution),)
        )

    @property
    def lowest(self) -> int:
        """`min_bucket_reso` as it is used."""
        return self.min_bucket_reso // self.bucket_reso_steps * self.bucket_reso_steps

    @property
    def highest(self) -> int:
        """`max_bucket_reso` as it is used."""
        return ceil(self.max_bucket_reso / self.bucket_reso_steps) * self.bucket_reso_steps

    def problems(self) -> tuple[Problem, ...]:
        """What sd-scripts would refuse about these limits, all at once."""
        if not self.enable_bucket:
            return ()
        found = []
        shortest, longest = min(self.resolution), max(self.resolution)
        if self.lowest > shortest:
            found.append(
                Problem(
                    setting="min_bucket_reso",
                    what=f"Its {self.lowest} px is above the short side of the resolution, {shortest} px.",
                    fix=f"Set it to {shortest} or less.",
                    mend={"min_bucket_reso": shortest},
                    mend_label=f"Set it to {shortest}",
                )
            )
        if self.highest < longest:
            found.append(
                Problem(
                    setting="max_bucket_reso",
                    what=f"Its {self.highest} px is below the long side of the resolution, {longest} px.",
                    fix=f"Set it to {longest} or more.",
                    mend={"max_bucket_reso": longest},
                    mend_label=f"Set it to {longest}",
                )
            )
        if not self.table:
            found.append(
                Problem(
                    setting="bucket_reso_steps",
                    what=f"A step of {self.bucket_reso_steps} px leaves no bucket at this resolution.",
                    fix="Set a smaller step or a larger resolution.",
                    mend={"bucket_reso_steps": _SMALLEST_STEP},
                    mend_label=f"Set the step to {_SMALLEST_STEP}",
                )
            )
        return tuple(found)

    def _make_table(self) -> tuple[Size, ...]:
        width, height = self.resolution
        area, step = width * height, self.bucket_reso_steps
        # The square is not held against the limits; sd-scripts does not do it either.
        square = int(sqrt(area) // step) * step
        sizes = {Size(square, square)}
        first = max(self.lowest, step)
        # A longer side would leave less than `first` for the other one, however high the limit is.
        for side in range(first, min(self.highest, area // first) + 1, step):
            other = min(self.highest, area // side // step * step)
            if other >= self.lowest:
                sizes |= {Size(side, other), Size(other, side)}
        return tuple(sorted(size for size in sizes if min(size) > 0))

    def place(self, width: int, height: int) -> Placement | None:
        """Where an image of this size is trained; None when no bucket can hold it.

        There is none for an image without pixels, for one with a side below the step in
        no-upscale mode (sd-scripts then makes a bucket of size 0 or divides by zero), and for a
        strip so thin that covering a bucket takes more than `MAX_RESIZED_PIXELS`.
        """
        if width < 1 or height < 1 or not self.table:
            return None
        if self.enable_bucket and self.bucket_no_upscale:
            resized = self._shrunk(width, height)
            step = self.bucket_reso_steps
            bucket = Size(resized.width // step * step, resized.height // step * step)
        else:
            bucket = self._nearest(width, height)
            resized = _covering(bucket, width, height)
        if min(bucket) < 1 or resized.pixels > MAX_RESIZED_PIXELS:
            return None
        offset = ((resized.width - bucket.width) // 2, (resized.height - bucket.height) // 2)
        return Placement(bucket, resized, offset, loss=1 - bucket.pixels / resized.pixels)

    def _nearest(self, width: int, height: int) -> Size:
        if (width, height) in self.table:
            return Size(width, height)
        ratio = width / height
        # A difference of ratios, not of their logarithms, and the first of equals: as sd-scripts.
        return min(self.table, key=lambda size: abs(size.width / size.height - ratio))

    def _shrunk(self, width: int, height: int) -> Size:
        """The size after the resize in no-upscale mode; a side of 0 when the shape is too extreme."""
        area = self.resolution[0] * self.resolution[1]
        if width * height <= area:
            return Size(width, height)
        ratio = width / height
        exact_width = sqrt(area * ratio)
        by_width = self._to_step(exact_width)
        by_width_height = self._to_step(by_width / ratio)
        by_height = self._to_step(area / exact_width)
        by_height_width = self._to_step(by_height * ratio)
        if by_width_height == 0 or by_height == 0:
            return Size(0, 0)  # here sd-scripts divides by zero
        if abs(by_width / by_width_height - ratio) < abs(by_height_width / by_height - ratio):
            return Size(by_width, int(by_width / ratio + 0.5))
        return Size(int(by_height * ratio + 0.5), by_height)

    def _to_step(self, length: float) -> int:
        whole = int(length + 0.5)
        return whole - whole % self.bucket_reso_steps


def _covering(bucket: Size, width: int, height: int) -> Size:
    """The size that keeps the shape of the image and covers the bucket on both sides."""
    wider = width / height > bucket.width / bucket.height
    scale = bucket.height / height if wider else bucket.width / width
    return Size(int(width * scale + 0.5), int(height * scale + 0.5))


def conditioning_cut(bucket: Size, width: int, height: int) -> tuple[float, float, float]:
    """Left, top and right that sd-scripts tells SDXL of an image of this size, before it drops fractions.

    It is where the image would lie if it were fitted inside the bucket, so left and top are 0 or above, and
    the part that is really cut off plays no part.
    """
    ratio = width / height
    if bucket.width / bucket.height > ratio:
        resized_width, resized_height = bucket.height * ratio, float(bucket.height)
    else:
        resized_width, resized_height = float(bucket.width), bucket.width / ratio
    left = (bucket.width - resized_width) // 2
    return left, (bucket.height - resized_height) // 2, left + resized_width


def batches_per_epoch(counts: Mapping[Size, int], batch_size: int) -> int:
    """Batches of one epoch; `counts` has the images of each bucket, times their repeats."""
    # Summed bucket by bucket: a batch never mixes two sizes, so every bucket can end on a
    # batch that is only part full.
    return sum(ceil(count / batch_size) for count in counts.values())
