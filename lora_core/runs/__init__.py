"""Training runs: starting one, its curves, its samples, its LoRA files. Import from here.

Covered: what is special about a job that trains. Not covered: stopping, pausing, resuming and
waiting, which are the same for every job (see `lora_core.jobs`).
"""

from lora_core.jobs.samples import Sample
from lora_core.runs.command import SCRIPTS, command_line
from lora_core.runs.echo import Line, echo
from lora_core.runs.elsewhere import run_elsewhere, zip_elsewhere
from lora_core.runs.export import EXPORT, Exported, export_recipe, export_run_zip, recipe_of, start_export
from lora_core.runs.facts import (
    Checkpoint,
    RunFacts,
    checkpoints_of,
    describe,
    prompts_of,
    runs,
    samples_of,
    settings_of,
)
from lora_core.runs.metrics import MAX_POINTS, Curve, Overlaid, Progress, overlay, read_curve, thin
from lora_core.runs.smoke import start_smoke
from lora_core.runs.start import start_run

__all__ = [
    "EXPORT",
    "MAX_POINTS",
    "SCRIPTS",
    "Checkpoint",
    "Curve",
    "Exported",
    "Line",
    "Overlaid",
    "Progress",
    "RunFacts",
    "Sample",
    "checkpoints_of",
    "command_line",
    "describe",
    "echo",
    "export_recipe",
    "export_run_zip",
    "overlay",
    "prompts_of",
    "read_curve",
    "recipe_of",
    "run_elsewhere",
    "runs",
    "samples_of",
    "settings_of",
    "start_export",
    "start_run",
    "start_smoke",
    "thin",
    "zip_elsewhere",
]
