"""Step 1: what the LoRA shall learn, its name, its trigger word.

Covered: the fields, and the recipe that comes with a goal. Not covered: which recipe (`ui/guide_recipe.py`).
"""

from dataclasses import replace
from functools import partial

import streamlit as st

from lora_core import projects, settings
from lora_core.settings.presets import GOALS
from lora_core.workspace import Workspace
from ui import feedback, guide_recipe, project
from ui.project import NAME, TRIGGER, Project
from ui.settings_fields import Fields


def draw(ws: Workspace, opened: Project) -> None:
    """The goals as a list, and the two names."""
    _goals(ws, opened)
    # Already here: the other checks wait for a base model and a dataset.
    wrong = settings.name_problem(str(opened.value(NAME)))
    fields = Fields(
        ws=ws, opened=opened, place="goal step", saved=partial(_named, ws), told=[wrong] if wrong else []
    )
    fields.one(settings.setting(NAME))
    _about_name(opened)
    fields.one(settings.setting(TRIGGER))
    _about_trigger(opened)


def _goals(ws: Workspace, opened: Project) -> None:
    widget = f"goal_{opened.name}"
    st.session_state[widget] = opened.goal if opened.goal in GOALS else None
    st.radio(
        "What shall the LoRA learn?",
        list(GOALS),
        key=widget,
        format_func=lambda goal: GOALS[goal].title,
        captions=[goal.sentence for goal in GOALS.values()],
        on_change=partial(_chose, ws, opened.name, widget),
    )
    if goal := GOALS.get(opened.goal):
        st.write(f"{goal.advice} {goal.images_text[0].upper()}{goal.images_text[1:]} work best.")


def _about_name(opened: Project) -> None:
    """The project keeps its name: another window may be writing to it under this one."""
    if str(opened.value(NAME)) != opened.name:
        name = feedback.spoken(opened.name)
        st.caption(f"This names the file. The project is still called “{name}”, also in the list on Home.")


def _about_trigger(opened: Project) -> None:
    if opened.goal in GOALS:
        st.caption(GOALS[opened.goal].trigger_note)
    suggested = guide_recipe.suggested_trigger(str(opened.value(NAME)))
    if suggested and opened.trigger_word == suggested:
        st.caption("It was made from the name. You can change it.")


def _chose(ws: Workspace, name: str, widget: str) -> None:
    with feedback.user_errors():
        before = projects.load_or_new(ws, name)
        goal = st.session_state[widget] or ""
        found = guide_recipe.chosen(ws, before, replace(before, goal=goal))
        title = GOALS[goal].title if goal in GOALS else "none"
        project.save(ws, found.project, what=f"Goal: {title}. {found.sentence}".strip())


def _named(ws: Workspace, before: Project, after: Project) -> None:
    """The trigger word follows the name, and the prompts follow the trigger word, until they are changed."""
    followed = guide_recipe.follow(before, after)
    if followed != after:
        project.save(ws, followed)
