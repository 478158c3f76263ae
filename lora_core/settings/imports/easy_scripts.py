"""Files of LoRA_Easy_Training_Scripts: its TOML, and the JSON that it sends to its backend.

What its backend makes of them before it starts sd-scripts is done here too: empty values are left
out, tables of arguments become lists, a share of warm-up becomes one of sd-scripts.

Covered: both files at the newest commits of April 2025. Not covered: textual inversion.
"""

import tomllib
from collections.abc import Mapping
from typing import Any, Final

from lora_core.settings.conflicts.network import network_of
from lora_core.settings.imports._gather import Gathering, take_absent
from lora_core.settings.imports._report import Imported
from lora_core.settings.imports.sd_scripts import SAME_OPTIMIZERS, take_datasets, take_folder, take_optimizer

_OWN: Final = {
    "easy_name": "It is a piece of text that the program puts into names of files.",
    "save_toml": "It is about files that the program writes itself.",
    "save_toml_location": "It is about files that the program writes itself.",
    "tag_occurrence": "It is about files that the program writes itself.",
    "tag_file_location": "It is about files that the program writes itself.",
    "token_string": "It is for textual inversion.",
    "init_word": "It is for textual inversion.",
    "num_vectors_per_token": "It is for textual inversion.",
}
_RESTARTS: Final = {
    "CosineAnnealingWarmRestarts": (
        "cosine_with_restarts",
        "It is a class of the program's own. This course is the nearest.",
    ),
    "RexAnnealingWarmRestarts": (
        "rex",
        "It is a class of the program's own. The built-in engine has this course, in one piece.",
    ),
}
_NO_PLACE: Final = (
    "It belongs to a course of the program's own, and the course that is set here has no such value."
)
_OFF: Final = "It is empty or off there, and the program leaves it out."


def read_easy(name: str, table: Mapping[str, Any]) -> Imported:
    """The TOML that the program saves.

    Raises:
        SettingsError: no key of it is one of a recipe.
    """
    gathering = Gathering(name, "easy-training-scripts")
    groups = {key: part for key, part in table.items() if key not in {"subsets", "train_mode"}}
    args = {key: _table(part.get("args")) for key, part in groups.items() if isinstance(part, Mapping)}
    dataset = {
        key: _table(part.get("dataset_args")) for key, part in groups.items() if isinstance(part, Mapping)
    }
    for key, part in groups.items():
        for inner in (
            [key]
            if not isinstance(part, Mapping)
            else [f"{key}.{k}" for k in part if k not in {"args", "dataset_args"}]
        ):
            gathering.left(inner, part)
    mode = _table(table.get("train_mode")).get("train_mode")
    if mode is not None:
        gathering.ignore("train_mode", mode, "This app trains LoRAs.")
    return _read(gathering, args, {**dataset, "subsets": table.get("subsets", [])})


def read_backend(name: str, table: Mapping[str, Any]) -> Imported:
    """The JSON that the program sends to its backend, or that the backend answers with.

    Raises:
        SettingsError: no key of it is one of a recipe.
    """
    gathering = Gathering(name, "easy-training-backend")
    args, dataset = table["args"], table["dataset"]
    if isinstance(args, list):  # the answer of the backend: lines of TOML
        args = {"": _lines(gathering, "args", args)}
        dataset = _table(dataset)
        general = {"general": _lines(gathering, "dataset.general", dataset.get("general", []))}
        subsets = dataset.get("subsets", [])
        dataset = {**general, "subsets": [_lines(gathering, "dataset.subsets", each) for each in subsets]}
    for key in table.keys() - {"args", "dataset", "tags"}:
        gathering.left(key, table[key])
    groups = {key: _table(part) for key, part in _table(args).items()}
    parts = {key: part if key == "subsets" else _table(part) for key, part in _table(dataset).items()}
    return _read(gathering, groups, parts)


def _table(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _lines(gathering: Gathering, name: str, lines: Any) -> dict[str, Any]:
    try:
        return tomllib.loads("\n".join(lines))
    except (TypeError, ValueError, RecursionError):
        gathering.left(name, lines, 'It must be a list of lines "key = value".')
        return {}


def _read(gathering: Gathering, args: Mapping[str, Any], dataset: Mapping[str, Any]) -> Imported:
    flat = {key: value for group in args.values() for key, value in group.items()}
    if flat.get("sdxl") is True:
        gathering.family = "sdxl"
    elif "guidance_scale" in flat or args.get("flux_args"):
        gathering.family = "flux1"
    elif not flat.get("v2"):
        gathering.family = "sd15"
    network = _table(flat.get("network_args"))
    _take_module(gathering, flat, network)
    for group, values in args.items():
        for key, value in values.items():
            _take(gathering, f"{group}.{key}".lstrip("."), key, value, flat)
    general = {
        k: v for group, part in dataset.items() if group != "subsets" for k, v in part.items() if _sent(v)
    }
    for group, part in dataset.items():
        for key, value in part.items() if group != "subsets" else ():
            if not _sent(value):
                gathering.ignore(f"{group}.{key}", value, _OFF)
    take_datasets(gathering, {"general": general})
    subsets = dataset.get("subsets", [])
    for number, subset in enumerate(subsets if isinstance(subsets, list) else [], 1):
        _take_subset(gathering, _table(subset), number)
    take_absent(gathering)
    return gathering.done()


def _sent(value: Any) -> bool:
    return bool(value) and not (isinstance(value, str) and value.lower() == "false")


def _take_subset(gathering: Gathering, subset: Mapping[str, Any], number: int) -> None:
    for key, value in subset.items():
        if key == "name" or not _sent(value):
            reason = "It is a name for the eye." if key == "name" else _OFF
            gathering.ignore(f"subsets {number}.{key}", value, reason)
    take_folder(gathering, {k: v for k, v in subset.items() if k != "name" and _sent(v)}, number)


def _take_module(gathering: Gathering, flat: Mapping[str, Any], network: Mapping[str, Any]) -> None:
    """The kind of network, which the backend finds from its arguments."""
    if "network_module" in flat:
        return
    if "algo" in network:
        gathering.take(
            "network_args.algo",
            "network_module",
            "lycoris.kohya",
            was=network["algo"],
            reason="It is a method of LyCORIS.",
        )
    elif "unit" in network:
        gathering.take(
            "network_args.unit",
            "network_module",
            "networks.dylora",
            was=network["unit"],
            reason="It is an argument of DyLoRA.",
        )
    elif flat.get("fa"):
        gathering.take(
            "network_args.fa", "network_module", "networks.lora_fa", was=True, reason="It stands for LoRA-FA."
        )
    elif gathering.family == "flux1":
        gathering.assumed["network_module"] = "The program takes it for FLUX."
        gathering.take("network_module", "network_module", network_of("flux1"))


def _take(gathering: Gathering, name: str, key: str, value: Any, flat: Mapping[str, Any]) -> None:
    """One key of a group of arguments."""
    if key in _OWN:
        gathering.ignore(name, value, _OWN[key])
    elif key in {"sdxl", "fa"}:
        gathering.ignore(name, value, "It says which script or network is used.")
    elif key == "network_args":
        _take_network(gathering, name, value)
    elif key == "lr_scheduler_args" and _own_course(flat):
        for inner, item in _table(value).items():
            gathering.ignore(f"{name}.{inner}", item, _NO_PLACE)
    elif key == "lr_scheduler" and _own_course(flat):
        gathering.ignore(name, value, "lr_scheduler_type counts in its place.")
    elif not _sent(value):
        gathering.ignore(name, value, _OFF)
    elif key == "warmup_ratio":
        gathering.take(
            name, "lr_warmup_steps", _share(value), was=value, reason="sd-scripts calls it lr_warmup_steps."
        )
    elif key == "lr_scheduler_type" and _own_course(flat):
        course, reason = _RESTARTS[_own_course(flat)]
        gathering.take(name, "lr_scheduler", course, was=value, reason=reason)
    elif key == "optimizer_type" and str(value).lower() in SAME_OPTIMIZERS:
        take_optimizer(gathering, name, value)
    elif key == "dim_from_weights" and isinstance(value, str):
        gathering.take(
            name, key, True, was=value, reason="It is a path there, and sd-scripts takes any text for on."
        )
    else:
        gathering.argument(name, key, True if value == "true" else value)


def _share(value: Any) -> Any:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _own_course(flat: Mapping[str, Any]) -> str:
    name = str(flat.get("lr_scheduler_type", "")).rpartition(".")[2]
    return name if name in _RESTARTS else ""


def _take_network(gathering: Gathering, name: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        gathering.items("network_args", value, name)
        return
    for key, item in value.items():
        if not _sent(item):
            gathering.ignore(f"{name}.{key}", item, _OFF)
        elif key == "dropout":
            gathering.take(
                f"{name}.{key}", "network_dropout", item, reason="LyCORIS takes it as network_dropout."
            )
        else:
            text = ",".join(map(str, item)) if isinstance(item, list) else str(item)
            gathering.item("network_args", f"{key}={text}", f"{name}.{key}")
