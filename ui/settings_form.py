"""All settings: every one that acts, in closed groups, with a search, filters, and a way back.

Covered: the box, its groups, what is drawn again after a change, undo and redo. Not covered: one field
(`ui/settings_fields.py`), which settings are shown (`ui/settings_groups.py`), what the whole run amounts to
(the page draws that in a part named `SUMMARY`).

Each group is a part of its own. A change draws its group again, the groups where it makes fields come or go,
the line with undo, and the summary. A closed group is not built.

Every group and every field has a place that stays its own, also while it is not shown. The browser keeps a
field by its place (Streamlit 1.67): when a search or another choice moved fields up, each began anew in its
new place, and a text that was being typed in one was gone without a word.
"""

import time
from collections.abc import Callable, Sequence
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
    state,
)
from ui.settings_fields import FIELD_WIDTH_PX, Fields
from ui.settings_groups import Group, Wanted

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
_PROBLEMS: Final = "settings_problems"
_MOMENT_S: Final = 2.0

Check = Callable[[Project], Sequence[Problem]]
"""All problems and advice of the run that a project stands for."""


def _unchecked(opened: Project) -> Sequence[Problem]:
    del opened
    return ()


def draw(ws: Workspace, name: str, *, check: Check = _unchecked) -> None:
    """The box with all settings of a project; `check` gives the problems that stand at their fields."""
    parts.part(BOX, partial(_box, ws, name, check))


def summary(draw_it: Callable[[], None]) -> None:
    """Draw what the settings amount to, as the part that follows each change."""
    parts.part(SUMMARY, draw_it)


def history(ws: Workspace, name: str) -> None:
    """The line with the last save, and the two buttons that take a change back and do it again."""
    parts.part(HISTORY, partial(_history, ws, name))


def redraw(concerns: Sequence[str] = ()) -> None:
    """Draw the groups of these concerns again, with what follows each change; for callbacks only."""
    rate = () if concerns and _NOT_THE_RATE.issuperset(concerns) else (RATE,)
    parts.again([*map(_part_of, concerns), HISTORY, SUMMARY, *rate, *FOLLOW])


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
        return
    with box:
        wanted = _filters()
        opened = projects.load_or_new(ws, name)
        family = family_of(opened)
        for concern in settings_groups.GROUPS:
            parts.part(_part_of(concern), partial(_group, ws, name, check, concern))
        if not settings_groups.groups(opened, family, wanted):
            st.write("No setting was found.")
        if wanted.search.strip():
            _left_out(opened, family, wanted.search)


def _part_of(concern: str) -> str:
    return f"settings_{concern}"


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
    wanted, opened = _wanted(), projects.load_or_new(ws, name)
    family = family_of(opened)
    group = settings_groups.group(opened, family, wanted, concern)
    if group is None:
        settings_fields.forget([concern])
        st.empty()
        return
    key = _opened(concern, wanted)
    box = st.expander(group.title, key=key, on_change=partial(_keep_open, key, concern))
    if not box.open:
        settings_fields.forget([concern])
        return
    with box:
        fields = Fields(
            ws=ws,
            opened=opened,
            place=concern,
            saved=partial(_saved, family),
            changed=group.changed,
            idle=group.idle,
            meanings=group.meanings,
            told=checked(check, opened),
        )
        _members(fields, group)


def checked(check: Check, opened: Project) -> Sequence[Problem]:
    """The problems of this moment; parts that are drawn one after the other ask once."""
    known: tuple[Project, float, Sequence[Problem]] | None = st.session_state.get(_PROBLEMS)
    if known is None or known[0] != opened or time.monotonic() - known[1] > _MOMENT_S:
        known = opened, time.monotonic(), check(opened)
        st.session_state[_PROBLEMS] = known
    return known[2]


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


def _members(fields: Fields, group: Group) -> None:
    opened = fields.opened
    folders = picture_folders(opened.dataset) if opened.dataset and group.concern == "subsets" else []
    members = {setting.key: setting for setting in group.members}
    for key in settings_groups.places(group.concern, opened.engine):
        setting = members.get(key)
        if setting is None:
            st.empty()  # its place
        elif key == REPEATS and len(folders) > 1:
            fields.repeats(setting, folders)
        else:
            fields.one(setting, full=True)
    if group.hidden and not _wanted().search.strip():
        are = "setting of this group is" if group.hidden == 1 else "settings of this group are"
        st.caption(f"{group.hidden} {are} not shown, because less detail was chosen.")
    if len(group.changed) > 1:
        st.button(
            f"Put back all {len(group.changed)} changes of this group",
            key=f"back_all_{group.concern}",
            icon=icons.BACK,
            on_click=settings_fields.put_back,
            args=(fields.ws, opened.name, tuple(sorted(group.changed)), fields.saved),
        )


def _saved(family: str | None, before: Project, after: Project) -> None:
    """What is drawn again after a change: every group that it makes look different, and the summary."""
    redraw(touched(before, after, family))


def touched(before: Project, after: Project, family: str | None) -> list[str]:
    """The groups that a change makes look different."""
    everything = Wanted()
    old = {group.concern: group for group in settings_groups.groups(before, family, everything)}
    new = {group.concern: group for group in settings_groups.groups(after, family, everything)}
    differ = {concern for concern in settings_groups.GROUPS if old.get(concern) != new.get(concern)}
    for s in settings.catalogue():
        was, now = before.value(s.key), after.value(s.key)
        if was is not now and not projects.same_value(was, now):
            differ.add(s.concern)
    for place in {*before.texts, *after.texts}:
        if before.texts.get(place) != after.texts.get(place):
            differ.add(settings.setting(place.partition(":")[0]).concern)
    if before.repeats != after.repeats:
        differ.add("subsets")
    return [concern for concern in settings_groups.GROUPS if concern in differ]


def _left_out(opened: Project, family: str | None, search: str) -> None:
    """What the search finds among settings that belong to another choice."""
    for setting, why in settings_groups.not_shown(opened, family, search):
        st.caption(feedback.spoken(f"{setting.label} is not shown. {why}") + f" `{setting.key}`")


def _history(ws: Workspace, name: str) -> None:
    saved = project.saved_at(ws, name)
    st.caption(f"Every change is saved at once.{f' Saved {state.when(saved)}.' if saved else ''}")
    with st.container(horizontal=True):
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
