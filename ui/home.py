"""Home: where am I, what is happening now, what is the next step.

Covered: the start page. Not covered: how the next step is chosen (see `ui/next_step.py`) and the live view
of a run (see the Training page). Everything shown is read from files.
"""

import streamlit as st

from lora_core import jobs, projects
from lora_core.workspace import Workspace
from ui import demo_run, feedback, guide_steps, layout, next_step, notices, now, project, state

REFRESH_S = 3.0
TWO = 2

WHERE = "Where you are"
NOW = "What is happening now"
NEXT = "The next step"


def draw() -> None:
    """The page."""
    ws = state.workspace()
    layout.title(layout.HOME)
    notices.draw(ws)
    layout.header(WHERE)
    _where(ws)
    layout.header(NOW)
    live = now.running_job(ws)
    moving = live is not None and not state.updates_paused(ws)
    st.fragment(run_every=REFRESH_S if moving else None)(_now)(ws, live[0].id if live else None)
    layout.header(NEXT)
    _next(ws)


def _where(ws: Workspace) -> None:
    opened = project.open_one(ws)
    last = now.last_ended(ws)
    if opened is None and last is None:
        st.write(
            "This app makes a LoRA from pictures. A LoRA is a small file that teaches a picture model "
            "something new. You have not started yet."
        )
        return
    lines = [f"The open project is “{feedback.spoken(opened.name)}”."] if opened else ["No project is open."]
    if last:
        lines.append(f"Done last: {feedback.spoken(now.sentence(*last))}")
    st.markdown("\n".join(f"- {line}" for line in lines))
    _other_projects(ws, opened)


def _other_projects(ws: Workspace, opened: project.Project | None) -> None:
    known = projects.names(ws)
    if opened is None or len(known) < TWO:
        return
    widget = f"project_{opened.name}"
    st.session_state.setdefault(widget, opened.name)
    st.selectbox(
        "Open project",
        known,
        key=widget,
        on_change=lambda: state.open_named(ws, st.session_state[widget]),
        width=520,
    )


def _now(ws: Workspace, job_id: str | None) -> None:
    if job_id is None:
        st.write("Nothing is running.")
        return
    job, status = jobs.get(ws, job_id), jobs.status(ws, job_id)
    if status.ended:
        st.rerun()  # the next step is another one now
    st.write(feedback.spoken(now.sentence(job, status)))
    parts = [feedback.spoken(status.phase)] if status.phase else []
    parts += [now.step_words(job, status)]
    parts += [] if now.ending(status) else [now.time_left(status)]
    st.progress(now.share_of(job, status), text=f"{'. '.join(parts)}.")


def _next(ws: Workspace) -> None:
    main, others = next_step.steps(ws)
    st.write(main.says)
    _button(ws, main, primary=True)
    if others:
        st.caption("You can also do this:")
        with st.container(horizontal=True):
            for step in others:
                _button(ws, step, primary=False)


def _button(ws: Workspace, step: next_step.Step, *, primary: bool) -> None:
    pressed = st.button(
        step.label, key=f"home_{step.label}", icon=step.icon, type="primary" if primary else "secondary"
    )
    if not pressed:
        return
    run = step.run
    if step.does == "new":
        project.make(ws)
    if step.does == "demo":
        with st.spinner("Getting the demo ready. This takes a few seconds."):
            run = demo_run.start(ws)
    address = {"run": run} if run else {guide_steps.ADDRESS: step.step} if step.step else None
    st.switch_page(layout.script_of(step.page), query_params=address)
