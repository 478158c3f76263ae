"""The two files of a run, in the form of sd-scripts: `config.toml` and `dataset.toml`.

Covered: reading hand-written files with every problem told at once, and writing files that
sd-scripts reads as they are. Keys that the app decides itself (where files go, logging) are read
over with a note. Keys that are not described here, of sd-scripts or of nobody, are kept in `other` and
written back; what an engine makes of them is for `unsupported` to say.

Not covered: files of other tools. Whether the settings fit each other: see `lora_core.planning`.

What is absent takes the starting value of this app, not that of sd-scripts (whose learning rate
of 2e-6 learns nothing); every value is therefore always written, but for what sd-scripts alone takes and
begins with too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from lora_core.errors import SettingsError
from lora_core.settings import known
from lora_core.settings._description import SD_SCRIPTS
from lora_core.settings._owners import LISTS, acts
from lora_core.settings._read import ConfigValues, Reading, read_config, read_dataset
from lora_core.settings._toml import parse, read_text, write_lines, write_value
from lora_core.settings._values import checked
from lora_core.settings.run import (
    RunConfig,
    arguments_of,
    catalogue,
    concerns,
    further_arguments,
    placed_values,
    value_in,
    with_values,
)

CONFIG_NAME: Final = "config.toml"
DATASET_NAME: Final = "dataset.toml"
PROMPTS_NAME: Final = "sample_prompts.txt"

_HEADER: Final = "# Settings of a LoRA training run. sd-scripts reads this file as it is.\n"
_NOT_BESIDE_MASKS: Final = frozenset({"is_reg", "alpha_mask"})


@dataclass(frozen=True, slots=True)
class LoadedRun:
    """A run and what should be said about its files."""

    run: RunConfig
    notes: tuple[str, ...]
    """One sentence each: what the app decides itself, and what was absent."""


def load_run(config: Path, dataset: Path | None = None) -> RunConfig:
    """The run that the files describe; relative paths start at the folder of the file that names them.

    Without `dataset`, the file that `dataset_config` names is read, else `dataset.toml` beside `config`.

    Raises:
        SettingsError: it lists every problem of both files.
    """
    return read_run(config, dataset).run


def read_run(
    config: Path, dataset: Path | None = None, changes: Mapping[str, Any] | None = None
) -> LoadedRun:
    """As `load_run`, with the notes. `changes` are values that count in place of those in the files.

    Raises:
        SettingsError: it lists every problem; keys of `changes` must be settings and their values fit.
    """
    table = parse(read_text(config), config.name)
    named = table.get("dataset_config")
    if dataset is None and isinstance(named, str) and named.strip():
        dataset = config.parent / named
    if dataset is None and (config.parent / DATASET_NAME).is_file():
        dataset = config.parent / DATASET_NAME
    dataset_table = parse(read_text(dataset), dataset.name) if dataset is not None else None
    dataset_folder = dataset.parent if dataset is not None else config.parent
    return _read(table, config.parent, dataset_table, dataset_folder, changes or {})


def loads_run(config_text: str, dataset_text: str, folder: Path | None = None) -> RunConfig:
    """The run that two texts describe; relative paths start at `folder`, else at the working folder.

    Raises:
        SettingsError: it lists every problem of both texts.
    """
    start = folder or Path.cwd()
    return _read(parse(config_text, CONFIG_NAME), start, parse(dataset_text, DATASET_NAME), start, {}).run


def _read(
    config: Mapping[str, Any],
    config_folder: Path,
    dataset: Mapping[str, Any] | None,
    dataset_folder: Path,
    changes: Mapping[str, Any],
) -> LoadedRun:
    reading = Reading()
    values = read_config(config, config_folder, reading, changes)
    if dataset is None:
        file = None
        reading.problem(
            "dataset_config",
            "No dataset file is named, so there are no images to learn from.",
            "Write a dataset.toml beside the config file, or name one with dataset_config or --dataset.",
        )
    else:
        file = read_dataset(dataset, dataset_folder, reading, values)
    if reading.problems or file is None:
        raise SettingsError(reading.problems)
    records = {name: model(**values.of(name)) for name, model in concerns().items() if values.whole_run(name)}
    reading.notes += _own_starting_values(values)
    run = RunConfig(**records, dataset=file, other=values.other)  # type: ignore[arg-type]  # one record per name
    return LoadedRun(with_values(run, changes), tuple(reading.notes))


def _own_starting_values(values: ConfigValues) -> list[str]:
    """A note on what is absent and would be something else in sd-scripts."""
    arguments = known.tables()["arguments"]
    absent = [
        f"{s.key} = {write_value(s.default)} (sd-scripts: {_or_unset(arguments[s.key][1])})"
        for s in catalogue()
        if s.place == "argument" and s.default is not None and s.key not in values.of(s.concern)
        if acts(s, values.value_of)
        if s.default not in {arguments[s.key][1], checked(s, arguments[s.key][1]).value}
    ]
    return (
        [f"Not in the file, so this app's own starting values count: {', '.join(absent)}."] if absent else []
    )


def _or_unset(value: Any) -> str:
    return "not set" if value is None or value == "" else write_value(value)


def dump_config(run: RunConfig) -> str:
    """`config.toml`: flat, every value written, grouped by comments. It names `dataset.toml` beside it.

    What belongs to another optimizer, schedule or network than the chosen one is left out.
    Prompts given as lines are written as a list, which the built-in engine reads and sd-scripts
    does not; `run_files` puts them into a file of their own.
    """
    groups: dict[str, dict[str, Any]] = {}
    value_of = value_in(run)
    for placed in placed_values(run):
        s, value = placed.setting, placed.value
        # An argument that does nothing here and was set all the same is kept: nothing of a file is lost.
        if (
            s.place == "argument"
            and value is not None
            and (value != s.default or (acts(s, value_of) and s.key not in _without_saying()))
        ):
            groups.setdefault(s.concern, {})[s.key] = value
    further = {key: value for key, value in run.other.items() if key not in LISTS}
    # A table at the top would be opened by sd-scripts, and what is in it taken for arguments.
    tables = {key: value for key, value in further.items() if isinstance(value, Mapping)}
    for name, concern in zip(LISTS, ("network", "optimizer", "schedule"), strict=True):
        # sd-scripts hands network_args on as text and reads the others as Python. What is not changed is
        # left out: LyCORIS takes some texts for "yes" by being there, `False` too.
        written = str if name == "network_args" else repr
        items = [f"{key}={written(value)}" for key, value in arguments_of(run, name).items()]
        if items := [*items, *further_arguments(run, name)]:
            groups.setdefault(concern, {})[name] = items
    # The engine reads modelspec.resolution from the argument alone.
    width, height = run.dataset.datasets[0].resolution
    groups["dataset"] = {"dataset_config": DATASET_NAME, "resolution": f"{width},{height}"}
    groups["other"] = {key: value for key, value in further.items() if key not in tables}
    parts = [f"# {name}\n" + "\n".join(write_lines(group)) + "\n" for name, group in groups.items() if group]
    parts += ["\n".join(["[other]", *write_lines(tables)]) + "\n"] if tables else []
    return "\n".join([_HEADER, *parts])


@cache
def _without_saying() -> frozenset[str]:
    """What sd-scripts alone takes, and begins with as this app does."""
    starts = known.tables()["arguments"]
    return frozenset(
        s.key
        for s in catalogue()
        if s.engines == (SD_SCRIPTS,) and s.default == starts.get(s.argument or s.key, ("", None))[1]
    )


def dump_dataset(run: RunConfig) -> str:
    """`dataset.toml`: one `[[datasets]]` with its `[[datasets.subsets]]` after the other."""
    silent = {s.key: s.default for s in catalogue() if s.place == "subset" and s.key in _without_saying()}
    blocks = []
    for dataset in run.dataset.datasets:
        fields = {k: getattr(dataset, k) for k in type(dataset).model_fields if k not in {"subsets", "other"}}
        blocks.append("\n".join(["[[datasets]]", *write_lines({**fields, **dataset.other})]) + "\n")
        for subset in dataset.subsets:
            fields = {k: getattr(subset, k) for k in type(subset).model_fields if k != "other"}
            fields = {k: v for k, v in fields.items() if k not in silent or v != silent[k]}
            if subset.conditioning_data_dir is not None:
                # sd-scripts knows no such key beside a folder of masks, not even with its starting value.
                fields = {k: v for k, v in fields.items() if k not in _NOT_BESIDE_MASKS or v}
            blocks.append(
                "\n".join(["[[datasets.subsets]]", *write_lines({**fields, **subset.other})]) + "\n"
            )
    return "\n".join(blocks)


def run_files(run: RunConfig) -> dict[str, str]:
    """The files of a run by name, complete and in the form of sd-scripts.

    Prompts become `sample_prompts.txt`, as sd-scripts takes them from a file only.

    Raises:
        SettingsError: the file of prompts cannot be read.
    """
    files = {DATASET_NAME: dump_dataset(run)}
    if run.sampling.sample_prompts is not None and not _is_other_prompt_file(run.sampling.sample_prompts):
        files[PROMPTS_NAME] = "".join(f"{line}\n" for line in prompt_lines(run))
        run = run.model_copy(
            update={"sampling": run.sampling.model_copy(update={"sample_prompts": Path(PROMPTS_NAME)})}
        )
    return {CONFIG_NAME: dump_config(run), **files}


def _is_other_prompt_file(prompts: Path | tuple[str, ...]) -> bool:
    return isinstance(prompts, Path) and prompts.suffix.lower() in {".toml", ".json"}


def prompt_lines(run: RunConfig) -> tuple[str, ...]:
    """The sample prompts, one a line with the flags of sd-scripts (`--w 512 --d 1`).

    Raises:
        SettingsError: the file of prompts cannot be read.
    """
    prompts = run.sampling.sample_prompts
    if prompts is None:
        return ()
    lines = read_text(prompts).splitlines() if isinstance(prompts, Path) else prompts
    # One prompt is one line for sd-scripts too, and it skips lines that start with #.
    stripped = (" ".join(line.split()) for line in lines)
    return tuple(line for line in stripped if line and not line.startswith("#"))
