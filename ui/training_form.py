"""What a project's run amounts to: all problems, what it takes, how long it is.

Covered: asking `lora_core.planning` once a change, the sentences about the length. Not covered: drawing
(`ui/guide_review.py`) and the rules (`lora_core.planning`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from lora_core import planning, projects, settings
from lora_core.errors import Problem, SettingsError
from lora_core.planning import Estimate, Plan, RunImages
from lora_core.settings import RunConfig
from lora_core.settings.presets import GOALS
from lora_core.workspace import Workspace
from ui import engine_choice, project, settings_fields, state
from ui.project import TRIGGER, Project

LOOK_AGAIN_S = 60.0
"""Seconds after which the pictures are looked at again, for what was changed by another program."""


@dataclass(frozen=True, slots=True)
class Looked:
    """A project as a run, and what there is to say about it."""

    problems: tuple[Problem, ...]
    run: RunConfig | None = None
    """None while something is not chosen, or does not fit."""
    images: RunImages | None = None
    estimate: Estimate | None = None

    @property
    def ready(self) -> bool:
        return not any(problem.severity == "error" for problem in self.problems)

    @property
    def plan(self) -> Plan | None:
        return self.estimate.plan if self.estimate else None


def look(
    ws: Workspace, opened: Project, *, whole: bool = True, found: Sequence[Problem] | None = None
) -> Looked:
    """The run, its problems, and with `whole` what it takes; `found` spares another look at the problems."""
    unfit = settings_fields.unfit(opened)
    wrong = [*engine_choice.not_here(opened), *unfit]
    lacks = _trigger(opened)
    try:
        run = project.run_of(opened)
    except SettingsError as error:
        return Looked((*wrong, *error.problems, *lacks))
    images = _images(settings.dump_dataset(run), _changed(run), run)
    if found is None:
        given = opened.preset_values.keys() - set(projects.changed_from_preset(opened))
        checked = planning.check(run, opened.engine, ws, images=images, given=given)
        # Advice about the value before a text that does not fit is about what nobody sees any more.
        told = {problem.setting for problem in unfit}
        found = [*wrong, *(problem for problem in checked if problem.setting not in told), *lacks]
    estimate = planning.estimate(run, opened.engine, ws, images) if whole else None
    return Looked(tuple(found), run, images, estimate)


def _trigger(opened: Project) -> list[Problem]:
    """A goal that cannot be called without a trigger word, and none is there."""
    goal = GOALS.get(opened.goal)
    if goal is None or goal.trigger != "needed" or opened.trigger_word:
        return []
    what = f"There is no trigger word. The goal {goal.title} needs one."
    return [Problem(setting=TRIGGER, what=what, fix="Write one in step 1.", severity="advice")]


def problems(ws: Workspace, opened: Project) -> list[Problem]:
    """Everything that speaks against starting the project's run, and all advice about it."""
    return list(look(ws, opened, whole=False).problems)


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
