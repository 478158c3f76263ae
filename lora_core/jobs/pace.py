"""How long a run may go without a step before it counts as stalled.

Covered: the limit that fits the run's own pace, and the longer ones of parts without steps. Not covered:
watching a run (watchers.py). Everything here is a plain function of numbers.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final

LEAST_S: Final = 300.0
"""No training counts as stalled before five minutes: disks, drivers and other programs hold things up."""
STEPS: Final = 20
"""So many of the run's own median steps may pass without one."""
FIRST_STEP_S: Final = 1800.0
"""Where no step is known yet: kernels are compiled and chosen in the first one."""
OTHER_PARTS_S: Final = 3600.0
"""Loading, preparing pictures, drawing samples, saving. On a CPU one sample may take half an hour."""
TRAINING: Final = "Training"
"""The part of a run in which steps are made, as the engines name it."""

_TAIL_BYTES: Final = 32_768
_STEPS_READ: Final = 100


def limit_s(phase: str, step_s: Sequence[float]) -> float:
    """Seconds without a sign of progress after which a run in this part counts as stalled.

    `step_s` holds what its last steps took. A part that is not training has a limit of its own, or that of
    the steps where it is longer.
    """
    own = STEPS * median(step_s) if step_s else 0.0
    if phase != TRAINING:
        return max(OTHER_PARTS_S, own)
    return max(LEAST_S, own) if step_s else FIRST_STEP_S


def stalled(phase: str, step_s: Sequence[float], quiet_s: float) -> bool:
    """True when `quiet_s` seconds without a sign of progress are too long."""
    return quiet_s >= limit_s(phase, step_s)


def recent_steps(folder: Path) -> list[float]:
    """What the last steps of the run in `folder` took, in seconds, as its progress.jsonl tells."""
    try:
        with (folder / "progress.jsonl").open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = file.read().splitlines()
    except OSError:
        return []
    found: list[float] = []
    for line in lines:
        try:
            record = json.loads(line)
            took = record["step_s"]
        except (ValueError, KeyError, TypeError, RecursionError):
            continue  # cut off, or not a step
        if isinstance(took, int | float) and not isinstance(took, bool) and 0 <= took < 86_400:
            found.append(float(took))
    return found[-_STEPS_READ:]


def as_said(seconds: float) -> str:
    """A duration for a sentence: `5 minutes`, `2 hours`."""
    minutes = max(1, round(seconds / 60))
    if minutes < 90:
        return f"{minutes} minute{'s' if minutes != 1 else ''}"
    return f"{round(minutes / 60)} hours"
