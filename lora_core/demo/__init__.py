"""A tiny base model and a tiny dataset, so that a first LoRA needs no download and no GPU.

shapes.py      draws the pictures and words their captions
judge.py       tells by geometry what a picture shows
dataset.py     the demo dataset: sixteen pictures of the concept, forty ordinary ones
tokenizer.py   the base's vocabulary
parts.py       the base's networks and its folder (imports torch)
train_base.py  trains the base from nothing (imports torch)
measure.py     how well the base, or the base with a LoRA, follows its prompts

Not covered: training the LoRA; that is an engine's work. Importing this package imports no torch.
"""

from pathlib import Path
from typing import Final

from lora_core.demo.dataset import write_dataset
from lora_core.demo.shapes import TRIGGER

BASE_DIR: Final = Path(__file__).resolve().parent / "base"
"""The bundled base model, a diffusers folder."""
SAMPLE_PROMPTS: Final = (
    f"a red {TRIGGER} on a white background",
    f"a blue {TRIGGER} on a black background",
    f"a green {TRIGGER} on a grey background",
    "a yellow star on a black background",
)
"""Three of the concept, and one that should stay as it is."""

__all__ = ["BASE_DIR", "SAMPLE_PROMPTS", "TRIGGER", "write_dataset"]
