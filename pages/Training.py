"""Training: choose in four steps, start, watch, stop, go on, compare.

Covered: the order of the parts. Not covered: what is in them (`ui/guide.py`, `ui/live_run.py`,
`ui/run_actions.py`, `ui/queue_list.py`, `ui/run_list.py`).
"""

import streamlit as st

from lora_core import jobs, runs
from lora_core.jobs import Job
from lora_core.workspace import Workspace
from ui import (
    engine_view,
    guide,
    guide_again,
    guide_steps,
    layout,
    live_run,
    queue_list,
    run_actions,
    run_choice,
    run_list,
    state,
)


def watch(ws: Workspace, known: list[Job], current: Job) -> None:
    """A training that was started: what can be done with it, and how it goes."""
    guide.leave()
    found = run_list.page_of(known)

    parts = layout.step_page(
        layout.TRAINING,
        does="This page shows how a training goes. The training goes on when you close the tab.",
        needs=["Nothing. You can stop a training at any time and keep its result."],
    )
    # Asked once, so that all parts of the page are about the same moment.
    status = jobs.status(ws, current.id)

    with parts.do_it:
        # One thing at a time: who looks at a training sees what can be done with it, and the form on demand.
        run_choice.pick(found, current)
        run_actions.for_run(ws, current, status)
        guide_again.draw(ws, current, status)
        queue_list.draw(ws)

    with parts.happened:
        paused = st.checkbox(
            "Pause updates of the pages", value=state.updates_paused(ws), key="pause_updates"
        )
        state.pause_updates(ws, paused)
        live_run.draw(ws, current, status)
        engine_view.reported(current)
        run_list.draw(ws, found)


ws = state.workspace()
known = runs.runs(ws, limit=run_list.needed())
current, step = run_choice.chosen(ws, known), guide_steps.asked()
if current is None or step is not None:
    guide.draw(ws, step, current)
else:
    watch(ws, known, current)
