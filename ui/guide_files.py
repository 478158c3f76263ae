"""Recipes as files: bringing one in, taking this one along, and presets of one's own.

Covered: the closed box with these three, reading a file, the report before anything is put in. Not covered:
reading other tools' files (`lora_core.settings.imports`), writing (`lora_core.runs`), one's own presets
(`ui/guide_presets.py`).
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Final

import streamlit as st

from lora_core import loras, projects, runs, settings
from lora_core.errors import LoraError, SettingsError
from lora_core.settings import BUILT_IN, SD_SCRIPTS, SIZE_LIMIT, imports
from lora_core.settings.imports import NOT_IN_FILE, Imported, Line
from lora_core.workspace import Workspace, safe_name
from ui import feedback, guide_presets, guide_recipe, guide_zip, icons, layout, project, recipe_text
from ui.guide_recipe import Recipe
from ui.project import NAME, Project

_LARGEST_MB: Final = 4096
"""A LoRA may be sent whole; its header is all that is read."""
STAYS: Final = "This stays as it is here."
BOX: Final = "guide_files"
WHAT: Final = "guide_files_what"
_WRONG: Final = "guide_import_wrong"
_TURN: Final = "guide_import_turn"


def draw(ws: Workspace, opened: Project) -> None:
    """The closed box; one of the three things at a time."""
    box = st.expander("Recipes from files, and your own presets", key=BOX, on_change="rerun")
    if not box.open:
        return
    with box, feedback.user_errors():
        what = st.radio("What shall be done?", list(_DOES), key=WHAT, persist_state="session")
        _DOES[what](ws, opened)


# --- bringing one in --------------------------------------------------------------------------


def _import(ws: Workspace, opened: Project) -> None:
    st.write(
        "A recipe says how to train. It can be a settings file of this app, of sd-scripts, kohya_ss, "
        "OneTrainer and others. It can be the zip of a whole run. Or it can be a LoRA: it holds notes on "
        "how it was trained."
    )
    turn = st.session_state.get(_TURN, 0)
    sent = st.file_uploader(
        "Files with a recipe",
        type=["toml", "json", "safetensors", "zip"],
        accept_multiple_files=True,
        key=f"guide_recipe_{turn}",
        max_upload_size=_LARGEST_MB,
    )
    if not sent:
        return
    if error := st.session_state.pop(_WRONG, None):
        feedback.show(error)
    with feedback.user_errors():
        found = read([(one.name, one) for one in sent])
        _report(found)
        st.button(
            "Put this recipe into the form", key="guide_import_apply", icon=icons.SAVE,
            on_click=_apply, args=(ws, opened.name, found),
        )  # fmt: skip
        st.caption(
            "You can undo it afterwards. Base model, dataset, names and sample prompts stay as they are."
        )


def read(files: Sequence[tuple[str, IO[bytes]]]) -> Imported:
    """The recipe in these files, each with its name; the later ones decide.

    Raises:
        SettingsError: one of them is no recipe that this app knows.
        LoraFileError: one is a damaged LoRA.
        FileTooNewError: one is a preset of a newer version of the app.
    """
    found = [_one(name, file) for name, file in files]
    whole = found[0]
    for more in found[1:]:
        whole = imports.combined(whole, more)
    return whole


def _one(name: str, file: IO[bytes]) -> Imported:
    """What one file holds: of a zip its settings files are read, of a LoRA the notes in its header."""
    kind = Path(name).suffix.casefold()
    if kind == ".zip":
        return imports.read_run(name, file)
    if kind == ".safetensors":
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        return imports.read_metadata(name, loras.header_in(Path(name), file, size).metadata)
    return imports.read_recipe(name, file.read(SIZE_LIMIT + 1))


def _report(found: Imported) -> None:
    """What becomes of each line of the file, before anything is changed."""
    st.write(feedback.spoken(f"{found.name} holds {found.title}."))
    for note in found.notes:
        st.write(feedback.spoken(note))
    columns = st.columns(3)
    told = zip(columns, _groups(found), strict=True)
    for column, (title, lines) in told:
        with column:
            layout.subheader(f"{title}: {len(lines)}")
            st.markdown("\n".join(f"- {feedback.spoken(line)}" for line in lines) or "Nothing.")


def _groups(found: Imported) -> Sequence[tuple[str, Sequence[str]]]:
    """What the three columns say. What belongs to base model, pictures and names is not put in."""
    stays = [line for line in (*found.taken, *found.translated) if _of_target(line)]
    same = [f"{line.name}: {line.value}." for line in found.taken if not _of_target(line)]
    other = [_change(line) for line in found.translated if not _of_target(line)]
    left = [_change(line) for line in (*found.ignored, *found.not_understood)]
    left += [f"{line.name}: {line.value}. {STAYS}" for line in stays]
    return (("Taken as it is", same), ("Taken with a change", other), ("Not taken", left))


def _of_target(line: Line) -> bool:
    return bool(line.key) and settings.setting(line.key).part == "target"


def _change(line: Line) -> str:
    if line.value == NOT_IN_FILE:
        return f"{line.name}: {line.becomes}. {line.reason}"
    changed = f" becomes {line.becomes}" if line.becomes and line.becomes != line.value else ""
    return f"{line.name}: {line.value}{changed}. {line.reason}".strip()


def _apply(ws: Workspace, name: str, found: Imported) -> None:
    try:
        before = projects.load_or_new(ws, name)
        recipe = Recipe(id=f"file.{safe_name(found.name)}", title=found.name, values=found.values)
        after = projects.with_preset(before, recipe)
        project.save(ws, _with_other(after, found), what=f"The recipe of {found.name} was put in.")
        st.session_state[_TURN] = st.session_state.get(_TURN, 0) + 1
    except LoraError as error:
        st.session_state[_WRONG] = error


def _with_other(after: Project, found: Imported) -> Project:
    return replace(after, other=dict(found.other))


# --- taking it along --------------------------------------------------------------------------


def _export(ws: Workspace, opened: Project) -> None:
    run = recipe_text.draft_of(opened)
    name = safe_name(str(opened.value(NAME)))
    st.write("The recipe alone says how to train. It names no pictures, no base model and no folders.")
    st.download_button(
        "Download the recipe",
        data=runs.export_recipe(runs.recipe_of(run), title=name, other=run.other),
        file_name=f"{name}.recipe.toml",
        mime="application/toml",
        key="guide_recipe_file",
        icon=icons.DOWNLOAD,
        on_click="ignore",
    )
    if not (opened.base_model and opened.dataset):
        st.write("When a base model and a dataset are chosen, the whole run can be taken along too.")
        return
    guide_zip.draw(ws, opened, family=_family(opened))
    _command(opened)


def _family(opened: Project) -> str:
    base = guide_recipe.base_of(opened)
    return base.family if base is not None else "sd15"


def _command(opened: Project) -> None:
    try:
        run = project.run_of(opened)
    except SettingsError:
        return  # the list of problems stands above
    st.write("The command that does the same with these files:")
    st.code(runs.command_line(run, BUILT_IN), language="bash", wrap_lines=True)
    st.write("The same with sd-scripts, where that is installed:")
    st.code(runs.command_line(run, SD_SCRIPTS, family=_family(opened)), language="bash", wrap_lines=True)


BRING: Final = "Bring in a recipe from a file"
TAKE: Final = "Take this recipe along"
OWN: Final = "Use and keep presets of my own"
_DOES: Final = {BRING: _import, TAKE: _export, OWN: guide_presets.draw}
