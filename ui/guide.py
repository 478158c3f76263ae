"""The way to a training in four steps: which screen is drawn, and what happened.

Covered: putting the screens together. Not covered: what is on them.
"""

from typing import Final

import streamlit as st

from lora_core import jobs
from lora_core.jobs import Job
from lora_core.workspace import Workspace
from ui import (
    feedback,
    guide_card,
    guide_dataset,
    guide_goal,
    guide_model,
    guide_review,
    guide_steps,
    icons,
    now,
    project,
    run_choice,
    settings_fields,
    settings_form,
)
from ui.guide_steps import Step

_SHOWN: Final = "guide_shown"
_SCREENS = {
    guide_steps.GOAL.id: guide_goal.draw,
    guide_steps.MODEL.id: guide_model.draw,
    guide_steps.DATASET.id: guide_dataset.draw,
}


def draw(ws: Workspace, step: Step | None, newest: Job | None) -> None:
    """A step's screen; `newest` is the run that one can go back to looking at."""
    opened = project.open_one(ws) or project.open_or_new(ws)
    if step is None:
        step = guide_steps.first(opened)
        guide_steps.go(step)  # so that the screen stays when something is chosen on it
    _arrive(step)
    parts = guide_steps.screen(step)
    with parts.do_it, feedback.user_errors():
        st.caption(f"Project “{feedback.spoken(opened.name)}”.")
        if step is guide_steps.REVIEW:
            guide_review.draw(ws, opened)
        else:
            _SCREENS[step.id](ws, opened)
            first = step is guide_steps.DATASET and guide_dataset.nothing_yet(ws, opened)
            guide_steps.ways(step, main=not first)
    with parts.happened, feedback.user_errors():
        if step is guide_steps.REVIEW:
            guide_card.result(ws, opened)
        settings_form.history(ws, opened.name)
        if newest is not None:
            _run(ws, newest)


def _arrive(step: Step) -> None:
    """A screen that one comes back to tells its fields their values anew.

    The browser's back button leads here, too; see `settings_fields.Fields`.
    """
    if st.session_state.get(_SHOWN) == step.id:
        return
    st.session_state[_SHOWN] = step.id
    settings_fields.forget()


def leave() -> None:
    """The page shows something else than a screen."""
    st.session_state.pop(_SHOWN, None)


def _run(ws: Workspace, newest: Job) -> None:
    st.caption(feedback.spoken(now.sentence(newest, jobs.status(ws, newest.id))))
    st.button(
        "Look at this training",
        key="guide_look",
        icon=icons.GO,
        on_click=run_choice.choose,
        args=(newest.id,),
    )
