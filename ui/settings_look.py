"""What the box with all settings shows at this moment, and which of its parts do not show that yet.

Covered: the project with its groups and problems, worked out once for all parts of the box; how each part
looks, to draw only those again that look different. Not covered: drawing (`ui/settings_form.py`).

The parts are compared with what was drawn, not with what a change touched: another tab may have changed
something too, and a problem may stand at a field of another group.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import streamlit as st

from lora_core import projects
from lora_core.errors import Problem
from lora_core.projects import REPEATS, Project
from lora_core.workspace import Workspace
from ui import settings_groups
from ui import settings_words as words
from ui.settings_groups import Group, Wanted

_SEEN: Final = "settings_seen"
_SHOWN: Final = "settings_shown"
"""How each part of the box looked when it was drawn last, by its name."""
_PROBLEMS: Final = "settings_problems"
_MOMENT_S: Final = 2.0

Check = Callable[[Project], Sequence[Problem]]
"""All problems and advice of the run that a project stands for."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The project as it is on the disk, with its groups."""

    opened: Project
    family: str | None
    groups: Mapping[str, Group]
    """Those that have something to show, by their concern."""


def seen(ws: Workspace, name: str, wanted: Wanted, family_of: Callable[[Project], str | None]) -> Seen:
    """The project as it is now. A hundred parts that are drawn one after the other read it once."""
    when = ws.root, name, wanted, _written(ws, name)
    known: tuple[Any, Seen] | None = st.session_state.get(_SEEN)
    opened = known[1].opened if known and known[0] == when else projects.load_or_new(ws, name)
    family = family_of(opened)
    if known and known[0] == when and known[1].family == family:
        return known[1]
    found = {group.concern: group for group in settings_groups.groups(opened, family, wanted)}
    fresh = Seen(opened, family, found)
    st.session_state[_SEEN] = when, fresh
    return fresh


def _written(ws: Workspace, name: str) -> tuple[int, int, int] | None:
    """What changes when the project's file is replaced; None while there is none."""
    try:
        found = projects.path_of(ws, name).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def checked(check: Check, opened: Project) -> Sequence[Problem]:
    """The problems of this moment; parts that are drawn one after the other ask once."""
    known: tuple[Project, float, Sequence[Problem]] | None = st.session_state.get(_PROBLEMS)
    if known is None or known[0] != opened or time.monotonic() - known[1] > _MOMENT_S:
        known = opened, time.monotonic(), check(opened)
        st.session_state[_PROBLEMS] = known
    return known[2]


def group_part(concern: str) -> str:
    """The part with a whole group."""
    return f"settings_{concern}"


def field_part(key: str) -> str:
    """The part with one setting."""
    return f"setting_{key}"


def end_part(concern: str) -> str:
    """The part below the fields of a group."""
    return f"settings_{concern}_end"


def field_view(found: Seen, group: Group | None, key: str, told: Sequence[Problem]) -> Any:
    """Everything that decides how one field looks; None while it has no field."""
    setting = next((s for s in group.members if s.key == key), None) if group else None
    if group is None or setting is None:
        return None
    opened = found.opened
    texts = [(place, text) for place, text in opened.texts.items() if place.partition(":")[0] == key]
    return (
        setting,
        repr(words.entered(setting, opened)),  # 1 and 1.0 are equal, and look different
        texts,
        (opened.name, opened.engine, opened.preset, repr(opened.preset_value(key))),
        (group.idle.get(key), group.meanings.get(key), key in group.changed),
        [(number, problem) for number, problem in enumerate(told) if problem.setting == key],
        (dict(opened.repeats), opened.dataset) if key == REPEATS else None,
    )


def end_view(group: Group) -> Any:
    """Everything that decides what stands below the fields of a group."""
    return group.hidden, group.changed


def views(found: Seen, told: Sequence[Problem]) -> Iterator[tuple[str, Any]]:
    """How each part of the box looks when it is drawn now, by its name."""
    for concern in settings_groups.GROUPS:
        group = found.groups.get(concern)
        yield group_part(concern), group is not None
        if group is not None:
            yield end_part(concern), end_view(group)
        for key in settings_groups.places(concern, found.opened.engine):
            yield field_part(key), field_view(found, group, key, told)


def note(part: str, view: Any) -> None:
    """Remember how a part looks that is drawn now."""
    st.session_state.setdefault(_SHOWN, {})[part] = view


def gone(concern: str, engine: str) -> None:
    """The fields of a group are not on the page; they need not be drawn again."""
    shown: dict[str, Any] = st.session_state.setdefault(_SHOWN, {})
    for part in (end_part(concern), *map(field_part, settings_groups.places(concern, engine))):
        shown.pop(part, None)


def forget() -> None:
    """The whole box is not on the page."""
    st.session_state[_SHOWN] = {}


def outdated(found: Seen, told: Sequence[Problem]) -> list[str]:
    """The parts on the page that look different from what they shall look like now."""
    shown: dict[str, Any] = st.session_state.get(_SHOWN, {})
    return [part for part, view in views(found, told) if part in shown and shown[part] != view]
