"""The command for plain sd-scripts: the script of each family, and arguments that its parser takes.

Covered: every family, every setting that an engine of sd-scripts has, quoting of odd values. Not covered:
what the arguments do there, and exported zips (see `test_export.py`).
"""

import ast
import json
import os
import random
import shlex
import subprocess
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from lora_core.errors import SettingsError
from lora_core.runs import SCRIPTS, command_line
from lora_core.runs.command import script_for
from lora_core.settings import (
    CONFIG_NAME,
    SD_SCRIPTS,
    RunConfig,
    catalogue,
    known,
    loads_run,
    parse,
    run_files,
    shown_settings,
    value_in,
    with_values,
)
from lora_core.settings._description import EVERY_FAMILY

DATASET = '[[datasets]]\nresolution = 512\n[[datasets.subsets]]\nimage_dir = "pictures"\n'
OF_FAMILY: dict[str, dict[str, Any]] = {
    "flux1": {"clip_l": Path("/m/clip.safetensors"), "t5xxl": Path("/m/t5.safetensors"), "ae": Path("/m/ae")},
    "chroma": {"model_type": "chroma", "t5xxl": Path("/m/t5.safetensors"), "ae": Path("/m/ae")},
    "sd3": {"clip_g": Path("/m/g.safetensors")},
    "lumina": {"gemma2": Path("/m/gemma"), "ae": Path("/m/ae")},
    "hunyuan-image": {"text_encoder": Path("/m/qwen"), "byt5": Path("/m/byt5"), "vae": Path("/m/vae")},
    "anima": {"qwen3": Path("/m/qwen3"), "vae": Path("/m/vae")},
    "sd2": {"v2": True},
}
"""What tells each family by itself."""


def a_run(**values: Any) -> RunConfig:
    run = loads_run('pretrained_model_name_or_path = "/m/base.safetensors"\noutput_name = "zog"\n'
                    "max_train_steps = 10\n", DATASET)  # fmt: skip
    return with_values(run, values)


def words_of(run: RunConfig, family: str) -> list[str]:
    """The arguments of the command that names every one, after the script."""
    words = shlex.split(command_line(run, family=family, config=None))
    return words[words.index(f"sd-scripts/{SCRIPTS[family]}") + 1 :]


def names_in(words: list[str]) -> Iterator[str]:
    yield from (word.removeprefix("--").partition("=")[0] for word in words if word.startswith("--"))


def filled(family: str, seed: int) -> RunConfig:
    """A run with another value for nearly every setting that sd-scripts has for this family."""
    chance, run = random.Random(seed), a_run(**OF_FAMILY.get(family, {}))  # noqa: S311  the same each time
    values: dict[str, Any] = {}
    for s in shown_settings(value_in(run), SD_SCRIPTS, family):
        if s.place == "argument" and s.part == "recipe":
            values[s.key] = _another(s.kind, s.choices, chance)
    fitting = {}
    for key, value in values.items():
        try:
            with_values(run, {key: value})
        except SettingsError:
            continue
        fitting[key] = value
    return with_values(run, fitting)


def _another(kind: str, choices: tuple[Any, ...], chance: random.Random) -> Any:
    if choices:
        return chance.choice(choices)
    return {
        "flag": True, "whole": chance.choice([1, 2, 7]), "number": chance.choice([0.5, 1e-7, 1.0]),
        "steps_or_share": chance.choice([5, 0.05]), "text": chance.choice(["-x y", "--z", "it's $(x)"]),
        "path": Path("/m/x y"), "pair": (0.5, 0.9), "size": (512, 512), "numbers": (1e-5, 2e-5),
        "paths": (Path("/a"), Path("/b c")), "prompts": ("a cat",),
    }[kind]  # fmt: skip


@pytest.mark.parametrize("family", EVERY_FAMILY)
def test_each_family_has_its_own_script(family: str) -> None:
    run = a_run(**OF_FAMILY.get(family, {}))
    named = f"sd-scripts/{known.SCRIPTS[family]}.py"
    assert named in shlex.split(command_line(run, family=family))
    if family != "sdxl":  # nothing in its settings tells it
        assert named in shlex.split(command_line(run))


def test_a_family_without_a_script_is_refused_and_never_given_another_one() -> None:
    with pytest.raises(SettingsError, match="no script that trains a LoRA for the family"):
        script_for("sdxl-refiner")
    with pytest.raises(SettingsError):
        command_line(a_run(), family="qwen-image")


@pytest.mark.parametrize("family", EVERY_FAMILY)
@pytest.mark.parametrize("seed", range(3))
def test_only_arguments_that_the_script_takes_are_on_the_line(family: str, seed: int) -> None:
    run = filled(family, seed)
    found = set(names_in(words_of(run, family)))
    taken = known.by_script()[known.SCRIPTS[family]]
    assert found <= taken.keys()
    table = parse(run_files(run)[CONFIG_NAME], CONFIG_NAME)
    switches_off = {key for key, value in table.items() if value is False}
    assert found == (table.keys() & taken.keys()) - switches_off | {"output_dir"}


def test_a_key_that_sd_scripts_does_not_know_stays_in_the_file_and_off_the_line() -> None:
    run = a_run().model_copy(update={"other": {"my_own_key": 3}})
    assert "my_own_key" in run_files(run)[CONFIG_NAME]
    assert "my_own_key" not in command_line(run, config=None)


@pytest.mark.sd_scripts
@pytest.mark.parametrize("family", EVERY_FAMILY)
def test_the_script_is_there_and_its_parser_takes_every_argument(family: str) -> None:
    root = Path(os.environ["LORA_SD_SCRIPTS"])
    assert (root / SCRIPTS[family]).is_file()
    named = _named_by_parsers(root)
    for seed in range(2):
        assert set(names_in(words_of(filled(family, seed), family))) <= named[SCRIPTS[family]]


@cache
def _named_by_parsers(root: Path) -> dict[str, set[str]]:
    """The arguments that each script's `setup_parser` adds, with those of all that it calls."""
    functions: dict[str, ast.FunctionDef] = {}
    for file in (*(root / "library").glob("*.py"), *root.glob("*train_network.py")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its texts have escapes that newer versions of Python warn of
            tree = ast.parse(file.read_text("utf-8"))
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith(("setup_", "add_")):
                functions[f"{file.stem}.{node.name}"] = node
    return {f"{stem}.py": set(_added(f"{stem}.setup_parser", functions)) for stem in known.by_script()}


def _added(place: str, functions: dict[str, ast.FunctionDef]) -> Iterator[str]:
    module = place.partition(".")[0]
    for node in ast.walk(functions[place]):
        if not isinstance(node, ast.Call):
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        owner = getattr(getattr(node.func, "value", None), "id", module)
        if called == "add_argument" and isinstance(node.args[0], ast.Constant):
            yield str(node.args[0].value).removeprefix("--")
        elif f"{owner}.{called}" in functions:
            yield from _added(f"{owner}.{called}", functions)


READ_THE_LINE = """
import json, sys
import torch
# None of the compiled parts of torchvision is used, so one that was built for another torch will do.
real = torch.library.register_fake
torch.library.register_fake = lambda op, *a, **k: (
    (lambda f: f) if str(op).startswith("torchvision::") else real(op, *a, **k)
)
sys.path.insert(0, sys.argv[1])
import importlib
parsers = {}
for script, words in json.loads(sys.stdin.read()):
    if script not in parsers:
        parsers[script] = importlib.import_module(script).setup_parser()
    found = vars(parsers[script].parse_args(words))
    print("FOUND", json.dumps(found, default=str))
"""


@pytest.mark.sd_scripts
@pytest.mark.skipif(
    not os.environ.get("LORA_SD_SCRIPTS_PYTHON"),
    reason="set LORA_SD_SCRIPTS_PYTHON to a Python that has the packages of sd-scripts",
)
def test_the_parsers_themselves_read_from_the_line_what_stands_in_the_file() -> None:
    made = [(family, filled(family, seed)) for family in EVERY_FAMILY for seed in range(3)]
    asked = json.dumps([(known.SCRIPTS[family], words_of(run, family)) for family, run in made])
    command = [os.environ["LORA_SD_SCRIPTS_PYTHON"], "-c", READ_THE_LINE, os.environ["LORA_SD_SCRIPTS"]]
    done = subprocess.run(command, input=asked, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line for line in done.stdout.splitlines() if line.startswith("FOUND ")]
    assert len(lines) == len(made)
    for (family, run), line in zip(made, lines, strict=True):
        found = json.loads(line.removeprefix("FOUND "))
        for key, value in parse(run_files(run)[CONFIG_NAME], CONFIG_NAME).items():
            if key in found:
                assert found[key] == value, (family, key)


def test_every_family_has_been_looked_at() -> None:
    assert set(OF_FAMILY) | {"sd15", "sdxl"} == set(EVERY_FAMILY)
    assert {family for s in catalogue() for family in s.families} == set(EVERY_FAMILY)
