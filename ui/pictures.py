"""Rows of small pictures, served by our own addresses so that the browser keeps them.

Covered: samples of a run, previews, each with its words. Not covered: the addresses (`ui/thumb_routes.py`).

This is the one file that makes HTML from data: `st.image` would read every picture again at every refresh and
hold it in memory (Streamlit 1.67). All text and every address is escaped here, in `_figure`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

import streamlit as st

SIDE_PX: Final = 160
"""Width and height in which a picture stands; fixed, so that nothing moves while it loads."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """One picture of a row."""

    address: str
    alt: str
    """What it shows, for who does not see it."""
    caption: str


def row(pictures: Sequence[Picture]) -> None:
    """The pictures side by side; they go on in the next line where the window ends."""
    st.html(f'<div class="pictures">{"".join(map(_figure, pictures))}</div>')


def _figure(picture: Picture) -> str:
    return (
        f'<figure><img src="{escape(picture.address)}" alt="{escape(picture.alt)}" '
        f'width="{SIDE_PX}" height="{SIDE_PX}" loading="lazy">'
        f"<figcaption>{escape(picture.caption)}</figcaption></figure>"
    )
