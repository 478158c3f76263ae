"""Presets as files: recipes in small TOML files, which say how to train and leave open what.

Covered: reading one, with all that is wrong with it told at once, and what of it counts for a kind of
base model. Not covered: laying several over each other (see `compose.py`), presets of users (see `own.py`).

The form: `format = 1`, a `title`, its `evidence`, what it `needs`; a table `[recipe]` of settings by their
keys, those that are written inside `network_args` and the like included; a table `[why]` with one sentence
for each of them; `left_empty`, a list of settings without a value. A table `[family.NAME]` or `[base.NAME]`
may hold all three again for one family, or for one kind of base model: the nearest one counts.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, cast, get_args

from lora_core.errors import FileTooNewError, Problem, SettingsError
from lora_core.settings._toml import parse, read_text
from lora_core.settings._values import checked
from lora_core.settings.presets.bases import BASES
from lora_core.settings.run import RunConfig, catalogue, setting, with_values
from lora_core.workspace import APP_ROOT

PRESETS: Final = APP_ROOT / "presets"
"""The folder of the presets that come with the app."""
FORMAT: Final = 1

Evidence = Literal["measured", "documented", "reported"]
EVIDENCE: Final[Mapping[Evidence, str]] = {
    "measured": "We ran it and measured how well it does.",
    "documented": "It follows the documentation of the trainer. We have not measured it.",
    "reported": "It follows recipes that other people published. We have not measured it: it is a starting "
    "point.",
}
"""What each word for evidence means, the strongest first."""


@dataclass(frozen=True, slots=True)
class Preset:
    """A recipe as a file gives it: only the settings that it names."""

    title: str
    evidence: Evidence
    """`measured` (by a run of ours), `documented` or `reported`."""
    values: Mapping[str, Any]
    """Settings by key, in the type that a run holds; None for one that is left empty."""
    why: Mapping[str, str] = field(default_factory=dict)
    """One sentence for each value."""
    needs: tuple[str, ...] = ()
    head: Mapping[str, Any] = field(default_factory=dict)
    """What else stands at the top of the file."""

    def applied(self, run: RunConfig) -> RunConfig:
        """`run` with the settings of this preset; what to train stays as it is.

        Raises:
            SettingsError: a value does not fit its setting; every problem is listed.
        """
        return with_values(run, self.values)


def read_preset(path: Path, base: str = "") -> Preset:
    """The preset in `path`, as it counts for this kind of base model.

    Raises:
        FileTooNewError: a newer version of the app wrote it.
        SettingsError: it is not TOML, or it names settings that no recipe has, or values that do not fit.
    """
    return parse_preset(read_text(path), path.name, base)


def parse_preset(text: str, name: str, base: str = "") -> Preset:
    """The preset in `text`; `name` is the file's name for messages.

    Raises:
        FileTooNewError: a newer version of the app wrote it.
        SettingsError: it is not TOML, or it names settings that no recipe has, or values that do not fit.
    """
    table = parse(text, name)
    found = table.get("format", FORMAT)
    if isinstance(found, int) and found > FORMAT:
        raise FileTooNewError(name, found, FORMAT)
    values: dict[str, Any] = {}
    why: dict[str, str] = {}
    problems: list[Problem] = []
    for scope in _scopes(table, base):
        recipe, sentences = _table(scope, "recipe", problems), _table(scope, "why", problems)
        for key, value in (*recipe.items(), *((key, None) for key in _texts(scope.get("left_empty")))):
            if problem := _problem(key, value):
                problems.append(problem)
            else:
                values[key] = None if value is None else checked(setting(key), value).value
        why |= {key: str(sentence) for key, sentence in sentences.items()}
    if problems:
        raise SettingsError(problems, what=f"The preset {name} cannot be used as it is.")
    evidence = table.get("evidence")
    head = {key: value for key, value in table.items() if not isinstance(value, dict)}
    return Preset(
        title=str(table.get("title", Path(name).stem)),
        evidence=cast("Evidence", evidence) if evidence in get_args(Evidence) else "reported",
        values=values,
        why=why,
        needs=tuple(_texts(table.get("needs"))),
        head=head,
    )


def _scopes(table: Mapping[str, Any], base: str) -> Iterator[Mapping[str, Any]]:
    yield table
    family = BASES[base].family if base in BASES else ""
    for kind, name in (("family", family), ("base", base)):
        named = table.get(kind)
        scope = named.get(name) if isinstance(named, dict) else None
        if isinstance(scope, dict):
            yield scope


def _table(scope: Mapping[str, Any], key: str, problems: list[Problem]) -> Mapping[str, Any]:
    found = scope.get(key, {})
    if isinstance(found, dict):
        return found
    problems.append(_refused(key))
    return {}


def _texts(value: object) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _problem(key: str, value: Any) -> Problem | None:
    """Why a preset cannot hold this, or None."""
    if key not in {s.key for s in catalogue() if s.part == "recipe"}:
        return _refused(key)
    if value is None and not setting(key).optional:
        return Problem(setting=key, what="It cannot be left empty.", fix="Give it a value, or take it out.")
    return None if value is None else checked(setting(key), value).problem


def _refused(key: str) -> Problem:
    return Problem(
        setting=key,
        what="A preset cannot set this.",
        fix="Take it out. A preset holds settings that say how to train.",
    )
