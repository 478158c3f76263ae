"""The form of the Training page with what it means: problems, length, start.

Covered: what can be chosen, what is wrong, how long it will be. Not covered: the fields (`ui/run_form.py`).
"""

from pathlib import Path

import streamlit as st

from lora_core import engines, models
from lora_core.datasets.library import dataset_names
from lora_core.errors import Problem, SettingsError
from lora_core.workspace import Workspace
from ui import feedback, project, run_actions, run_form, state
from ui.project import Project
from ui.run_form import Choices


def draw(ws: Workspace, *, main: bool) -> None:
    """The form; `main`: starting is what this page is for at the moment."""
    opened = project.open_one(ws) or Project(name=project.NEW)
    st.caption(
        f"Project “{feedback.spoken(opened.name)}”. Every change is saved at once.{_saved(ws, opened)}"
    )
    typed = run_form.draw(ws, opened, choices(ws))
    problems = [*typed, *_problems(opened)]
    feedback.problem_list(problems)
    ready = not any(problem.severity == "error" for problem in problems)
    run_actions.start_button(ws, opened, ready=ready, main=main)


def choices(ws: Workspace) -> Choices:
    """What the workspace has: base models and datasets."""
    return Choices(models=base_models(ws), datasets=datasets(ws))


def base_models(ws: Workspace) -> list[tuple[Path, str]]:
    """The base models that a training can be started with."""
    return [(base.path, base.name) for base in models.list_bases(ws)]


def datasets(ws: Workspace) -> list[tuple[Path, str]]:
    """The datasets of the workspace."""
    return [(ws.datasets / name, name) for name in dataset_names(ws)]


def _problems(opened: Project) -> list[Problem]:
    try:
        run = project.run_of(opened)
    except SettingsError as error:
        return list(error.problems)
    return list(engines.get(opened.engine).check(run))


def _saved(ws: Workspace, opened: Project) -> str:
    at = project.saved_at(ws, opened.name)
    return f" Saved {state.when(at)}." if at else ""
