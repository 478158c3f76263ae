"""Notices of Home: what is worth knowing about this machine and this way of starting the app.

Covered: no sign-in, a CPU-only PyTorch on a machine with a graphics card. Not covered: the whole list (Setup).
"""

from lora_core.workspace import Workspace


def draw(ws: Workspace) -> None:
    """Show those that hold; none at all is the usual case."""
