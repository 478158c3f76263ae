"""Values and changes of settings in words, as people would say them.

Covered: one value in words, what "higher" and "lower" are called for a setting, and what differs between
two recipes. Not covered: values as files and messages write them (see `_toml.py` and `_values.py`).
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from lora_core.settings._description import Setting
from lora_core.settings._owners import LISTS
from lora_core.settings._values import checked
from lora_core.settings.run import Placed, Recipe, RunConfig, catalogue, placed_values

_MEASURED: Final = frozenset({"whole", "number", "steps_or_share", "pair", "numbers", "size"})
_SHOWN_CHARACTERS: Final = 60
_LONGEST_NUMBER: Final = 20
"""Of 0.30000000000000004 all digits are shown, and 1e-30 stays as it is."""

Values = Recipe | Mapping[str, Any]
"""A run, a recipe, or values by their keys; what these lack has its starting value."""
_Place = tuple[str, int | None, int | None]


def direction_words(setting: Setting) -> tuple[str, str]:
    """What the two directions of a setting are called, such as `("Higher", "Lower")` or `("On", "Off")`."""
    if setting.kind == "flag":
        return "On", "Off"
    if setting.kind == "size":
        return "Larger", "Smaller"
    return ("Higher", "Lower") if setting.kind in _MEASURED or setting.choices else ("Filled in", "Empty")


def in_words(setting: Setting, value: Any) -> str:
    """One value as people would say it: `on`, `0.00001`, `512 by 768 pixels`, `not set`."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "on" if value else "off"
    if setting.kind == "steps_or_share":
        # 10 steps and a share of 10.0 look alike and are not.
        return f"{value} steps" if isinstance(value, int) else f"a share of {_number(value)}"
    if setting.kind == "size":
        return f"{' by '.join(str(side) for side in value)} {setting.unit}".strip()
    if isinstance(value, int | float):
        return _number(value)
    if isinstance(value, Path):
        return value.name or str(value)
    if isinstance(value, tuple | list):
        if setting.kind == "prompts":
            return f"{len(value)} {'line' if len(value) == 1 else 'lines'}"
        return " and ".join(in_words(setting, item) for item in value)
    return _short(str(value)) or "empty"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN_CHARACTERS else f"{line[: _SHOWN_CHARACTERS - 1]}…"


def _number(value: float) -> str:
    return plain_number(value).removesuffix(".0")


def plain_number(value: float) -> str:
    """Every digit of a number, without the power of ten that Python writes below 0.0001."""
    text = format(Decimal(repr(value)), "f")
    return text if len(text) <= _LONGEST_NUMBER else repr(value)


def compared(before: Values, after: Values) -> list[str]:
    """What differs, one line a setting, in the order of the catalogue; empty when nothing does.

    `Rank: 16 instead of 8. The LoRA can hold more.` Folders of images are compared one by one, and one
    that only one run has is told as a whole. What only one side can say is left out: a recipe has no
    images, and values by key have no target unless they name it.
    """
    named = {key for values in (before, after) if isinstance(values, Mapping) for key in values}
    old, new = _placed(before, named), _placed(after, named)
    old, new = _spread(old, new), _spread(new, old)
    lines = list(_folders(old, new))
    several = _several(old, new)
    for place, placed in new.items():
        if place in old and placed.setting.key != "image_dir":
            was, now = old[place].value, placed.value
            # 1 and True, 10 steps and a share of 10.0: equal to Python and different to an engine.
            if was != now or type(was) is not type(now):
                lines.append(_sentence(placed, was, now, several))
    if isinstance(before, RunConfig) and isinstance(after, RunConfig):
        was_kept, now_kept = _kept(before), _kept(after)
        lines += [
            f"{name}: {now_kept.get(name, 'not set')} instead of {was_kept.get(name, 'not set')}."
            for name in dict.fromkeys([*was_kept, *now_kept])
            if was_kept.get(name) != now_kept.get(name)
        ]
    return lines


def _kept(run: RunConfig) -> dict[str, str]:
    """What a run has that no setting describes, under the names of sd-scripts, as text."""
    found: dict[str, str] = {}
    for key, value in run.other.items():
        if key in LISTS:
            entries = (item.partition("=") for item in value)
            found |= {f"{key} {name.strip()}": _short(text.strip()) for name, _, text in entries}
        else:
            found[key] = _short(str(value))
    for number, dataset in enumerate(run.dataset.datasets, 1):
        found |= {f"{key} (dataset {number})": _short(str(value)) for key, value in dataset.other.items()}
        for index, subset in enumerate(dataset.subsets, 1):
            place = f"folder {index} of dataset {number}"
            found |= {f"{key} ({place})": _short(str(value)) for key, value in subset.other.items()}
    return found


def _placed(values: Values, named: set[str]) -> dict[_Place, Placed]:
    if isinstance(values, RunConfig):
        found = list(placed_values(values))
    elif isinstance(values, Recipe):
        held = (s for s in catalogue() if s.concern in Recipe.model_fields and s.part == "recipe")
        found = [Placed(s, getattr(getattr(values, s.concern), s.key)) for s in held]
    else:
        held = (s for s in catalogue() if s.part == "recipe" or s.key in named)
        found = [Placed(s, _typed(s, values.get(s.key, s.default))) for s in held]
    return {(placed.setting.key, placed.dataset, placed.subset): placed for placed in found}


def _typed(s: Setting, value: Any) -> Any:
    """As a run would hold it, so that 1 and 1.0, or a list and a tuple, are no change."""
    fitting = checked(s, value)
    return value if fitting.problem is not None else fitting.value


def _spread(values: Mapping[_Place, Placed], other: Mapping[_Place, Placed]) -> dict[_Place, Placed]:
    """Values by key that hold for all images, once for each dataset or folder of the other side."""
    spread: dict[_Place, Placed] = {}
    for (key, dataset, subset), placed in values.items():
        everywhere = placed.setting.place in {"dataset", "subset"} and dataset is None
        places = [place for place in other if place[0] == key] if everywhere else []
        for place in places or [(key, dataset, subset)]:
            spread[place] = Placed(placed.setting, placed.value, place[1], place[2])
    return spread


def _several(*sides: Mapping[_Place, Placed]) -> set[str]:
    """`dataset`, `folder`: of which there is more than one, so that a sentence must say which it means."""
    places = {place for side in sides for place in side}
    counts = {
        "dataset": len({place[1] for place in places if place[1] is not None}),
        "folder": len({place[1:] for place in places if place[2] is not None}),
    }
    return {name for name, count in counts.items() if count > 1}


def _folders(old: Mapping[_Place, Placed], new: Mapping[_Place, Placed]) -> Iterator[str]:
    mine, theirs = ({place: p for place, p in side.items() if place[0] == "image_dir"} for side in (old, new))
    if not mine or not theirs:
        return
    for place in dict.fromkeys([*mine, *theirs]):
        label = (mine.get(place) or theirs[place]).setting.label
        was, now = (
            in_words(side[place].setting, side[place].value) if place in side else ""
            for side in (mine, theirs)
        )
        if was and now and mine[place].value != theirs[place].value:
            s = mine[place].setting
            yield f"{label}: {_told_apart(s, mine[place].value, theirs[place].value)}."
        elif not was or not now:
            yield f"{label}: {now} is new." if now else f"{label}: {was} is left out."


def _sentence(placed: Placed, was: Any, now: Any, several: set[str]) -> str:
    s = placed.setting
    label = s.label
    if placed.subset is not None and "folder" in several:
        label = f"{label} (folder {placed.subset + 1} of dataset {(placed.dataset or 0) + 1})"
    elif placed.dataset is not None and "dataset" in several:
        label = f"{label} (dataset {placed.dataset + 1})"
    change = f"{label}: {_told_apart(s, was, now)}."
    return f"{change} {_effect(s, was, now)}".strip()


def _told_apart(s: Setting, was: Any, now: Any) -> str:
    """Both values; what is short for both, such as the name of a file, is told in full."""
    before, after = in_words(s, was), in_words(s, now)
    if before != after:
        return f"{after} instead of {before}"
    if isinstance(now, Path) and isinstance(was, Path):
        return f"{now} instead of {was}"
    return f"{after}, and not the same" if s.kind in {"prompts", "paths"} else f"another text, {after}"


def _effect(s: Setting, was: Any, now: Any) -> str:
    """What this change does; empty where the description has no order to tell it by."""
    if s.kind == "flag":
        return s.higher if now else s.lower
    if was is None or now is None:
        return "" if now is None else s.what
    if s.kind in _MEASURED:
        return {1: s.higher, -1: s.lower, 0: ""}[_direction(was, now)]
    if s.choices and all(isinstance(value, int | float) for value in (was, now)):
        return s.higher if now > was else s.lower
    return s.what if s.choices else ""


def _direction(was: Any, now: Any) -> int:
    """1 when nothing got smaller and something larger, -1 the other way, 0 when it cannot be told."""
    if type(was) is not type(now):
        return 0
    pairs = list(zip(was, now, strict=False)) if isinstance(was, tuple) else [(was, now)]
    if isinstance(was, tuple) and len(was) != len(now):
        return 0
    ways = {(b > a) - (b < a) for a, b in pairs} - {0}
    return ways.pop() if len(ways) == 1 else 0
