"""The text of a project's files, to be read and changed as text; the form follows, and the other way round.

Covered: both files as text, applying what was changed in them as one step, every problem at once. Not
covered: reading the text (`lora_core.settings`), files of other programs.

Only what was changed in the text is applied: a change that was made in the form meanwhile stays. Nothing is
applied while a single problem is left.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import streamlit as st

from lora_core import projects, settings
from lora_core.errors import LoraError, Problem, SettingsError
from lora_core.settings import RunConfig
from lora_core.workspace import Workspace
from ui import feedback, icons, parts, project
from ui.project import Project

PART: Final = "recipe_text"
_CONFIG: Final = "recipe_text_config"
_DATASET: Final = "recipe_text_dataset"
_BEGUN: Final = "recipe_text_begun"
"""The project as it was when its text was put into the fields; what is applied is what differs from it."""
_ANSWER: Final = "recipe_text_answer"

Answer = str | LoraError


def draw(ws: Workspace, name: str) -> None:
    """The closed box with both texts; while nothing in them is changed, they follow the form."""
    parts.part(PART, partial(_box, ws, name))


def _box(ws: Workspace, name: str) -> None:
    box = st.expander("The files as text", key=PART, on_change="rerun")
    if not box.open:
        return
    with box:
        opened = projects.load_or_new(ws, name)
        try:
            texts = texts_of(opened)
        except LoraError as error:
            feedback.show(error)
            return
        _follow(opened, texts)
        st.write(
            "You can change both files here. Nothing counts before you press the button. "
            "You can undo it afterwards."
        )
        st.text_area(settings.CONFIG_NAME, key=_CONFIG, height=420, persist_state="session")
        st.text_area(settings.DATASET_NAME, key=_DATASET, height=300, persist_state="session")
        with st.container(horizontal=True):
            st.button(
                "Put the text into the form", key="recipe_text_apply", icon=icons.SAVE, on_click=_apply,
                args=(ws,),
            )  # fmt: skip
            if _changed(texts_of(st.session_state[_BEGUN])):
                st.button("Take my changes out", key="recipe_text_drop", icon=icons.BACK, on_click=_forget)
        _answer()


def texts_of(opened: Project) -> tuple[str, str]:
    """Both files of the project as text, also before a base model and a dataset are chosen.

    Raises:
        SettingsError: a value does not fit; every problem is listed.
    """
    run = draft_of(opened)
    return settings.dump_config(run), settings.dump_dataset(run)


def draft_of(opened: Project) -> RunConfig:
    """The run as far as it is chosen."""
    return project.run_of(opened) if opened.base_model and opened.dataset else projects.draft_of(opened)


def _follow(opened: Project, texts: tuple[str, str]) -> None:
    """Put the project's text into the fields, unless a person is changing what stands there."""
    begun: Project | None = st.session_state.get(_BEGUN)
    same_project = begun is not None and begun.name == opened.name
    if begun is None or not same_project or not _changed(texts_of(begun)):
        st.session_state[_BEGUN] = opened
        st.session_state[_CONFIG], st.session_state[_DATASET] = texts


def _changed(texts: tuple[str, str]) -> bool:
    typed = (st.session_state.get(_CONFIG), st.session_state.get(_DATASET))
    return None not in typed and typed != texts


def _forget() -> None:
    st.session_state.pop(_BEGUN, None)
    st.session_state.pop(_ANSWER, None)


def _apply(ws: Workspace) -> None:
    """Read both texts; with no problem left, save what they change as one step."""
    begun: Project = st.session_state[_BEGUN]
    try:
        read = understood(begun, st.session_state[_CONFIG], st.session_state[_DATASET], ws.root)
        saved = project.save(ws, read, what="The text of the files was changed.")
    except LoraError as error:
        st.session_state[_ANSWER] = error
        return
    _forget()
    number = len([key for key in {*begun.values, *saved.values} if begun.value(key) != saved.value(key)])
    st.session_state[_ANSWER] = f"The text is in the form now. Settings changed: {number}."
    st.rerun()  # any field of the page may be another one now


def understood(begun: Project, config: str, dataset: str, folder: Path) -> Project:
    """The project that the texts describe, as a change of `begun`.

    Raises:
        SettingsError: it lists every problem of both texts.
    """
    run = _read(config, dataset, folder)
    if begun.base_model and begun.dataset:
        read = replace(project.of_run(begun.name, run), **projects.others_of(run))
    else:
        read = projects.of_draft(begun.name, run)
    # What a person typed stays where the text did not change the value behind it.
    texts = {
        place: text
        for place, text in begun.texts.items()
        if projects.same_value(begun.value(place.partition(":")[0]), read.value(place.partition(":")[0]))
    }
    return replace(begun, values=read.values, repeats=read.repeats, texts=texts, **projects.others_of(run))


def _read(config: str, dataset: str, folder: Path) -> RunConfig:
    """Both texts as a run. When the first one is not even TOML, the problems of the second are told too."""
    problems: list[Problem] = []
    for text, name in ((config, settings.CONFIG_NAME), (dataset, settings.DATASET_NAME)):
        try:
            settings.parse(text, name)
        except SettingsError as error:
            problems += [
                Problem(setting=problem.setting, what=f"{name}: {problem.what}", fix=problem.fix)
                for problem in error.problems
            ]
    if problems:
        raise SettingsError(problems, what="The text was not put into the form.")
    try:
        return settings.loads_run(config, dataset, folder)
    except SettingsError as error:
        raise SettingsError(error.problems, what="The text was not put into the form.") from error


def _answer() -> None:
    answer: Answer | None = st.session_state.get(_ANSWER)
    if isinstance(answer, SettingsError):
        listed = "\n".join(
            "- " + feedback.spoken(f"{p.setting}: {p.what} {p.fix}" if p.setting else f"{p.what} {p.fix}")
            for p in answer.problems
        )
        st.error(f"Nothing was changed.\n\n{listed}", icon=icons.PROBLEM, title=answer.what)
    elif isinstance(answer, LoraError):
        feedback.show(answer)
    elif answer:
        feedback.done(answer)
