"""The prompts of sample pictures, as a person wrote them.

Covered: prompts as lines with the flags of sd-scripts (`--w --h --d --s --l --n --ss`), or as a .toml
or .json list. Not covered: drawing them (see `samples.py`), ControlNet.
"""

import json
import math
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from lora_core.errors import Problem, SettingsError
from lora_core.settings import RunConfig, prompt_lines

_FLAG: Final = re.compile(r"^(ss|[nwhdsl])\s+(.+)$", re.IGNORECASE | re.DOTALL)
_MOST_STEPS: Final = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """One sample picture."""

    text: str
    negative: str = ""
    width: int
    """In pixels; rounded down to a multiple of 8, at least 64, as sd-scripts does."""
    height: int
    steps: int = 30
    guidance: float = 7.5
    seed: int
    sampler: str


def _finite(value: Any) -> float:
    if not math.isfinite(number := float(value)):
        raise ValueError(f"{value} is not finite")
    return number


_NAMES: Final[Mapping[str, tuple[str, Callable[[Any], Any]]]] = {
    "n": ("negative", str),
    "w": ("width", int),
    "h": ("height", int),
    "d": ("seed", int),
    "s": ("steps", lambda text: max(1, min(_MOST_STEPS, int(text)))),
    "l": ("guidance", _finite),
    "ss": ("sampler", str),
}
_RECORD_FLAGS: Final = {
    "negative_prompt": "n",
    "width": "w",
    "height": "h",
    "seed": "d",
    "sample_steps": "s",
    "scale": "l",
    "sample_sampler": "ss",
}


def read_prompts(run: RunConfig) -> tuple[Prompt, ...]:
    """The prompts of a run. Without `--w` and `--h` a sample has the size of the training pictures.

    Raises:
        SettingsError: the file of prompts cannot be read.
    """
    source = run.sampling.sample_prompts
    width, height = run.dataset.datasets[0].resolution
    plain = Prompt(
        text="", width=width, height=height, seed=run.batch.seed, sampler=run.sampling.sample_sampler
    )
    if isinstance(source, Path) and source.suffix.lower() in {".toml", ".json"}:
        return tuple(_from_record(plain, record) for record in _file_records(source))
    return tuple(_from_line(plain, line) for line in prompt_lines(run))


def prompt_texts(prompts: tuple[Prompt, ...]) -> list[str]:
    """All texts that drawing the prompts reads."""
    return [text for prompt in prompts for text in (prompt.text, prompt.negative)]


def _from_line(plain: Prompt, line: str) -> Prompt:
    text, *flags = line.split(" --")
    found = [match.groups() for flag in flags if (match := _FLAG.match(flag.strip()))]
    return _with_flags(replace(plain, text=text.strip()), {name.lower(): value for name, value in found})


def _from_record(plain: Prompt, record: Mapping[str, Any]) -> Prompt:
    told = {name: value for name, value in record.items() if value is not None}
    flags = {flag: told[name] for name, flag in _RECORD_FLAGS.items() if name in told}
    return _with_flags(replace(plain, text=str(told.get("prompt", ""))), flags)


def _with_flags(prompt: Prompt, flags: Mapping[str, Any]) -> Prompt:
    values: dict[str, Any] = {}
    for flag, value in flags.items():
        name, convert = _NAMES[flag]
        try:
            values[name] = convert(value.strip() if isinstance(value, str) else value)
        except (ValueError, TypeError, OverflowError) as error:
            what = f"The prompt {prompt.text!r} has {value!r} after --{flag}, which is no number."
            raise SettingsError(
                [Problem(setting="sample_prompts", what=what, fix="Write a number.")]
            ) from error
    return replace(prompt, **values)


def _file_records(path: Path) -> list[Mapping[str, Any]]:
    """The entries of a .json list, or of a .toml file's `[prompt]` with its `[[prompt.subset]]`."""
    try:
        text = path.read_text("utf-8")
        if path.suffix.lower() == ".json":
            return [dict(record) for record in json.loads(text)]
        table = tomllib.loads(text)["prompt"]
        shared = {key: value for key, value in table.items() if key != "subset"}
        return [{**shared, **record} for record in table["subset"]]
    except (OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        what = f"The prompts in {path.name} were not read: {error}."
        fix = "Write one prompt a line in a .txt file."
        raise SettingsError([Problem(setting="sample_prompts", what=what, fix=fix)]) from error
