"""What one can do with a run: start it, stop it, pause it, have it save, go on with it, look at its result.

Covered: the buttons and what they ask the jobs for. Not covered: going on from a saved state and with cheaper
settings (`ui/run_resume.py`), the queue (`ui/queue_list.py`), the form (`ui/guide.py`), training again or
longer (`ui/guide_again.py`), the live view (`ui/live_run.py`). A press is answered by the run's own state,
never by a promise.
"""

from collections.abc import Sequence
from typing import Final, Literal

import streamlit as st

from lora_core import jobs, projects, runs
from lora_core.errors import LoraError, NoRoomError, Problem
from lora_core.jobs import Job, Status, hosts, requests
from lora_core.jobs.look import UNSETTLED
from lora_core.workspace import Workspace
from ui import feedback, icons, layout, project, run_choice, run_resume, state
from ui.project import Project

STOP: Final = "Stop training and keep the result"
START: Final = "Start training"
PAUSE: Final = "Pause training"
RELEASE: Final = "Release this training"
MORE: Final = "Save now, draw samples now, or end it at once"
REFRESH_S: Final = 3.0
ASKED: Final[dict[Literal["save", "sample"], str]] = {
    "save": "It was asked to save. It does that after the current step.",
    "sample": "It was asked to draw samples. It does that after the current step.",
}
_DESPITE: Final = "start_despite_space_pressed"
_REFUSED: Final = "take_over_refused"


def start_button() -> bool:
    """The button that starts a run of the project; whether it was pressed."""
    pressed = st.button(START, key="start", icon=icons.START, type="primary")
    return pressed or bool(st.session_state.get(_DESPITE))


def _despite_space() -> None:
    st.session_state[_DESPITE] = True


def start(ws: Workspace, opened: Project, *, missing: Sequence[Problem]) -> None:
    """Start a run of the project, or name what is `missing`."""
    if missing:
        lines = [f"{problem.what} {problem.fix}" for problem in missing]
        feedback.care("It was not started. First do this:", lines=lines)
        return
    with feedback.user_errors():
        try:
            with st.spinner("Getting the training ready. This takes a few seconds."):
                job = runs.start_run(
                    ws,
                    project.run_of(opened),
                    engine=opened.engine,
                    project=opened.name,
                    retry_ladder=state.retry_ladder(ws),
                    despite_space=bool(st.session_state.pop(_DESPITE, False)),
                )
        except NoRoomError as error:
            feedback.show(error)
            st.button("Start it in spite of this", key="start_despite_space", on_click=_despite_space)
            return
        project.save(ws, projects.done(opened, f"Training “{job.name}” was started.", run=job.id))
        run_choice.choose(job.id)  # what one wants to see now is the run
        st.rerun()


Offer = Literal["elsewhere", "take out", "stop", "force", "wait", "go on", "look"]


def offer(status: Status) -> Offer:
    """What can be done with a run in this state: one thing at a time."""
    if status.elsewhere and not status.ended:
        return "elsewhere"
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
        if offered == "elsewhere":
            _elsewhere(ws, job, status)
        elif offered == "take out":
            _take_out(ws, job, status)
        elif offered == "stop":
            _stop(ws, job, status)
        elif offered == "force":
            feedback.note("The training was asked to stop. It saves what it has learned, then it ends.")
            # Not where the stop button was a moment ago: the second press of a quick hand would lose what is
            # learned.
            with st.expander("If it takes too long"):
                _force(ws, job, status)
        elif offered == "go on":
            run_resume.draw(ws, job, status)
        elif offered == "look" and st.button(
            "Look at the finished LoRA", key="to_loras", icon=icons.GO, type="primary"
        ):
            st.switch_page(layout.script_of(layout.UTILITIES))


def _take_out(ws: Workspace, job: Job, status: Status) -> None:
    if status.held:
        st.write("It is held until you release it.")
        if st.button(RELEASE, key=f"release_{job.id}", icon=icons.START, type="primary"):
            jobs.release(ws, job.id)
            st.rerun()
    st.caption("It has not started yet. Taking it out changes nothing else.")
    if st.button("Take this training out", key=f"stop_{job.id}", icon=icons.REMOVE):
        jobs.remove(ws, job.id)
        st.rerun()


def _stop(ws: Workspace, job: Job, status: Status) -> None:
    st.caption("The step that is being done now is finished first. What is learned so far is saved.")
    with st.container(horizontal=True):
        if st.button(STOP, key=f"stop_{job.id}", icon=icons.STOP, wrap=True):
            jobs.stop(ws, job.id)
            st.rerun()
        if status.state != "pausing" and st.button(PAUSE, key=f"pause_{job.id}", icon=icons.PAUSE):
            jobs.pause(ws, job.id)
            st.rerun()
    if status.state == "pausing":
        feedback.note("The training was asked to pause. It saves what it has learned, then it ends for now.")
        return
    st.caption("A pause frees the computer. Later it goes on from the same step.")
    box = st.expander(MORE, key=f"more_{job.id}", on_change="rerun")
    if box.open:
        with box:
            _now(ws, job)
            _force(ws, job, status)


def _now(ws: Workspace, job: Job) -> None:
    with st.container(horizontal=True):
        if st.button("Save the training now", key=f"save_{job.id}", icon=icons.SAVE):
            jobs.request(ws, job.id, "save")
        if st.button("Draw samples now", key=f"sample_{job.id}", icon=icons.SAMPLE):
            jobs.request(ws, job.id, "sample")
    moving = asked(job) and not state.updates_paused(ws)
    st.fragment(run_every=REFRESH_S if moving else None)(_answers)(ws, job)


def asked(job: Job) -> list[str]:
    """What the run was asked for and has not heard yet, in sentences."""
    return [says for name, says in ASKED.items() if requests.path_of(job.folder, name).exists()]


def _answers(ws: Workspace, job: Job) -> None:
    """What it was asked for, and what is saved: drawn again by itself until it has been heard."""
    for says in asked(job):
        st.write(says)
    saved = jobs.status(ws, job.id).saved
    st.caption(f"The newest save is of step {saved.step}." if saved else "Nothing is saved yet.")


def _force(ws: Workspace, job: Job, status: Status) -> None:
    lost = f"the steps since step {status.saved.step}" if status.saved else "all steps"
    st.write(f"You can end it at once. Then {lost} are lost.")
    if st.button("End it now without saving", key=f"force_{job.id}", icon=icons.FORCE):
        jobs.stop(ws, job.id, force=True)
        st.rerun()


def _elsewhere(ws: Workspace, job: Job, status: Status) -> None:
    """Nothing here may end or start it. To get it, one has to ask for it."""
    st.write(feedback.spoken(status.message))
    st.write("You can stop or pause it on that computer.")
    box = st.expander("If that computer is gone for good", key=f"elsewhere_{job.id}", on_change="rerun")
    if not box.open:
        return
    with box:
        st.write(
            "You can take the training over. It then belongs to this computer, and can go on from its last "
            "saved state. If the other computer still works on it, both would write the same files."
        )
        refused = st.session_state.get(_REFUSED) == job.id
        label = "Take it over in spite of this" if refused else "Take it over"
        if refused:
            feedback.care("The other computer may still be at work. Look there first.")
        if st.button(label, key=f"take_over_{job.id}", icon=icons.TAKE):
            try:
                hosts.take_over(ws, job.id, anyway=refused)
            except LoraError:
                st.session_state[_REFUSED] = job.id
                raise
            st.session_state.pop(_REFUSED, None)
            st.rerun()
