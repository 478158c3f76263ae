"""Text that was typed into a field which went from the page before it was saved; and long texts in time.

Covered: noticing both in the browser, saving the text as if its field were still there. Not covered: fields
that stay (`ui/settings_fields.py`): they save what is typed by themselves.

A search, a filter or another tab can take a field away while a person types in it: the server has decided
before the first letter came. A text field without `live` (Streamlit 1.67 has none for long texts) is saved
when it is left; here also after a pause.
"""

import json
import re
from functools import partial
from pathlib import Path
from typing import Final

import streamlit as st

from lora_core import projects, settings
from lora_core.datasets.library import picture_folders
from lora_core.errors import LoraError
from lora_core.projects import REPEATS, Project
from lora_core.settings import Setting
from lora_core.workspace import Workspace
from ui import parts, settings_fields
from ui.settings_fields import Saved

KEY: Final = "late_text"
"""A field that nobody sees (`static/calm.css`): the way from the browser to the server."""
_LONGEST: Final = 200_000

# A constant text: data never goes into a script. It keeps what was typed last for each field of a project
# until that is saved and the field is still there.
_SCRIPT: Final = """<script>
if (!window.lateText) {
  const typed = window.lateText = new Map();
  const nameOf = box => {
    if (!box.matches?.("input:not([role=combobox]):not([type=checkbox]), textarea")) return undefined;
    const field = box.closest('[class*="st-key-run_"]');
    return field && [...field.classList].find(name => name.startsWith("st-key-run_"));
  };
  const busy = () =>
    document.querySelector("[data-test-script-state]")?.dataset.testScriptState !== "notRunning";
  const press = (box, ctrlKey) => box.dispatchEvent(
    new KeyboardEvent("keydown", {key: "Enter", code: "Enter", keyCode: 13, ctrlKey, bubbles: true}));
  const write = (box, text) => {
    Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set.call(box, text);
    box.dispatchEvent(new Event("input", {bubbles: true}));
  };
  document.addEventListener("input", event => {
    const name = nameOf(event.target);
    if (!name) return;
    clearTimeout(typed.get(name)?.pause);
    const entry = {box: event.target, text: event.target.value, left: false};
    if (event.target.tagName === "TEXTAREA")
      entry.pause = setTimeout(() => entry.box.isConnected && press(entry.box, true), 5000);
    typed.set(name, entry);
  }, true);
  const left = event => {
    const entry = typed.get(nameOf(event.target));
    if (entry) entry.left = true;
  };
  document.addEventListener("focusout", left, true);
  document.addEventListener("keydown", event => event.key === "Enter" && left(event), true);
  const look = () => {
    const gone = [];
    for (const [name, entry] of typed) {
      if (!entry.box.isConnected) {
        if (!document.querySelector("." + CSS.escape(name))) gone.push([name, entry.text]);
        typed.delete(name);
      } else if (entry.left && !busy()) typed.delete(name);
    }
    const way = document.querySelector(".st-key-late_text input");
    if (!gone.length || !way) return;
    write(way, JSON.stringify(gone));
    setTimeout(() => press(way, false), 50);
  };
  new MutationObserver(look).observe(document.body, {childList: true, subtree: true});
}
</script>"""


def draw(ws: Workspace, name: str, saved: Saved) -> None:
    """The field that nobody sees, and the script that fills it; `saved` is called after a text was saved."""
    parts.part(KEY, partial(_way, ws, name, saved))
    st.html(_SCRIPT, unsafe_allow_javascript=True)


def _way(ws: Workspace, name: str, saved: Saved) -> None:
    save = partial(_save, ws, name, saved)
    st.text_input("Text of fields that went", key=KEY, label_visibility="collapsed", on_change=save)


def _save(ws: Workspace, name: str, saved: Saved) -> None:
    """Save the texts that the browser sent, each through the checks of its field."""
    text = st.session_state[KEY]
    st.session_state[KEY] = ""
    try:
        opened = projects.load_or_new(ws, name)
    except LoraError as error:
        settings_fields.refused(error)
        return
    after = opened
    for setting, folder, entered in understood(opened, text):
        after = settings_fields.save(ws, after, setting, entered, folder)
    saved(opened, after)


def understood(opened: Project, text: str) -> list[tuple[Setting, Path | None, str]]:
    """Which settings, and folders with repeats of their own, the browser's words are about."""
    try:
        pairs = json.loads(text[:_LONGEST])
        sent = {str(name): str(entered) for name, entered in pairs}
    except (ValueError, TypeError, RecursionError):
        return []
    found: list[tuple[Setting, Path | None, str]] = []
    for s in settings.catalogue():
        places: list[tuple[str, Path | None]] = [(s.key, None)]
        if s.key == REPEATS and opened.dataset:
            places += [
                (f"{s.key}:{projects.folder_key(one)}", one) for one in picture_folders(opened.dataset)
            ]
        for place, folder in places:
            name = _class_of(settings_fields.name_of(opened, place))
            if name in sent:
                found.append((s, folder, sent[name]))
    return found


def _class_of(key: str) -> str:
    """What Streamlit calls a field of this key in the browser."""
    return "st-key-" + re.sub(r"[^a-zA-Z0-9_-]", "-", key.strip())
