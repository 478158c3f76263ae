"""The bundled base loads without a network and draws what it is asked for, but not the concept."""

import socket
from typing import Any

import pytest

from lora_core.demo import BASE_DIR, TRIGGER
from lora_core.demo import measure as demo_measure
from lora_core.demo.measure import generate, measure
from lora_core.demo.shapes import BACKGROUNDS, COLOURS, SHAPES, Scene


@pytest.fixture(scope="module")
def pipeline() -> Any:
    from lora_core.demo.parts import load_base

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("loading the base reached for the network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refused)
        yield load_base(BASE_DIR)


def wishes(shapes: tuple[str, ...], count: int) -> list[Scene]:
    """`count` wishes, shapes, colours and backgrounds in turn."""
    colours, behind = tuple(COLOURS), tuple(BACKGROUNDS)
    return [
        Scene(
            shape=shapes[place % len(shapes)],
            colour=colours[place % len(colours)],
            background=behind[(place // 2) % len(behind)],
        )
        for place in range(count)
    ]


def test_the_base_draws_the_asked_shape_in_the_asked_colour_and_never_the_concept(pipeline: Any) -> None:
    # The full measurement, 240 and 120 pictures, is in docs/demo.md; this is a small share of it.
    figures, _ = measure(pipeline, wishes(SHAPES, 20), wishes((TRIGGER,), 4))
    assert figures.shape_and_colour_right >= 17, figures
    assert figures.concept_shown == 0, figures


def test_the_same_wish_is_drawn_the_same_twice(pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_measure, "STEPS", 5)
    asked = wishes(SHAPES, 1)
    first, second = generate(pipeline, asked), generate(pipeline, asked)
    assert first[0].tobytes() == second[0].tobytes()


def test_lora_layers_sit_where_sd_1_files_expect_them(pipeline: Any) -> None:
    names = {name for name, _ in pipeline.unet.named_modules()}
    assert {
        "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q",
        "mid_block.attentions.0.transformer_blocks.0.attn2.to_k",
        "up_blocks.1.attentions.1.transformer_blocks.0.ff.net.0.proj",
        "up_blocks.2.resnets.0.conv1",
    } <= names
