"""What the import of a recipe found: what was taken, changed, not used, and not understood.

Covered: the record that pages and commands show, and how a value is shown in it. Secrets of other
people's files never get into it. Not covered: finding it out (see the modules of the formats).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

NOT_IN_FILE: Final = "not in the file"
"""Stands as the value of what a file does not name, and what acts all the same."""
_SHOWN: Final = 120


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One key of the file, and what became of it."""

    name: str
    """As the file calls it; a key inside a table is `table.key`."""
    value: str
    """Its value as text, cut to a line. A secret is never shown."""
    key: str = ""
    """The setting that it became; empty for what was left."""
    becomes: str = ""
    """The value of that setting as text."""
    reason: str = ""
    """Why it was changed or left, in one sentence; empty for what was taken as it was."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Imported:
    """A recipe from another tool's file, in the settings of this app."""

    name: str
    """Of the file."""
    format: str
    """Id of the format: one of `FORMATS`."""
    family: str | None
    """Of the base model, as far as the file says: sd15, sdxl, or one that this app cannot train yet."""
    values: Mapping[str, Any]
    """Settings of the recipe by key, each as its field holds it."""
    target: Mapping[str, Any]
    """Settings of the target by key: paths, names, repeats. Loading a recipe leaves the target alone."""
    other: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of sd-scripts that are not described here, in the form of `RunConfig.other`."""
    folders: tuple[Mapping[str, Any], ...] = ()
    """Target settings of each folder of images that the file names."""
    taken: tuple[Line, ...] = ()
    translated: tuple[Line, ...] = ()
    ignored: tuple[Line, ...] = ()
    """Keys that do nothing, there or here: each with the reason."""
    not_understood: tuple[Line, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """What the format is called."""
        return FORMATS[self.format]

    def record(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        lines = {
            part: [{k: getattr(line, k) for k in Line.__dataclass_fields__} for line in getattr(self, part)]
            for part in ("taken", "translated", "ignored", "not_understood")
        }
        return {
            "name": self.name,
            "format": self.format,
            "title": self.title,
            "family": self.family,
            "values": plain(dict(self.values)),
            "target": plain(dict(self.target)),
            "other": plain(dict(self.other)),
            "folders": [plain(dict(folder)) for folder in self.folders],
            **lines,
            "notes": list(self.notes),
        }


FORMATS: Final[Mapping[str, str]] = {
    "preset": "a preset of this app",
    "sd-scripts": "settings of sd-scripts",
    "sd-scripts dataset": "a dataset file of sd-scripts",
    "kohya_ss": "kohya_ss GUI",
    "easy-training-scripts": "LoRA_Easy_Training_Scripts",
    "easy-training-backend": "the backend of LoRA_Easy_Training_Scripts",
    "hollowstrawberry": "the Colab notebooks of hollowstrawberry",
    "jelosus2": "the Colab notebook of Jelosus2",
    "onetrainer": "OneTrainer",
    "lora": "the notes inside a LoRA file",
}
"""The formats that are read: id -> what it is called."""


def combined(first: Imported, second: Imported) -> Imported:
    """Two files of one recipe as one, such as `config.toml` and `dataset.toml`; the second one decides."""
    return replace(
        first,
        name=f"{first.name}, {second.name}",
        format=second.format if first.format == "sd-scripts dataset" else first.format,
        family=first.family or second.family,
        values={**first.values, **second.values},
        target={**first.target, **second.target},
        other={**first.other, **second.other},
        folders=first.folders + second.folders,
        taken=first.taken + second.taken,
        translated=first.translated + second.translated,
        ignored=first.ignored + second.ignored,
        not_understood=first.not_understood + second.not_understood,
        notes=tuple(dict.fromkeys(first.notes + second.notes)),
    )


def plain(value: Any) -> Any:
    """`value` in types that JSON has; a path becomes text."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def brief(value: Any) -> str:
    """A value as a report shows it: on one line, cut, and without signs that move a cursor."""
    if value is None or value == "":
        return "empty"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list | tuple):
        text = ", ".join(brief(item) for item in value[:8]) + (", …" if len(value) > 8 else "")
    elif isinstance(value, Mapping):
        text = f"a table of {len(value)}"
    else:
        try:
            text = str(value)
        except ValueError:  # a whole number of thousands of digits has no text
            text = "a very large number"
    text = "".join(c if c.isprintable() else " " for c in text[: _SHOWN + 1])
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
