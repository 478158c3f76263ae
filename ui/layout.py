"""The frame that every page has: a title, the same four parts, the same sidebar.

Covered: names of pages and parts, their order, the start of each script run. Not covered: what stands in the
parts (the pages draw that) and the sidebar's content (see `ui/sidebar.py`).

A step page is written like this::

    needs = ["A folder with pictures.", "About a minute."]
    parts = layout.step_page(layout.DATASET, does="Brings pictures into the app.", needs=needs)
    with parts.do_it:
        ...
    with parts.happened:
        ...
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from lora_core.workspace import APP_ROOT
from ui import icons

DOES: Final = "What this does"
NEEDS: Final = "What you need"
DO_IT: Final = "Do it"
HAPPENED: Final = "What happened"

_CSS: Final = APP_ROOT / "static" / "calm.css"

# A constant text: data never goes into a script. Without it the letter r runs the whole page again in the
# middle of reading, and single letters as commands cannot be switched off (WCAG 2.1.4).
_NO_LETTER_KEYS: Final = """<script>
if (!window.noLetterKeys) {
  window.noLetterKeys = true;
  window.addEventListener("keydown", event => {
    const typing = event.target.closest("input, textarea, select, [contenteditable=true]");
    const held = event.ctrlKey || event.metaKey || event.altKey;
    if (!typing && !held && /^[a-z]$/i.test(event.key)) event.stopImmediatePropagation();
  }, true);
}
</script>"""

NO_ANSWER: Final = "The app does not answer"
NO_ANSWER_SAYS: Final = (
    "A training that runs goes on without this page, as long as its computer is on.",
    "If you use a tunnel, look whether it is still open. If the app was stopped, start it again.",
    "You need not do anything here. The page goes on when the app answers.",
)

# When the server is gone, Streamlit asks whether one is connected to the internet, or tells a command that
# does not start this app. Its words are hidden and not replaced, because it writes them again at each try.
_IN_PLAIN_WORDS: Final = """<script>
if (!window.inPlainWords) {
  window.inPlainWords = true;
  new MutationObserver(() => {
    for (const dialog of document.querySelectorAll('[role="dialog"]')) {
      const title = dialog.querySelector("h2"), words = title && title.nextElementSibling;
      if (!words || !["Connection error", TITLE].includes(title.textContent)) continue;
      if (title.textContent !== TITLE) title.textContent = TITLE;
      for (const child of words.children)
        if (!child.dataset.plain && child.style.display !== "none") child.style.display = "none";
      if (words.querySelector("[data-plain]")) continue;
      for (const says of SAYS) {
        const line = document.createElement("p");
        line.dataset.plain = "yes";
        line.textContent = says;
        words.append(line);
      }
    }
  }).observe(document.body, {childList: true, subtree: true, characterData: true});
}
</script>""".replace("TITLE", json.dumps(NO_ANSWER)).replace("SAYS", json.dumps(NO_ANSWER_SAYS))

# A server that was started anew knows nothing of the page until it has drawn it once. A press that comes
# before is forgotten. So once the connection is back, fields and buttons wait until the page is drawn.
_DRAWN_BEFORE_PRESSED: Final = """<script>
if (!window.drawnBeforePressed) {
  window.drawnBeforePressed = true;
  const app = document.querySelector('[data-testid="stApp"]');
  let lost = false, drawing = false, focused = null, late = 0;
  const hold = held => {
    for (const part of document.querySelectorAll('[data-testid="stMain"], [data-testid="stSidebar"]'))
      part.inert = held;
  };
  const done = () => {
    lost = false;
    hold(false);
    if (focused && focused.isConnected && document.activeElement === document.body) focused.focus();
  };
  new MutationObserver(() => {
    const {testConnectionState: line, testScriptState: script} = app.dataset;
    clearTimeout(late);
    if (line !== "CONNECTED") {
      if (!lost) focused = document.activeElement;
      [lost, drawing] = [true, false];
      hold(false);
    } else if (lost) {
      hold(true);
      if (drawing && script === "notRunning") return done();
      drawing ||= script === "running";
      if (!drawing) late = setTimeout(done, 10000);
    }
  }).observe(app, {attributeFilter: ["data-test-connection-state", "data-test-script-state"]});
}
</script>"""
_SCRIPTS: Final = _NO_LETTER_KEYS + _IN_PLAIN_WORDS + _DRAWN_BEFORE_PRESSED


@dataclass(frozen=True, kw_only=True, slots=True)
class PageName:
    """One page: what it is called everywhere, its icon, and its script."""

    title: str
    icon: str
    script: str
    """Path below Home.py; empty for the pages that are functions."""


HOME: Final = PageName(title="Home", icon=icons.HOME, script="")
SETUP: Final = PageName(title="Setup", icon=icons.SETUP, script="pages/Setup.py")
DATASET: Final = PageName(title="Dataset", icon=icons.DATASET, script="pages/Dataset.py")
TRAINING: Final = PageName(title="Training", icon=icons.TRAINING, script="pages/Training.py")
UTILITIES: Final = PageName(title="Utilities", icon=icons.UTILITIES, script="pages/Utilities.py")
HELP: Final = PageName(title="Help", icon=icons.HELP, script="")

STEPS: Final = (SETUP, DATASET, TRAINING, UTILITIES)


def script_of(page: PageName) -> Path:
    """The file that `st.Page` and `st.switch_page` take."""
    return APP_ROOT / page.script


def frame() -> None:
    """What every script run sends once, before the page: the style sheet and the scripts."""
    st.html(_CSS)
    st.html(_SCRIPTS, unsafe_allow_javascript=True)


@dataclass(frozen=True, slots=True)
class Parts:
    """The two parts of a step page that its script fills."""

    do_it: DeltaGenerator
    happened: DeltaGenerator

    def nothing_yet(self) -> None:
        """Say in "What happened" that there is nothing to show; the part is never empty."""
        self.happened.write("Nothing yet.")


def title(page: PageName) -> None:
    """The page's one title; the same words as in the sidebar and in the window's title."""
    st.title(page.title, anchor=False)


def header(text: str) -> None:
    """The name of a part. Without the link symbol, which is tiny, pale and one more stop for the Tab key."""
    st.header(text, anchor=False)


def subheader(text: str) -> None:
    """The name of a section inside a part."""
    st.subheader(text, anchor=False)


def step_page(page: PageName, *, does: str, needs: Sequence[str]) -> Parts:
    """Draw the title and the four part names; return the two parts that the page fills.

    Args:
        page: which page this is.
        does: at most three sentences.
        needs: one sentence each, the time it takes among them.
    """
    title(page)
    header(DOES)
    st.write(does)
    header(NEEDS)
    st.markdown("\n".join(f"- {need}" for need in needs))
    header(DO_IT)
    do_it = st.container(key=f"do_it_{page.title}")
    header(HAPPENED)
    happened = st.container(key=f"happened_{page.title}")
    return Parts(do_it, happened)
