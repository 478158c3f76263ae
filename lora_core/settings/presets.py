"""Presets: recipes in small TOML files, which say how to train and leave open what.

Covered: reading one and laying it over a run. Not covered: choosing one, and presets of users.

The form: `format = 1`, a `title`, its `evidence`, and a table `[recipe]` of settings by their keys,
those that are written inside `network_args` and the like included.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lora_core.errors import FileTooNewError, Problem, SettingsError
from lora_core.settings._toml import parse, read_text
from lora_core.settings.run import RunConfig, catalogue, with_values
from lora_core.workspace import APP_ROOT

PRESETS: Final = APP_ROOT / "presets"
"""The folder of the presets that come with the app."""
FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class Preset:
    """A recipe as a file gives it: only the settings that it names."""

    title: str
    evidence: str
    """`measured` (by a run of ours), `documented` or `reported`."""
    values: Mapping[str, Any]

    def applied(self, run: RunConfig) -> RunConfig:
        """`run` with the settings of this preset; what to train stays as it is.

        Raises:
            SettingsError: a value does not fit its setting; every problem is listed.
        """
        return with_values(run, self.values)


def read_preset(path: Path) -> Preset:
    """The preset in `path`.

    Raises:
        FileTooNewError: a newer version of the app wrote it.
        SettingsError: it is not TOML, or it names settings that no recipe has.
    """
    table = parse(read_text(path), path.name)
    found = table.get("format", FORMAT)
    if isinstance(found, int) and found > FORMAT:
        raise FileTooNewError(path.name, found, FORMAT)
    recipe = table.get("recipe", {})
    of_recipes = {s.key for s in catalogue() if s.part == "recipe"}
    wrong = [key for key in recipe if key not in of_recipes] if isinstance(recipe, dict) else ["recipe"]
    if wrong:
        raise SettingsError(
            [
                Problem(
                    setting=key,
                    what="A preset cannot set this.",
                    fix="Take it out. A preset holds settings that say how to train.",
                )
                for key in wrong
            ],
            what=f"The preset {path.name} cannot be used as it is.",
        )
    return Preset(str(table.get("title", path.stem)), str(table.get("evidence", "reported")), recipe)
