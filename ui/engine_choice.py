"""Which trainer a project is for: the choice, and what follows from it.

Covered: the field, why a training with the chosen one cannot start here, the sentence about it. Not covered:
which one is the default and why (`lora_core.settings.presets`), the files (`ui/engine_view.py`).
"""

from dataclasses import replace
from functools import partial
from typing import Final

import streamlit as st

from lora_core import engines, machine, projects
from lora_core.errors import LoraError, Problem
from lora_core.settings import BUILT_IN, SD_SCRIPTS
from lora_core.settings.presets import default_engine
from lora_core.workspace import Workspace
from ui import guide_recipe, project, settings_fields
from ui.project import Project
from ui.settings_fields import FIELD_WIDTH_PX

NAMES: Final = {BUILT_IN: "The built-in trainer", SD_SCRIPTS: "sd-scripts, another program"}
WHERE: Final = "What the engine will receive"
"""The title of the box that holds the choice."""
_FIELD: Final = "engine_choice"


def draw(ws: Workspace, opened: Project) -> None:
    """The field. The form, the files and the checks follow it."""
    key = f"{_FIELD}_{opened.name}"
    st.session_state[key] = opened.engine
    st.selectbox(
        "Which trainer the settings and files are for",
        [*NAMES] if opened.engine in NAMES else [*NAMES, opened.engine],
        key=key,
        format_func=lambda engine: NAMES.get(engine, engine),
        on_change=partial(_chosen, ws, opened.name, key),
        width=FIELD_WIDTH_PX,
    )


def _chosen(ws: Workspace, name: str, key: str) -> None:
    engine = st.session_state[key]
    try:
        before = projects.load_or_new(ws, name)
        what = f"The trainer is now: {NAMES.get(engine, engine)}."
        project.save(ws, replace(before, engine=engine), what=what)
    except LoraError as error:
        settings_fields.refused(error)
    st.rerun()  # other settings have fields now, and the checks are those of the other trainer


def sentence(ws: Workspace, opened: Project) -> str:
    """Who will do the training, why, and where to change it."""
    change = f"You can choose another trainer under “{WHERE}”."
    if opened.engine != BUILT_IN:
        return f"The trainer is {NAMES.get(opened.engine, opened.engine)}. You chose it. {change}"
    base = guide_recipe.base_of(opened)
    if base is None:
        return f"The built-in trainer will do the training. {change}"
    chosen = default_engine(
        guide_recipe.kind_of(opened, base) or base.family,
        machine.read_facts(ws),
        network=str(opened.value("network_module")),
        algo=str(opened.value("algo")),
    )
    return f"The built-in trainer will do the training. {chosen.reason} {change}"


def not_here(opened: Project) -> list[Problem]:
    """That this app cannot start the chosen trainer, where it cannot."""
    if opened.engine in engines.names():
        return []
    what = f"This app cannot start {NAMES.get(opened.engine, opened.engine).partition(',')[0]}."
    fix = (
        "Make a zip of the run under “Recipes from files, and your own presets”, and train with it there. "
        f"Or choose the built-in trainer under “{WHERE}”."
    )
    return [Problem(setting="", what=what, fix=fix)]
