"""What an engine cannot do of a run: named one by one, so that nothing is left out in silence.

Covered: settings and values that the descriptions keep from an engine, keys of sd-scripts that
only sd-scripts knows, and keys that nobody knows. Not covered: whether settings fit each other (see
`lora_core.planning`).
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from lora_core.errors import Problem
from lora_core.settings import known
from lora_core.settings._description import SD_SCRIPTS
from lora_core.settings._owners import LISTS, acts
from lora_core.settings._values import shown
from lora_core.settings.run import RunConfig, catalogue, placed_values, value_in

_MOST_GUESSES: Final = 50
"""Names for which another one is looked up; each costs some milliseconds."""
_LONGEST_NAME: Final = 100
_HANDED_ON = frozenset({"optimizer_args", "lr_scheduler_args"})
"""Lists whose further entries every engine hands to the optimizer or schedule, which know them."""


def unsupported(run: RunConfig, engine: str) -> list[Problem]:
    """Every setting of `run` that `engine` lacks; empty when it can do all of them."""
    problems = []
    value_of = value_in(run)
    for placed in placed_values(run):
        s, value = placed.setting, placed.value
        if not acts(s, value_of):  # what does nothing anyway is told by `ignored.idle`
            continue
        if engine not in s.engines and value != s.default and s.key not in known.CHANGES_NO_RESULT:
            problems.append(_missing(s.key, engine, {s.key: s.default}))
        allowed = s.choices_for(engine)
        if allowed and value is not None and value not in allowed:
            listed = " or ".join(str(choice).lower() if choice is True else str(choice) for choice in allowed)
            instead = s.default if s.default in allowed else allowed[0]
            problems.append(
                Problem(
                    setting=s.key,
                    what=f"{_name(engine)} does not take {shown(value)} here; {_other(engine)} has it.",
                    fix=f"Set {s.key} to {listed}.",
                    mend={s.key: instead},
                    mend_label=f"Set {s.key} to {str(instead).lower() if instead is True else instead}",
                )
            )
    if engine != SD_SCRIPTS:
        problems += [_missing(key, engine) for key in dict.fromkeys(_other_keys(run))]
    problems += _known_to_nobody(run, engine)
    return list(dict.fromkeys(problems))


def _known_to_nobody(run: RunConfig, engine: str) -> Iterator[Problem]:
    arguments = known.tables()["arguments"]
    names = [*arguments, *(s.key for s in catalogue() if s.place == "argument")]
    strange = [key for key in run.other if key not in arguments]
    for number, key in enumerate(strange):
        near = known.nearest(key, names) if number < _MOST_GUESSES else None
        what = "There is no such key for the config file."
        yield Problem(
            setting=key[:_LONGEST_NAME],
            what=f"{what} sd-scripts reads over it, so it does nothing." if engine == SD_SCRIPTS else what,
            fix=f"Did you mean {near}? If not, leave it out."
            if near
            else "Check its spelling, or leave it out.",
            severity="advice" if engine == SD_SCRIPTS else "error",
        )


def _other_keys(run: RunConfig) -> Iterator[str]:
    for key, value in run.other.items():
        if key in _HANDED_ON:
            continue
        if key in LISTS:
            names = [item.partition("=")[0].strip() for item in value]
            # A described setting stands here only where it does nothing: see `ignored.idle`.
            here = {s.key for s in catalogue() if s.place == key}
            yield from (f"{key}: {name}" for name in names if name not in here)
        elif key not in known.tables()["arguments"]:
            continue  # told apart: sd-scripts does not have it either
        elif key not in known.DOES_NOTHING and not known.has_no_effect("arguments", key, value):
            yield key
    for dataset in run.dataset.datasets:
        yield from _acting("dataset", dataset.other)
        for subset in dataset.subsets:
            yield from _acting("subset", subset.other)


def _acting(table: known.Table, other: Mapping[str, Any]) -> Iterator[str]:
    return (
        key
        for key, value in other.items()
        if key not in known.DOES_NOTHING and not known.has_no_effect(table, key, value)
    )


def _missing(key: str, engine: str, mend: Mapping[str, Any] | None = None) -> Problem:
    return Problem(
        setting=key,
        what=f"The setting {key} is not in {_name(engine)[0].lower()}{_name(engine)[1:]}; sd-scripts has it.",
        fix=f"Leave {key} out.",
        mend=mend or {},
        mend_label=f"Leave {key} out" if mend else "",
    )


def _other(engine: str) -> str:
    return "the built-in engine" if engine == SD_SCRIPTS else SD_SCRIPTS


def _name(engine: str) -> str:
    return "The built-in engine" if engine == "diffusers" else f"The engine {engine}"
