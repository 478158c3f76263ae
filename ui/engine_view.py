"""What the engine receives, and what it said about it afterwards.

Covered: the exact files and the command of a project's run, how they differ from the preset, and the
engine's own report beside what was asked. Not covered: the choice of the engine (`ui/engine_choice.py`),
editing the text (`ui/recipe_text.py`), comparing (`lora_core.runs.echo`).
"""

from functools import partial
from typing import Final

import streamlit as st

from lora_core import projects, runs, settings
from lora_core.errors import SettingsError
from lora_core.jobs import Job
from lora_core.runs import Line, echo
from lora_core.workspace import Workspace
from ui import engine_choice, feedback, guide_recipe, parts, project, state
from ui import settings_words as words
from ui.project import Project

PART: Final = "engine_view"
_PLAIN: Final = {"None": "nothing", "": "nothing", "True": "on", "False": "off"}
"""What a LoRA file's notes call some values, in words."""


def draw(ws: Workspace, name: str) -> None:
    """The closed box beside the form; it follows each change while it is open."""
    parts.part(PART, partial(_box, ws, name))


def _box(ws: Workspace, name: str) -> None:
    box = st.expander(engine_choice.WHERE, key=PART, on_change="rerun")
    if not box.open:
        return
    with box:
        opened = projects.load_or_new(ws, name)
        engine_choice.draw(ws, opened)
        _differences(opened)
        base = guide_recipe.base_of(opened)
        try:
            run = project.run_of(opened)
            files = settings.run_files(run)
            command = runs.command_line(run, opened.engine, family=base.family if base else None)
        except SettingsError as error:
            feedback.care("The files can be shown when this is done.", title="Not all is chosen yet.")
            feedback.problem_list(error.problems)
            return
        for file, text in files.items():
            st.markdown(f"**{file}**")
            st.code(text, language=None, wrap_lines=True)
        st.markdown("**The command that does the same with these files**")
        st.code(command, language=None, wrap_lines=True)


def _differences(opened: Project) -> None:
    """How the recipe differs from the preset, in words."""
    changed = projects.changed_from_preset(opened)
    if not changed:
        as_it_was = "are as the preset has them" if opened.preset else "have their start values"
        st.write(f"All settings of the recipe {as_it_was}.")
        return
    source = "the preset" if opened.preset else "the start values"
    st.write(f"{state.counted(len(changed), 'setting')} changed from {source}:")
    lines = []
    for key in changed:
        setting = settings.setting(key)
        now = words.said(setting, opened.value(key))
        before = words.said(setting, opened.preset_value(key))
        lines.append(
            f"- {feedback.spoken(f'{setting.label}: {now}. Before: {before}.')} `{setting.full_name}`"
        )
    st.markdown("\n".join(lines))


def reported(job: Job) -> None:
    """The engine's own report beside what was asked: differences at once, the rest in a closed box."""
    lines = echo(job)
    if not lines:
        return
    different = [line for line in lines if line.same is False]
    if different:
        feedback.care(
            "",
            title="The engine reported something else than it was asked for.",
            lines=[_compared(line) for line in different],
        )
    box = st.expander("What the engine reported", key=f"reported_{job.id}", on_change="rerun")
    if box.open:
        with box:
            if not different:
                st.write("Everything that can be compared is as it was asked for.")
            st.markdown(listed(lines))


def listed(lines: list[Line]) -> str:
    """Asked and reported, a line a setting: the columns of a table are too narrow to read on a phone."""
    result = {True: "The same", False: "**Different**", None: "Cannot be compared yet"}
    return "\n".join(f"- {feedback.spoken(_compared(line))} {result[line.same]}." for line in lines)


def _compared(line: Line) -> str:
    asked, said = (_PLAIN.get(text, text) for text in (line.asked, line.reported))
    return f"{line.what}: asked for {asked}, reported {said}."
