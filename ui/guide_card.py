"""What a training takes on this computer: the card of four lines, changes that make it fit, two tried steps.

Covered: drawing these, and starting the two steps as a job. Not covered: the figures (`lora_core.planning`).
"""

from typing import Final

import streamlit as st

from lora_core import jobs, planning, projects, runs, settings
from lora_core.errors import LoraError
from lora_core.jobs import Job, Status
from lora_core.planning import Change
from lora_core.projects import Project
from lora_core.workspace import Workspace
from ui import feedback, icons, now, project, state
from ui import settings_words as words
from ui.training_form import Looked

REFRESH_S: Final = 2.0
KIND: Final = "smoke"
_NAMES: Final = {"gpu": "Memory of the graphics card", "memory": "Memory", "disk": "Disk", "time": "Time"}
_MARKS: Final = {
    "fits": icons.GOOD,
    "tight": icons.CARE,
    "will not fit": icons.PROBLEM,
    "not measured": icons.NOTE,
}
_ERROR: Final = "guide_smoke_error"


def draw(ws: Workspace, opened: Project, looked: Looked) -> None:
    """The card, and what can be done where it says that something is too little."""
    if looked.estimate is None or looked.run is None:
        st.write(
            "When a base model and a dataset are chosen, this tells how long it takes and what it needs."
        )
        return
    lines = []
    for line in looked.estimate.card:
        verdict = "measured" if line.kind == "time" and line.verdict == "fits" else line.verdict
        lines.append(
            f"- {_MARKS[line.verdict]} **{_NAMES[line.kind]}: {verdict}.** {feedback.spoken(line.sentence)}"
        )
    st.markdown("\n".join(lines))
    if short := {line.kind for line in looked.estimate.too_much} & planning.FITTED:
        _fit(ws, opened, looked, "space on the disk" if short == {"disk"} else "memory")
    if looked.ready and live(ws) is not None:
        st.caption("Two steps are tried now. How far they are stands under “What happened”.")
    elif looked.ready:
        st.button("Try two steps", key="guide_smoke", icon=icons.TRY, on_click=_try, args=(ws, opened.name))
        st.caption(
            "It does two real steps with your settings and keeps no LoRA. Then time and memory are known."
        )


def _fit(ws: Workspace, opened: Project, looked: Looked, lacks: str) -> None:
    if looked.run is None:
        return
    fitting = planning.fitting(looked.run, opened.engine, ws, looked.images)
    if not fitting.changes:
        feedback.care(fitting.sentence, title=f"The computer has too little {lacks} for it.")
        return
    listed = [_change(change) for change in fitting.changes]
    feedback.note(fitting.sentence, lines=listed)
    st.button(
        f"Make it fit with {state.counted(len(listed), 'change')}",
        key="guide_fit",
        icon=icons.MEND,
        on_click=_apply,
        args=(ws, opened.name, fitting.changes),
    )


def _change(change: Change) -> str:
    setting = settings.setting(change.key)
    before, after = words.said(setting, change.before), words.said(setting, change.after)
    return f"{setting.label}: {after}, before {before}. {change.why}"


def _apply(ws: Workspace, name: str, changes: tuple[Change, ...]) -> None:
    with feedback.user_errors():
        before = projects.load_or_new(ws, name)
        after = projects.with_values(before, {change.key: change.after for change in changes})
        project.save(ws, after, what=f"Made to fit: {state.counted(len(changes), 'setting')} changed.")
    st.rerun()  # any field of the page may be another one now


def live(ws: Workspace) -> Job | None:
    """The two steps that are tried now or wait to start."""
    found = newest(ws)
    return found[0] if found and not found[1].ended else None


def newest(ws: Workspace) -> tuple[Job, Status] | None:
    """The two steps that were tried last."""
    found = jobs.jobs(ws, kind=KIND, limit=1)
    return (found[0], jobs.status(ws, found[0].id)) if found else None


def _try(ws: Workspace, name: str) -> None:
    try:
        if live(ws) is None:  # pressed twice, or in two tabs
            opened = project.open_or_new(ws, name)
            run = project.run_of(opened)
            runs.start_smoke(ws, run, engine=opened.engine, project=opened.name)
    except LoraError as error:
        st.session_state[_ERROR] = error
    st.rerun()  # its progress stands outside of this part


def result(ws: Workspace, opened: Project) -> bool:
    """The two steps as they go on, or what came of them; False when this project never tried any."""
    if error := st.session_state.pop(_ERROR, None):
        feedback.show(error)
    found = newest(ws)
    if found is None or found[0].project != opened.name:
        return False
    job, status = found
    if not status.ended:
        paused = state.updates_paused(ws)
        st.fragment(run_every=None if paused else REFRESH_S)(_progress)(ws, job)
    elif status.state == "finished":
        feedback.done(
            f"Two steps were tried {state.when(status.end.at if status.end else job.created)}. "
            "The figures above rest on them."
        )
    elif status.end is not None and status.state in {"failed", "lost"}:
        feedback.problem("The two steps did not work.", why=status.end.cause, fix=status.end.fix)
    return True


def _progress(ws: Workspace, job: Job) -> None:
    status = jobs.status(ws, job.id)
    if status.ended:
        st.rerun()  # the card above knows more now
    st.write(feedback.spoken(now.sentence(job, status)))
    phase = f"{feedback.spoken(status.phase)}. " if status.phase else ""
    done = min(status.step, 2) if status.phase == "Training" else 0
    st.progress(done / 2, text=f"{phase}{done} of 2 steps done. This takes about a minute.")
    st.button(
        "Stop the two steps", key="guide_smoke_stop", icon=icons.STOP, on_click=jobs.stop, args=(ws, job.id)
    )
