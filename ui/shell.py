"""One script run: the frame, the navigation, the sidebar, the activity strip, then the page asked for.

Covered: which pages there are and in which order. Not covered: what they show.
"""

from typing import Final

import streamlit as st

from lora_core.workspace import APP_ROOT
from ui import activity, feedback, help_page, home, layout, server, sidebar, state

# A file of our own: for a Material icon the browser would ask another company's server for the picture.
_TAB_ICON: Final = APP_ROOT / "static" / "icon.png"


def render() -> None:
    """Draw the whole window. The work of every script run of Home.py."""
    st.set_page_config(layout="wide", page_icon=_TAB_ICON)
    layout.frame()
    steps = [st.Page(layout.script_of(page), title=page.title, icon=page.icon) for page in layout.STEPS]
    start = st.Page(home.draw, title=layout.HOME.title, icon=layout.HOME.icon, url_path="home", default=True)
    help_ = st.Page(
        help_page.draw, title=layout.HELP.title, icon=layout.HELP.icon, url_path="Help", visibility="hidden"
    )
    page = st.navigation([start, *steps, help_], expanded=True)
    with feedback.user_errors():
        ws = state.workspace()
        sidebar.draw(ws, help_=help_, about=page.title)
        activity.draw(ws)
        try:
            page.run()
        finally:  # a page may stop early
            server.pass_over_modules()
