"""Training: choose, start, watch, stop, go on, compare."""

import streamlit as st

from ui import layout, project, run_form, state

ws = state.workspace()
parts = layout.step_page(
    layout.TRAINING,
    does="This page trains a LoRA. The training goes on when you close the tab.",
    needs=[
        "A base model and a dataset.",
        "Time: the demo takes about 2 minutes. You can stop at any time and keep the result.",
    ],
)
with parts.do_it:
    opened = project.open_one(ws) or project.Project(name=project.NEW)
    run_form.draw(ws, opened, run_form.Choices(models=[], datasets=[]))
    st.button("Start training", type="primary")
parts.nothing_yet()
