"""The Help page: what every page is for, and answers to what people ask.

Covered: drawing `docs/app.md`, so that help and docs are one text. Not covered: the text.
"""

import re
from typing import Final

import streamlit as st

from lora_core.workspace import APP_ROOT
from ui import layout

TEXT: Final = APP_ROOT / "docs" / "app.md"
ABOUT: Final = "about"
"""Name of the address's part that says which page the reader came from."""


def draw() -> None:
    """The section about the page that one came from, open; the others in closed boxes below."""
    layout.title(layout.HELP)
    found = sections(TEXT.read_text("utf-8"))
    about = st.query_params.get(ABOUT, layout.HOME.title)
    first = about if about in found else next(iter(found))
    layout.header(first)
    st.markdown(found[first])
    layout.header("More help")
    for name, text in found.items():
        if name != first:
            with st.expander(name):
                st.markdown(text)


def sections(text: str) -> dict[str, str]:
    """The parts of the text under its second-level headings, in order."""
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    return {name.strip(): body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)}
