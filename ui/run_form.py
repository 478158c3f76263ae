"""The form of a training, drawn from the settings' own descriptions and saved at each change.

Covered: the five choices on top, the closed box with all settings, what a person typed and the problem it
has. Not covered: the descriptions (`lora_core.settings`) and whether the whole can start
(`lora_core.planning`).

Numbers are text fields: they show what was typed, take any way to write a number, and change nothing
silently. Text that does not fit is kept, told below the field, and not saved.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import streamlit as st

from lora_core import projects, settings
from lora_core.datasets.library import picture_folders
from lora_core.errors import Problem
from lora_core.settings import Setting
from lora_core.workspace import Workspace
from ui import feedback, layout, project
from ui.project import IMAGES, MODEL, NAME, REPEATS, TRIGGER, Project

PROMPTS: Final = "sample_prompts"
ON_TOP: Final = (MODEL, IMAGES, NAME, TRIGGER, PROMPTS)
"""What is chosen for each LoRA; at most five, the rest has start values that work."""

EMPTY: Final = "empty"
"""How a choice that is left open reads."""

BY_THE_APP: Final = frozenset({"resume"})
"""Settings that the app fills in itself when a run goes on."""

FIELD_WIDTH_PX: Final = 520

GROUPS: Final = {
    "network": "The LoRA itself",
    "optimizer": "How it learns",
    "schedule": "How long it learns",
    "batch": "Batches and seed",
    "text": "How captions are read",
    "loss": "Noise, and how mistakes count",
    "datasets": "How pictures are used",
    "subsets": "Captions and repeats",
    "model": "The base model",
    "precision": "Precision and memory",
    "saving": "What is saved",
    "sampling": "Sample pictures",
    "validation": "Tests on pictures held back",
    "metadata": "Notes in the file",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Choices:
    """What a person can pick from, as value and words."""

    models: Sequence[tuple[Path, str]]
    datasets: Sequence[tuple[Path, str]]


def draw(ws: Workspace, opened: Project, choices: Choices) -> list[Problem]:
    """The form. Returns what is wrong with text that stands in a field and could not be saved."""
    fields = _Fields(ws, opened)
    fields.pick(MODEL, choices.models, "No base model is chosen")
    fields.pick(IMAGES, choices.datasets, "No dataset is chosen")
    for key in (NAME, TRIGGER, PROMPTS):
        fields.one(settings.setting(key))
    folders = picture_folders(opened.dataset) if opened.dataset else []
    box = st.expander("All settings", key="all_settings", on_change="rerun")
    with box:
        if box.open:  # a closed box of fifty fields would still be drawn and sent
            for concern, members in _groups(opened.engine):
                layout.subheader(GROUPS[concern])
                for member in members:
                    if member.key == REPEATS and len(folders) > 1:
                        fields.repeats(member, folders)
                    else:
                        fields.one(member)
    return fields.problems


def _groups(engine: str) -> Iterator[tuple[str, list[Setting]]]:
    for concern in GROUPS:
        members = [s for s in settings.catalogue() if s.concern == concern and _shown(s, engine)]
        if members:
            yield concern, members


def _shown(setting: Setting, engine: str) -> bool:
    """Whether the box has a field for it: this engine takes it, and there is something to choose."""
    if setting.key in ON_TOP or setting.key in BY_THE_APP or engine not in setting.engines:
        return False
    return len(setting.choices_for(engine)) != 1


@dataclass(frozen=True, slots=True)
class _Saver:
    """What a field's change does: one value, into one project, on disk."""

    ws: Workspace
    name: str
    key: str
    widget: str
    folder: Path | None = None
    """Where the value is for one folder of the dataset alone."""

    def __call__(self) -> None:
        entered = st.session_state[self.widget]
        opened = project.open_or_new(self.ws, self.name)
        found = understood(settings.setting(self.key), entered)
        if found.problem is not None:
            return
        if self.folder is not None:
            project.save(self.ws, projects.with_repeats(opened, self.folder, found.value))
        else:
            project.save(self.ws, projects.with_value(opened, self.key, found.value))


class _Fields:
    """Draws fields of one project and gathers the problems of what stands in them."""

    def __init__(self, ws: Workspace, opened: Project) -> None:
        self.ws, self.opened = ws, opened
        self.problems: list[Problem] = []

    def one(self, setting: Setting) -> None:
        """The field that fits the setting's kind, its meaning, and its problem if it has one."""
        with st.container(gap="xxsmall"):
            widget, save = self._prepare(setting.key, _entered(setting, self.opened.value(setting.key)))
            if setting.kind == "flag":
                st.checkbox(setting.label, key=widget, on_change=save)
            elif choices := setting.choices_for(self.opened.engine):
                self._choice(setting, widget, save, [None, *choices] if setting.optional else [*choices])
            elif setting.suggestions:
                self._choice(setting, widget, save, [*setting.suggestions], other=True)
            elif setting.kind in {"prompts", "paths"}:
                st.text_area(
                    setting.label, key=widget, on_change=save, height="content", width=FIELD_WIDTH_PX
                )
            else:
                st.text_input(label_of(setting), key=widget, on_change=save, width=FIELD_WIDTH_PX)
            st.caption(meaning(setting))
            self._tell(setting, st.session_state[widget])

    def repeats(self, setting: Setting, folders: Sequence[Path]) -> None:
        """A field for each folder of a dataset that has several."""
        for folder in folders:
            with st.container(gap="xxsmall"):
                value = shown(self.opened.repeats_of(folder))
                widget, save = self._prepare(f"{setting.key}_{projects.folder_key(folder)}", value)
                save = replace(save, key=setting.key, folder=folder)
                label = f"{setting.label} of {feedback.spoken(folder.name)} ({setting.unit})"
                st.text_input(label, key=widget, on_change=save, width=FIELD_WIDTH_PX)
                st.caption(meaning(setting))
                self._tell(setting, st.session_state[widget])

    def _choice(
        self, setting: Setting, widget: str, save: "_Saver", options: list[Any], *, other: bool = False
    ) -> None:
        if st.session_state[widget] not in options:
            # Or Streamlit puts the first option in its place without a word.
            options.append(st.session_state[widget])
        st.selectbox(
            setting.label,
            options,
            key=widget,
            on_change=save,
            format_func=lambda choice: EMPTY if choice is None else str(choice),
            placeholder=EMPTY,
            accept_new_options=other,
            width=FIELD_WIDTH_PX,
        )

    def pick(self, key: str, known: Sequence[tuple[Path, str]], nothing: str) -> None:
        """A choice among what the workspace has."""
        setting = settings.setting(key)
        value = self.opened.value(key)
        current = Path(value) if value else None
        names = dict(known)
        missing = [current] if current is not None and current not in names else []
        with st.container(gap="xxsmall"):
            widget, save = self._prepare(key, current)
            st.selectbox(
                setting.label if key == MODEL else "Dataset",
                [*missing, *names],
                key=widget,
                on_change=save,
                format_func=lambda path: names.get(path, str(path)),
                placeholder=nothing,
                width=FIELD_WIDTH_PX,
            )
            st.caption(
                setting.what if key == MODEL else "The pictures and captions that the LoRA learns from."
            )

    def _prepare(self, key: str, value: Any) -> tuple[str, _Saver]:
        widget = f"run_{self.opened.name}_{key}"
        # Through the state and not as `value=`: a new start value would make the field a new one, and the
        # text "1e-4" would jump to "0.0001" while it is being typed.
        if widget not in st.session_state:
            st.session_state[widget] = value
        return widget, _Saver(self.ws, self.opened.name, key, widget)

    def _tell(self, setting: Setting, entered: Any) -> None:
        found = understood(setting, entered)
        if found.problem is not None:
            self.problems.append(found.problem)
            feedback.problem(
                f"{setting.label} was not saved.",
                why=found.problem.what,
                fix="Change it, or empty the field.",
            )


def label_of(setting: Setting) -> str:
    """The plain name, with the unit where the name does not say it."""
    if not setting.unit or setting.unit.casefold() in setting.label.casefold():
        return setting.label
    return f"{setting.label} ({setting.unit})"


def meaning(setting: Setting) -> str:
    """What it does and when to change it; in the box also the start value and the name that recipes use."""
    if setting.key in ON_TOP:
        return feedback.spoken(f"{setting.what} {setting.why}")
    start = "" if setting.default is None else f" Start value: {shown(setting.default)}."
    return feedback.spoken(f"{setting.what} {setting.why}{start}") + f" Name in files: `{setting.key}`."


def understood(setting: Setting, entered: Any) -> settings.Checked:
    """What a field holds, as the setting holds it; or the problem."""
    if setting.kind in {"prompts", "paths"}:
        lines = tuple(line.strip() for line in str(entered or "").splitlines() if line.strip())
        return settings.checked(setting, lines or None)
    if not isinstance(entered, str):
        return settings.checked(setting, entered)
    text = entered.strip()
    if not text and not setting.optional and setting.kind != "text":
        return settings.Checked(setting.default)  # an emptied field goes back to its start value
    if setting.kind in {"number", "steps_or_share"} and text.count(",") == 1:
        text = text.replace(",", ".")  # half of the world writes 0,0001
    return settings.parsed(setting, text)


def _entered(setting: Setting, value: Any) -> Any:
    """A saved value as its field shows it."""
    if setting.kind == "flag":
        return bool(value)
    if setting.choices or setting.kind == "choice":
        return value
    return shown(value)


def shown(value: Any) -> str:
    """A value as a person would type it."""
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        separator = "\n" if any(isinstance(item, str | Path) for item in value) else ", "
        return separator.join(shown(item) for item in value)
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:.15g}" if abs(value) < 1e15 else repr(value)
    return str(value)
