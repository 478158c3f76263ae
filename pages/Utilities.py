"""Utilities: the finished LoRA files, and what is inside each.

Covered: the list and one file's details. Not covered: reading files (`lora_core.loras`).
"""

from ui import layout, lora_list, state

parts = layout.step_page(
    layout.UTILITIES,
    does="This page lists your finished LoRA files. You can look inside one and download it.",
    needs=["A finished training. Looking at a file takes less than a second and changes nothing."],
)
lora_list.draw(state.workspace(), parts)
