"""A tiny base model and a tiny dataset, so that a first LoRA needs no download and no GPU.

shapes.py      draws the pictures and words their captions
judge.py       tells by geometry what a picture shows
dataset.py     the demo dataset: sixteen pictures of the concept, 120 ordinary ones
recipe.py      the run that teaches the concept
tokenizer.py   the base's vocabulary
parts.py       the base's networks and its folder (imports torch)
train_base.py  trains the base from nothing (imports torch)
measure.py     how well the base, or the base with a LoRA, follows its prompts

Not covered: training the LoRA; that is an engine's work. Importing this package imports no torch.
"""

from lora_core.demo.dataset import write_dataset
from lora_core.demo.recipe import BASE_DIR, SAMPLE_PROMPTS, create_demo, demo_run
from lora_core.demo.shapes import TRIGGER

__all__ = ["BASE_DIR", "SAMPLE_PROMPTS", "TRIGGER", "create_demo", "demo_run", "write_dataset"]
