"""What the address says beside the page: read and changed here, so that a reload and a link show the same.

Covered: the parts of the address that say what is looked at. Not covered: what they mean
(`ui/run_choice.py`, `ui/guide_steps.py`).

A browser sends its address along with every message. One that left before the browser heard of a change
brings the old address back, and with it the old view: a refresh does that, or a field that is left in the
moment of a press. So the address from before a change does not count for a short while after it, except
when the browser's own buttons go back to it.
"""

import time
from dataclasses import dataclass
from typing import Final

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

LATE_S: Final = 3.0
"""So long after a change the address from before it is taken for a late message."""
_MOVED: Final = "address_moved"


@dataclass(frozen=True, slots=True)
class _Moved:
    at: float
    before: dict[str, str]
    after: dict[str, str]


def part(name: str) -> str | None:
    """The value of one part of the address."""
    if _went_back():
        st.session_state.pop(_MOVED, None)
    moved: _Moved | None = st.session_state.get(_MOVED)
    late = moved is not None and time.monotonic() - moved.at < LATE_S
    if moved and late and st.query_params.to_dict() == moved.before:
        st.query_params.from_dict(moved.after)
    value: str | None = st.query_params.get(name)
    return value


def _went_back() -> bool:
    """True when the browser's back or forward button asked for this run of the page."""
    context = get_script_run_ctx()
    return context is not None and context.is_history_navigation


def show(**parts: str) -> None:
    """Have exactly these parts in the address from now on."""
    before = st.query_params.to_dict()
    st.query_params.from_dict(parts)
    if before != parts:
        st.session_state[_MOVED] = _Moved(time.monotonic(), before, parts)
