"""Step 3: the dataset.

Covered: choosing one, what it has beside what the goal wants, the way to the Dataset page and back. Not
covered: bringing pictures in (`pages/Dataset.py`).
"""

from functools import partial
from typing import Final

import streamlit as st

from lora_core import projects
from lora_core.datasets.library import dataset_folder, dataset_names
from lora_core.settings.presets import BASES, GOALS, captions_for
from lora_core.workspace import Workspace
from ui import feedback, guide_recipe, icons, layout, project, state
from ui.project import IMAGES, Project
from ui.settings_fields import Fields

ADDRESS: Final = "dataset"
"""Name of the address's part that holds a dataset which was just brought in."""


def draw(ws: Workspace, opened: Project) -> None:
    """The choice, and what the chosen dataset amounts to."""
    opened = _brought(ws, opened)
    names = dataset_names(ws)
    if not names:
        st.write("There is no dataset yet. Bring in your pictures first. After that you come back here.")
    known = [(ws.datasets / name, name) for name in names]
    Fields(ws=ws, opened=opened, place="dataset step", saved=partial(_chose, ws)).pick(
        IMAGES, known, "No dataset is chosen"
    )
    if opened.dataset is not None:
        _about(opened)
    if opened.goal in GOALS:
        _wanted(opened)
    if st.button(
        "Bring pictures in",
        key="guide_bring",
        icon=icons.ADD,
        type="primary" if nothing_yet(ws, opened) else "secondary",
    ):
        st.switch_page(layout.script_of(layout.DATASET))


def nothing_yet(ws: Workspace, opened: Project) -> bool:
    """Whether there is no dataset to choose: then the pictures come first."""
    return opened.dataset is None and not dataset_names(ws)


def _brought(ws: Workspace, opened: Project) -> Project:
    """What somebody looked at on the Dataset page is chosen, if nothing was chosen before."""
    name = st.query_params.get(ADDRESS)
    if opened.dataset is not None or name not in dataset_names(ws):
        return opened
    after = projects.with_value(opened, IMAGES, dataset_folder(ws, str(name)))
    found = guide_recipe.chosen(ws, opened, after)
    return project.save(ws, found.project, what=f"Dataset: {name}. {found.sentence}".strip())


def _about(opened: Project) -> None:
    count = guide_recipe.pictures_in(opened.dataset)
    st.write(f"It has {state.counted(count, 'picture')}.")
    if opened.goal not in GOALS or not count:
        return
    goal = GOALS[opened.goal]
    low, high = goal.images
    if count < low:
        st.write(f"{goal.images_text[0].upper()}{goal.images_text[1:]} work best. You can start with fewer.")
    elif high is not None and count > high:
        st.write(f"{goal.images_text[0].upper()}{goal.images_text[1:]} are usual. More are fine, too.")
    if (times := guide_recipe.suggested_repeats(opened)) is not None:
        st.caption(f"With so many pictures, {state.counted(times, 'repeat')} in each epoch fit the goal.")


def _wanted(opened: Project) -> None:
    goal = GOALS[opened.goal]
    base = guide_recipe.base_of(opened)
    kind = guide_recipe.kind_of(opened, base) if base is not None else ""
    style = f" This base model wants {captions_for(kind, goal.id)}." if kind in BASES else ""
    st.caption(feedback.spoken(f"Captions for this goal: {goal.caption_policy}{style}"))


def _chose(ws: Workspace, before: Project, after: Project) -> None:
    found = guide_recipe.chosen(ws, before, after)
    if found.project != after:
        project.save(ws, found.project, what=found.sentence)
