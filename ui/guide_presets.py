"""Presets of one's own: keep these settings, choose kept ones, rename, take away, bring back.

Covered: the box with these. Not covered: the files (`lora_core.settings.presets`).
"""

from collections.abc import Callable
from typing import Any, Final

import streamlit as st

from lora_core import projects, settings
from lora_core.errors import LoraError
from lora_core.settings import presets
from lora_core.settings.presets import BASES, OwnPreset
from lora_core.workspace import Workspace
from ui import feedback, guide_recipe, icons, project
from ui.project import Project
from ui.settings_fields import FIELD_WIDTH_PX

_NAME: Final = "guide_preset_name"
_CHOSEN: Final = "guide_preset"
_RENAMED: Final = "guide_preset_rename"
_SAID: Final = "guide_preset_said"
_GONE: Final = "guide_preset_gone"


def draw(ws: Workspace, opened: Project) -> None:
    """Keep these settings; with kept ones, the list and what can be done."""
    st.write("A preset keeps how to train, under a name of yours. You can use it for the next LoRA.")
    _said(ws)
    found = presets.list_own(ws)
    own = {one.name: one.preset for one in found if one.preset is not None}
    for one in found:
        if one.problem is not None:
            feedback.show(one.problem)
    if own:
        _choose(ws, opened, own)
    st.text_input("Name for the settings of this form", key=_NAME, width=FIELD_WIDTH_PX)
    st.button(
        "Save the settings as a preset", key="guide_preset_save", icon=icons.SAVE,
        on_click=_tried, args=(_save, ws, opened.name),
    )  # fmt: skip


def _choose(ws: Workspace, opened: Project, own: dict[str, OwnPreset]) -> None:
    if st.session_state.get(_CHOSEN) not in own:
        st.session_state[_CHOSEN] = next(iter(own))
    name = st.selectbox(
        "Your presets", list(own), key=_CHOSEN, format_func=lambda each: own[each].title, width=FIELD_WIDTH_PX
    )
    preset = own[name]
    made_for = f" It was made for {BASES[preset.base].title}." if preset.base else ""
    st.caption(f"It sets {len(preset.values)} settings.{feedback.spoken(made_for)}")
    with st.container(horizontal=True):
        st.button(
            "Put this preset into the form", key="guide_preset_use", icon=icons.OPEN,
            on_click=_tried, args=(_use, ws, opened.name, name),
        )  # fmt: skip
        st.button(
            "Take this preset away", key="guide_preset_delete", icon=icons.REMOVE,
            on_click=_tried, args=(_delete, ws, name),
        )  # fmt: skip
    st.text_input(
        "Another name for it", key=_RENAMED, on_change=_tried, args=(_rename, ws, name), width=FIELD_WIDTH_PX
    )


def _said(ws: Workspace) -> None:
    said = st.session_state.pop(_SAID, None)
    if isinstance(said, LoraError):
        feedback.show(said)
    elif said:
        feedback.done(said)
    gone = {one.id: one for one in presets.deleted_own(ws)}.get(st.session_state.get(_GONE, ""))
    if gone is not None:
        st.button(
            f"Put the preset “{feedback.spoken(gone.name)}” back", key="guide_preset_restore",
            icon=icons.UNDO, on_click=_tried, args=(_restore, ws, gone.id),
        )  # fmt: skip


def _tried(do: Callable[..., str], *args: Any) -> None:
    """Do it, and keep what is said about it for the box."""
    try:
        st.session_state[_SAID] = do(*args)
    except LoraError as error:
        st.session_state[_SAID] = error


def _save(ws: Workspace, project_name: str) -> str:
    opened = projects.load_or_new(ws, project_name)
    base = guide_recipe.base_of(opened)
    values = {
        s.key: opened.value(s.key)
        for s in settings.catalogue()
        if s.part == "recipe" and not projects.same_value(opened.value(s.key), s.default)
    }
    made = presets.save_own(
        ws,
        st.session_state.get(_NAME) or str(opened.value("output_name")),
        values,
        base=guide_recipe.kind_of(opened, base) if base and not guide_recipe.is_demo(base) else "",
        goal=opened.goal,
    )
    st.session_state[_NAME] = ""
    st.session_state[_CHOSEN] = made.name
    left = (
        f" Left out, because they name files: {guide_recipe.named(list(made.left_out))}."
        if made.left_out
        else ""
    )
    return f"The preset “{made.title}” was saved.{left}"


def _use(ws: Workspace, project_name: str, name: str) -> str:
    preset = presets.load_own(ws, name)
    before = projects.load_or_new(ws, project_name)
    after = projects.with_preset(before, preset)
    project.save(ws, after, what=f"The preset “{preset.title}” was put in.")
    return f"The preset “{preset.title}” is in the form now. You can undo it below."


def _rename(ws: Workspace, name: str) -> str:
    wanted = str(st.session_state[_RENAMED]).strip()
    if not wanted:
        return ""
    made = presets.rename_own(ws, name, wanted)
    st.session_state[_RENAMED] = ""
    st.session_state[_CHOSEN] = made.name
    return f"The preset is called “{made.title}” now."


def _delete(ws: Workspace, name: str) -> str:
    gone = presets.delete_own(ws, name)
    st.session_state[_GONE] = gone.id
    st.session_state.pop(_CHOSEN, None)
    return f"The preset “{gone.name}” was taken away."


def _restore(ws: Workspace, gone: str) -> str:
    name = presets.restore_own(ws, gone)
    st.session_state.pop(_GONE, None)
    st.session_state[_CHOSEN] = name
    return f"The preset “{name}” is back."
