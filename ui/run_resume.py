"""Going on with a run that has ended: from which saved state, or with cheaper settings.

Covered: the list of saved states, broken ones by name, the offers of the retry ladder. Not covered: training
again or longer, which make a new run (`ui/guide_again.py`), and what each offer changes
(`lora_core.runs.ladder`).
"""

from collections.abc import Sequence
from typing import Final

import streamlit as st

from lora_core import jobs
from lora_core.jobs import End, Job, Status
from lora_core.jobs.states import SavedState, broken
from lora_core.runs import ladder
from lora_core.runs.ladder import Rung
from lora_core.workspace import Workspace
from ui import charts, feedback, guide_again, icons, state

STATES: Final = "Saved state to go on from"


def draw(ws: Workspace, job: Job, status: Status) -> None:
    """One main button: what helps most. Below it what else there is."""
    rungs = ladder.offer(ws, job, status)
    if status.state in {"failed", "lost"} and status.end:
        _why(status.end)
    if rungs:
        _cheaper(ws, job, rungs)
    chosen = _state(ws, job)
    # Where a change helps, the same settings again would most likely end in the same way.
    same = bool(rungs) or bool(guide_again.mends(job, status))
    if status.state == "failed" and not same:
        st.caption("It keeps its settings. To change settings, start a new training.")
    label = f"Go on from step {chosen.step}" if chosen else "Start this training again"
    if same:
        label += " with the same settings"
    if st.button(label, key=f"resume_{job.id}", icon=icons.RESUME, type="secondary" if same else "primary"):
        if jobs.status(ws, job.id).resumable:  # or another tab was quicker, and it goes on already
            jobs.resume(ws, job.id, chosen.name if chosen else None)
        st.rerun()


def _why(end: End) -> None:
    """The cause and the lines that tell it, before what can be done; nobody has to look in the log."""
    st.write(feedback.spoken(f"{end.cause} {end.fix}".strip()))
    if end.evidence:
        st.write("These lines tell the cause:")
        st.code(end.evidence, language=None, wrap_lines=True)


def _cheaper(ws: Workspace, job: Job, rungs: Sequence[Rung]) -> None:
    """The least harmful change as the main button; it is what the ladder would do by itself."""
    st.write("The memory of the graphics card was too small. With a cheaper setting it may fit.")
    first, *others = rungs
    _try(ws, job, first, main=True)
    if others:
        with st.expander("Other settings that need less memory", key=f"rungs_{job.id}"):
            for rung in others:
                _try(ws, job, rung, main=False)


def _try(ws: Workspace, job: Job, rung: Rung, *, main: bool) -> None:
    st.caption(feedback.spoken(rung.why))
    if st.button(
        f"Try again with {rung.label}",
        key=f"rung_{rung.key}_{job.id}",
        icon=icons.MEND,
        type="primary" if main else "secondary",
    ):
        if jobs.status(ws, job.id).resumable:  # or another tab was quicker, and it goes on already
            ladder.take(ws, job, rung)
        st.rerun()


def _state(ws: Workspace, job: Job) -> SavedState | None:
    """The state that is chosen, the newest at first; None where nothing is saved."""
    found = {saved.name: saved for saved in jobs.states(ws, job.id)}
    if sentence := left_out(broken(job.folder)):
        st.caption(feedback.spoken(sentence))
    if not found:
        st.caption("No state was saved, so it starts from the beginning.")
        return None
    newest = next(iter(found.values()))
    st.caption(f"Everything up to step {newest.step} is saved. The training goes on from there.")
    if len(found) == 1:
        return newest
    name = st.selectbox(
        STATES,
        list(found),
        key=f"state_{job.id}",
        format_func=lambda name: in_words(found[name]) if name in found else name,
        width=520,
    )
    return found.get(name, newest)


def in_words(saved: SavedState) -> str:
    """A state in a list: `Step 400, saved at 14:05, loss 0.12`."""
    loss = f", loss {charts.short(saved.loss)}" if saved.loss is not None else ""
    return f"Step {saved.step}, saved {state.when(saved.saved_at)}{loss}"


def left_out(names: Sequence[str]) -> str:
    """The sentence about states that are not whole; empty when all are."""
    if not names:
        return ""
    if len(names) == 1:
        return f"The saved state {names[0]} is not whole, so it is left out."
    return f"These saved states are not whole, so they are left out: {', '.join(names)}."
