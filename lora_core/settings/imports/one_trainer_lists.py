"""The lists inside a OneTrainer configuration: sample prompts, and concepts (folders of images).

Covered: prompts in the form of sd-scripts, folders with their repeats and words. Not covered: what
OneTrainer does to single pictures.
"""

from collections.abc import Mapping
from typing import Any, Final

from lora_core.settings.imports._gather import Gathering

_FLAGS: Final = (("width", "w"), ("height", "h"), ("seed", "d"), ("diffusion_steps", "s"), ("cfg_scale", "l"))


def take_samples(gathering: Gathering, samples: Any) -> None:
    """Take the prompts of sample pictures, with size, seed, steps and scale."""
    if samples is None:
        return
    if not isinstance(samples, list) or not all(isinstance(each, Mapping) for each in samples):
        gathering.left("samples", samples, "It must be a list of tables.")
        return
    lines = [_line(each) for each in samples if each.get("enabled", True) and each.get("prompt")]
    if lines:
        reason = "Each is written as sd-scripts reads prompts."
        gathering.take("samples", "sample_prompts", lines, was=f"{len(samples)} of them", reason=reason)
    else:
        gathering.ignore("samples", None, "There are no prompts in it.")


def _line(sample: Mapping[str, Any]) -> str:
    words = [" ".join(str(sample["prompt"]).split())]
    if negative := " ".join(str(sample.get("negative_prompt") or "").split()):
        words.append(f"--n {negative}")
    for key, flag in _FLAGS:
        value = sample.get(key)
        if (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and not (key == "seed" and sample.get("random_seed"))
        ):
            words.append(f"--{flag} {value:g}" if isinstance(value, float) else f"--{flag} {value}")
    return " ".join(words)


def take_concepts(gathering: Gathering, concepts: Any) -> None:
    """Take the folders of images: the first one as the target, the words of its captions as the recipe."""
    if concepts is None:
        return
    if not isinstance(concepts, list) or not all(isinstance(each, Mapping) for each in concepts):
        gathering.left("concepts", concepts, "It must be a list of tables.")
        return
    used = [each for each in concepts if each.get("enabled", True) and each.get("path")]
    for number, concept in enumerate(used, 1):
        _concept(gathering, concept, number)
    if not used:
        gathering.ignore("concepts", None, "There are no folders in it.")


def _concept(gathering: Gathering, concept: Mapping[str, Any], number: int) -> None:
    repeats = concept.get("balancing", 1)
    whole = round(repeats) if isinstance(repeats, int | float) and not isinstance(repeats, bool) else 1
    gathering.folders.append({"image_dir": str(concept["path"]), "num_repeats": max(1, whole)})
    name = f"concepts {number}"
    if number > 1:
        gathering.ignore(
            f"{name}.path", concept["path"], "It is for a folder of images, which belongs to the dataset."
        )
        return
    gathering.take(f"{name}.path", "image_dir", concept["path"], reason="sd-scripts calls it image_dir.")
    if concept.get("balancing_strategy", "REPEATS") == "REPEATS":
        reason = "Here repeats are whole numbers." if whole != repeats else "sd-scripts calls it num_repeats."
        gathering.take(f"{name}.balancing", "num_repeats", max(1, whole), was=repeats, reason=reason)
    else:
        gathering.left(
            f"{name}.balancing", repeats, "It is a number of pictures, and here repeats are counted."
        )
    text: Any
    image: Any
    text, image = (
        concept.get(key) if isinstance(concept.get(key), Mapping) else {} for key in ("text", "image")
    )
    rows = (
        ("text.enable_tag_shuffling", (text or {}).get("enable_tag_shuffling"), "shuffle_caption"),
        ("text.keep_tags_count", (text or {}).get("keep_tags_count"), "keep_tokens"),
        ("image.enable_random_flip", (image or {}).get("enable_random_flip"), "flip_aug"),
    )
    for key, value, ours in rows:
        if value is not None:
            gathering.take(f"{name}.{key}", ours, value, reason=f"sd-scripts calls it {ours}.")
    _name_the_rest(gathering, name, concept, {key for key, _, _ in rows})


def _name_the_rest(gathering: Gathering, name: str, concept: Mapping[str, Any], done: set[str]) -> None:
    for key, value in concept.items():
        inner = value if isinstance(value, Mapping) and key in {"text", "image"} else {"": value}
        for part, item in inner.items():
            full = f"{key}.{part}".rstrip(".")
            if full in done or key in {"path", "balancing"}:
                continue
            if full in _OF_THE_PROGRAM or item in (None, "", False, 0, "NONE", [], {}):
                gathering.ignore(f"{name}.{full}", item, "It is off there, or it is about the program.")
            else:
                gathering.left(f"{name}.{full}", item, "This app has no such setting.")


_OF_THE_PROGRAM: Final = frozenset({
    "name", "seed", "enabled", "type", "concept_stats", "balancing_strategy", "text.prompt_source",
    "text.prompt_path", "text.tag_delimiter", "text.tag_dropout_mode", "text.tag_dropout_special_tags_mode",
    "text.caps_randomize_mode", "image.resolution_override", "image_variations", "text_variations",
})  # fmt: skip
