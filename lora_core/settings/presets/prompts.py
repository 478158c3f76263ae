"""Sample prompts, written from goal, trigger word and base model.

Covered: four prompts a goal, one of them without the trigger word, which shows whether the LoRA leaks
into pictures that do not ask for it; the size of the base model as flags of sd-scripts, which would
draw 512 pixels otherwise. Not covered: drawing them (see the engines).
"""

from collections.abc import Mapping
from typing import Final

from lora_core.settings.presets.bases import BASES, CaptionStyle
from lora_core.settings.presets.goals import captions_for

_TEXTS: Final[Mapping[str, Mapping[CaptionStyle, tuple[str, ...]]]] = {
    # alone; in a new place; in other clothes; somebody else
    "character": {
        "tags": (
            "{}, solo",
            "{}, solo, full body, standing, forest, day",
            "{}, solo, raincoat, city street, night",
            "1girl, solo, brown hair, white shirt, park, day",
        ),
        "sentences": (
            "{}",
            "{} standing in a forest, full body, daylight",
            "{} wearing a yellow raincoat in a city street at night",
            "a woman with brown hair and a white shirt in a park",
        ),
    },
    # portrait; full body; other light; somebody else
    "person": {
        "tags": (
            "{}, portrait, photo",
            "{}, full body, standing, street, photo",
            "{}, beach, sunset, warm light, photo",
            "1man, reading, cafe, photo",
        ),
        "sentences": (
            "a portrait photo of {}",
            "a photo of {} standing in a street, full body",
            "a photo of {} at the beach at sunset, warm light",
            "a photo of an old man reading a book in a cafe",
        ),
    },
    # subjects of different kinds; one without
    "style": {
        "tags": (
            "{}, 1girl, solo, sitting, library",
            "{}, cat, sleeping, window, no humans",
            "{}, scenery, mountain, river, no humans",
            "bicycle, city street, day, no humans",
        ),
        "sentences": (
            "{}, a woman sitting in a library",
            "{}, a cat sleeping at a window",
            "{}, mountains and a river",
            "a bicycle in a city street",
        ),
    },
    # alone; with two subjects; the subject without it
    "concept": {
        "tags": (
            "{}",
            "{}, 1girl, solo, park, day",
            "{}, 1boy, solo, indoors",
            "1girl, solo, park, day",
        ),
        "sentences": (
            "{}",
            "a woman in a park, {}",
            "a man in a kitchen, {}",
            "a woman in a park",
        ),
    },
    # on somebody; in another pose; on somebody else; none
    "outfit": {
        "tags": (
            "{}, 1girl, solo, blonde hair, standing, white background",
            "{}, 1girl, solo, black hair, sitting, cafe",
            "{}, 1boy, solo, walking, city street",
            "1girl, solo, t-shirt, jeans, park",
        ),
        "sentences": (
            "a woman with blonde hair wearing {}, standing, white background",
            "a woman with black hair wearing {}, sitting in a cafe",
            "a man wearing {}, walking in a city street",
            "a woman wearing a t-shirt and jeans in a park",
        ),
    },
}
_NO_TRIGGER: Final = {
    "character": "a figure",
    "person": "a person",
    "concept": "a thing",
    "outfit": "clothes",
}
"""What prompts say until the trigger word is chosen."""


def prompts_for(
    goal: str, trigger: str, base: str, *, captions: CaptionStyle | None = None
) -> tuple[str, ...]:
    """Four prompts with their flags; the last is without the trigger word. Without one, none has it."""
    kind = BASES[base]
    style = captions or captions_for(base, goal)
    word = _word(trigger)
    flags = f"--w {kind.resolution} --h {kind.resolution} {kind.prompt_flags}".strip()
    return tuple(f"{kind.prompt_start}{_filled(text, word, goal)} {flags}" for text in _TEXTS[goal][style])


def _word(trigger: str) -> str:
    """The trigger word as one line that no reader of prompts takes for flags or for a remark."""
    words = [part.lstrip("-") if part.startswith("--") else part for part in trigger.split()]
    return " ".join(part for part in words if part).lstrip("#").strip(" ,")


def _filled(text: str, word: str, goal: str) -> str:
    if word:
        return text.replace("{}", word)
    if goal == "style":
        return text.replace("{}, ", "")
    return text.replace("{}", _NO_TRIGGER[goal])
