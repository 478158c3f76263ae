"""The finished LoRA files: list, preview, details, download.

Covered: the Utilities page. Not covered: reading the files (`lora_core.loras`).
"""

from lora_core.workspace import Workspace
from ui.layout import Parts


def draw(ws: Workspace, parts: Parts) -> None:
    """Fill the page."""
    parts.do_it.write("There is no finished LoRA yet. When a training is finished, its LoRA appears here.")
    parts.nothing_yet()
