"""Base models that this app cannot train yet: what each needs, and its recipe as files for sd-scripts.

Covered: the closed box with one card for each, said before one chooses it. Not covered: the recipes
themselves (`lora_core.settings.presets`), and sd-scripts, which is set up and started without this app.
"""

from typing import Final

import streamlit as st

from lora_core import machine, runs
from lora_core.settings.presets import BASES, GOALS, Base, composed, offered
from lora_core.workspace import Workspace, safe_name
from ui import feedback, guide_recipe, icons
from ui.project import NAME, TRIGGER, Project

BOX: Final = "guide_elsewhere"
TITLE: Final = "Base models that this app cannot train yet"


def draw(ws: Workspace, opened: Project) -> None:
    """The closed box; its cards are built when it is open."""
    box = st.expander(TITLE, key=BOX, on_change="rerun")
    if not box.open:
        return
    with box, feedback.user_errors():
        st.write(
            "This app cannot start a training on these. sd-scripts can. It is another program, which you "
            "set up and start yourself. You can take its files along from here."
        )
        for base in BASES.values():
            if not base.here:
                _card(ws, opened, base)


def _card(ws: Workspace, opened: Project, base: Base) -> None:
    st.markdown(f"**{base.title}**")
    st.write(feedback.spoken(base.sentence))
    if opened.goal not in GOALS:
        st.write("When a goal is chosen in step 1, its recipe is here.")
        return
    if opened.goal not in offered(base.id):
        st.write("There is no recipe for this goal on this base model.")
        return
    found = composed(base.id, opened.goal, facts=machine.read_facts(ws))
    st.write(feedback.spoken(found.evidence_text))
    st.markdown("\n".join(f"- {feedback.spoken(need)}" for need in found.needs))
    name = safe_name(str(opened.value(NAME)))
    st.download_button(
        f"Download the files for {base.title}",
        data=runs.zip_elsewhere(
            base.id,
            opened.goal,
            name=name,
            trigger=str(opened.value(TRIGGER) or ""),
            images=guide_recipe.pictures_in(opened.dataset) or None,
            facts=machine.read_facts(ws),
        ),
        file_name=f"{name} {base.id}.zip",
        mime="application/zip",
        key=f"guide_elsewhere_{base.id}",
        icon=icons.DOWNLOAD,
        on_click="ignore",
    )
