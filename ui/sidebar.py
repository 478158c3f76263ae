"""The sidebar: where was I, what is running, and help, the same on every page.

Covered: what stands under the list of pages. Not covered: the list itself (`st.navigation` draws it).
"""

import streamlit as st
from streamlit.navigation.page import Page

from lora_core.workspace import Workspace
from ui import feedback, help_page, icons, now, project, state

REFRESH_S = 5.0
"""Seconds between two looks at a job that runs. The text changes calmly, and only while there is one."""


def draw(ws: Workspace, *, help_: Page, about: str) -> None:
    """Draw it. `about` is the title of the page that help is asked for."""
    with st.sidebar:
        st.subheader("Where was I", anchor=False)
        live = now.running_job(ws) is not None and not state.updates_paused(ws)
        st.fragment(run_every=REFRESH_S if live else None)(_where)(ws)
        st.page_link(
            help_, label="Help with this page", icon=icons.HELP, query_params={help_page.ABOUT: about}
        )


def _where(ws: Workspace) -> None:
    opened = project.open_one(ws)
    for line in now.where_was_i(ws, opened.name if opened else None):
        st.caption(feedback.spoken(line))
