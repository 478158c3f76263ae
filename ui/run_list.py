"""The list of runs, and the loss of several of them in one chart.

Covered: choosing runs to compare, page by page, the chart over them, how the settings of two differ. Not
covered: one run in detail (`ui/live_run.py`).
"""

from collections.abc import Sequence
from typing import Final

import streamlit as st

from lora_core import jobs, runs, settings
from lora_core.errors import LoraError
from lora_core.jobs import Job, Status
from lora_core.workspace import Workspace
from ui import charts, feedback, icons, layout, now, state
from ui.charts import Line

SHOWN: Final = 20
"""Runs on a page of the list."""
_PAGE: Final = "runs_page"
"""Which page of the list is shown; 0 has the newest."""
ENOUGH: Final = 2


def needed() -> int:
    """How many of the newest runs are needed for the list; one more tells whether there are older."""
    return (_page() + 1) * SHOWN + 1


def page_of(known: Sequence[Job]) -> list[Job]:
    """Of the `needed` newest, those on the shown page, and one more where there are older ones."""
    if _page() and len(known) <= _page() * SHOWN:
        st.session_state[_PAGE] = 0  # some were removed in the meantime
    return list(known[_page() * SHOWN :])


def _page() -> int:
    return int(st.session_state.get(_PAGE, 0))


def _turn(by: int) -> None:
    st.session_state[_PAGE] = max(0, _page() + by)


def _pages(*, older: bool) -> None:
    """The way to what is not on this page of the list."""
    with st.container(horizontal=True):
        if older:
            label = f"Show the {SHOWN} trainings before these"
            st.button(label, key="runs_older", icon=icons.EARLIER, on_click=_turn, args=(1,))
        if _page():
            label = f"Show the {SHOWN} trainings after these"
            st.button(label, key="runs_newer", icon=icons.GO, on_click=_turn, args=(-1,))


def draw(ws: Workspace, found: Sequence[Job]) -> None:
    """The list with a box before each run, and below it the chart of the chosen ones."""
    layout.subheader("Compare trainings")
    if len(found) < ENOUGH and not _page():
        st.write("When there are two trainings or more, you can compare their loss and settings here.")
        return
    st.write("Choose two or more. Their loss is then drawn in one chart.")
    st.write("With two, it is also told how their settings differ.")
    shown = [(job, jobs.status(ws, job.id)) for job in found[:SHOWN]]
    # What waits for its first start has nothing to compare; a long queue would fill the list.
    begun = [(job, status) for job, status in shown if status.state != "queued" or status.step]
    if not begun:
        st.write("The trainings in this part of the list have not started yet.")
    chosen = [job for job, status in begun if st.checkbox(_line(job, status), key=f"compare_{job.id}")]
    _pages(older=len(found) > SHOWN)
    if len(chosen) < ENOUGH:
        return
    _chart(chosen)
    if len(chosen) == ENOUGH:
        _settings(chosen)


def _chart(chosen: Sequence[Job]) -> None:
    with st.spinner("Reading the numbers of the trainings. Long ones take some seconds."):
        found = runs.overlay(chosen)
    overlaid = found[: charts.MOST]
    if not overlaid:
        st.write("The chosen trainings have no numbers yet.")
        return
    if len(found) > len(overlaid):
        st.write(f"One chart has room for {charts.MOST}. It shows the first {charts.MOST} that you chose.")
    lines = [Line(name=one.label, steps=one.curve.steps, values=one.curve.smoothed) for one in overlaid]
    lowest = min(overlaid, key=lambda one: one.curve.smoothed[-1])
    charts.draw(
        lines,
        sentence=f"The chart compares {state.counted(len(lines), 'training')}. The lowest smoothed loss at "
        f"the end is {charts.short(lowest.curve.smoothed[-1])}. It belongs to “{lowest.label}”.",
        y_title="Smoothed loss",
        key="overlay",
        table="The compared loss in numbers",
    )


def _settings(chosen: Sequence[Job]) -> None:
    """How the settings of two trainings differ, in words; of the later one beside the earlier one."""
    before, after = sorted(chosen, key=lambda job: (job.created, job.id))
    names = f"“{after.name}” beside “{before.name}”"
    try:
        lines = settings.compared(runs.settings_of(before), runs.settings_of(after))
    except LoraError as error:
        feedback.care(f"{error.why} {error.fix}", title=f"The settings of {names} cannot be compared.")
        return
    if not lines:
        st.write("Both were trained with the same settings.")
        return
    st.markdown(f"**Settings of {feedback.spoken(names)}**")
    st.markdown("\n".join(f"- {feedback.spoken(line)}" for line in lines))


def _line(job: Job, status: Status) -> str:
    loss = f" Loss {charts.short(status.loss)}." if status.loss is not None else ""
    name = feedback.spoken(f"“{job.name}”")
    how = f"It {now.STATE_WORDS[status.state]}. {now.step_words(job, status)}."
    return f"{name}, added {state.when(job.created)}. {how}{loss}"
