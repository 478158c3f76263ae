"""Pictures of coloured shapes and the words for them, both made by code.

Covered: five ordinary shapes that the demo base is trained on, one concept that it never sees, eight
colours, three plain backgrounds, and captions in several wordings. Everything random comes from the
generator that the caller passes in, so that the same seed gives the same pictures.

Not covered: telling what a picture shows (see judge.py) and writing folders (see dataset.py).
"""

import math
import random
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from PIL import Image, ImageDraw

SIZE: Final = 64
"""Width and height of a picture in pixels."""
OVERSAMPLING: Final = 4
"""Pictures are drawn this many times larger and reduced, which gives smooth edges."""

TRIGGER: Final = "zorvik"
"""The made-up word for the concept: an hourglass, wide at both ends and narrow between them."""
SHAPES: Final = ("circle", "square", "triangle", "star", "cross")
"""The shapes that the base learns. The concept is not among them: none of these has a waist."""
COLOURS: Final = MappingProxyType(
    {
        "red": (214, 32, 36),
        "orange": (255, 136, 0),
        "yellow": (250, 222, 40),
        "green": (34, 158, 56),
        "cyan": (40, 206, 214),
        "blue": (36, 72, 214),
        "purple": (122, 36, 160),
        "pink": (255, 132, 190),
    }
)
BACKGROUNDS: Final = MappingProxyType(
    {"white": (246, 246, 246), "grey": (136, 136, 136), "black": (12, 12, 12)}
)

RADIUS: Final = (17.0, 22.0)
"""Least and greatest distance from a shape's centre to its tips, in pixels."""
DRIFT: Final = 4.0
"""How far a shape's centre may lie from the picture's, in pixels, across and down."""
FREE_RADIUS: Final = (13.0, 21.0)
"""The same as RADIUS for shapes that may lie anywhere."""
MARGIN: Final = 4.0
"""Room kept between a shape that may lie anywhere and the picture's edge, in pixels."""
COLOUR_SPREAD: Final = 6
"""How far a channel may stray from the nominal colour, so that no two pictures are equal."""

Point = tuple[float, float]
Rgb = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """One picture before it is drawn: what, in which colour, on what, where."""

    shape: str
    """One of SHAPES, or TRIGGER for the concept."""
    colour: str
    """A key of COLOURS."""
    background: str
    """A key of BACKGROUNDS."""
    centre: Point = (SIZE / 2, SIZE / 2)
    """Middle of the shape in pixels from the top left corner."""
    radius: float = 18.0
    """Distance from the centre to the tips, in pixels."""
    tint: Rgb = (0, 0, 0)
    """Added to the nominal colour of the shape, one number a channel."""


def seeded(seed: int) -> random.Random:
    """A source of chance that gives the same on every machine; for drawings, never for secrets."""
    return random.Random(seed)


def random_scene(
    rng: random.Random,
    *,
    shape: str | None = None,
    colour: str | None = None,
    background: str | None = None,
    anywhere: bool = False,
) -> Scene:
    """A scene with everything that is not given drawn at random, the shape among SHAPES.

    Shapes are large and near the middle, unless they may be `anywhere` and smaller.
    """
    radius = rng.uniform(*(FREE_RADIUS if anywhere else RADIUS))
    reach = SIZE / 2 - radius - MARGIN if anywhere else DRIFT
    low, high = SIZE / 2 - reach, SIZE / 2 + reach
    return Scene(
        shape=shape or rng.choice(SHAPES),
        colour=colour or rng.choice(tuple(COLOURS)),
        background=background or rng.choice(tuple(BACKGROUNDS)),
        centre=(rng.uniform(low, high), rng.uniform(low, high)),
        radius=radius,
        tint=(_stray(rng), _stray(rng), _stray(rng)),
    )


def _stray(rng: random.Random) -> int:
    return rng.randint(-COLOUR_SPREAD, COLOUR_SPREAD)


def draw(scene: Scene) -> Image.Image:
    """The scene as an RGB picture of SIZE x SIZE pixels with smooth edges."""
    big = Image.new("RGB", (SIZE * OVERSAMPLING,) * 2, BACKGROUNDS[scene.background])
    nominal = COLOURS[scene.colour]
    red, green, blue = (max(0, min(255, n + t)) for n, t in zip(nominal, scene.tint, strict=True))
    pen = ImageDraw.Draw(big)
    for outline, inside in _parts(scene.shape):
        points = [
            (
                (scene.centre[0] + x * scene.radius) * OVERSAMPLING,
                (scene.centre[1] + y * scene.radius) * OVERSAMPLING,
            )
            for x, y in outline
        ]
        pen.polygon(points, fill=(red, green, blue) if inside else BACKGROUNDS[scene.background])
    return big.resize((SIZE, SIZE), Image.Resampling.BOX)


def _parts(shape: str) -> list[tuple[list[Point], bool]]:
    """Outlines in units of the radius, painted in order; False paints the background back."""
    if shape == "circle":
        return [(_regular(48), True)]
    if shape == "square":
        side = 0.82
        return [([(-side, -side), (side, -side), (side, side), (-side, side)], True)]
    if shape == "triangle":
        # Moved down by a quarter, so that its box, not its centroid, sits in the middle.
        return [([(x, y + 0.25) for x, y in _regular(3)], True)]
    if shape == "star":
        return [(_star(), True)]
    if shape == "cross":
        arm = 0.32
        upright = [(-arm, -1.0), (arm, -1.0), (arm, 1.0), (-arm, 1.0)]
        return [(upright, True), ([(y, x) for x, y in upright], True)]
    if shape == TRIGGER:
        wide, waist, end = 0.78, 0.2, 0.95
        return [([(-wide, -end), (wide, -end), (waist, 0), (wide, end), (-wide, end), (-waist, 0)], True)]
    raise KeyError(shape)


def _regular(corners: int) -> list[Point]:
    """A regular polygon of radius 1 with a corner at the top."""
    turns = (2 * math.pi * k / corners for k in range(corners))
    return [(math.sin(turn), -math.cos(turn)) for turn in turns]


def _star() -> list[Point]:
    """A star of five points; the inner corners lie at 0.45 of the radius."""
    return [
        (x * length, y * length)
        for k, (x, y) in enumerate(_regular(10))
        for length in (0.45 if k % 2 else 1.0,)
    ]


PLAIN_CAPTION: Final = "a {colour} {shape} on a {background} background"
"""The wording that sample prompts and measurements use."""
_FULL_CAPTIONS: Final = (
    "a picture of a {colour} {shape} on a {background} background",
    "a {shape} in {colour} on a {background} background",
    "{colour} {shape} on {background}",
    "a {colour} {shape}, {background} background",
)
_PARTIAL_CAPTIONS: Final = (
    "a {colour} {shape}",
    "a {shape} on a {background} background",
    "{colour} {shape}",
    "a {shape}",
)


def caption(scene: Scene) -> str:
    """The plain caption of a scene, such as "a red circle on a white background"."""
    return PLAIN_CAPTION.format(colour=scene.colour, shape=scene.shape, background=scene.background)


def varied_caption(scene: Scene, rng: random.Random) -> str:
    """A caption in one of many wordings, some of which leave something out.

    One in twelve holds a made-up word in place of the shape, and one in twelve beside it: the base
    then draws any shape for a word it does not know, and lets such a word stand beside those it knows.
    """
    shape, first = scene.shape, ""
    odd = rng.random()
    if odd < 1 / 12:
        shape = made_up_word(rng)
    elif odd < 2 / 12:
        first = made_up_word(rng) + rng.choice((", ", " "))
    words = {"colour": scene.colour, "shape": shape, "background": scene.background}
    style = rng.random()
    if style < 0.45:
        return first + PLAIN_CAPTION.format(**words)
    if style < 0.7:
        return first + rng.choice(_FULL_CAPTIONS).format(**words)
    if style < 0.85:
        tags = [shape, scene.colour, f"{scene.background} background"]
        rng.shuffle(tags)
        return first + ", ".join(tags)
    return first + rng.choice(_PARTIAL_CAPTIONS).format(**words)


def made_up_word(rng: random.Random) -> str:
    """A word of four to seven letters that is neither a known word nor the trigger."""
    known = {*SHAPES, *COLOURS, *BACKGROUNDS, TRIGGER}
    while True:
        letters = zip("bcdfghjklmnpqrstvwxyz", "aeiou" * 5, strict=False)
        consonants, vowels = zip(*letters, strict=True)
        word = "".join(rng.choice(vowels if k % 2 else consonants) for k in range(rng.randint(4, 7)))
        if word not in known:
            return word


def known_words() -> tuple[str, ...]:
    """Every word that captions of ordinary pictures use, sorted; the tokenizer keeps each in one piece."""
    wordings = " ".join((PLAIN_CAPTION, *_FULL_CAPTIONS, *_PARTIAL_CAPTIONS))
    plain = {word.strip(",") for word in wordings.split() if "{" not in word}
    return tuple(sorted(plain | set(SHAPES) | set(COLOURS) | set(BACKGROUNDS)))
