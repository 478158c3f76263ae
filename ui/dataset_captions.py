"""The pictures of a dataset with their captions: find, read, change, undo.

Covered: search, pages, table and list, saving at once, undo and redo, the line that tells what was
saved. Not covered: the table itself (see `ui/caption_grid.py`), problems and conflicts (see
`ui/dataset_problems.py`).
"""

from collections.abc import Callable
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any, Final

import streamlit as st

from lora_core.datasets.index import PAGE_SIZE, DatasetIndex, Filter, Row, open_index
from lora_core.datasets.journal import CaptionEdit, apply_edits, last_change, redo_last, undo_last
from lora_core.datasets.thumbs import thumbnail
from lora_core.errors import LoraError
from ui import caption_grid, feedback, icons, state
from ui.caption_grid import Shown

TABLE: Final = "Table"
LIST: Final = "List (good for small windows and for screen readers)"
LIST_PAGE: Final = 10
CHANGE: Final = "To change a caption, press it twice, or press Enter on it."
_SHOWN: Final = "dataset_shown"
_ERROR: Final = "dataset_error"
_COUNT: Final = "dataset_tables"


def draw(folder: Path, index: DatasetIndex, *, name: str) -> None:
    """Draw the search, the pictures, and what can be undone.

    Args:
        folder: where the pictures are.
        index: of this folder, refreshed.
        name: the dataset, or the dataset and the folder in it: `pets/cats`.
    """
    text = st.text_input(
        "Find pictures by name or caption", key="dataset_text", type="search", persist_state="session"
    )
    uncaptioned = st.checkbox(
        "Show only pictures without a caption", key="dataset_uncaptioned", persist_state="session"
    )
    as_list = (
        st.radio("Show the captions as", [TABLE, LIST], key="dataset_view", persist_state="session") == LIST
    )
    wanted = Filter(text=text or "", uncaptioned=uncaptioned)
    count, total = index.count(wanted), index.count()
    size = LIST_PAGE if as_list else PAGE_SIZE
    page = _page(ceil(count / size))
    st.caption(_counted(count, total, "Write in the fields." if as_list else CHANGE))
    shown, rows = _rows(index, (name, wanted, page, as_list, total), page, wanted, size)
    if rows and as_list:
        _list(folder, shown, rows)
    elif rows:
        saved = partial(_take_table, folder, shown)
        caption_grid.draw(shown, rows, dataset=name, changed=saved)
    _saved_line(folder, index)


def _page(pages: int) -> int:
    if pages <= 1:
        return 1
    return int(
        st.number_input(f"Page (1 to {pages})", min_value=1, max_value=pages, key=f"dataset_page_{pages}")
    )


def _counted(count: int, total: int, how: str) -> str:
    shown = f"{count} of " if count != total else ""
    fit = " fit" if count != total else ""
    return f"{shown}{state.counted(total, 'picture')}{fit}. {how} A change is saved when you leave the field."


def _rows(
    index: DatasetIndex, query: tuple[object, ...], page: int, wanted: Filter, size: int
) -> tuple[Shown, tuple[Row, ...]]:
    """The rows that are on the screen if they are still right, else those of the query.

    A picture that no longer fits the filter because it was edited a moment ago stays where it is:
    rows that jump away while one works through them are hard to follow.
    """
    shown: Shown | None = st.session_state.get(_SHOWN)
    if shown is not None:
        rows = index.named(shown.names)
        if shown.fits(query, rows):
            return shown, rows
    rows = index.rows(page, wanted, page_size=size)
    st.session_state[_COUNT] = st.session_state.get(_COUNT, 0) + 1
    shown = Shown(query, st.session_state[_COUNT], {row.name: row.revision for row in rows})
    st.session_state[_SHOWN] = shown
    return shown, rows


def _list(folder: Path, shown: Shown, rows: tuple[Row, ...]) -> None:
    for row in rows:
        key = f"caption_{shown.number}_{row.name}"
        picture_column, text_column = st.columns([1, 3])
        small = thumbnail(folder, row.digest)
        if small is not None:
            picture_column.image(small, alt=f"Picture {row.name}")
        text_column.text_area(
            feedback.spoken(f"Caption of {row.name}"),
            row.caption,
            height="content",
            key=key,
            on_change=_take_field,
            args=(folder, shown, row.name, key),
        )


def _saved_line(folder: Path, index: DatasetIndex) -> None:
    error = st.session_state.pop(_ERROR, None)
    if error is not None:
        feedback.show(error)
    change, undone = last_change(index), last_change(index, "undone")
    if change is not None:
        st.write(f"{_names(change.names)} was saved {state.when(change.at)}.")
    elif undone is not None:
        st.write("All your changes are undone.")
    with st.container(horizontal=True):
        if change is not None:
            st.button(
                "Undo the last change",
                key="dataset_undo",
                icon=icons.UNDO,
                on_click=_step,
                args=(folder, undo_last),
            )
        if undone is not None:
            st.button(
                "Put the undone change back",
                key="dataset_redo",
                icon=icons.RESUME,
                on_click=_step,
                args=(folder, redo_last),
            )


def _names(names: tuple[str, ...]) -> str:
    if len(names) == 1:
        return feedback.spoken(f"Last change: the caption of {names[0]}. It")
    return f"Last change: the captions of {len(names)} pictures. It"


# --- callbacks: they run before the page, also when the user is already leaving it -----------------


def _take_table(folder: Path, shown: Shown, value: Any) -> None:
    _save(folder, shown, caption_grid.new_edits(shown, value))


def _take_field(folder: Path, shown: Shown, name: str, key: str) -> None:
    edit = CaptionEdit(name=name, caption=st.session_state[key], seen=shown.revisions[name])
    _save(folder, shown, [edit])


def _save(folder: Path, shown: Shown, edits: list[CaptionEdit]) -> None:
    if not edits:
        return

    def work(index: DatasetIndex) -> None:
        applied = apply_edits(index, edits)
        shown.revisions.update({name: after for name, _, after in applied.revisions})
        shown.stale = bool(applied.left_alone)

    shown.stale = not with_index(folder, work)


def _step(folder: Path, step: Callable[[DatasetIndex], object]) -> None:
    shown: Shown | None = st.session_state.get(_SHOWN)
    if shown is not None:  # what was typed just before the button was pressed comes first
        _take_table(folder, shown, st.session_state.get(caption_grid.grid_key(shown)))

    def work(index: DatasetIndex) -> None:
        step(index)

    with_index(folder, work)


def with_index(folder: Path, work: Callable[[DatasetIndex], None]) -> bool:
    """Do `work`; an expected error is kept for the page, because nothing can be drawn here."""
    try:
        with open_index(folder) as index:
            work(index)
    except LoraError as error:
        st.session_state[_ERROR] = error
        return False
    return True
