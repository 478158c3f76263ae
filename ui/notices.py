"""Notices of Home: what is worth knowing about this machine and this way of starting the app.

Covered: no sign-in, a build of torch that does not use the graphics card, a torch that does not start. Not
covered: the whole list; that is on Setup.
"""

from pathlib import Path
from typing import Final

import streamlit as st

from lora_core import machine
from lora_core.machine import Finding
from lora_core.workspace import Workspace
from ui import feedback
from ui.gate import gate_state

TOLD: Final = frozenset({"torch_build", "torch"})
"""Findings that decide whether training works as the user expects."""


LOOK_AGAIN_S: Final = 60.0


@st.cache_data(ttl=LOOK_AGAIN_S, max_entries=2, show_spinner=False)
def _findings(root: Path) -> tuple[Finding, ...]:
    # Kept for a minute: a slow driver takes seconds to answer, and Home is drawn at each click on it.
    return machine.probe(Workspace(root)).findings


def draw(ws: Workspace) -> None:
    """Show those that hold; none at all is the usual case."""
    gate = gate_state()
    if not gate.token:
        feedback.care(f"{gate.sentence} To turn it on, stop the app and start it without --no-token.")
    for finding in _findings(ws.root):
        if finding.key in TOLD and finding.state != "ok":
            feedback.care(f"{finding.sentence} {finding.fix}", title=f"{finding.label}: {finding.value}")
