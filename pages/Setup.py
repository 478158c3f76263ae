"""Setup: what this computer has, and one fix for each thing that is missing.

Covered: drawing the machine card. Not covered: finding the facts (`lora_core.machine`).
"""

from ui import layout, machine_card, state

parts = layout.step_page(
    layout.SETUP,
    does="This page shows what your computer has for training. Nothing is changed.",
    needs=["Nothing. The look takes about 10 seconds. You can leave the page in the meantime."],
)
machine_card.draw(state.workspace(), parts)
