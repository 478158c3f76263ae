"""Settings and datasets of sd-scripts, as people and notebooks write them; and presets of this app.

Covered: flat files and files with tables, whose names mean nothing to sd-scripts; the levels of a
dataset file; the notebooks of hollowstrawberry and Jelosus2, which write the same. Not covered:
whether a run could start from it (see `lora_core.settings.files`).
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from lora_core.errors import FileTooNewError
from lora_core.settings import known
from lora_core.settings._secret import is_secret
from lora_core.settings.imports._gather import Gathering, take_absent
from lora_core.settings.imports._report import Imported, brief
from lora_core.settings.run import catalogue

PRESET_FORMAT: Final = 1
SAME_OPTIMIZERS: Final = {
    "came": "pytorch_optimizer.CAME",
    "loraeasycustomoptimizer.came.came": "pytorch_optimizer.CAME",
    "came_pytorch.came.came": "pytorch_optimizer.CAME",
}
_DATASET_TABLES: Final = ("general", "datasets")
_AS_TEXT: Final = "It is written as text, which sd-scripts does not read as a number."


def read_config(name: str, table: Mapping[str, Any], form: str) -> Imported:
    """A file of settings, of datasets, or of both.

    Raises:
        SettingsError: no key of it is one of a recipe.
    """
    gathering = Gathering(name, form)
    for inner, key, value in _flat({k: v for k, v in table.items() if k not in _DATASET_TABLES}):
        reason = _AS_TEXT if _number_as_text(key, value) else ""
        if key == "optimizer_type" and str(value).lower() in SAME_OPTIMIZERS:
            take_optimizer(gathering, inner, value)
        else:
            gathering.argument(inner, key, value, reason=reason)
    take_datasets(gathering, table)
    gathering.family = _family(table)
    take_absent(gathering)
    return gathering.done()


def take_optimizer(gathering: Gathering, name: str, value: Any) -> None:
    """Take an optimizer of a package that only another tool has as the same one of sd-scripts' own."""
    same = SAME_OPTIMIZERS[str(value).lower()]
    reason = "It is the same optimizer in a package that is kept up."
    gathering.take(name, "optimizer_type", same, was=value, reason=reason)


def _flat(table: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Name, key and value of each; tables at the top are opened, as sd-scripts does."""
    for key, value in table.items():
        if isinstance(value, Mapping) and key not in known.tables()["arguments"]:
            yield from ((f"{key}.{inner}", inner, item) for inner, item in value.items())
        else:
            yield key, key, value


def _number_as_text(key: str, value: Any) -> bool:
    kind = next((s.kind for s in catalogue() if key in {s.key, s.argument}), "text")
    return isinstance(value, str) and bool(value) and kind in {"whole", "number", "steps_or_share", "flag"}


def _family(table: Mapping[str, Any]) -> str | None:
    """A file does not say which script it is for; arguments of one family give it away."""
    keys = {key for _, key, _ in _flat(table)}
    for family, marks in (
        ("flux1", {"ae", "t5xxl"}),
        ("anima", {"qwen3"}),
        ("lumina", {"gemma2"}),
        ("sd3", {"clip_g"}),
    ):
        if marks <= keys:
            return family
    return None


def take_datasets(gathering: Gathering, table: Mapping[str, Any]) -> None:
    """Take `general`, `datasets` and their subsets; the nearest table that names a setting decides."""
    general = table.get("general", {})
    if not isinstance(general, Mapping):
        gathering.left("general", general, "It must be a table.")
        general = {}
    datasets = table.get("datasets", [])
    if not _is_tables(datasets):
        gathering.left("datasets", datasets, "It must be a list of tables.")
        datasets = []
    for key, value in general.items():
        _level(gathering, f"general.{key}", key, value)
    folders = 0
    for number, dataset in enumerate(datasets, 1):
        place = "datasets" if len(datasets) == 1 else f"datasets {number}"
        for key, value in dataset.items():
            if key == "subsets" or _differs(gathering, number > 1, f"{place}.{key}", key, value):
                continue
            _level(gathering, f"{place}.{key}", key, value)
        subsets = dataset.get("subsets", [])
        if not _is_tables(subsets):
            gathering.left(f"{place}.subsets", subsets, "It must be a list of tables.")
            continue
        for subset in subsets:
            folders += 1
            take_folder(gathering, subset, folders)


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, Mapping) for item in value)


def take_folder(gathering: Gathering, subset: Mapping[str, Any], number: int) -> None:
    """Take the table of one folder; the form has one value for all, which is that of the first."""
    place = "subsets" if number == 1 else f"subsets {number}"
    target = {s.key for s in catalogue() if s.place == "subset" and s.part == "target"}
    gathering.folders.append({key: value for key, value in subset.items() if key in target})
    for key, value in subset.items():
        if key in target and number > 1:
            gathering.ignore(
                f"{place}.{key}", value, "It is for a folder of images, which belongs to the dataset."
            )
        elif not _differs(gathering, number > 1, f"{place}.{key}", key, value):
            _level(gathering, f"{place}.{key}", key, value)


def _differs(gathering: Gathering, later: bool, name: str, key: str, value: Any) -> bool:
    """True, with the reason told, for a value of a later table that is not the one taken already."""
    if not later or key not in gathering.values or gathering.values[key] == value:
        return False
    gathering.ignore(
        name,
        value,
        f"The folders differ in it. That of the first one counts: {brief(gathering.values[key])}.",
    )
    return True


def _level(gathering: Gathering, name: str, key: str, value: Any) -> None:
    placed = {s.key: s for s in catalogue() if s.place in {"dataset", "subset"}}
    if key in placed:
        gathering.take(name, key, value)
    elif key in known.tables()["arguments"]:
        gathering.argument(name, key, value)
    elif key in known.tables()["subset"] or key in known.tables()["dataset"]:
        gathering.ignore(
            name, value, "It is about single images. Write it into the dataset file of a training."
        )
    else:
        gathering.left(name, value)


def read_own_preset(name: str, table: Mapping[str, Any]) -> Imported:
    """A preset of this app, as the app exports it.

    Raises:
        FileTooNewError: a newer version of the app wrote it.
        SettingsError: no key of it is one of a recipe.
    """
    found = table.get("format", PRESET_FORMAT)
    if isinstance(found, int) and found > PRESET_FORMAT:
        raise FileTooNewError(name, found, PRESET_FORMAT)
    gathering = Gathering(name, "preset")
    keys = {s.key for s in catalogue()}
    for part in ("recipe", "target"):
        values = table.get(part, {})
        for key, value in values.items() if isinstance(values, Mapping) else ():
            if key in keys:
                gathering.take(key, key, value)
            else:
                gathering.argument(key, key, value)
    empty = table.get("left_empty", [])
    for key in empty if isinstance(empty, list) else ():
        if isinstance(key, str) and key in keys:
            gathering.take(key, key, None)
    other = table.get("other", {})
    for key, value in other.items() if isinstance(other, Mapping) else ():
        if key in keys or key in known.tables()["arguments"] or is_secret(key, value):
            gathering.argument(key, key, value)
        else:
            gathering.keep(key, key, value)  # it came in with a hand-written file, and stays
    return gathering.done()
