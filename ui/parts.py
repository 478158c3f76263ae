"""Parts of a page that are drawn again by themselves, and by each other.

Covered: drawing a part, asking for parts from a field's callback. Not covered: what is in them.

A part is a fragment of Streamlit: a change in it runs it and not the page. What a part shows it reads anew,
from the files; the variables around it are as old as the page.
"""

from collections.abc import Callable, Iterable
from typing import Final

import streamlit as st
from streamlit.errors import StreamlitAPIException

_DRAWN: Final = "parts_drawn"


def part(key: str, draw: Callable[[], None]) -> None:
    """Draw a part that can be drawn again alone; `key` is its name for `again`."""

    def body() -> None:
        draw()

    st.session_state.setdefault(_DRAWN, set()).add(key)
    st.fragment(body, key=key)()


def again(keys: Iterable[str]) -> None:
    """Draw these parts again and nothing else; for callbacks only. What is not on the page is passed over."""
    wanted = [key for key in dict.fromkeys(keys) if key in st.session_state.get(_DRAWN, set())]
    if not wanted:
        return
    try:
        st.rerun(wanted)
    except StreamlitAPIException:  # one of them was on a page that was left
        st.session_state[_DRAWN] = set()
        st.rerun()
