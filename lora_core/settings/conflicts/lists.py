"""What sd-scripts makes of entries in its `key=value` lists that no setting describes.

Covered: values that are no Python values, names that a network reads over, names of another type. Not
covered: described settings, which have rows of their own (see the modules beside).
"""

import ast
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from lora_core.errors import Problem
from lora_core.settings._owners import NETWORKS
from lora_core.settings._values import shown
from lora_core.settings.ignored import idle
from lora_core.settings.run import RunConfig, catalogue, value_in

_EVALUATED: Final = ("optimizer_args", "lr_scheduler_args")
"""Lists whose values sd-scripts reads with `ast.literal_eval`; those of a network stay text."""


def in_lists(run: RunConfig) -> list[Problem]:
    """What is wrong with the lists of `run`; all but values that stop sd-scripts is advice."""
    return list(dict.fromkeys([*_no_values(run), *_of_other_types(run), *_read_over(run)]))


def _no_values(run: RunConfig) -> Iterator[Problem]:
    for place in _EVALUATED:
        for item in run.other.get(place, ()):
            key, _, text = item.partition("=")
            if not _is_value(text):
                what = f"The value of {key.strip()} is {shown(text)}, which is no Python value."
                fix = "Write a number, a text in quotes, True, False, or a list of these."
                yield Problem(setting=place, what=what, fix=fix)


def _is_value(text: str) -> bool:
    try:
        ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return False
    return True


def _of_other_types(run: RunConfig) -> Iterator[Problem]:
    dotted = "." in run.optimizer.optimizer_type
    places = {s.key: s.place for s in catalogue()}
    for problem in idle(run):
        place = places.get(problem.setting)
        if place == "network_args":  # never refused: that is why it has to be told
            yield replace(problem, severity="advice")
        elif place == "optimizer_args" and dotted:  # some packages stop at it, some read over it
            what = problem.what.replace(
                "The chosen type stops at it.", "The chosen type has no such argument."
            )
            yield replace(problem, severity="advice", what=what)
        else:
            yield problem


def _read_over(run: RunConfig) -> Iterator[Problem]:
    network = value_in(run)("network_module")
    described = {s.key for s in catalogue() if s.place == "network_args"}
    for item in run.other.get("network_args", ()) if network in NETWORKS else ():
        key = item.partition("=")[0].strip()
        if key not in described:
            what = f"It does nothing. {network} knows no {key[:60]} and reads over it."
            fix = f"Check its spelling, or leave {key[:60]} out."
            yield Problem(setting=f"network_args: {key[:60]}", what=what, fix=fix, severity="advice")
