"""The judge reads drawings right, also spoiled ones, and says so when it cannot."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from lora_core.demo.judge import Verdict, judge
from lora_core.demo.shapes import (
    BACKGROUNDS,
    COLOURS,
    SHAPES,
    SIZE,
    TRIGGER,
    Scene,
    draw,
    random_scene,
    seeded,
)


def scenes() -> list[Scene]:
    """Every shape, colour and background, once anywhere and once near the middle."""
    rng = seeded(3)
    return [
        random_scene(rng, shape=shape, colour=colour, background=background, anywhere=anywhere)
        for shape in (*SHAPES, TRIGGER)
        for colour in COLOURS
        for background in BACKGROUNDS
        for anywhere in (True, False)
    ]


def spoiled(picture: Image.Image, noise: np.random.Generator) -> Image.Image:
    """Blurred and noisy, more than a VAE leaves it."""
    soft = np.asarray(picture.filter(ImageFilter.GaussianBlur(0.8)), dtype=np.float32)
    return Image.fromarray(np.clip(soft + noise.normal(0, 8, soft.shape), 0, 255).astype(np.uint8))


def wrong(drawn: list[Scene], verdicts: list[Verdict]) -> list[tuple[Scene, Verdict]]:
    return [
        (scene, verdict)
        for scene, verdict in zip(drawn, verdicts, strict=True)
        if (verdict.shape, verdict.colour, verdict.background)
        != (scene.shape, scene.colour, scene.background)
    ]


def test_at_least_99_percent_of_fresh_drawings_are_read_right() -> None:
    drawn = scenes()
    mistakes = wrong(drawn, [judge(draw(scene)) for scene in drawn])
    assert len(mistakes) <= len(drawn) / 100, mistakes


def test_at_least_99_percent_are_read_right_when_blurred_and_noisy() -> None:
    drawn, noise = scenes(), np.random.default_rng(0)
    mistakes = wrong(drawn, [judge(spoiled(draw(scene), noise)) for scene in drawn])
    assert len(mistakes) <= len(drawn) / 100, mistakes


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_an_empty_picture_shows_no_shape(background: str) -> None:
    verdict = judge(Image.new("RGB", (SIZE, SIZE), BACKGROUNDS[background]))
    assert verdict == Verdict(shape=None, colour=None, background=background)


def test_noise_shows_no_shape() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    assert judge(Image.fromarray(noise)).shape is None


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_the_concept_lying_on_its_side_is_unclear(background: str) -> None:
    upright = draw(Scene(shape=TRIGGER, colour="red", background=background, radius=20))
    assert judge(upright).shape == TRIGGER
    assert judge(upright.rotate(90, fillcolor=BACKGROUNDS[background])).shape is None


@pytest.mark.parametrize("waist", [0.5, 0.6, 0.82])
def test_a_square_that_is_hardly_drawn_in_is_not_the_concept(waist: float) -> None:
    assert judge(hourglass(waist=0.2)).shape == TRIGGER
    assert judge(hourglass(waist=waist)).shape != TRIGGER


def test_a_circle_with_a_hole_is_unclear() -> None:
    assert judge(ring(hole=5)).shape is None
    assert judge(ring(hole=12)).shape is None


def test_a_square_over_a_triangle_is_unclear() -> None:
    picture = draw(Scene(shape="triangle", colour="red", background="white", radius=20))
    ImageDraw.Draw(picture).rectangle((16, 20, 32, 36), fill=COLOURS["red"])
    assert judge(picture).shape is None


def test_a_colour_far_from_all_named_ones_is_unclear() -> None:
    picture = Image.new("RGB", (SIZE, SIZE), BACKGROUNDS["white"])
    ImageDraw.Draw(picture).rectangle((16, 16, 46, 46), fill=(90, 70, 20))
    assert judge(picture).colour is None


def test_a_picture_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="64 x 64"):
        judge(Image.new("RGB", (32, 64)))


def ring(*, hole: int) -> Image.Image:
    """A red ring of radius 18 in the middle; `hole` is the radius of its hole in pixels."""
    big = Image.new("RGB", (4 * SIZE, 4 * SIZE), BACKGROUNDS["white"])
    pen, middle = ImageDraw.Draw(big), 2 * SIZE
    for radius, colour in ((18 * 4, COLOURS["red"]), (hole * 4, BACKGROUNDS["white"])):
        pen.ellipse((middle - radius, middle - radius, middle + radius, middle + radius), fill=colour)
    return big.resize((SIZE, SIZE), Image.Resampling.BOX)


def hourglass(*, waist: float) -> Image.Image:
    """A red hourglass 40 pixels high; `waist` is half of its least width, as a share of 20 pixels."""
    big = Image.new("RGB", (4 * SIZE, 4 * SIZE), BACKGROUNDS["white"])
    corners = [(-0.78, -0.95), (0.78, -0.95), (waist, 0), (0.78, 0.95), (-0.78, 0.95), (-waist, 0)]
    points = [((SIZE / 2 + 20 * x) * 4, (SIZE / 2 + 20 * y) * 4) for x, y in corners]
    ImageDraw.Draw(big).polygon(points, fill=COLOURS["red"])
    return big.resize((SIZE, SIZE), Image.Resampling.BOX)
