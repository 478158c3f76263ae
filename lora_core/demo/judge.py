"""Tell by geometry what a demo picture shows: shape, colour, background, or that it is unclear.

Covered: one shape on a plain background, as shapes.py draws it and as a small VAE decodes it (soft
edges, slight noise). A picture that fits nothing well gets None for what is unclear.

Not covered: any other kind of picture. No network takes part, so the judge cannot share the
blind spots of what it judges.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image

from lora_core.demo.shapes import BACKGROUNDS, COLOURS, SHAPES, SIZE, TRIGGER, Rgb, Scene, draw

Floats = NDArray[np.float32]
Box = tuple[float, float, float, float]

LEAST_OVERLAP: Final = 0.72
"""Overlap with the best template, 0 to 1, below which a shape counts as unclear.

Measured on 576 drawings: at least 0.82 when blurred and noisy, 0.76 when halved and enlarged again.
"""
SPOT: Final = 6
"""Side of the spots, in cells, in which a shape is compared with its template piece by piece."""
GREATEST_SPOT_ERROR: Final = 0.7
"""Mean difference from the template, 0 to 1, that no spot may exceed.

A circle with a hole of a quarter of its width overlaps the circle well, but one spot is then wrong by
0.92. The wavy outlines that the demo base draws stay below 0.7 in nine of ten pictures.
"""
LEAST_LEAD: Final = 0.03
"""How far the best template must lead the second one."""
GREATEST_STRETCH: Final = 1.3
"""A shape may be this much wider or taller than it is drawn."""
COLOUR_REACH: Final = 75.0
"""Greatest distance in RGB from a nominal colour, 0 to 442."""
BACKGROUND_REACH: Final = 60.0
LEAST_CONTRAST: Final = 45.0
"""Distance in RGB between shape and background below which there is no shape."""
_GRID: Final = 32
"""Shapes are compared on a square of this many cells a side."""
_FRAME: Final = 3
"""Pixels from the edge that always show the background."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What a picture shows; None where it is unclear."""

    shape: str | None
    """One of SHAPES, or TRIGGER for the concept."""
    colour: str | None
    background: str | None
    overlap: float = 0.0
    """Overlap with the template of the nearest shape, 0 to 1."""


def judge(picture: Image.Image) -> Verdict:
    """What one picture of SIZE x SIZE pixels shows."""
    pixels = np.asarray(picture.convert("RGB"), dtype=np.float32)
    if pixels.shape != (SIZE, SIZE, 3):
        raise ValueError(f"a demo picture has {SIZE} x {SIZE} pixels, this one {picture.size}")
    behind = _background(pixels)
    background = _nearest(behind, BACKGROUNDS, BACKGROUND_REACH)
    mask = _mask(pixels, behind)
    box = None if mask is None else _box(mask)
    if mask is None or box is None:
        return Verdict(shape=None, colour=None, background=background)
    solid = pixels[mask > 0.85]
    colour = _nearest(np.median(solid, axis=0), COLOURS, COLOUR_REACH) if len(solid) else None
    shape, overlap = _shape(mask, box)
    return Verdict(shape=shape, colour=colour, background=background, overlap=overlap)


def _background(pixels: Floats) -> Floats:
    """Median colour of the frame."""
    inner = np.zeros((SIZE, SIZE), dtype=bool)
    inner[_FRAME:-_FRAME, _FRAME:-_FRAME] = True
    middle: Floats = np.median(pixels[~inner], axis=0)
    return middle


def _nearest(colour: Floats, named: Mapping[str, Rgb], reach: float) -> str | None:
    distances = {name: float(np.linalg.norm(colour - np.array(nominal))) for name, nominal in named.items()}
    best = min(distances, key=lambda name: distances[name])
    return best if distances[best] <= reach else None


def _mask(pixels: Floats, behind: Floats) -> Floats | None:
    """How much each pixel belongs to the shape, 0 to 1; None when nothing stands out."""
    distance = np.linalg.norm(pixels - behind, axis=2)
    # The shape covers at least 3 % of a picture, so this is a solid part of it and not an outlier.
    full = float(np.percentile(distance, 97.5))
    if full < LEAST_CONTRAST:
        return None
    # The lowest 15 % are noise of the background and are taken off.
    mask: Floats = np.clip((distance / full - 0.15) / 0.75, 0, 1).astype(np.float32)
    return mask


def _box(mask: Floats) -> Box | None:
    """Left, top, right, bottom of the shape in pixels, finer than one pixel.

    The edges lie where a row or column first reaches half of a fully covered pixel.
    """
    left, right = _extent(mask.max(axis=0))
    top, bottom = _extent(mask.max(axis=1))
    if right - left < 8 or bottom - top < 8:
        return None
    return left, top, right, bottom


def _extent(profile: Floats) -> tuple[float, float]:
    inside = np.flatnonzero(profile >= 0.5)
    if not len(inside):
        return 0.0, 0.0
    first, last = int(inside[0]), int(inside[-1])
    before = float(profile[first - 1]) if first else 0.0
    after = float(profile[last + 1]) if last + 1 < len(profile) else 0.0
    return first - before, last + 1 + after


def _shape(mask: Floats, box: Box) -> tuple[str | None, float]:
    """The shape whose template overlaps the mask best, if it does so clearly, and the overlap."""
    overlaps = {}
    cells = _cells(mask, box)
    stretch = (box[2] - box[0]) / (box[3] - box[1])
    for name in (*SHAPES, TRIGGER):
        template, own_stretch = _template(name)
        ratio = stretch / own_stretch
        if 1 / GREATEST_STRETCH <= ratio <= GREATEST_STRETCH:
            together = np.minimum(cells, template).sum() / np.maximum(cells, template).sum()
            overlaps[name] = float(together)
        else:
            overlaps[name] = 0.0
    ranked = sorted(overlaps, key=lambda name: -overlaps[name])
    best, second = overlaps[ranked[0]], overlaps[ranked[1]]
    clear = best >= LEAST_OVERLAP and best - second >= LEAST_LEAD
    # A hole or a missing piece hardly changes the overlap, but one spot is then all wrong.
    wrong = np.abs(cells - _template(ranked[0])[0])
    spots = sliding_window_view(wrong, (SPOT, SPOT)).mean(axis=(2, 3))
    clear = clear and float(spots.max()) <= GREATEST_SPOT_ERROR
    return (ranked[0] if clear else None), best


def _cells(mask: Floats, box: Box) -> Floats:
    """The part of the mask inside box, stretched to a square grid."""
    cut = Image.fromarray(mask).resize((_GRID, _GRID), Image.Resampling.BILINEAR, box=box)
    return np.asarray(cut, dtype=np.float32)


@cache
def _template(shape: str) -> tuple[Floats, float]:
    """Grid and width over height of a shape, taken from a drawing exactly as from a picture."""
    scene = Scene(shape=shape, colour="blue", background="white", radius=20.0)
    picture = draw(scene)
    pixels = np.asarray(picture, dtype=np.float32)
    mask = _mask(pixels, _background(pixels))
    box = None if mask is None else _box(mask)
    if mask is None or box is None:
        raise RuntimeError(f"the template of {shape} shows no shape")
    return _cells(mask, box), (box[2] - box[0]) / (box[3] - box[1])
