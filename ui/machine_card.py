"""The machine card of Setup.

Covered: drawing facts. Not covered: finding them (`lora_core.machine`).
"""

from lora_core.workspace import Workspace
from ui.layout import Parts


def draw(ws: Workspace, parts: Parts) -> None:
    """Fill the page."""
    parts.do_it.button("Look at this computer again", key="machine_again")
    parts.nothing_yet()
