"""How long one edit in the form with all settings takes, and what it sends, with every group open.

Timed: from the Enter key in the field of the rank to the moment that Chromium shows the new value in the
line about the last change, which is drawn with the group and the summary. Counted: all that the server sends
over the websocket for it. Measured first in the same run, and turn by turn: a Streamlit app of one field that
shows what was typed, so that one sees how much of it is Streamlit itself (an empty rerun).

The project is the demo's, so that its problems, steps and pictures are looked at as for any other.

Not covered: the page before its first edit, and slow lines; the bytes say what those cost.
"""

import argparse
import os
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.first_page import _ARGUMENTS, _IDLE, _PATIENCE_MS  # the same browser, the same wait
from benchmarks.machine import ROOT
from benchmarks.record import Measurement, emit, tell
from benchmarks.server import serving
from launcher.browser import installed_browser, named_browser

if TYPE_CHECKING:  # the list of benchmarks needs no browser
    from playwright.sync_api import Browser, Page, WebSocket

TARGET_S: Final = 0.3
TARGET_MB: Final = 0.06
_ALTERNATIVE: Final = "streamlit app of one field"
_ONE_FIELD: Final = """import streamlit as st
st.title("Hello world")
st.caption(st.text_input("Rank"))
"""
_PROJECT: Final = "Demo"
_QUIET_MS: Final = 500
"""Waited after each edit, so that whatever is still coming is counted to it."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--times", type=int, default=15, help="edits of each kind; 15 unless told otherwise")


@dataclass(slots=True)
class _Seen:
    seconds: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)


@dataclass(eq=False)  # playwright keeps its own note with the object
class _Wire:
    """Counts what the server sends to one page."""

    received: int = 0

    def listen(self, socket: "WebSocket") -> None:
        socket.on("framereceived", self._count)

    def _count(self, payload: str | bytes) -> None:
        self.received += len(payload)


def run(options: argparse.Namespace) -> None:
    from playwright.sync_api import sync_playwright

    form, empty = _Seen(), _Seen()
    with sync_playwright() as playwright, ExitStack() as stack:
        folders = [
            Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))) for _ in "ab"
        ]
        path = named_browser(os.environ) or installed_browser(os.environ)
        browser = playwright.chromium.launch(executable_path=path, args=list(_ARGUMENTS))
        one_field = folders[1] / "field.py"
        one_field.write_text(_ONE_FIELD, "utf-8")
        _project(folders[0] / "workspace")
        app = stack.enter_context(serving(ROOT / "Home.py", folders[0]))
        other = stack.enter_context(serving(one_field, folders[1]))
        page, wire = _page(browser, app.entry)
        alone, alone_wire = _page(browser, other.entry)
        fields = _open_form(page, app.address)
        tell(f"The form has {fields} fields open.")
        for number in range(-1, options.times):
            values = f"{100 + number}"
            _edit(alone, alone_wire, values, empty if number >= 0 else _Seen())  # the first one warms up
            _edit(page, wire, values, form if number >= 0 else _Seen())
        settings = {"browser": f"Chromium {browser.version}, headless", "fields": fields}
        browser.close()
    for name, what, values_, others, target in (
        ("settings_edit", "one edit with the full form open", form.seconds, empty.seconds, TARGET_S),
        ("settings_edit_bytes", "what one edit sends", form.megabytes, empty.megabytes, TARGET_MB),
    ):
        emit(
            Measurement(
                name=name,
                what=what,
                unit="s" if name == "settings_edit" else "MB",
                values=values_,
                against=_ALTERNATIVE,
                against_values=others,
                target=target,
                settings=settings,
            )
        )


def _project(root: Path) -> None:
    """A project that could be trained as it is, and open when the page is."""
    from lora_core import demo
    from lora_core.workspace import Workspace
    from ui import project

    ws = Workspace.open(root)
    project.save(ws, project.of_run(_PROJECT, demo.create_demo(ws)))


def _page(browser: "Browser", entry: str) -> tuple["Page", _Wire]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(_PATIENCE_MS)
    page, wire = context.new_page(), _Wire()
    page.on("websocket", wire.listen)
    page.goto(entry)
    page.wait_for_function(_IDLE)
    return page, wire


def _open_form(page: "Page", address: str) -> int:
    """Open every group; the number of fields that are open then."""
    from ui import settings_groups

    page.goto(f"{address}/Training?step=review")
    page.wait_for_function(_IDLE)
    page.get_by_text("All settings", exact=True).click()
    page.locator(".st-key-group_network").wait_for()
    page.wait_for_function(_IDLE)
    for concern in settings_groups.GROUPS:
        group = page.locator(f".st-key-group_{concern} summary").first
        if group.count():
            group.click()
            page.wait_for_timeout(_QUIET_MS)
            page.wait_for_function(_IDLE)
    return page.locator(f"[class*='st-key-run_{_PROJECT}_']").count()


def _edit(page: "Page", wire: _Wire, value: str, seen: _Seen) -> None:
    box = page.get_by_role("textbox", name="Rank", exact=True)
    box.fill(value)
    before, started = wire.received, time.perf_counter()
    box.press("Enter")
    page.wait_for_function(
        """value => [...document.querySelectorAll('[data-testid="stCaptionContainer"]')]
            .some(one => one.textContent.trim() === value || one.textContent.endsWith(`to ${value}.`))""",
        arg=value,
    )
    seen.seconds.append(time.perf_counter() - started)
    page.wait_for_timeout(_QUIET_MS)
    page.wait_for_function(_IDLE)
    seen.megabytes.append((wire.received - before) / 1e6)
