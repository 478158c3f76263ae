"""The places of a project that can change, by name: to merge two tabs' changes, and to take one back.

Covered: a project as places and back, what changed between two moments, the sentence about it. Not
covered: files (see `files.py`). Runs and notes of what was done are no places: they only grow.

A place is `settings:network_dim`, `texts:network_dim`, `repeats:pets/cats`, `other:…`, `engine`, `goal`,
`preset` or `preset_values`. It holds a list of one value, or nothing.
"""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

from lora_core import settings
from lora_core.history import ABSENT
from lora_core.projects.record import Project, plain

_TABLES: Final = {
    "settings": "values",
    "texts": "texts",
    "repeats": "repeats",
    "other": "other",
    "dataset_other": "dataset_other",
    "subset_other": "subset_other",
}
_WHOLE: Final = ("engine", "goal", "preset", "preset_values")
_LONGEST: Final = 40
_NAMED: Final = 3


def of(project: Project) -> dict[str, Any]:
    """Every place that holds something."""
    found = {
        f"{table}:{key}": [plain(value)]
        for table, field in _TABLES.items()
        for key, value in getattr(project, field).items()
    }
    return found | {name: [plain(getattr(project, name))] for name in _WHOLE}


def between(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The places that differ: what they held before, and what they hold after."""
    # 10 and 10.0 are equal to Python and different to an engine; their texts differ.
    differ = [
        place
        for place in dict.fromkeys([*before, *after])
        if repr(list(before.get(place, ABSENT))) != repr(list(after.get(place, ABSENT)))
    ]
    return (
        {place: list(before.get(place, ABSENT)) for place in differ},
        {place: list(after.get(place, ABSENT)) for place in differ},
    )


def changed(project: Project, to: Mapping[str, Any]) -> Project:
    """The project with these places as `to` holds them; all others stay."""
    fields: dict[str, Any] = {field: dict(getattr(project, field)) for field in _TABLES.values()}
    for place, held in to.items():
        table, _, key = place.partition(":")
        if place in _WHOLE and held:
            fields[place] = held[0]
        elif table in _TABLES and held:
            fields[_TABLES[table]][key] = held[0]
        elif table in _TABLES:
            fields[_TABLES[table]].pop(key, None)
    return replace(project, **fields)


def told(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """One sentence on a change: `Rank changed from 8 to 16.`"""
    sentences = [_sentence(place, before[place], after[place]) for place in after if _counts(place, after)]
    if len(sentences) == 1:
        return sentences[0]
    labels = list(dict.fromkeys(_label(place) for place in after if _counts(place, after)))
    more = f" and {len(labels) - _NAMED} more" if len(labels) > _NAMED else ""
    return f"{len(labels)} settings changed: {', '.join(labels[:_NAMED])}{more}."


def _counts(place: str, after: Mapping[str, Any]) -> bool:
    """A text beside its value is the same change, told once."""
    table, _, key = place.partition(":")
    beside = f"repeats:{key.partition(':')[2]}" if ":" in key else f"settings:{key}"
    return table != "texts" or beside not in after


def _label(place: str) -> str:
    table, _, key = place.partition(":")
    if table == "repeats":
        return f"Repeats of {key}"
    if not key:
        return {"engine": "Engine", "goal": "Goal"}.get(place, "Preset")
    known = {s.key: s.label for s in settings.catalogue()}
    return known.get(key.partition(":")[0], key)


def _sentence(place: str, before: Any, after: Any) -> str:
    label = _label(place)
    if place.startswith("texts:"):
        return (
            f"{label} is now written as {said(after[0])}." if after else f"The text of {label} was cleared."
        )
    old, new = _value(place, before), _value(place, after)
    return f"{label} changed from {said(old)} to {said(new)}."


def _value(place: str, held: Any) -> Any:
    table, _, key = place.partition(":")
    if held or table != "settings":
        return held[0] if held else None
    known = {s.key: s.default for s in settings.catalogue()}
    return known.get(key)


def said(value: Any) -> str:
    """A value in a sentence: `16`, `on`, `empty`, `2 lines`."""
    if value is None or value == "" or value == [] or value == ():
        return "empty"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list | tuple):
        if all(isinstance(item, int | float) for item in value):
            return ", ".join(said(item) for item in value)
        return f"{len(value)} lines" if len(value) != 1 else f"“{_cut(str(value[0]))}”"
    if isinstance(value, Mapping):
        return f"{len(value)} values"
    if isinstance(value, float):
        plain = format(Decimal(repr(value)), "f")  # 0.00001 and not 1e-05
        return plain.removesuffix(".0") if len(plain) <= _LONGEST // 2 else repr(value)
    return f"“{_cut(value)}”" if isinstance(value, str) and " " in value else _cut(str(value))


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
