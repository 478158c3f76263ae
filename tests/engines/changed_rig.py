"""A changed, fitting value for every setting, made from its description alone.

Covered: each kind of setting, its choices and limits, and what it needs beside it. Not covered: values that a
whole run can use together with real pictures (see the `acts_*_rig.py` modules).
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from lora_core.settings import BUILT_IN, Setting, catalogue, checked, setting
from lora_core.settings._owners import ANY_OTHER

OWN: Final = tuple(s for s in catalogue() if BUILT_IN in s.engines)
"""The settings of the built-in engine."""
_ODD: Final = 0.1 + 0.2
"""0.30000000000000004: a number that shows whether anything was rounded on the way."""
_WORDS: Final = 'one "two" \\three, größer 四 {a|b} #five'


def needs(s: Setting) -> dict[str, Any]:
    """The values of other settings that let `s` act; what those need is among them."""
    found: dict[str, Any] = {}
    for key, values in s.only.items():
        owner = setting(key)
        fitting = [v for v in values if v != ANY_OTHER and _built_in_takes(owner, v)]
        if not fitting:
            raise AssertionError(f"{s.key} acts with no value of {key} that this engine takes")
        found |= {**needs(owner), key: fitting[0]}
    return found


def _built_in_takes(s: Setting, value: Any) -> bool:
    choices = s.choices_for(BUILT_IN)
    return not choices or value in choices


def changed(s: Setting, root: Path) -> Any:
    """A value of `s` that is not its starting value; paths lie under `root`."""
    choices = [choice for choice in s.choices_for(BUILT_IN) if choice != s.default]
    value = choices[-1] if choices else _MAKERS[s.kind](s, root)
    fitting = checked(s, value)
    if fitting.problem is not None or fitting.value == s.default:
        raise AssertionError(f"no changed value is known for {s.key}: {value!r} does not fit or is no change")
    return value


def _whole(s: Setting, _root: Path) -> int:
    start = s.default if s.default is not None else s.ge if s.ge is not None else 0
    return int(start) + 3


def _number(s: Setting, _root: Path) -> float:
    lowest, highest = (
        next((x for x in pair if x is not None), None) for pair in ((s.ge, s.gt), (s.le, s.lt))
    )
    if lowest is not None and highest is not None:
        return lowest + (highest - lowest) * _ODD
    return highest - _ODD if highest is not None else (lowest or 0.0) + _ODD


def _path(s: Setting, root: Path) -> Path:
    return root / "größere Dinge" / f"{s.key} 四"


_MAKERS: Final[Mapping[str, Callable[[Setting, Path], Any]]] = {
    "flag": lambda s, _root: not s.default,
    "whole": _whole,
    "number": _number,
    "steps_or_share": lambda _s, _root: _ODD,
    "text": lambda _s, _root: _WORDS,
    "path": _path,
    "paths": lambda s, root: (_path(s, root), root / "second"),
    "numbers": lambda _s, _root: (_ODD, 0.7),
    "size": lambda _s, _root: (576, 448),
    "prompts": lambda _s, _root: ("a cat --w 64 --d 3", "größer, (red:1.2) --n bad"),
}
