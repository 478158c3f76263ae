"""Drawings stay inside the picture, repeat by seed, and their captions name what they show."""

import numpy as np
import pytest

from lora_core.demo.shapes import (
    BACKGROUNDS,
    COLOURS,
    SHAPES,
    SIZE,
    TRIGGER,
    Scene,
    caption,
    draw,
    known_words,
    made_up_word,
    random_scene,
    seeded,
    varied_caption,
)


@pytest.mark.parametrize("shape", [*SHAPES, TRIGGER])
@pytest.mark.parametrize("anywhere", [True, False])
def test_a_shape_never_touches_the_frame(shape: str, anywhere: bool) -> None:
    rng = seeded(0)
    for _ in range(50):
        scene = random_scene(rng, shape=shape, background="black", anywhere=anywhere)
        pixels = np.asarray(draw(scene))
        inner = pixels[3:-3, 3:-3].copy()
        assert pixels.shape == (SIZE, SIZE, 3)
        assert pixels.astype(int).sum() - inner.astype(int).sum() == (SIZE**2 - (SIZE - 6) ** 2) * 36, scene


def test_the_same_seed_draws_the_same_picture() -> None:
    first, second = (draw(random_scene(seeded(4))).tobytes() for _ in range(2))
    assert first == second


def test_ordinary_scenes_never_show_the_concept() -> None:
    rng = seeded(1)
    assert {random_scene(rng).shape for _ in range(500)} == set(SHAPES)


def test_only_the_concept_is_narrower_in_the_middle_than_above_and_below() -> None:
    def waisted(shape: str) -> bool:
        picture = np.asarray(draw(Scene(shape=shape, colour="blue", background="white", radius=20)))
        widths = (picture[:, :, 0] < 140).sum(axis=1)
        above, middle, below = (widths[SIZE // 2 + offset] for offset in (-14, 0, 14))
        return bool(2 * middle < min(above, below))

    assert [shape for shape in (*SHAPES, TRIGGER) if waisted(shape)] == [TRIGGER]


def test_the_plain_caption_names_shape_colour_and_background() -> None:
    scene = Scene(shape="circle", colour="red", background="white")
    assert caption(scene) == "a red circle on a white background"


def test_varied_captions_never_name_what_is_not_shown() -> None:
    rng = seeded(2)
    for _ in range(500):
        scene = random_scene(rng)
        words = set(varied_caption(scene, rng).replace(",", " ").split())
        named = words & {*SHAPES, *COLOURS, *BACKGROUNDS}
        assert named <= {scene.shape, scene.colour, scene.background}


def test_the_base_never_reads_the_trigger_word() -> None:
    rng = seeded(3)
    texts = [varied_caption(random_scene(rng), rng) for _ in range(3000)]
    assert not [text for text in texts if TRIGGER in text]


def test_made_up_words_are_new_words_of_letters() -> None:
    rng = seeded(5)
    words = {made_up_word(rng) for _ in range(500)}
    assert not words & {*known_words(), TRIGGER}
    assert all(word.isalpha() and 4 <= len(word) <= 7 for word in words)
