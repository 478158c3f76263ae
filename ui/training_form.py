"""The form of the Training page with what it means: problems, advice, length, start.

Covered: what can be chosen, what is wrong, how long it will be. Not covered: the fields (`ui/run_form.py`)
and the rules (`lora_core.planning`).
"""

from functools import partial
from pathlib import Path

import streamlit as st

from lora_core import models, planning, settings
from lora_core.datasets.library import dataset_names
from lora_core.errors import Problem, SettingsError
from lora_core.planning import Plan, RunImages
from lora_core.settings import RunConfig
from lora_core.workspace import Workspace
from ui import (
    engine_view,
    feedback,
    project,
    recipe_text,
    run_actions,
    run_form,
    settings_fields,
    settings_form,
    state,
)
from ui.project import Project
from ui.run_form import Choices

LOOK_AGAIN_S = 60.0
"""Seconds after which the pictures are looked at again, for what was changed by another program."""


def draw(ws: Workspace, *, main: bool) -> None:
    """The form; `main`: starting is what this page is for at the moment."""
    opened = project.open_or_new(ws) if (found := project.open_one(ws)) is None else found
    st.caption(f"Project “{feedback.spoken(opened.name)}”.")
    settings_form.history(ws, opened.name)
    run_form.draw(ws, opened, choices(ws), check=partial(problems, ws))
    engine_view.draw(ws, opened.name)
    recipe_text.draw(ws, opened.name)
    settings_form.summary(partial(_summary, ws, opened.name, main))


def problems(ws: Workspace, opened: Project) -> list[Problem]:
    """Everything that speaks against starting the project's run, and all advice about it."""
    typed = settings_fields.unfit(opened)
    try:
        run = project.run_of(opened)
    except SettingsError as error:
        return [*typed, *error.problems]
    return [*typed, *planning.check(run, opened.engine, ws, images=_images_of(run))]


def _summary(ws: Workspace, name: str, main: bool) -> None:
    opened = project.open_or_new(ws, name)
    found = settings_form.checked(partial(problems, ws), opened)
    feedback.problem_list(found)
    if (plan := _plan(opened)) is not None:
        st.write(length(plan))
    ready = not any(problem.severity == "error" for problem in found)
    run_actions.start_button(ws, opened, ready=ready, main=main)


def choices(ws: Workspace) -> Choices:
    """What the workspace has: base models and datasets."""
    return Choices(
        models=[(base.path, base.name) for base in models.list_bases(ws)],
        datasets=[(ws.datasets / name, name) for name in dataset_names(ws)],
    )


def length(plan: Plan) -> str:
    """What the run amounts to: `This training takes 400 steps. It learns from 56 pictures. …`"""
    pictures = state.counted(plan.images, "picture")
    said = (
        f"This training takes {state.counted(plan.steps, 'step')}. It learns from {pictures}. "
        f"One time through them is an epoch of {state.counted(plan.steps_per_epoch, 'step')}, "
        f"so this is {_epochs(plan)}."
    )
    if plan.held_out:
        said += f" {state.counted(plan.held_out, 'picture')} kept back for tests."
    return said


def _epochs(plan: Plan) -> str:
    whole, rest = divmod(plan.steps, plan.steps_per_epoch)
    if not whole:
        return "less than 1 epoch"
    more = f" and {state.counted(rest, 'step')}" if rest else ""
    return f"{state.counted(whole, 'epoch')}{more}"


def _plan(opened: Project) -> Plan | None:
    try:
        run = project.run_of(opened)
    except SettingsError:
        return None
    return planning.plan(run, _images_of(run))


def _images_of(run: RunConfig) -> RunImages:
    return _images(settings.dump_dataset(run), _changed(run), run)


@st.cache_resource(ttl=LOOK_AGAIN_S, max_entries=4, show_spinner=False)
def _images(dataset: str, changed: tuple[int, ...], _run: RunConfig) -> RunImages:
    """The pictures of a run. The page runs at each click; 10,000 headers are read once."""
    del dataset, changed  # what the answer depends on: the tables, and when a folder last changed
    return planning.look_at_images(_run)


def _changed(run: RunConfig) -> tuple[int, ...]:
    return tuple(_mtime(subset.image_dir) for dataset in run.dataset.datasets for subset in dataset.subsets)


def _mtime(folder: Path) -> int:
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return 0
