"""The table in which captions are read and edited.

The browser keeps its own copy of a page of rows. It sends edits and nothing else; new rows from
the server would end an edit that is being typed. So a table is replaced (by a new key) only when
what it shows is no longer what is on disk: after an undo, after a change by another program, on
another page or search.

Covered: what a table shows, taking edits out of it exactly once, its look. Not covered: saving
(see `lora_core.datasets.journal`), the list beside it and the filter (see `ui/dataset_captions.py`).

Every script text below is constant. Captions and names travel as data.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pandas as pd
import streamlit as st
from st_aggrid import AgGrid, DataReturnMode, JsCode, StAggridTheme

from lora_core.datasets.index import Row
from lora_core.datasets.journal import CaptionEdit
from ui.thumb_routes import thumb_url

ROW_PX: Final = 104
HEAD_PX: Final = 48
ROWS_SEEN: Final = 5
"""Rows that are visible at once; more scroll inside the table."""
TO_TOP: Final = "../../"
"""From the table's own page, `/component/st_aggrid.agGrid/index.html`, to the top of the app."""

_PICTURE: Final = JsCode("""
class Picture {
  init(params) {
    this.eGui = document.createElement('img');
    this.eGui.alt = 'Picture ' + params.data.name;
    this.eGui.src = params.value;
    this.eGui.style.maxHeight = '92px';
    this.eGui.style.maxWidth = '100%';
    this.eGui.style.verticalAlign = 'middle';
  }
  getGui() { return this.eGui; }
  refresh() { return false; }
}
""")
# In the cell and not in a pop-up, which has no name for a screen reader and covers its neighbours.
_EDITOR: Final = JsCode("""
class CaptionEditor {
  init(params) {
    this.eGui = document.createElement('textarea');
    var typed = params.eventKey && params.eventKey.length === 1;
    this.eGui.value = typed ? params.eventKey : params.value == null ? '' : params.value;
    this.eGui.setAttribute('aria-label', 'Caption of ' + params.data.name);
    this.eGui.maxLength = 20000;
    this.eGui.style.cssText = 'width:100%;height:100%;min-height:88px;padding:6px 12px;resize:none;'
      + 'box-sizing:border-box;font:inherit;line-height:1.5;color:inherit;background:transparent;border:0;';
  }
  getGui() { return this.eGui; }
  afterGuiAttached() {
    this.eGui.focus();
    this.eGui.setSelectionRange(this.eGui.value.length, this.eGui.value.length);
  }
  getValue() { return this.eGui.value; }
}
""")
# All edits of this table, not the last one: two quick edits may reach the server as one message.
_COLLECT: Final = JsCode("""
function(params) {
  var event = params.eventData;
  var kept = window.captionEdits || [];
  var number = kept.length ? kept[kept.length - 1].number + 1 : 1;
  var caption = event.newValue == null ? '' : String(event.newValue);
  kept = kept.concat([{number: number, table: event.context.table, name: event.data.name, caption: caption}]);
  window.captionEdits = kept.slice(-100);
  return {edits: window.captionEdits};
}
""")
_ROW_ID: Final = JsCode("function(params) { return params.data.name; }")
_NAME_IT: Final = JsCode("""
function(event) { event.api.setGridAriaProperty('label', 'Pictures and their captions'); }
""")
_STILL: Final = {"*": {"animation": "none!important", "transition": "none!important"}}
"""No motion in the frame either; the style sheet of the app does not reach into it."""
_TOP: Final = {"lineHeight": "1.5", "paddingTop": "6px", "paddingBottom": "6px"}
"""Text from the top of the cell, in lines that are close enough to be read as one text."""


@dataclass
class Shown:
    """What one table or list shows. Lives in the session: losing it costs a redraw."""

    query: tuple[object, ...]
    """Dataset, page, filter and whatever else decides which rows these are."""
    number: int
    """Counts the tables of a session, so that each has a key of its own."""
    revisions: dict[str, str]
    """For each image the revision of the caption that the browser shows, own edits included."""
    taken: int = 0
    """Number of the last edit that was taken out of this table."""
    stale: bool = field(default=False)
    """True when the browser shows something that is not on disk."""

    @property
    def names(self) -> list[str]:
        return list(self.revisions)

    def fits(self, query: tuple[object, ...], rows: Sequence[Row]) -> bool:
        """True while the browser's rows are those on disk, so that it can keep them."""
        on_disk = {row.name: row.revision for row in rows}
        return not self.stale and self.query == query and self.revisions == on_disk


def new_edits(shown: Shown, value: Any) -> list[CaptionEdit]:
    """The edits in `value`, as the browser sent it, that were not taken before.

    Whatever does not look like an edit of this table is left out: the value comes from outside.
    """
    sent = value.get("edits") if isinstance(value, dict) else None
    edits = []
    for one in sent if isinstance(sent, list) else []:
        if not isinstance(one, dict) or one.get("table") != shown.number:
            continue
        number, name, caption = one.get("number"), one.get("name"), one.get("caption")
        if not isinstance(number, int) or not isinstance(caption, str) or number <= shown.taken:
            continue
        if not isinstance(name, str) or name not in shown.revisions:
            continue
        shown.taken = number
        edits.append(CaptionEdit(name=name, caption=caption, seen=shown.revisions[name]))
    return edits


def grid_key(shown: Shown) -> str:
    """The key of the table; its value in the session is what the browser sent last."""
    return f"captions_{shown.number}"


def draw(shown: Shown, rows: Sequence[Row], *, dataset: str, changed: Callable[[Any], None]) -> None:
    """Draw the table; `changed` is called with what the browser sends, before the next script run."""
    frame = pd.DataFrame(
        [
            {
                "picture": thumb_url(dataset, row.digest, base=TO_TOP) if row.digest else "",
                "name": row.name,
                "caption": row.caption,
                "size": f"{row.width} × {row.height}",
            }
            for row in rows
        ],
        dtype=str,
    )
    AgGrid(
        frame,
        gridOptions=_options(shown.number),
        height=HEAD_PX + ROW_PX * min(len(rows), ROWS_SEEN) + 4,
        data_return_mode=DataReturnMode.CUSTOM,
        custom_jscode_for_grid_return=_COLLECT,
        update_on=["cellValueChanged"],
        allow_unsafe_jscode=True,  # for the constant scripts above
        server_sync_strategy="client_wins",  # the other one throws away what is being typed
        show_toolbar=False,
        custom_css=_STILL,
        theme=_theme(),
        key=grid_key(shown),
        callback=lambda answer: changed(answer.raw_data),
    )


def _options(table: int) -> dict[str, Any]:
    return {
        "columnDefs": [
            {
                "field": "picture",
                "headerName": "Picture",
                "cellRenderer": _PICTURE,
                "width": 124,
                "cellStyle": {**_TOP, "paddingLeft": "12px", "paddingRight": "12px"},
            },
            {
                "field": "caption",
                "headerName": "Caption",
                "editable": True,
                "cellEditor": _EDITOR,
                "wrapText": True,
                "autoHeight": True,  # a long caption is shown whole
                "flex": 1,
                "minWidth": 220,
                "cellStyle": _TOP,
            },
            {
                "field": "name",
                "headerName": "Name",
                "width": 170,
                "wrapText": True,
                "autoHeight": True,  # the end of a long name tells it from others
                "cellStyle": _TOP,
            },
            {"field": "size", "headerName": "Size (pixels)", "width": 130, "cellStyle": _TOP},
        ],
        # Sorting and filtering here would reach this page of rows only, and look like all of them.
        "defaultColDef": {"sortable": False, "filter": False, "resizable": True, "suppressMovable": True},
        "context": {"table": table},
        "getRowId": _ROW_ID,
        "onGridReady": _NAME_IT,
        "rowHeight": ROW_PX,
        "headerHeight": HEAD_PX,
        "singleClickEdit": True,
        "stopEditingWhenCellsLoseFocus": True,  # leaving a cell saves it; every change can be undone
        "animateRows": False,
        "enableCellTextSelection": True,
        "ensureDomOrder": True,  # so that a screen reader reads the rows in order
    }


def _theme() -> StAggridTheme:
    """The table in the colours of the app, light or dark as the browser has it."""
    mode = st.context.theme.type or "light"

    def colour(name: str) -> str:
        return str(st.get_option(f"theme.{mode}.{name}"))

    return StAggridTheme(base="quartz").withParams(
        browserColorScheme=mode,
        backgroundColor=colour("backgroundColor"),
        foregroundColor=colour("textColor"),
        textColor=colour("textColor"),
        headerTextColor=colour("textColor"),
        headerBackgroundColor=colour("secondaryBackgroundColor"),
        accentColor=colour("linkColor"),
        borderColor=colour("borderColor"),
        fontFamily="Source Sans Pro, sans-serif",
        fontSize=16,
    )
