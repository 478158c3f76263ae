"""What one can do with a run: start it, stop it, go on with it, look at its result.

Covered: the buttons and what they ask the jobs for. Not covered: the form (`ui/guide.py`), training again or
longer (`ui/guide_again.py`), the live view (`ui/live_run.py`). A press is answered by the run's own state,
never by a promise.
"""

from collections.abc import Sequence
from typing import Final, Literal

import streamlit as st

from lora_core import jobs, projects, runs
from lora_core.errors import Problem
from lora_core.jobs import Job, Status
from lora_core.jobs.look import UNSETTLED
from lora_core.workspace import Workspace
from ui import feedback, icons, layout, project, run_choice
from ui.project import Project

STOP: Final = "Stop training and keep the result"
START: Final = "Start training"


def start_button() -> bool:
    """The button that starts a run of the project; whether it was pressed."""
    return st.button(START, key="start", icon=icons.START, type="primary")


def start(ws: Workspace, opened: Project, *, missing: Sequence[Problem]) -> None:
    """Start a run of the project, or name what is `missing`."""
    if missing:
        lines = [f"{problem.what} {problem.fix}" for problem in missing]
        feedback.care("It was not started. First do this:", lines=lines)
        return
    with feedback.user_errors():
        job = runs.start_run(ws, project.run_of(opened), engine=opened.engine, project=opened.name)
        project.save(ws, projects.done(opened, f"Training “{job.name}” was started.", run=job.id))
        st.query_params.clear()  # what one wants to see now is the run
        run_choice.choose(job.id)
        st.rerun()


Offer = Literal["take out", "stop", "force", "wait", "go on", "look"]


def offer(status: Status) -> Offer:
    """What can be done with a run in this state: one thing at a time."""
    if status.state == "queued":
        return "take out"
    if status.state in {"starting", "running", "pausing"}:
        return "stop"
    if status.state == "stopping":
        return "force"
    if status.end == UNSETTLED:
        return "wait"  # it is gone, and the runner is still finding out why
    return "go on" if status.resumable else "look"


def for_run(ws: Workspace, job: Job, status: Status) -> None:
    """The button that fits the state of this run."""
    offered = offer(status)
    with feedback.user_errors():
        if offered in {"take out", "stop"}:
            _stop(ws, job, queued=offered == "take out")
        elif offered == "force":
            _force(ws, job, status)
        elif offered == "go on":
            _resume(ws, job, failed=status.state == "failed")
        elif offered == "look" and st.button(
            "Look at the finished LoRA", key="to_loras", icon=icons.GO, type="primary"
        ):
            st.switch_page(layout.script_of(layout.UTILITIES))


def _stop(ws: Workspace, job: Job, *, queued: bool) -> None:
    if queued:
        st.caption("It has not started yet. Taking it out changes nothing else.")
        label = "Take this training out"
    else:
        st.caption("The step that is being done now is finished first. What is learned so far is saved.")
        label = STOP
    if st.button(label, key=f"stop_{job.id}", icon=icons.STOP):
        jobs.stop(ws, job.id)
        st.rerun()


def _force(ws: Workspace, job: Job, status: Status) -> None:
    saved = status.saved.step if status.saved else 0
    lost = f"the steps since step {saved}" if saved else "all steps"
    feedback.note("The training was asked to stop. It saves what it has learned, then it ends.")
    # Not where the stop button was a moment ago: the second press of a quick hand would lose what is learned.
    with st.expander("If it takes too long"):
        st.write(f"You can end it at once. Then {lost} are lost.")
        if st.button("End it now without saving", key=f"force_{job.id}", icon=icons.FORCE):
            jobs.stop(ws, job.id, force=True)
            st.rerun()


def _resume(ws: Workspace, job: Job, *, failed: bool) -> None:
    states = jobs.states(ws, job.id)
    if states:
        label = f"Go on from step {states[0].step}"
        st.caption(f"Everything up to step {states[0].step} is saved. The training goes on from there.")
    else:
        label = "Start this training again"
        st.caption("No state was saved, so it starts from the beginning.")
    if failed:
        st.caption("It keeps its settings. To change settings, start a new training.")
    if st.button(label, key=f"resume_{job.id}", icon=icons.RESUME, type="primary"):
        if jobs.status(ws, job.id).resumable:  # or another tab was quicker, and it goes on already
            jobs.resume(ws, job.id)
        st.rerun()
