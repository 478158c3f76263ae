"""One value against its description: does it fit, and what does a user read if not.

Covered: values as Python objects (from TOML, from a form) and values as typed text (from a command
or a text field). Not covered: whether values fit each other (see `lora_core.planning`).
"""

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from pydantic import ConfigDict, TypeAdapter, ValidationError

from lora_core.errors import Problem
from lora_core.settings._description import Setting

_STRICT: Final = ConfigDict(strict=True, allow_inf_nan=False)

_EXPECTED: Final = {
    "flag": "true or false",
    "whole": "a whole number",
    "number": "a number",
    "steps_or_share": "a whole number of steps, or a share such as 0.05",
    "text": "text",
    "choice": "one of the choices",
    "path": "the path of a file or folder, as text, with names of at most 255 bytes",
    "pair": "two numbers",
    "size": "one or two whole numbers of pixels, each from 16 to 16384",
    "prompts": "the path of a text file, or a list of prompts",
    "numbers": "one number, or a list of numbers",
    "paths": "a list of paths, as texts",
}
_EXPECTED_OF: Final = {"betas": "two or three numbers, each from 0 to below 1"}
"""Settings of which more is to be said."""
_LARGEST: Final = 2**63 - 1
"""The form of TOML and torch count no further."""
_LIMITS: Final = {"greater_than_equal", "greater_than", "less_than_equal", "less_than"}
_SHOWN_CHARACTERS: Final = 60
_DIGITS: Final = re.compile(r"0[0-9]+")
"""What stands behind the comma of a number, and not a number of its own."""
_PADDING: Final = re.compile(r"e(?:(-)|\+)?0*(?=\d)")
"""Python writes 1e-05 and 1e+20 where people write 1e-5 and 1e20."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A value in the field's own type, or the problem it has."""

    value: Any = None
    problem: Problem | None = None


def checked(setting: Setting, value: Any) -> Checked:
    """`value` as the field holds it; nothing is rounded, cut or replaced."""
    try:
        found = _adapter(setting).validate_python(value)
        if isinstance(found, int) and abs(found) > _LARGEST:
            what = f"It must be a whole number of at most {_LARGEST}, and it is {shown(value)}."
            return Checked(problem=Problem(setting=setting.key, what=what, fix=_fix(setting)))
        return Checked(found)
    except ValidationError as error:
        kinds = {detail["type"] for detail in error.errors(include_url=False, include_context=False)}
        return Checked(problem=_problem(setting, value, limits_only=kinds <= _LIMITS))


def parsed(setting: Setting, text: str) -> Checked:
    """What a user typed, as the field holds it. Empty text leaves an optional setting unset."""
    typed = text.strip()
    if not typed and setting.optional:
        return Checked(None)
    value: Any = text
    if setting.kind == "flag":
        value = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}.get(
            typed.lower(), text
        )
    elif setting.kind in {"whole", "number", "steps_or_share"}:
        value = _number(typed, whole_only=setting.kind == "whole")
    elif setting.kind in {"pair", "numbers"}:
        parts = [part.strip() for part in typed.strip("()[]").split(",")]
        # 0,00001 is how many people write one number; as two it would be 0 and 1.
        value = [part if _DIGITS.fullmatch(part) else _number(part, whole_only=False) for part in parts]
    elif setting.kind == "paths":
        value = [line.strip() for line in typed.splitlines() if line.strip()]
    elif setting.kind == "prompts" and "\n" in typed:
        value = tuple(line.strip() for line in typed.splitlines() if line.strip())
    return checked(setting, value)


def _number(text: str, *, whole_only: bool) -> int | float | str:
    # int() and float() also take "1_000" and other scripts' digits; a file could not hold those.
    if text.isascii() and "_" not in text:
        for kind in (int,) if whole_only else (int, float):
            try:
                return kind(text)
            except ValueError:
                continue
    return text


@lru_cache(maxsize=512)
def _adapter_for(key: str, annotation: Any) -> TypeAdapter[Any]:  # noqa: ARG001  the key is the cache's
    return TypeAdapter(annotation, config=_STRICT)


def _adapter(setting: Setting) -> TypeAdapter[Any]:
    try:
        return _adapter_for(setting.key, setting.annotation)
    except TypeError:  # a type that cannot be hashed cannot be remembered
        return TypeAdapter(setting.annotation, config=_STRICT)


def _problem(setting: Setting, value: Any, *, limits_only: bool) -> Problem:
    fix = _fix(setting)
    if setting.kind in {"number", "steps_or_share"} and _endless(value):
        what = f"It must be a number below 1.8e308, and it is {shown(value)}."
        return Problem(setting=setting.key, what=what, fix=fix)
    if limits_only and setting.kind in {"whole", "number", "steps_or_share"}:
        return Problem(
            setting=setting.key, what=f"It must be {limits(setting)}, and it is {shown(value)}.", fix=fix
        )
    if setting.choices:
        listed = ", ".join(str(choice) for choice in setting.choices)
        return Problem(
            setting=setting.key, what=f"It must be one of {listed}, and it is {shown(value)}.", fix=fix
        )
    expected = _EXPECTED_OF.get(setting.key, _EXPECTED[setting.kind])
    return Problem(setting=setting.key, what=f"It must be {expected}, and it is {shown(value)}.", fix=fix)


def _fix(setting: Setting) -> str:
    return f"Change {setting.full_name}, or leave it out."


def _endless(value: Any) -> bool:
    """True for a number that is too large to count with."""
    try:
        return isinstance(value, int | float) and math.isinf(value)
    except OverflowError:  # a whole number of more than 308 digits
        return True


def limits(setting: Setting) -> str:
    """The hard limits in words, such as `1 or more and at most 4096`; empty when there are none."""
    words = []
    if setting.ge is not None:
        words.append(f"{typed_number(setting.ge)} or more")
    if setting.gt is not None:
        words.append(f"above {typed_number(setting.gt)}")
    if setting.le is not None:
        words.append(
            f"at most {setting.le:.0f}" if setting.le >= 1 else f"at most {typed_number(setting.le)}"
        )
    if setting.lt is not None:
        words.append(f"below {typed_number(setting.lt)}")
    return " and ".join(words)


def typed_number(value: float) -> str:
    """A number as people type it, with all its digits and no others: `0.0001`, `1e-5`, `12`."""
    text = f"{value:.15g}"
    return _PADDING.sub(r"e\1", text if float(text) == value else repr(value))


def shown(value: Any) -> str:
    """A value as messages quote it: short, and text marked as text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        cut = value if len(value) <= _SHOWN_CHARACTERS else value[:_SHOWN_CHARACTERS] + "…"
        return f"the text {cut!r}"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list | tuple):
        text = ", ".join(shown(item) for item in value[:4])
        return f"the list [{text}{', …' if len(value) > 4 else ''}]"[: 3 * _SHOWN_CHARACTERS]
    if isinstance(value, float):
        return typed_number(value)
    try:
        return str(value)[:_SHOWN_CHARACTERS]
    except ValueError:  # a whole number of more than 4300 digits has no text
        return "a very large number"
