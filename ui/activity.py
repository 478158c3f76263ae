"""The activity strip: on every page the same line about what runs and what waits, and one click to it.

Covered: drawing the line, keeping it true: also in a tab that somebody only looks at while another one starts
a job. Not covered: its words (`ui/now.py`). It has its place also while nothing runs, so that nothing moves
when something begins. A look that finds nothing new changes nothing on the screen.
"""

from typing import Final

import streamlit as st

from lora_core.jobs import Job
from lora_core.workspace import Workspace
from ui import feedback, guide_steps, icons, layout, now, state

REFRESH_S: Final = 5.0
"""Seconds between two looks while something runs or waits."""
IDLE_S: Final = 8.0
"""Seconds between two looks while nothing does; each costs the server one look at the dates of the jobs."""
PAUSED_S: Final = 24 * 3600.0
"""While updates are paused nothing is looked at. But without any clock on the page a browser that lost its
server does not ask the next one for the page, which then forgets presses on what it never drew."""
KEY: Final = "activity"
"""Its place in `static/calm.css`, which keeps room for two lines on a phone."""


def draw(ws: Workspace) -> None:
    """The strip."""
    paused = state.updates_paused(ws)
    seen = now.activity(ws, paused=paused)
    every = PAUSED_S if paused else IDLE_S if seen.job is None else REFRESH_S
    with st.container(key=KEY):
        st.fragment(run_every=every)(_line)(ws, paused, seen.job is not None, [seen])


def _line(ws: Workspace, paused: bool, moving: bool, seen_now: list[now.Activity]) -> None:
    """The line. What the page has just seen is taken from `seen_now`; each later look is one of its own."""
    if seen_now:
        seen = seen_now.pop()
    else:
        seen = now.activity(ws, paused=paused)
        if not paused and moving != (seen.job is not None):
            st.rerun()  # the first one began or the last one ended: all of the page tells it
    if seen.job is None:
        st.caption(seen.says)
        return
    page, address = _page_of(seen.job)
    st.page_link(
        layout.script_of(page), label=feedback.spoken(seen.says), icon=icons.RUNNING, query_params=address
    )


def _page_of(job: Job) -> tuple[layout.PageName, dict[str, str] | None]:
    """Where one sees the job."""
    if job.kind == "train":
        return layout.TRAINING, {"run": job.id}
    if job.kind == "smoke":
        return layout.TRAINING, {guide_steps.ADDRESS: guide_steps.REVIEW.id}
    return (layout.DATASET if job.kind == "import" else layout.TRAINING), None
