"""The prompts of sample pictures, as a person wrote them.

Covered: prompts as lines with the flags of sd-scripts (`--w --h --d --s --l --n --ss`), or as a .toml
or .json list. Not covered: drawing them (see `samples.py`), ControlNet.
"""

import json
import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from lora_core.errors import Problem, SettingsError
from lora_core.settings import RunConfig, prompt_lines

_MOST_STEPS: Final = 1000
_MOST_PIXELS: Final = 4096
"""Of a side: no card draws more with these families, and a processor would fill its memory and be killed."""
_MOST_SEED: Final = 2**63
_SHORT: Final = 80
"""Signs of a prompt in a message."""


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


def _from_to(least: int, most: int) -> Callable[[Any], int]:
    def convert(value: Any) -> int:
        if not least <= (number := int(value)) <= most:
            raise ValueError(f"{value} is not from {least} to {most}")
        return number

    return convert


def _finite(value: Any) -> float:
    if not math.isfinite(number := float(value)):
        raise ValueError(f"{value} is not finite")
    return number


_SIDE: Final = (_from_to(1, _MOST_PIXELS), f"a whole number from 1 to {_MOST_PIXELS}")
_NAMES: Final[Mapping[str, tuple[str, Callable[[Any], Any], str]]] = {
    # flag: the value of a prompt, how it is read, what it must be
    "n": ("negative", str, "a text"),
    "w": ("width", *_SIDE),
    "h": ("height", *_SIDE),
    "d": ("seed", _from_to(-_MOST_SEED, _MOST_SEED - 1), "a whole number of at most 18 digits"),
    "s": ("steps", lambda text: max(1, min(_MOST_STEPS, int(text))), "a whole number"),
    "l": ("guidance", _finite, "a number"),
    "ss": ("sampler", str, "a name"),
}
_OF_OTHERS: Final = frozenset({"g", "cn", "ctr", "rcfg", "fs"})
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
    source, wanted = run.sampling.sample_prompts, run.sampling
    width, height = run.dataset.datasets[0].resolution
    plain = Prompt(
        text="", width=width, height=height, seed=run.batch.seed, sampler=run.sampling.sample_sampler
    )
    if isinstance(source, Path) and source.suffix.lower() in {".toml", ".json"}:
        found = tuple(_from_entry(plain, entry) for entry in _file_entries(source))
    else:
        found = tuple(_from_line(plain, line) for line in prompt_lines(run))
    if source and not found and (wanted.sample_every_n_epochs or wanted.sample_every_n_steps):
        what = "Samples are to be drawn, and there is no prompt in what was given."
        raise _refused(what, "Write at least one prompt, or leave the samples out.")
    return found


def prompt_texts(prompts: tuple[Prompt, ...]) -> list[str]:
    """All texts that drawing the prompts reads."""
    return [text for prompt in prompts for text in (prompt.text, prompt.negative)]


def _from_entry(plain: Prompt, entry: Any) -> Prompt:
    """An entry of a file: a table, or a line with flags."""
    if isinstance(entry, str):
        return _from_line(plain, " ".join(entry.split()))
    told = {name: value for name, value in entry.items() if value is not None}
    prompt = replace(plain, text=str(told.pop("prompt", "")))
    if unknown := [name for name in told if name not in _RECORD_FLAGS]:
        known = ", ".join(("prompt", *_RECORD_FLAGS))
        what = f"The prompt {_short(prompt)} has the entry {unknown[0]!r:.40}, which is not known."
        raise _refused(what, f"Remove it. Known are {known}.")
    return _with_flags(prompt, {_RECORD_FLAGS[name]: value for name, value in told.items()})


def _from_line(plain: Prompt, line: str) -> Prompt:
    text, *flags = line.split(" --")
    prompt = replace(plain, text=text.strip())
    found = {}
    for flag in flags:
        name, _, value = flag.strip().partition(" ")
        if name.lower() not in _NAMES:
            there = name.lower() in _OF_OTHERS
            why = "which sd-scripts has for other families of base models" if there else "which is not known"
            what = f"The prompt {_short(prompt)} has --{name:.40}, {why}."
            raise _refused(what, f"Remove it. Known are {', '.join(f'--{known}' for known in _NAMES)}.")
        found[name.lower()] = value
    return _with_flags(prompt, found)


def _with_flags(prompt: Prompt, flags: Mapping[str, Any]) -> Prompt:
    values: dict[str, Any] = {}
    for flag, value in flags.items():
        name, convert, rule = _NAMES[flag]
        try:
            values[name] = convert(value.strip() if isinstance(value, str) else value)
        except (ValueError, TypeError, OverflowError) as error:
            what = f"The prompt {_short(prompt)} has {value!r:.40} after --{flag}, which must be {rule}."
            raise _refused(what, "Change it, or remove it.") from error
    return replace(prompt, **values)


def _short(prompt: Prompt) -> str:
    return repr(prompt.text if len(prompt.text) <= _SHORT else f"{prompt.text[:_SHORT]}…")


def _file_entries(path: Path) -> list[Any]:
    """The entries of a .json list, or of a .toml file's `[prompt]` with its `[[prompt.subset]]`."""
    try:
        text = path.read_text("utf-8")
        if path.suffix.lower() == ".json":
            return _entries(json.loads(text))
        table = tomllib.loads(text)["prompt"]
        shared = {key: value for key, value in table.items() if key != "subset"}
        return [{**shared, **record} for record in _entries(table["subset"])]
    except OSError as error:
        why = f"The system answered: {error.strerror}"
    except (KeyError, TypeError, AttributeError):
        why = "It is no list of prompts: a .json list, or [[prompt.subset]] in a .toml file"
    except RecursionError:
        why = "It has too many brackets"
    except ValueError as error:  # no JSON, TOML or UTF-8
        why = str(error)
    raise _refused(
        f"The prompts in {path.name} were not read. {why}.", "Write one prompt a line in a .txt file."
    )


def _entries(found: Any) -> list[Any]:
    if not isinstance(found, list) or not all(isinstance(entry, (str, dict)) for entry in found):
        raise TypeError("no list of prompts")
    return found


def _refused(what: str, fix: str) -> SettingsError:
    return SettingsError([Problem(setting="sample_prompts", what=what, fix=fix)])
