"""The curves of a run, read from its progress.jsonl while it grows.

Covered: following the file by byte offset, a half-written last line, lines of rubbish, a file
that a resumed run wrote anew, smoothing, and thinning for a chart. Not covered: drawing (ui), and
TensorBoard's files, which hold the same figures for TensorBoard.

Plain lists and sums: a poll handles the few records that are new, and numpy would only add copies.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from lora_core.jobs import Job

FILE: Final = "progress.jsonl"
SMOOTHING: Final = 0.98
"""Weight of the past in the smoothed loss; 0.98 remembers about the last 50 steps."""
MAX_POINTS: Final = 1_000
"""About one per pixel of a chart; 2,000 points send 53 kB to the browser at each redraw."""
_READ_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Curve:
    """The figures of a run, step by step. The lists of one group have one length."""

    steps: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    smoothed: list[float] = field(default_factory=list)
    """Exponential mean of the loss, corrected for its start (as Adam's moments are)."""
    lr: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    """Unix time of each step in seconds; 0 where the record has none."""
    validation_steps: list[int] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.steps)


_TOO_MANY: Final = 2**63


class Progress:
    """Follows one run's progress.jsonl; `refresh` reads what is new, `curve` holds all of it."""

    def __init__(self, folder: Path, *, smoothing: float = SMOOTHING) -> None:
        self.path = folder / FILE
        self.smoothing = smoothing
        self.curve = Curve()
        self.total: int | None = None
        """Steps of the whole run, once its first record told so."""
        self._offset = 0
        self._file: tuple[int, int] | None = None
        self._mean, self._weight = 0.0, 0.0

    def refresh(self) -> bool:
        """Read the records that are new; True when the curve changed.

        A file that was replaced (a resumed run drops what came after its state) is read anew.
        """
        try:
            with self.path.open("rb") as file:
                facts = os.fstat(file.fileno())
                here = (facts.st_dev, facts.st_ino)
                if here != self._file or facts.st_size < self._offset:
                    self._begin(here)
                return self._read(file, facts.st_size)
        except OSError:
            return False

    def _begin(self, here: tuple[int, int]) -> None:
        self._file, self._offset = here, 0
        self.curve = Curve()
        self._mean = self._weight = 0.0

    def _read(self, file: Any, size: int) -> bool:
        changed = False
        while self._offset < size:
            file.seek(self._offset)
            data = file.read(_READ_BYTES)
            whole = data.rfind(b"\n") + 1
            if whole == 0:
                if len(data) < _READ_BYTES:
                    break  # the last line is being written; the next refresh reads it
                whole = len(data)  # rubbish without an end of line
            self._offset += whole
            for line in data[:whole].split(b"\n"):
                changed = self._take(line) or changed
        return changed

    def _take(self, line: bytes) -> bool:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            return False
        if not isinstance(record, dict):
            return False
        if record.get("kind") == "start":
            total = record.get("total")
            self.total = total if isinstance(total, int) else None
            return False
        step = record.get("step")
        if not isinstance(step, int) or not _is_number(step):
            return False
        if _is_number(record.get("validation_loss")):
            self._add_validation(step, float(record["validation_loss"]))
        elif _is_number(record.get("loss")):
            self._add(step, record)
        else:
            return False
        return True

    def _add(self, step: int, record: Mapping[str, Any]) -> None:
        curve = self.curve
        if curve.steps and step <= curve.steps[-1]:
            self._cut(step)
        loss, lr, time = float(record["loss"]), record.get("lr"), record.get("time")
        curve.steps.append(step)
        curve.loss.append(loss)
        curve.lr.append(float(lr) if _is_number(lr) and lr is not None else math.nan)
        curve.times.append(float(time) if _is_number(time) and time is not None else 0.0)
        curve.smoothed.append(self._smooth(loss))

    def _smooth(self, loss: float) -> float:
        # One loss that is not a number must not hide all that come after it.
        if math.isfinite(loss):
            self._mean = self.smoothing * self._mean + (1 - self.smoothing) * loss
            self._weight = self.smoothing * self._weight + (1 - self.smoothing)
        return self._mean / self._weight if self._weight else math.nan

    def _add_validation(self, step: int, loss: float) -> None:
        curve = self.curve
        while curve.validation_steps and curve.validation_steps[-1] >= step:
            curve.validation_steps.pop()
            curve.validation.pop()
        curve.validation_steps.append(step)
        curve.validation.append(loss)

    def _cut(self, step: int) -> None:
        """Drop what is at or after `step`: an engine went back and does these steps again."""
        curve = self.curve
        kept = next(i for i, known in enumerate(curve.steps) if known >= step)
        for values in (curve.steps, curve.loss, curve.smoothed, curve.lr, curve.times):
            del values[kept:]
        while curve.validation_steps and curve.validation_steps[-1] >= step:
            curve.validation_steps.pop()
            curve.validation.pop()
        self._mean = self._weight = 0.0
        for loss in curve.loss:
            self._smooth(loss)


def _is_number(value: object) -> bool:
    if isinstance(value, int):
        # Beyond that it is none of ours, and no float holds it.
        return not isinstance(value, bool) and abs(value) < _TOO_MANY
    return isinstance(value, float)


def read_curve(folder: Path) -> Curve:
    """All figures of the run in `folder`, read once."""
    progress = Progress(folder)
    progress.refresh()
    return progress.curve


def thin(curve: Curve, max_points: int = MAX_POINTS) -> Curve:
    """`curve` with at most `max_points` points that still shows its ends, peaks and dips.

    The first and the last point stay, and of each stretch between them the lowest and the highest
    loss; a loss that is not a number stays before any other.
    """
    kept = _kept(curve.loss, max_points)
    kept_validation = _kept(curve.validation, max_points)
    return Curve(
        steps=[curve.steps[i] for i in kept],
        loss=[curve.loss[i] for i in kept],
        smoothed=[curve.smoothed[i] for i in kept],
        lr=[curve.lr[i] for i in kept],
        times=[curve.times[i] for i in kept],
        validation_steps=[curve.validation_steps[i] for i in kept_validation],
        validation=[curve.validation[i] for i in kept_validation],
    )


def _kept(values: Sequence[float], max_points: int) -> list[int]:
    count = len(values)
    if count <= max(2, max_points):
        return list(range(count))
    stretches = max(0, (max_points - 2) // 2)
    kept = {0, count - 1}
    for stretch in range(stretches):
        start = 1 + stretch * (count - 2) // stretches
        end = 1 + (stretch + 1) * (count - 2) // stretches
        places = range(start, end)
        kept.add(min(places, key=lambda i: -math.inf if math.isnan(values[i]) else values[i]))
        kept.add(max(places, key=lambda i: -math.inf if math.isnan(values[i]) else values[i]))
    return sorted(kept)


@dataclass(frozen=True, kw_only=True, slots=True)
class Overlaid:
    """One run among several in one chart."""

    job: Job
    label: str
    """Its name, with a number behind it where two share one."""
    curve: Curve


def overlay(runs: Sequence[Job], max_points: int = MAX_POINTS) -> list[Overlaid]:
    """The thinned curves of several runs, in the given order; runs without a step are left out."""
    found: list[Overlaid] = []
    for job in runs:
        curve = thin(read_curve(job.folder), max_points)
        if curve.steps:
            found.append(Overlaid(job=job, label=job.name, curve=curve))
    names = [entry.label for entry in found]
    return [
        replace(entry, label=f"{entry.label} ({names[:i].count(entry.label) + 1})")
        if names.count(entry.label) > 1
        else entry
        for i, entry in enumerate(found)
    ]
