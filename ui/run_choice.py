"""Which run is looked at: kept in the address, so that a reload and a link show the same.

Covered: reading and changing the choice. Not covered: drawing the run (`ui/live_run.py`).
"""

from collections.abc import Sequence
from typing import Final

import streamlit as st

from lora_core import jobs
from lora_core.errors import LoraError
from lora_core.jobs import Job
from lora_core.workspace import Workspace
from ui import address, now, state

ADDRESS: Final = "run"
"""Name of the address's part that holds the run's id."""
_WIDGET: Final = "run_looked_at"


def choose(job_id: str) -> None:
    """Look at this run from now on; nothing else stays in the address."""
    address.show(**{ADDRESS: job_id})


def chosen(ws: Workspace, found: Sequence[Job]) -> Job | None:
    """The run in the address, however old; without one there that which is at work, else the newest."""
    # What is looked at already stays when it ends: the button to stop must not get to the next run by itself.
    for wanted in (address.part(ADDRESS), st.session_state.get(_WIDGET)):
        known = next((job for job in found if job.id == wanted), None) or _old(ws, wanted)
        if known is not None:
            return known
    return _at_work(ws) or (found[0] if found else None)


def _old(ws: Workspace, wanted: str | None) -> Job | None:
    """A run that is not among the newest."""
    try:
        job = jobs.get(ws, wanted or "")
    except LoraError:
        return None
    return job if job.kind == "train" else None


def _at_work(ws: Workspace) -> Job | None:
    """The run that trains now, one of this computer before others; what waits behind it is newer."""
    active = [(job, status) for job, status in now.live(ws) if job.kind == "train" and status.active]
    return min(active, key=lambda pair: pair[1].elsewhere is not None)[0] if active else None


def pick(found: Sequence[Job], current: Job) -> None:
    """The field to choose another run."""
    listed = found if any(job.id == current.id for job in found) else [current, *found]
    # The time first: on a narrow page the end of a long line is cut, and names are often alike.
    names = {job.id: f"Added {state.when(job.created)}: {now.short(job.name)}" for job in listed}
    # Before the field is drawn, so that it shows what the address says (it may have changed by a button).
    st.session_state[_WIDGET] = current.id
    st.selectbox(
        "Training to look at",
        list(names),
        key=_WIDGET,
        format_func=lambda job_id: names.get(job_id, job_id),
        on_change=_picked,
        width=520,
    )


def _picked() -> None:
    choose(st.session_state[_WIDGET])
