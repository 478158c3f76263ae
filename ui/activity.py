"""The activity strip: on every page the same line about what runs and what waits, and one click to it.

Covered: drawing the line, keeping it true while something runs or waits, and no longer. Not covered: its
words (`ui/now.py`). It has its place also while nothing runs, so that nothing moves when something begins.
"""

from typing import Final

import streamlit as st

from lora_core.jobs import Job
from lora_core.workspace import Workspace
from ui import feedback, guide_steps, icons, layout, now, state

REFRESH_S: Final = 5.0
"""Seconds between two looks, and only while something runs or waits."""
KEY: Final = "activity"
"""Its place in `static/calm.css`, which keeps room for two lines on a phone."""


def draw(ws: Workspace) -> None:
    """The strip."""
    paused = state.updates_paused(ws)
    moving = bool(now.live(ws)) and not paused
    with st.container(key=KEY):
        st.fragment(run_every=REFRESH_S if moving else None)(_line)(ws, paused, moving)


def _line(ws: Workspace, paused: bool, moving: bool) -> None:
    seen = now.activity(ws, paused=paused)
    if moving and seen.job is None:
        st.rerun()  # the last one ended: the page is drawn once more, without looking again
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
