"""Step 2: the base model.

Covered: choosing one of the workspace or any other by its path, its kind, what is recommended for the goal.
Not covered: downloads, and what a model is (`lora_core.models`).
"""

from functools import partial
from pathlib import Path
from typing import Final

import streamlit as st

from lora_core import machine, models, projects
from lora_core.errors import LoraError, ModelError
from lora_core.models import BaseModel
from lora_core.settings.presets import BASES, GOALS
from lora_core.workspace import Workspace
from ui import feedback, guide_elsewhere, guide_recipe, project, state
from ui.project import MODEL, Project
from ui.settings_fields import FIELD_WIDTH_PX, Fields

_TYPED: Final = "guide_model_path"
_WRONG: Final = "guide_model_wrong"
_RECOMMENDED: Final = {"character": "illustrious", "outfit": "illustrious"}
"""By goal; SDXL for all others. Its recipes for photos and styles are the best known."""
_SMALL_GB: Final = 7.5
"""With less memory on the card, models of the SDXL family rarely fit."""
_MIB_OF_GIB: Final = 1024


def draw(ws: Workspace, opened: Project) -> None:
    """The choice, what is known about it, and what one could get."""
    found = models.look_for_bases(ws)
    known = [(one.base.path, _named(one.base)) for one in found if one.base is not None]
    fields = Fields(ws=ws, opened=opened, place="model step", saved=partial(_chose, ws))
    fields.pick(MODEL, known, "No base model is chosen")
    base = guide_recipe.base_of(opened)
    if base is not None:
        _about(ws, opened, base)
    elif opened.base_model is not None:
        _not_there(opened.base_model)
    with st.expander(
        "Use a model from another place", key="guide_model_other", expanded=_WRONG in st.session_state
    ):
        _path(ws, opened)
    if unusable := [one.problem for one in found if one.problem is not None]:
        with st.expander(f"{state.counted(len(unusable), 'file')} that cannot be used"):
            st.markdown("\n".join(f"- {feedback.spoken(f'{p.what} {p.why}')}" for p in unusable))
    _recommended(ws, opened)
    guide_elsewhere.draw(ws, opened)


def _named(base: BaseModel) -> str:
    guess = guide_recipe.guess_of(base)
    kind = BASES[guess.kind].title if guess and not guide_recipe.is_demo(base) else ""
    probably = f", probably {kind}" if kind and kind != base.family_name and base.family == "sdxl" else ""
    return f"{base.name}: {base.family_name}{probably}"


def _about(ws: Workspace, opened: Project, base: BaseModel) -> None:
    st.write(f"It is of the family {base.family_name} and takes {state.how_big(base.size_bytes)}.")
    if guide_recipe.is_demo(base):
        st.write(
            "It draws tiny pictures of simple shapes. It is there to try the app. It has its own recipe."
        )
        return
    kinds = guide_recipe.kinds_for(base.family, opened.goal)
    if not opened.goal:
        st.write("When a goal is chosen, the recipe for this model is put in.")
    elif not kinds:
        st.write("There is no recipe for this goal and this model. All settings have their start values.")
    elif len(kinds) > 1:
        _kind(ws, opened, base, kinds)
    if opened.goal and kinds:
        kind = BASES[guide_recipe.kind_of(opened, base)]
        st.caption(feedback.spoken(f"{kind.sentence} {kind.caption_note}"))


def _kind(ws: Workspace, opened: Project, base: BaseModel, kinds: list[str]) -> None:
    widget = f"kind_{opened.name}_{base.name}"
    st.session_state[widget] = guide_recipe.kind_of(opened, base)
    st.selectbox(
        "Kind of this base model",
        kinds,
        key=widget,
        format_func=lambda kind: BASES[kind].title,
        on_change=partial(_chose_kind, ws, opened.name, widget),
        width=FIELD_WIDTH_PX,
    )
    guess = guide_recipe.guess_of(base)
    if guess is None:
        return
    st.caption(feedback.spoken(guess.sentence) + " The recipe depends on it. You can change it.")
    if guess.kind not in kinds:
        st.caption(
            f"There is no recipe for this goal on {BASES[guess.kind].title}. The chosen kind comes nearest."
        )


def _not_there(path: Path) -> None:
    try:
        models.inspect_base(path)
    except ModelError as error:
        feedback.show(error)


def _path(ws: Workspace, opened: Project) -> None:
    st.text_input(
        "File or folder of the model on this computer",
        key=_TYPED,
        on_change=_typed,
        args=(ws, opened.name),
        width=FIELD_WIDTH_PX,
    )
    st.caption("Write the full name, such as /home/me/model.safetensors. The file stays where it is.")
    if error := st.session_state.pop(_WRONG, None):
        feedback.show(error)
    st.caption("Models in this folder are listed above:")
    st.code(str(ws.checkpoints), language=None, wrap_lines=True)


def _typed(ws: Workspace, name: str) -> None:
    text = str(st.session_state[_TYPED]).strip().strip("\"'").strip()
    if not text:
        return
    try:
        path = Path(text).expanduser()
        models.inspect_base(path)
        before = projects.load_or_new(ws, name)
        after = projects.with_value(before, MODEL, path)
        _chose(ws, before, project.save(ws, after))
    except LoraError as error:
        st.session_state[_WRONG] = error
    except (RuntimeError, OSError, ValueError):  # no user of this name, or no path that a file system has
        st.session_state[_WRONG] = ModelError(
            "The base model was not chosen.",
            why="There is no file or folder of this name.",
            fix="Check the name. It must begin at the top of the disk.",
        )


def _chose(ws: Workspace, before: Project, after: Project) -> None:
    found = guide_recipe.chosen(ws, before, after)
    if found.project != after:
        project.save(ws, found.project, what=found.sentence)


def _chose_kind(ws: Workspace, name: str, widget: str) -> None:
    with feedback.user_errors():
        before = projects.load_or_new(ws, name)
        found = guide_recipe.chosen(ws, before, before, kind=st.session_state[widget])
        project.save(ws, found.project, what=found.sentence)


def _recommended(ws: Workspace, opened: Project) -> None:
    """What is published for the goal, as plain text. Nothing is fetched here."""
    kind, why = _suited(ws, opened.goal)
    for_goal = f" for the goal {GOALS[opened.goal].title}" if opened.goal in GOALS else ""
    with st.expander(f"A base model that is recommended{for_goal}", expanded=opened.base_model is None):
        for one in BASES[kind].recommended[:1]:
            st.write(feedback.spoken(f"{one.label}, about {one.size_gb:g} GB. {BASES[kind].sentence}{why}"))
            st.write(feedback.spoken(f"Licence: {one.licence}"))
            st.write("You can get it from this address. Put the file into the folder of models.")
            st.code(one.address, language=None, wrap_lines=True)
            st.code(str(ws.checkpoints), language=None, wrap_lines=True)


def _suited(ws: Workspace, goal: str) -> tuple[str, str]:
    facts = machine.read_facts(ws) or {}
    memory = facts.get("memory_mib") if facts.get("device") == "cuda" else None
    if memory is None or memory / _MIB_OF_GIB < _SMALL_GB:
        return "sd15", " It is named because this computer has no large graphics card."
    return _RECOMMENDED.get(goal, "sdxl"), ""
