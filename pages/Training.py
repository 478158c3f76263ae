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
# Asked once, so that all parts of the page are about the same moment.
status = jobs.status(ws, current.id) if current else None

with parts.do_it:
    if current is None or status is None:
        training_form.draw(ws, main=True)
    else:
        # One thing at a time: who looks at a training sees what can be done with it, and the form on demand.
        run_choice.pick(found, current)
        run_actions.for_run(ws, current, status)
        if st.checkbox("Show the settings of a new training", key="show_form"):
            training_form.draw(ws, main=run_actions.form_is_main(status))

with parts.happened:
    if current is None or status is None:
        st.write("Nothing yet.")
    else:
        paused = st.checkbox(
            "Pause updates of this page", value=state.updates_paused(ws), key="pause_updates"
        )
        state.pause_updates(ws, paused)
        live_run.draw(ws, current, status)
        run_list.draw(ws, found)
