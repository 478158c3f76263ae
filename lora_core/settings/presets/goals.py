"""What a LoRA can be made for: the goals, in words, and how long each is trained.

Covered: the five goals that a beginner chooses from, their captions, images and advice, repeats and
epochs from a number of images. Not covered: their numbers (see `presets/goal/`) and sample prompts
(see `prompts.py`).

Length is planned in exposures: how often the run looks at a picture of yours, which is images times
repeats times epochs. Steps depend on the batch and on buckets, exposures do not.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from lora_core.settings.presets.bases import BASES, CaptionStyle

EPOCHS: Final = 10
"""Each epoch is saved, so there are ten files to choose from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Goal:
    """One thing that a LoRA can teach."""

    id: str
    title: str
    sentence: str
    trigger: Literal["needed", "optional"]
    trigger_note: str
    captions: Literal["tags", "sentences", "either"]
    """What the goal asks for, where the base model takes both."""
    caption_policy: str
    """What captions should say, in one or two sentences."""
    advice: str
    exposures: int
    """How often the run should look at a picture in all."""
    images: tuple[int, int | None]
    """The usual number of images, from and to."""
    photoreal: bool = False

    @property
    def images_text(self) -> str:
        """The usual number of images in words."""
        low, high = self.images
        return f"{low} images or more" if high is None else f"{low} to {high} images"


_ALL: Final = (
    Goal(
        id="character",
        title="Character",
        sentence="A drawn figure that should look the same in every picture.",
        trigger="needed",
        trigger_note="The trigger word comes first in each caption. It calls the character later.",
        captions="tags",
        caption_policy="Tag what you see. A trait that never changes, such as the hair color, may be left "
        "out. Then the trigger word alone brings it.",
        advice="What you leave out of all captions becomes a part of the trigger word.",
        exposures=2000,
        images=(20, 40),
    ),
    Goal(
        id="person",
        title="Person",
        sentence="A real person, for pictures that look like photos.",
        trigger="needed",
        trigger_note="The trigger word stands for the person in each caption.",
        captions="sentences",
        caption_policy="Write one plain sentence about each photo: what the person does and wears, where, in "
        "which light.",
        advice="Use photos with different light, angles and clothes.",
        exposures=2500,
        images=(15, 30),
        photoreal=True,
    ),
    Goal(
        id="style",
        title="Style",
        sentence="A way of drawing or painting that works for any subject.",
        trigger="optional",
        trigger_note="A style works without a trigger word. With one, a prompt can call it by name.",
        captions="either",
        caption_policy="Say what each picture shows. Do not name the style or how it is drawn.",
        advice="A style needs more images than a character. On SDXL models the text part is not trained, so "
        "that words keep their meaning.",
        exposures=5000,
        images=(60, 150),
    ),
    Goal(
        id="concept",
        title="Concept",
        sentence="An object, a pose, an action or a look on a face.",
        trigger="needed",
        trigger_note="The trigger word stands for the concept in each caption.",
        captions="either",
        caption_policy="Describe all that is in the picture apart from the concept itself.",
        advice="Show the concept in many scenes and with different people or things.",
        exposures=2500,
        images=(20, None),
    ),
    Goal(
        id="outfit",
        title="Outfit",
        sentence="Clothes that any figure can wear.",
        trigger="needed",
        trigger_note="The trigger word is the name of the outfit. It stands once in each caption.",
        captions="either",
        caption_policy="Describe the person and the scene. Name the outfit once, by its trigger word.",
        advice="Use 10 to 20 images for each outfit, on different people if you can.",
        exposures=3000,
        images=(10, 20),
    ),
)
GOALS: Final[Mapping[str, Goal]] = MappingProxyType({goal.id: goal for goal in _ALL})
"""Every goal, by id, in the order in which a page shows them."""

PHOTOREAL_BASES: Final = ("sd15", "sdxl", "flux1-dev")
"""Kinds of base models that can draw a person as a photo; the others are made for drawn pictures."""


def offered(base: str) -> list[str]:
    """Ids of the goals that there is a recipe for on this kind of base model; none for an unknown kind."""
    if base not in BASES:
        return []
    return [goal.id for goal in GOALS.values() if base in PHOTOREAL_BASES or not goal.photoreal]


def captions_for(base: str, goal: str) -> CaptionStyle:
    """The captions that suit both; the base model decides, then the goal, then tags."""
    for wanted in (BASES[base].captions, GOALS[goal].captions):
        if wanted != "either":
            return wanted
    return "tags"


@dataclass(frozen=True, slots=True)
class Length:
    """How long a run is."""

    repeats: int
    epochs: int
    exposures: int
    """What this comes to: images times repeats times epochs."""


def length_for(goal: str, images: int, *, share: float = 1.0) -> Length:
    """Repeats and epochs for this many images; `share` of the usual exposures, for less or more time.

    Repeats fill ten epochs. With so many images that ten epochs without repeats are far too long, there
    are fewer epochs.
    """
    target = GOALS[goal].exposures * share
    count = max(1, images)
    repeats = max(1, _nearest(target / (count * EPOCHS)))
    epochs = EPOCHS
    if repeats == 1 and count * EPOCHS > 2 * target:
        epochs = max(1, math.ceil(target / count))
    return Length(repeats, epochs, count * repeats * epochs)


def repeats_for(goal: str, images: int) -> int:
    """How often each image is used in one epoch, so that ten epochs reach the goal's exposures."""
    return length_for(goal, images).repeats


def _nearest(number: float) -> int:
    return math.floor(number + 0.5)  # Python's own round takes 2.5 to 2
