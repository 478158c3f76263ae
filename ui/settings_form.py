"""All settings: every one that acts, in closed groups, with a search, filters, and a way back.

Covered: the box, its groups, what is drawn again after a change, undo and redo. Not covered: one field
(`ui/settings_fields.py`), which settings are shown (`ui/settings_groups.py`), what the whole run amounts to
(the page draws that in a part named `SUMMARY`).

Each group is a part of its own, and so is each field in it. A change draws the fields again that look
different afterwards, the line with undo, and the summary. A closed group is not built.

Every group and every field has a place that stays its own, also while it is not shown. The browser keeps a
field by its place (Streamlit 1.67): when a search or another choice moved fields up, each began anew in its
new place, and a text that was being typed in one was gone without a word.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import streamlit as st

from lora_core import models, projects, settings
from lora_core.datasets.library import picture_folders
from lora_core.errors import LoraError, ModelError, Problem
from lora_core.projects import REPEATS, Project, Step
from lora_core.workspace import Workspace
from ui import (
    engine_view,
    feedback,
    icons,
    parts,
    project,
    recipe_text,
    settings_fields,
    settings_groups,
    settings_late,
    settings_look,
    state,
)
from ui.settings_fields import FIELD_WIDTH_PX, Fields
from ui.settings_groups import Wanted
from ui.settings_look import Check

SUMMARY: Final = "summary"
"""The part of the page that tells what the settings amount to; drawn again at each change."""
RATE: Final = "rate_before_start"
"""The part of the page with the course of the rate; drawn again where a change can reach it. A chart is the
heaviest thing on the page: for a browser, and on the line."""
_NOT_THE_RATE: Final = frozenset(
    {"network", "text", "loss", "precision", "speed", "saving", "sampling", "metadata", "notes"}
)
"""Groups whose settings change neither the rate nor the number of steps."""
FOLLOW: Final = (engine_view.PART, recipe_text.PART)
"""Boxes that follow each change, where the page has them."""
BOX: Final = "all_settings"
HISTORY: Final = "settings_history"
_SEARCH: Final = "settings_search"
_LEVEL: Final = "settings_level"
_CHANGED: Final = "settings_changed"
_OPENED: Final = "settings_open_groups"
_FOUND: Final = "settings_found_groups"
"""Whether each group was drawn last for what a search or a filter found in it."""


def _unchecked(opened: Project) -> list[Problem]:
    del opened
    return []


def draw(ws: Workspace, name: str, *, check: Check = _unchecked) -> None:
    """The box with all settings of a project; `check` gives the problems that stand at their fields."""
    parts.part(BOX, partial(_box, ws, name, check))


def late(ws: Workspace, name: str, *, check: Check = _unchecked) -> None:
    """What a person typed into a field that went meanwhile is saved; at the end of the page."""
    settings_late.draw(ws, name, partial(_saved, ws, check))


def summary(draw_it: Callable[[], None]) -> None:
    """Draw what the settings amount to, as the part that follows each change."""
    parts.part(SUMMARY, draw_it)


def history(ws: Workspace, name: str) -> None:
    """The line with the last save, and the two buttons that take a change back and do it again."""
    parts.part(HISTORY, partial(_history, ws, name))


def family_of(opened: Project) -> str | None:
    """The family of the project's base model; None while there is none, or none that can be used."""
    return _family(str(opened.base_model)) if opened.base_model is not None else None


@st.cache_data(ttl=60.0, max_entries=16, show_spinner=False)
def _family(base: str) -> str | None:
    """The page runs at each change; a model's headers are read once a minute."""
    try:
        return models.inspect_base(Path(base)).family
    except ModelError:
        return None


def _box(ws: Workspace, name: str, check: Check) -> None:
    box = st.expander("All settings", key=BOX, on_change="rerun")
    if not box.open:
        settings_fields.forget(settings_groups.GROUPS)
        settings_look.forget()
        return
    with box:
        wanted = _filters()
        found = settings_look.seen(ws, name, wanted, family_of)
        for concern in settings_groups.GROUPS:
            parts.part(settings_look.group_part(concern), partial(_group, ws, name, check, concern))
        if not found.groups:
            st.write("No setting was found.")
        if wanted.search.strip():
            _left_out(found.opened, found.family, wanted.search)


def _filters() -> Wanted:
    st.text_input(
        "Search the settings by name or meaning", key=_SEARCH, type="search", width=FIELD_WIDTH_PX,
        persist_state="session",
    )  # fmt: skip
    st.selectbox(
        "How much to show",
        [*reversed(settings_groups.DETAIL)],
        key=_LEVEL,
        format_func=lambda level: settings_groups.DETAIL[level],
        width=FIELD_WIDTH_PX,
        persist_state="session",
    )
    st.checkbox(
        "Show only what is changed from the preset or the start", key=_CHANGED, persist_state="session"
    )
    return _wanted()


def _wanted() -> Wanted:
    return Wanted(
        search=st.session_state.get(_SEARCH) or "",
        level=st.session_state.get(_LEVEL) or "expert",
        changed_only=bool(st.session_state.get(_CHANGED)),
    )


def _group(ws: Workspace, name: str, check: Check, concern: str) -> None:
    """One group: closed until it is opened, or until the search or the filter finds something in it."""
    wanted = _wanted()
    found = settings_look.seen(ws, name, wanted, family_of)
    engine, group = found.opened.engine, found.groups.get(concern)
    settings_look.note(settings_look.group_part(concern), group is not None)
    box = None
    if group is not None:
        key = _opened(concern, wanted)
        box = st.expander(group.title, key=key, on_change=partial(_keep_open, key, concern))
    if box is None or not box.open:
        settings_fields.forget([concern])
        settings_look.gone(concern, engine)
        return
    with box:
        for key in settings_groups.places(concern, engine):
            parts.part(settings_look.field_part(key), partial(_field, ws, name, check, concern, key))
        parts.part(settings_look.end_part(concern), partial(_end, ws, name, check, concern))


def _field(ws: Workspace, name: str, check: Check, concern: str, key: str) -> None:
    """One setting, or its place while it is not shown."""
    found = settings_look.seen(ws, name, _wanted(), family_of)
    group, told = found.groups.get(concern), settings_look.checked(check, found.opened)
    settings_look.note(settings_look.field_part(key), settings_look.field_view(found, group, key, told))
    place = f"{concern}/{key}"
    setting = next((s for s in group.members if s.key == key), None) if group else None
    if group is None or setting is None:
        settings_fields.forget([place])
        return
    fields = Fields(
        ws=ws,
        opened=found.opened,
        place=place,
        saved=partial(_saved, ws, check),
        changed=group.changed,
        idle=group.idle,
        meanings=group.meanings,
        told=told,
    )
    folders = picture_folders(found.opened.dataset) if found.opened.dataset and key == REPEATS else []
    if len(folders) > 1:
        fields.repeats(setting, folders)
    else:
        fields.one(setting, full=True)


def _end(ws: Workspace, name: str, check: Check, concern: str) -> None:
    """What stands below the fields of a group: how many are not shown, and the way back for all."""
    found = settings_look.seen(ws, name, _wanted(), family_of)
    group = found.groups.get(concern)
    if group is None:
        return
    settings_look.note(settings_look.end_part(concern), settings_look.end_view(group))
    if group.hidden and not _wanted().search.strip():
        are = "setting of this group is" if group.hidden == 1 else "settings of this group are"
        st.caption(f"{group.hidden} {are} not shown, because less detail was chosen.")
    if len(group.changed) > 1:
        st.button(
            f"Put back all {len(group.changed)} changes of this group",
            key=f"back_all_{concern}",
            icon=icons.BACK,
            on_click=settings_fields.put_back,
            args=(ws, name, tuple(sorted(group.changed)), partial(_saved, ws, check)),
        )


def _opened(concern: str, wanted: Wanted) -> str:
    """The name of a group's box, which is open when it comes if a search found it or it was open before.

    Said through the state: a box that is told to start open is another box to the browser than one that is
    not, and all fields in it would begin anew.
    """
    key, found = f"group_{concern}", wanted.narrow
    before: dict[str, bool] = st.session_state.setdefault(_FOUND, {})
    if key not in st.session_state or before.get(concern, found) != found:
        st.session_state[key] = found or concern in st.session_state.setdefault(_OPENED, set())
    before[concern] = found
    return key


def _keep_open(key: str, concern: str) -> None:
    """Remember which groups are open: a box that was not drawn for a while forgets it."""
    if _wanted().narrow:
        return
    kept: set[str] = st.session_state.setdefault(_OPENED, set())
    (kept.add if st.session_state[key] else kept.discard)(concern)


def _saved(ws: Workspace, check: Check, before: Project, after: Project) -> None:
    """Draw again what looks different after a change, and what follows each change."""
    found = settings_look.seen(ws, after.name, _wanted(), family_of)
    differ = settings_look.outdated(found, settings_look.checked(check, found.opened))
    # The browser is told what was saved, also where the field looks as before.
    typed = [settings_look.field_part(key) for key in settings_fields.just_saved(after.name)]
    rate = [RATE] if _changes_the_rate(before, after) else []
    parts.again([*typed, *differ, HISTORY, SUMMARY, *rate, *FOLLOW])


def _changes_the_rate(before: Project, after: Project) -> bool:
    """Whether a change can reach the rate or the number of steps."""
    if before.repeats != after.repeats:
        return True
    return any(
        s.concern not in _NOT_THE_RATE and not projects.same_value(before.value(s.key), after.value(s.key))
        for s in settings.catalogue()
    )


def _left_out(opened: Project, family: str | None, search: str) -> None:
    """What the search finds among settings that belong to another choice."""
    for setting, why in settings_groups.not_shown(opened, family, search):
        st.caption(feedback.spoken(f"{setting.label} is not shown. {why}") + f" `{setting.key}`")


def _history(ws: Workspace, name: str) -> None:
    saved = project.saved_at(ws, name)
    st.caption(f"Every change is saved at once.{f' Saved {state.when(saved)}.' if saved else ''}")
    with st.container(horizontal=True, vertical_alignment="center"):
        _step_button(
            "Undo the last change", "undo_setting", icons.UNDO, ws, name, projects.can_undo(ws, name)
        )
        _step_button("Do the change again", "redo_setting", icons.REDO, ws, name, projects.can_redo(ws, name))


def _step_button(label: str, key: str, icon: str, ws: Workspace, name: str, step: Step | None) -> None:
    if step is None:
        return
    go = projects.undo if key.startswith("undo") else projects.redo
    st.button(label, key=key, icon=icon, on_click=_went, args=(go, ws, name))
    st.caption(feedback.spoken(step.what))


def _went(go: Callable[[Workspace, str], Step | None], ws: Workspace, name: str) -> None:
    try:
        go(ws, name)
    except LoraError as error:
        settings_fields.refused(error)
    st.rerun()  # any field of the page may be another one now
