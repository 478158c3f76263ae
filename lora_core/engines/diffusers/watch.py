"""What a run keeps an eye on beside its loss: room for the next save, and GPU memory that spills.

Covered: is there room on the disk for one more save; has a step become far slower than the run's own pace
while the card's own memory is full. Not covered: what is done about it (see `trainer.py` and
`lora_core.runs.ladder`).

A graphics driver of Windows lends a program memory of the computer when that of the card is full. Nothing
fails then, and each step takes many times longer.
"""

import shutil
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final

import torch

from lora_core.engines import manifest

MARGIN_BYTES: Final = 2**20
"""Kept free for records, curves and the run's last words."""
_STATE_FLOATS: Final = 3
"""Numbers in a state for each weight, as AdamW has them; counts until the first state was saved."""
_FLOAT_BYTES: Final = 4

SLOW_TIMES: Final = 3.0
_PACE_STEPS: Final = 50
_FEWEST_STEPS: Final = 8
"""Before that many steps a run has no pace of its own."""
_IN_A_ROW: Final = 3
"""One slow step alone may be another program."""
_FULL: Final = 0.97
"""Share of the card's own memory from which on it counts as full."""
_MIB: Final = 2**20


def slowed(step_s: Sequence[float]) -> float:
    """How many times slower the last steps are than the run's own pace; 1 where it has none yet.

    The pace is the median of what came before, first step left out: that one compiles and fills caches.
    """
    before, last = step_s[1:-_IN_A_ROW], step_s[-_IN_A_ROW:]
    if len(before) < _FEWEST_STEPS or not (pace := median(before)):
        return 1.0
    return min(last) / pace


def spills(step_s: Sequence[float], used_mib: float, total_mib: float) -> bool:
    """True when the last steps are three times slower than the run's own pace and the card is full."""
    return total_mib > 0 and used_mib >= _FULL * total_mib and slowed(step_s) >= SLOW_TIMES


class Watch:
    """Looks after one run, from its first step to its last."""

    def __init__(self, folder: Path, device: torch.device, weights: int) -> None:
        self._folder, self._device = folder, device
        self._state_bytes = weights * _STATE_FLOATS * _FLOAT_BYTES
        self._lora_bytes = weights * _FLOAT_BYTES
        self._steps: deque[float] = deque(maxlen=_PACE_STEPS)
        self._told = False

    def wrote(self, path: Path) -> None:
        """A LoRA file or a state was saved: the next one will be as large."""
        if path.is_dir():
            self._state_bytes = manifest.size(manifest.read(path) or {"files": {}}) or self._state_bytes
        else:
            self._lora_bytes = path.stat().st_size

    def no_room(self) -> str:
        """Why the run had better be paused now, while a state still fits; empty where the next save fits."""
        needed = self._state_bytes + self._lora_bytes + MARGIN_BYTES
        free = shutil.disk_usage(self._folder).free
        if free >= needed:
            return ""
        return (
            f"The disk is full: the next save needs {needed / _MIB:.1f} MiB, and {free / _MIB:.1f} MiB are "
            "free. The run was paused before anything could be cut off."
        )

    def spilled(self, step_s: float) -> str:
        """A sentence, once, when the card's memory spills into that of the computer; else nothing."""
        self._steps.append(step_s)
        if self._told or self._device.type != "cuda" or slowed(tuple(self._steps)) < SLOW_TIMES:
            return ""
        free, total = torch.cuda.mem_get_info(self._device)
        if not spills(tuple(self._steps), (total - free) / _MIB, total / _MIB):
            return ""
        self._told = True
        slower, full = slowed(tuple(self._steps)), f"{(total - free) / 2**30:.1f} of {total / 2**30:.1f} GiB"
        return (
            f"Steps take {slower:.0f} times as long as before, and the memory of the graphics card is full "
            f"({full}). On Windows the driver then uses the computer's memory, which is slow. Pause the run, "
            "and go on with a setting that needs less memory."
        )
