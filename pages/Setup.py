"""Setup: what this computer has, and one fix for each thing that is missing.

Covered: drawing the machine card, and the choices for while trainings run. Not covered: finding the facts
(`lora_core.machine`).
"""

from ui import job_settings, layout, machine_card, state

parts = layout.step_page(
    layout.SETUP,
    does="This page shows what your computer has for training. "
    "You also choose here what happens while trainings run, and when they end.",
    needs=["Nothing. The look takes about 10 seconds. You can leave the page in the meantime."],
)
ws = state.workspace()
machine_card.draw(ws, parts)
with parts.do_it:
    job_settings.draw(ws)
