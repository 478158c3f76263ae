"""One field of the form: what it is called, what stands in it, what is wrong with it, and its help in place.

Covered: fields of every kind of setting, saving at each change, the text that does not fit. Not covered:
which settings are shown (`ui/settings_groups.py`) and the box with all of them (`ui/settings_form.py`).

Numbers are text fields: they show what was typed, take any way to write a number, and change nothing
silently. The text is kept in the project, so it is the same after a reload and in another window. Text
that does not fit is kept too, told below the field, and the value before it goes on to count.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import streamlit as st

from lora_core import projects, settings
from lora_core.errors import LoraError, Problem
from lora_core.settings import Setting
from lora_core.workspace import Workspace
from ui import feedback, icons, project, settings_groups
from ui import settings_words as words
from ui.project import MODEL, Project

FIELD_WIDTH_PX: Final = 520
_SAVED_WITHIN: Final = "1m"
_NOT_SAVED: Final = "not_saved"
"""Texts that could not be written to the disk, by field; they are in this window alone."""

_JUST_SAVED: Final = "just_saved"
"""Fields whose change was saved; the browser is told their values when they are drawn next."""

_REFUSED: Final = "change_refused"

_DRAWN: Final = "fields_drawn"
"""The fields that each part of the page had when it was drawn last."""

Saved = Callable[[Project, Project], None]
"""Called after a change was saved, with the project before and after it."""


def _nothing(before: Project, after: Project) -> None:
    """What a field does after saving, unless told otherwise: Streamlit draws its part again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fields:
    """Draws fields of one project."""

    ws: Workspace
    opened: Project
    saved: Saved = _nothing
    changed: frozenset[str] = frozenset()
    """Settings that are marked as changed, with a button that puts back what the preset has."""
    idle: Mapping[str, str] = field(default_factory=dict)
    """Settings that do nothing now, with the reason."""
    meanings: Mapping[str, str] = field(default_factory=dict)
    """What settings mean beside the chosen optimizer, where that is something else than their help says."""
    told: Sequence[Problem] = ()
    """Problems and advice of the whole run; each stands at its field."""

    place: str = ""
    """The part of the page that these fields stand in; each part has its own name."""
    _before: frozenset[str] = field(init=False, default=frozenset())
    _now: set[str] = field(init=False, default_factory=set)

    def __post_init__(self) -> None:
        drawn: dict[str, set[str]] = st.session_state.setdefault(_DRAWN, {})
        object.__setattr__(self, "_before", frozenset(drawn.get(self.place, ())))
        drawn[self.place] = self._now

    def one(self, setting: Setting, *, full: bool = False) -> None:
        """The field that fits the setting's kind. `full`: with small print, marks, and more help.

        A full one stands in a part of its own, which is its container already; a hundred more cost a browser
        a fifth of its time at each change.
        """
        with nullcontext() if full else st.container(gap="xxsmall"):
            widget = self._prepare(setting, setting.key)
            self._input(setting, widget)
            self._tell(setting, widget)
            self._below(setting, full=full)

    def repeats(self, setting: Setting, folders: Sequence[Path]) -> None:
        """A field for each folder of a dataset that has several."""
        with st.container():
            for folder in folders:
                place = projects.folder_key(folder)
                with st.container(gap="xxsmall"):
                    widget = self._prepare(setting, f"{setting.key}:{place}", folder)
                    label = f"{setting.label} of {feedback.spoken(folder.name)} ({setting.unit})"
                    self._text(label, widget, self._saver(setting, widget, folder))
                    self._tell(setting, widget)
            self._below(setting, full=True)

    def pick(self, key: str, known: Sequence[tuple[Path, str]], nothing: str) -> None:
        """A choice among what the workspace has."""
        setting = settings.setting(key)
        value = self.opened.value(key)
        current = Path(value) if value else None
        names = dict(known)
        missing = [current] if current is not None and current not in names else []
        widget = self._name(key)
        with st.container(gap="xxsmall"):
            st.session_state[widget] = current
            st.selectbox(
                setting.label if key == MODEL else "Dataset",
                [*missing, *names],
                key=widget,
                on_change=self._saver(setting, widget),
                format_func=lambda path: names.get(path, str(path)),
                placeholder=nothing,
                width=FIELD_WIDTH_PX,
            )
            st.caption(
                setting.what if key == MODEL else "The pictures and captions that the LoRA learns from."
            )

    def _name(self, place: str) -> str:
        return name_of(self.opened, place)

    def _prepare(self, setting: Setting, place: str, folder: Path | None = None) -> str:
        """The field's name, with what the project has for it put into the field."""
        widget = self._name(place)
        if folder is None:
            entry = words.entered(setting, self.opened)
        else:
            entry = self.opened.texts.get(place, words.shown(self.opened.repeats_of(folder)))
        lost = st.session_state.get(_NOT_SAVED, {})
        entry = lost[widget][0] if widget in lost else entry
        # Through the state and not as `value=`: a new start value would make the field a new one, and the
        # text "1e-4" would jump to "0.0001" while it is being typed.
        # Also when it was not there a moment ago: the browser forgot the field meanwhile and the server did
        # not, so the next change of anything would send an empty text for it (Streamlit 1.67).
        # And after each save: an older answer may have reached the browser behind what was typed. It would
        # show the older value, and send it back as if somebody had typed it.
        told: set[str] = st.session_state.setdefault(_JUST_SAVED, set())
        new = widget in told or widget not in self._before or widget not in st.session_state
        told.discard(widget)
        if new or st.session_state[widget] != entry:
            st.session_state[widget] = entry
        self._now.add(widget)
        return widget

    def _saver(self, setting: Setting, widget: str, folder: Path | None = None) -> Callable[[], None]:
        return partial(_save, self.ws, self.opened.name, setting.key, widget, folder, self.saved)

    def _input(self, setting: Setting, widget: str) -> None:
        save = self._saver(setting, widget)
        label = setting.label if setting.kind in {"flag", "prompts", "paths"} else words.label_of(setting)
        if setting.kind == "flag" and not setting.optional:
            st.checkbox(label, key=widget, on_change=save)
        elif choices := self._choices(setting):
            self._choice(setting, label, widget, save, choices)
        elif setting.kind in {"prompts", "paths"}:
            st.text_area(label, key=widget, on_change=save, height="content", width=FIELD_WIDTH_PX)
        else:
            self._text(label, widget, save)

    def _text(self, label: str, widget: str, save: Callable[[], None]) -> None:
        # `live`: without it an answer of the server that comes while one types replaces the text (Streamlit
        # 1.67). It also saves what was typed and not left after a minute, which is as long as it can be.
        st.text_input(label, key=widget, on_change=save, width=FIELD_WIDTH_PX, live=_SAVED_WITHIN)

    def _choices(self, setting: Setting) -> list[Any]:
        if choices := setting.choices_for(self.opened.engine):
            return [None, *choices] if setting.optional else [*choices]
        return [*setting.suggestions]

    def _choice(
        self, setting: Setting, label: str, widget: str, save: Callable[[], None], options: list[Any]
    ) -> None:
        if st.session_state[widget] not in options:
            # Or Streamlit puts the first option in its place without a word.
            options.append(st.session_state[widget])
        st.selectbox(
            label,
            options,
            key=widget,
            on_change=save,
            format_func=lambda choice: words.EMPTY if choice is None else str(choice),
            placeholder=words.EMPTY,
            accept_new_options=not setting.choices_for(self.opened.engine),
            width=FIELD_WIDTH_PX,
        )

    def _below(self, setting: Setting, *, full: bool) -> None:
        """What it does; in the box with all settings also its mark, its small print, and more help."""
        if not full:
            st.caption(feedback.spoken(f"{setting.what} {setting.why}"))
            self._problems(setting)
            return
        st.html(words.help_of(setting))
        if why := self.idle.get(setting.key):
            st.caption(f"{icons.NOTE} **It does nothing now.** {feedback.spoken(why)}")
        elif means := self.meanings.get(setting.key):
            st.caption(f"{icons.NOTE} {feedback.spoken(means)}")
        self._problems(setting)
        if setting.key in self.changed:
            self._mark(setting)

    def _problems(self, setting: Setting) -> None:
        """What the checks of the whole run say about this setting, each with the button that ends it."""
        typed = self.opened.texts.get(setting.key)
        if typed is not None and words.understood(setting, typed).problem is not None:
            return  # the text that does not fit is told already, and the rest is about the value before it
        for number, problem in enumerate(self.told):
            if problem.setting == setting.key:
                mark = icons.CARE if problem.severity == "error" else icons.NOTE
                st.caption(f"{mark} {feedback.spoken(problem.what)} {feedback.spoken(problem.fix)}")
                key = f"mend_{setting.key}_{number}"
                mend_button(self.ws, self.opened.name, problem, key=key, saved=self.saved)

    def _mark(self, setting: Setting) -> None:
        before = words.before(setting, self.opened)
        st.caption(f"{icons.CHANGED} **Changed.** {feedback.spoken(before)}")
        st.button(
            f"Put {setting.label} back",
            key=f"back_{setting.key}",
            icon=icons.BACK,
            on_click=put_back,
            args=(self.ws, self.opened.name, (setting.key,), self.saved),
        )

    def _tell(self, setting: Setting, widget: str) -> None:
        lost = st.session_state.get(_NOT_SAVED, {}).get(widget)
        problem = words.understood(setting, st.session_state[widget]).problem
        if lost is not None:
            feedback.show(lost[1])
        elif problem is not None:
            fix = "Change it, or empty the field. No training starts before that."
            feedback.problem(f"{setting.label} does not fit.", why=problem.what, fix=fix)


def name_of(opened: Project, place: str) -> str:
    """The key of a field: of a setting, or `num_repeats:` and a folder."""
    return f"run_{opened.name}_{place.replace(':', '_')}"


def save(ws: Workspace, before: Project, setting: Setting, entered: str, folder: Path | None) -> Project:
    """Save a text as if it came from its field, which is not on the page; the project after it."""
    try:
        return project.save(ws, _changed(before, setting, entered, folder))
    except LoraError as error:
        refused(error)
        return before


def _save(ws: Workspace, name: str, key: str, widget: str, folder: Path | None, saved: Saved) -> None:
    """What a field's change does: one value, with what comes with it, into one project, on disk."""
    entered = st.session_state[widget]
    setting = settings.setting(key)
    st.session_state.setdefault(_JUST_SAVED, set()).add(widget)
    not_saved: dict[str, tuple[Any, LoraError]] = st.session_state.setdefault(_NOT_SAVED, {})
    try:
        before = projects.load_or_new(ws, name)
        after = project.save(ws, _changed(before, setting, entered, folder))
        not_saved.pop(widget, None)
    except LoraError as error:
        not_saved[widget] = (entered, error)
        return
    saved(before, after)


def _changed(before: Project, setting: Setting, entered: Any, folder: Path | None) -> Project:
    place = setting.key if folder is None else f"{setting.key}:{projects.folder_key(folder)}"
    found = words.understood(setting, entered)
    if found.problem is not None:
        return projects.with_text(before, place, str(entered))
    if folder is not None:
        after = projects.with_repeats(before, folder, found.value)
        plain = words.shown(found.value)
    else:
        after = projects.with_values(
            before, {**settings_groups.comes_with(before, setting.key, found.value), setting.key: found.value}
        )
        plain = words.as_entry(setting, after.value(setting.key))
    return after if entered == plain else projects.with_text(after, place, str(entered))


def forget(places: Iterable[str] | None = None) -> None:
    """The fields of these parts, or of all, are not on the page; they get their values when they come."""
    drawn: dict[str, set[str]] = st.session_state.setdefault(_DRAWN, {})
    wanted = None if places is None else set(places)
    for place in list(drawn):
        if wanted is None or place in wanted or place.partition("/")[0] in wanted:
            del drawn[place]


def just_saved(name: str) -> list[str]:
    """The settings of this project whose fields were saved and not drawn since."""
    told: set[str] = st.session_state.get(_JUST_SAVED, set())
    start = f"run_{name}_"
    typed = {widget.removeprefix(start) for widget in told if widget.startswith(start)}
    # A field of one folder of a dataset has the setting's name and the folder's.
    return [s.key for s in settings.catalogue() if s.key in typed or _begins(typed, f"{s.key}_")]


def _begins(texts: Iterable[str], start: str) -> bool:
    return any(text.startswith(start) for text in texts)


def put_back(ws: Workspace, name: str, keys: Sequence[str], saved: Saved = _nothing) -> None:
    """Give these settings the preset's values again, else their starting values; one step to take back."""

    def change(before: Project) -> Project:
        after = projects.with_values(before, {key: before.preset_value(key) for key in keys})
        return projects.without_repeats(after) if projects.REPEATS in keys else after

    label = settings.setting(keys[0]).label if len(keys) == 1 else f"{len(keys)} settings"
    _do(ws, name, change, f"{label} put back.", saved)


def mend_button(ws: Workspace, name: str, problem: Problem, *, key: str, saved: Saved = _nothing) -> None:
    """The button that ends a problem, where there are values that do; one step to take back."""
    if problem.mend:
        label = f"{problem.mend_label.rstrip('.')}."
        st.button(
            feedback.spoken(problem.mend_label),
            key=key,
            icon=icons.MEND,
            wrap=True,
            on_click=_do,
            args=(ws, name, lambda before: projects.with_values(before, problem.mend), label, saved),
        )


def _do(ws: Workspace, name: str, change: Callable[[Project], Project], what: str, saved: Saved) -> None:
    """What a button's press does: one change, saved at once."""
    try:
        before = projects.load_or_new(ws, name)
        after = project.save(ws, change(before), what=what)
    except LoraError as error:
        refused(error)
        return
    saved(before, after)


def refused(error: LoraError) -> None:
    """Keep why a change was not saved; the line with undo tells it when it is drawn next."""
    st.session_state[_REFUSED] = error


def told_refused() -> None:
    """Tell it once."""
    error: LoraError | None = st.session_state.pop(_REFUSED, None)
    if error is not None:
        feedback.show(error)


def unfit(opened: Project) -> list[Problem]:
    """What is wrong with the texts that stand in fields and do not fit."""
    found = []
    known = {s.key: s for s in settings.catalogue()}
    for place, text in opened.texts.items():
        setting = known.get(place.partition(":")[0])
        problem = words.understood(setting, text).problem if setting is not None else None
        if setting is not None and problem is not None:
            what = f"{setting.label}: {problem.what}"
            fix = "Change it, or empty the field."
            if place == setting.key:
                value = words.said(setting, opened.value(setting.key))
                fix += f" Until then the figures here are for the value before: {value}."
            found.append(Problem(setting=setting.key, what=what, fix=fix))
    return found
