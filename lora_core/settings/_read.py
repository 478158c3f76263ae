"""From the tables of the two files to values that fit, with every problem noted on the way.

Covered: which key belongs where, types and limits of each, the levels of the dataset file, paths.
Not covered: TOML itself (see `_toml.py`) and putting the records together (see `files.py`).
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Any, Final

from lora_core.errors import Problem
from lora_core.settings import known
from lora_core.settings._description import Setting
from lora_core.settings._owners import LISTS, acts
from lora_core.settings._secret import is_secret
from lora_core.settings._toml import reads_back
from lora_core.settings._values import checked, shown
from lora_core.settings.concern_dataset import DatasetFile, DatasetSettings
from lora_core.settings.concern_folder import SubsetSettings
from lora_core.settings.run import catalogue, setting

_LITERAL_LIMIT: Final = 1000
_MOST_PROBLEMS: Final = 200
_LONGEST_NAME: Final = 100
_MOST_GUESSES: Final = 50
"""Names for which another one is looked up; each costs some milliseconds."""


class Reading:
    """What was found while reading: problems that stop a run, and notes that do not."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.notes: list[str] = []

    def problem(self, key: str, what: str, fix: str, where: str = "") -> None:
        key = key if len(key) <= _LONGEST_NAME else f"{key[:_LONGEST_NAME]}…"
        if len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(Problem(setting=key, what=f"{where}{what}", fix=fix))
        elif len(self.problems) == _MOST_PROBLEMS:
            what, fix = "There are more problems than can be listed.", "Mend these first."
            self.problems.append(Problem(setting="", what=what, fix=fix))

    def value(self, setting: Setting, value: Any, folder: Path, where: str = "") -> Any:
        """The value as its field holds it, paths made absolute; None with a problem noted."""
        result = checked(setting, value)
        if result.problem is not None:
            self.problem(setting.key, result.problem.what, result.problem.fix, where)
        if setting.kind == "paths" and result.value is not None:
            return tuple(_from_folder(path, folder, setting) for path in result.value)
        return _from_folder(result.value, folder, setting) if isinstance(result.value, Path) else result.value


def _from_folder(path: Path, folder: Path, setting: Setting) -> Path:
    # A path of Windows stays as it is on other systems, where it does not look absolute.
    if path.is_absolute() or PureWindowsPath(path).is_absolute():
        return path
    found = folder.resolve() / path
    # `owner/name` may also be a model of a hub; only a folder that is there is one of ours.
    is_name = setting.concern == "model" and len(path.parts) == 2 and not found.exists()
    return path if is_name else found


@dataclass
class ConfigValues:
    """What a config file holds, by concern; dataset settings in it serve where no table names them."""

    by_concern: dict[str, dict[str, Any]] = field(default_factory=dict)
    other: dict[str, Any] = field(default_factory=dict)

    def put(self, setting: Setting, value: Any) -> None:
        self.by_concern.setdefault(setting.concern, {})[setting.key] = value

    def of(self, concern: str) -> dict[str, Any]:
        return self.by_concern.get(concern, {})

    def value_of(self, key: str) -> Any:
        """The value of a setting as the file leaves it: its own, else the starting value."""
        s = setting(key)
        return self.of(s.concern).get(key, s.default)

    @staticmethod
    def whole_run(concern: str) -> bool:
        """False for the two concerns that live in the dataset file."""
        return concern not in {"datasets", "subsets"}


def read_config(
    table: Mapping[str, Any], folder: Path, reading: Reading, changes: Mapping[str, Any]
) -> ConfigValues:
    """The values of a config file; `reading` gets what is wrong with the others. `changes` overrule it."""
    values = ConfigValues()
    arguments = {s.key: s for s in catalogue() if s.place == "argument"}
    fallbacks = {s.argument: s for s in catalogue() if s.argument is not None}
    lists: dict[str, list[str]] = {}
    for key, value in _flat(table, reading).items():
        if key in arguments:
            values.put(arguments[key], reading.value(arguments[key], value, folder))
        elif key in fallbacks:
            values.put(fallbacks[key], reading.value(fallbacks[key], value, folder))
        elif key in LISTS:
            lists[key] = _texts(key, value, reading)
        else:
            _read_other(key, value, values, reading)
    for s in catalogue():
        if s.key in changes and values.whole_run(s.concern):
            values.put(s, changes[s.key])
    # Last, because it is the optimizer, the schedule and the network that own what stands in the lists.
    for place, items in lists.items():
        _read_list(place, items, values, reading, changes)
    for s in catalogue():
        if (
            s.place == "argument"
            and s.default is None
            and not s.optional
            and s.key not in values.of(s.concern)
        ):
            reading.problem(s.key, "It is missing.", f"Add the line {s.key} = … to the config file.")
    return values


def _flat(table: Mapping[str, Any], reading: Reading) -> dict[str, Any]:
    """Top-level tables opened, as sd-scripts does: their names mean nothing."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        inner = value if isinstance(value, dict) and not _is_key(key) else {key: value}
        for name, item in inner.items():
            if name in flat:
                reading.problem(name, "It is set twice.", f"Keep one of the lines with {name}.")
            flat[name] = item
    return _as_said_today(flat, reading)


def _as_said_today(flat: dict[str, Any], reading: Reading) -> dict[str, Any]:
    """Old switches as the settings that say the same."""
    for old in [key for key in flat if key in known.SAID_BY]:
        key, value = known.SAID_BY[old]
        if known.wrong_type("arguments", old, flat[old]):
            continue  # told with the others
        given = flat.pop(old)
        value = given if value is None else value
        if key in flat:
            reading.notes.append(f"{old} is not used: {key} is set, and it counts.")
        elif given:
            flat[key] = value
            reading.notes.append(f"{old} is not used: it is read as {key} = {value}.")
    return flat


def _is_key(name: str) -> bool:
    return name in known.tables()["arguments"] or any(s.key == name for s in catalogue())


def _texts(place: str, value: Any, reading: Reading) -> list[str]:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    fix = f'Write it as {place} = ["key=value"].'
    reading.problem(place, f'It must be a list of texts "key=value", and it is {shown(value)}.', fix)
    return []


def _read_list(
    place: str, items: list[str], values: ConfigValues, reading: Reading, changes: Mapping[str, Any]
) -> None:
    """One of the `key=value` lists; what the chosen type does not own stays in `other` as it was."""
    owned = _owned(place, items, values)
    met = set[str]()
    for item in items:
        key, sign, text = (part.strip() for part in item.partition("="))
        if not sign or not key or (place != "network_args" and "=" in text):
            fix = "Write one text for each value, with one = in it."
            reading.problem(place, f"It holds {shown(item)}, which does not have the form key=value.", fix)
        elif key not in owned or of_another_shape(owned[key], literal(text)):
            values.other.setdefault(place, []).append(item)
        elif key in met:
            reading.problem(key, f"It is set twice in {place}.", f"Keep one of the texts with {key}.")
        else:
            met.add(key)
            taken = reading.value(owned[key], _typed(owned[key], text), Path(), f"In {place}: ")
            if key not in changes:
                values.put(owned[key], taken)


def _owned(place: str, items: list[str], values: ConfigValues) -> dict[str, Setting]:
    """The settings of this list that act beside the others, some of which stand in the list too."""
    texts = {key.strip(): text.strip() for key, _, text in (item.partition("=") for item in items)}
    here = {s.key: s for s in catalogue() if s.place == place}

    def value_of(key: str) -> Any:
        if key in here and key in texts and key not in values.of(here[key].concern):
            return checked(here[key], _typed(here[key], texts[key])).value
        return values.value_of(key)

    return {key: s for key, s in here.items() if acts(s, value_of)}


def _typed(s: Setting, text: str) -> Any:
    return as_text(s, text) if s.place == "network_args" else literal(text)


def as_text(setting: Setting, text: str) -> Any:
    """What the text behind the = in `network_args` means for `setting`."""
    # sd-scripts hands network_args on as they stand: `0,1` is a text there and not two numbers.
    if setting.kind in {"text", "choice"}:
        return text
    return {"true": True, "false": False}.get(text.lower(), literal(text))


def of_another_shape(setting: Setting, value: Any) -> bool:
    """True for a list of numbers that the setting does not take and the optimizer itself may."""
    # Some optimizers take three betas, or two eps; they check what they get.
    numbers = isinstance(value, list) and all(isinstance(item, int | float) for item in value)
    # Harmless numbers in their place: it is the shape that counts, and a limit is told as everywhere.
    shape = [0.5] * len(value) if numbers else value
    return setting.place == "optimizer_args" and numbers and checked(setting, shape).problem is not None


def literal(text: str) -> Any:
    """A Python literal, or the text itself. Nothing is ever run."""
    if (
        len(text) > _LITERAL_LIMIT
    ):  # its parser can be brought down by thousands of signs in front of a number
        return text
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return text
    return list(value) if isinstance(value, tuple) else value


def _read_other(key: str, value: Any, values: ConfigValues, reading: Reading) -> None:
    arguments = known.tables()["arguments"]
    if key in known.APP_DECIDES:
        reading.notes.append(f"{key} is not used: {known.APP_DECIDES[key]}.")
    elif key in arguments:
        if needed := known.wrong_type("arguments", key, value):
            reading.problem(
                key, f"It must be {needed}, and it is {shown(value)}.", f"Change {key}, or leave it out."
            )
        elif key in known.CHANGES_NO_RESULT:
            reading.notes.append(f"{key} is not used: it changes speed or memory, not the result.")
        else:
            values.other[key] = value
    elif key in {s.key for s in catalogue()}:
        _unknown(key, reading, [], "the config file")
    elif is_secret(key, value):
        reading.notes.append(f"{key} is not used: it looks like a secret, and the app keeps none in files.")
    elif reads_back(key, value):
        values.other[key] = value  # sd-scripts reads over it, and `unsupported` names it
    else:
        what = f"There is no such key for the config file, and {shown(value)} cannot be kept beside it."
        reading.problem(key, what, "Leave it out.")


def _unknown(key: str, reading: Reading, names: list[str], table: str, where: str = "") -> None:
    placed = {s.key: s for s in catalogue()}.get(key)
    if placed is not None:
        reading.problem(key, f"It does not belong in {table}.", _right_place(placed), where)
        return
    near = known.nearest(key, names) if len(reading.problems) < _MOST_GUESSES else None
    fix = f"Did you mean {near}? If not, leave it out." if near else "Check its spelling, or leave it out."
    reading.problem(key, f"There is no such key for {table}.", fix, where)


def _right_place(setting: Setting) -> str:
    if setting.place == "dataset":
        return f"Write {setting.key} under [[datasets]] in the dataset file."
    if setting.place == "subset":
        return f"Write {setting.key} under [[datasets.subsets]] in the dataset file."
    if setting.place == "argument":
        return f"Write {setting.key} in the config file."
    return f'Write it as {setting.place} = ["{setting.key}=…"] in the config file.'


def read_dataset(
    table: Mapping[str, Any], folder: Path, reading: Reading, arguments: ConfigValues
) -> DatasetFile | None:
    """The datasets of a dataset file; the nearest table that names a setting decides, then the argument.

    None when there are problems.
    """
    general = table.get("general", {})
    for key in table.keys() - {"general", "datasets"}:
        _unknown(key, reading, ["general", "datasets"], "the top of the dataset file")
    if not isinstance(general, dict):
        reading.problem(
            "general", f"It must be a table, and it is {shown(general)}.", "Write it as [general]."
        )
        general = {}
    levels = _Levels(folder, reading, arguments)
    shared = levels.split(general, "In [general]: ", subset_only=False)
    entries = _tables(table.get("datasets"), "datasets", "[[datasets]]", reading)
    found = [levels.dataset(entry, shared, number) for number, entry in enumerate(entries, 1)]
    if reading.problems:
        return None
    return DatasetFile(datasets=tuple(dataset for dataset in found if dataset is not None))


def _tables(value: Any, key: str, header: str, reading: Reading, where: str = "") -> list[dict[str, Any]]:
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return value
    what = "It is missing." if value is None else f"It must be a list of tables, and it is {shown(value)}."
    reading.problem(key, what, f"Write one {header} for each.", where)
    return []


@dataclass
class _Found:
    """Values of one level of the dataset file, sorted by where they belong."""

    dataset: dict[str, Any] = field(default_factory=dict)
    subset: dict[str, Any] = field(default_factory=dict)
    other_dataset: dict[str, Any] = field(default_factory=dict)
    other_subset: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Levels:
    """Reads general, dataset and subset tables; each inherits from the one above."""

    folder: Path
    reading: Reading
    arguments: ConfigValues

    def split(self, table: Mapping[str, Any], where: str, *, subset_only: bool) -> _Found:
        """Check each value of one table. `subset_only` refuses what a subset may not set."""
        settings = {s.key: s for s in catalogue() if s.place in {"dataset", "subset"}}
        lists = known.tables()
        found = _Found()
        for key, value in table.items():
            s = settings.get(key)
            inheritable = subset_only or key != "image_dir"
            if s is not None and s.place == "subset" and inheritable:
                found.subset[key] = self.reading.value(s, value, self.folder, where)
            elif s is not None and s.place == "dataset" and not subset_only:
                found.dataset[key] = self.reading.value(s, value, self.folder, where)
            elif s is None and key in lists["subset"]:
                self._keep("subset", key, value, found.other_subset, where)
            elif s is None and key in lists["dataset"] and not subset_only:
                self._keep("dataset", key, value, found.other_dataset, where)
            else:
                names = [*settings, *lists["subset"], *lists["dataset"]]
                _unknown(key, self.reading, names, "a subset" if subset_only else "this table", where)
        return found

    def _keep(self, table: known.Table, key: str, value: Any, into: dict[str, Any], where: str) -> None:
        if needed := known.wrong_type(table, key, value):
            what = f"It must be {needed}, and it is {shown(value)}."
            self.reading.problem(key, what, f"Change {key}, or leave it out.", where)
        elif key in known.CHANGES_NO_RESULT:
            self.reading.notes.append(f"{key} is not used: it changes speed or memory, not the result.")
        else:
            into[key] = value

    def dataset(self, table: Mapping[str, Any], shared: _Found, number: int) -> DatasetSettings | None:
        where = f"In [[datasets]] {number}: "
        found = self.split({k: v for k, v in table.items() if k != "subsets"}, where, subset_only=False)
        entries = _tables(table.get("subsets"), "subsets", "[[datasets.subsets]]", self.reading, where)
        subsets = [
            self._subset(entry, [shared, found], f"In [[datasets]] {number}, subset {index}: ")
            for index, entry in enumerate(entries, 1)
        ]
        if self.reading.problems:
            return None
        values = {**self.arguments.of("datasets"), **shared.dataset, **found.dataset}
        other = {**shared.other_dataset, **found.other_dataset}
        return DatasetSettings(**values, other=other, subsets=tuple(s for s in subsets if s is not None))

    def _subset(self, table: Mapping[str, Any], above: list[_Found], where: str) -> SubsetSettings | None:
        found = self.split(table, where, subset_only=True)
        if "image_dir" not in table:
            self.reading.problem(
                "image_dir", "It is missing.", 'Add the line image_dir = "…" to the subset.', where
            )
        if self.reading.problems:
            return None
        values, other = dict(self.arguments.of("subsets")), dict[str, Any]()
        for level in [*above, found]:
            values |= level.subset
            other |= level.other_subset
        return SubsetSettings(**values, other=other)
