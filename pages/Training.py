"""Training: choose, start, watch, stop, go on, compare.

Covered: the order of the parts. Not covered: what is in them (`ui/training_form.py`, `ui/live_run.py`,
`ui/run_actions.py`, `ui/run_list.py`).
"""

import streamlit as st

from lora_core import jobs, runs
from ui import layout, live_run, run_actions, run_choice, run_list, state, training_form

ws = state.workspace()
parts = layout.step_page(
    layout.TRAINING,
    does="This page trains a LoRA and shows how it goes. The training goes on when you close the tab.",
    needs=[
        "A base model and a dataset. The demo brings both.",
        "Time. The demo takes about 2 minutes. You can stop at any time and keep the result.",
    ],
)
found = runs.runs(ws, limit=run_list.SHOWN)
current = run_choice.chosen(found)
status = jobs.status(ws, current.id) if current else None
busy = status is not None and not status.ended

with parts.do_it:
    if current and status and busy:
        st.write("A training is under way. Its state is shown below.")
        run_actions.for_run(ws, current, status, main=False)
        if st.checkbox("Show the settings of the next training", key="show_next"):
            training_form.draw(ws, main=False)
    else:
        training_form.draw(ws, main=True)

with parts.happened:
    if current is None or status is None:
        st.write("Nothing yet.")
    else:
        run_choice.pick(found, current)
        if not busy:
            run_actions.for_run(ws, current, status, main=False)
        paused = st.checkbox(
            "Pause updates of this page", value=state.updates_paused(ws), key="pause_updates"
        )
        state.pause_updates(ws, paused)
        live_run.draw(ws, current)
        run_list.draw(ws, found)
