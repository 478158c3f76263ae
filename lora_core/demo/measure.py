"""Measure the demo: does the base follow its prompts, and does a LoRA teach the concept and no harm?

`python -m lora_core.demo.measure [--lora FILE] [--base DIR] [--sheet PNG]` prints one JSON object.

Covered: pictures at fixed seeds, the same ones for every LoRA, judged by judge.py; counts and shares.
Not covered: training. This module imports torch when it measures; pages must not call it.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from PIL import Image

from lora_core.demo import BASE_DIR
from lora_core.demo.judge import judge
from lora_core.demo.shapes import BACKGROUNDS, COLOURS, SHAPES, SIZE, TRIGGER, Scene, caption

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline

STEPS: Final = 20
GUIDANCE: Final = 2.5
"""Low, because so small a base draws wavier outlines the harder it is pushed towards the words."""
BATCH: Final = 24
ORDINARY_SEEDS: Final = 2
"""Pictures of each ordinary shape, colour and background: 2 x 120 in all."""
TRIGGER_SEEDS: Final = 5
"""Pictures of the trigger in each colour and background: 5 x 24 in all."""
FIRST_SEED: Final = 20_000
"""Judge and guidance were chosen on pictures of lower seeds; only the last recipes were compared on these."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """Counts of right pictures of one model."""

    ordinary: int
    """Pictures asked for with an ordinary shape."""
    shape_and_colour_right: int
    """Those that show the asked shape in the asked colour."""
    all_right: int
    """Those that show the asked background as well."""
    trigger: int
    """Pictures asked for with the trigger word."""
    concept_shown: int
    """Those that show the concept, in any colour."""
    concept_in_colour: int
    """Those that show it in the asked colour."""

    def shares(self) -> dict[str, float]:
        """The same in percent, one decimal."""
        return {
            "ordinary_right_percent": round(100 * self.shape_and_colour_right / max(1, self.ordinary), 1),
            "concept_percent": round(100 * self.concept_shown / max(1, self.trigger), 1),
        }


def ordinary_wishes(seeds: int = ORDINARY_SEEDS) -> list[Scene]:
    """What is asked for, each shape in each colour on each background, `seeds` times."""
    return _wishes(SHAPES, seeds)


def trigger_wishes(seeds: int = TRIGGER_SEEDS) -> list[Scene]:
    """The concept in each colour on each background, `seeds` times."""
    return _wishes((TRIGGER,), seeds)


def _wishes(shapes: Sequence[str], seeds: int) -> list[Scene]:
    return [
        Scene(shape=shape, colour=colour, background=background)
        for _ in range(seeds)
        for shape in shapes
        for colour in COLOURS
        for background in BACKGROUNDS
    ]


def measure(
    pipeline: "StableDiffusionPipeline", ordinary: Sequence[Scene], trigger: Sequence[Scene]
) -> tuple[Figures, list[Image.Image]]:
    """Draw every wish with the pipeline as it is and judge the pictures; they come back too."""
    wishes = [*ordinary, *trigger]
    pictures = generate(pipeline, wishes)
    verdicts = [judge(picture) for picture in pictures]
    right = [
        (verdict.shape == wish.shape, verdict.colour == wish.colour, verdict.background == wish.background)
        for wish, verdict in zip(wishes, verdicts, strict=True)
    ]
    plain, taught = right[: len(ordinary)], right[len(ordinary) :]
    figures = Figures(
        ordinary=len(plain),
        shape_and_colour_right=sum(shape and colour for shape, colour, _ in plain),
        all_right=sum(all(each) for each in plain),
        trigger=len(taught),
        concept_shown=sum(shape for shape, _, _ in taught),
        concept_in_colour=sum(shape and colour for shape, colour, _ in taught),
    )
    return figures, pictures


def generate(pipeline: "StableDiffusionPipeline", wishes: Sequence[Scene]) -> list[Image.Image]:
    """One picture for each wish; its noise depends on its place in the list alone."""
    import torch  # here, so that importing this module stays light

    pictures: list[Image.Image] = []
    for start in range(0, len(wishes), BATCH):
        part = wishes[start : start + BATCH]
        noises = [torch.Generator().manual_seed(FIRST_SEED + start + place) for place in range(len(part))]
        pictures += pipeline(
            prompt=[caption(wish) for wish in part],
            generator=noises,
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            width=SIZE,
            height=SIZE,
        ).images
    return pictures


def sheet(pictures: Sequence[Image.Image], columns: int = 24) -> Image.Image:
    """All pictures on one, in rows."""
    rows = -(-len(pictures) // columns)
    step = SIZE + 2
    whole = Image.new("RGB", (columns * step, rows * step), (255, 0, 255))
    for place, picture in enumerate(pictures):
        whole.paste(picture, (place % columns * step, place // columns * step))
    return whole


def main(arguments: list[str] | None = None) -> None:
    """Read the command line, measure the base, or the base with a LoRA, and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m lora_core.demo.measure", description=__doc__)
    parser.add_argument("--base", type=Path, default=BASE_DIR, help="diffusers folder of the base")
    parser.add_argument("--lora", type=Path, help="a LoRA file; without it only the base is measured")
    parser.add_argument("--sheet", type=Path, help="save all pictures of the last measurement here")
    given = parser.parse_args(arguments)
    from lora_core.demo.parts import load_base

    pipeline = load_base(given.base)
    record: dict[str, Any] = {"steps": STEPS, "guidance": GUIDANCE}
    figures, pictures = measure(pipeline, ordinary_wishes(), trigger_wishes())
    record["base"] = asdict(figures) | figures.shares()
    if given.lora:
        pipeline.load_lora_weights(given.lora.parent, weight_name=given.lora.name)
        figures, pictures = measure(pipeline, ordinary_wishes(), trigger_wishes())
        record["lora"] = asdict(figures) | figures.shares()
    if given.sheet:
        sheet(pictures).save(given.sheet)
    sys.stdout.write(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
