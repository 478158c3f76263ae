"""The form of a training: the few choices on top, and the box with all settings below.

Covered: what is chosen for each LoRA, where everything else is. Not covered: one field
(`ui/settings_fields.py`), the box (`ui/settings_form.py`), whether the whole can start
(`lora_core.planning`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lora_core import settings
from lora_core.workspace import Workspace
from ui import settings_form
from ui.project import IMAGES, MODEL, NAME, TRIGGER, Project
from ui.settings_fields import Fields
from ui.settings_form import Check
from ui.settings_groups import BY_THE_APP, ON_TOP, PROMPTS

__all__ = ["BY_THE_APP", "ON_TOP", "PROMPTS", "Choices", "draw"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Choices:
    """What a person can pick from, as value and words."""

    models: Sequence[tuple[Path, str]]
    datasets: Sequence[tuple[Path, str]]


def draw(ws: Workspace, opened: Project, choices: Choices, *, check: Check) -> None:
    """The form; `check` gives the problems that stand at their fields."""
    fields = Fields(ws=ws, opened=opened)
    fields.pick(MODEL, choices.models, "No base model is chosen")
    fields.pick(IMAGES, choices.datasets, "No dataset is chosen")
    for key in (NAME, TRIGGER, PROMPTS):
        fields.one(settings.setting(key))
    settings_form.draw(ws, opened.name, check=check)
