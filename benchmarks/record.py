"""One measurement: all its single values, their median, what it was held against, and its target.

Covered: the record as JSON and as a line for people. Less is better in every measurement here:
seconds and bytes. Not covered: taking the values (see the benchmarks themselves).
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from statistics import median
from typing import Any, Final, Literal

from benchmarks.machine import load_average, machine

Unit = Literal["s", "MB"]
"""MB is a million bytes."""
UNAVAILABLE: Final = "unavailable"
"""What a record names as its alternative when that could not be run here."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What was measured, in the order in which it was measured."""

    name: str
    what: str
    """What was timed or counted, in words."""
    unit: Unit
    values: Sequence[float]
    against: str | None = None
    """The alternative; `UNAVAILABLE` if it could not be run, None if there is none."""
    against_values: Sequence[float] = ()
    target: float | None = None
    """The median is to be at most this."""
    target_ratio: float | None = None
    """The ratio is to be at least this."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What else decides the figure: sizes, dtype, number of steps."""

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError(f"{self.name}: there is no value.")
        if self.target_ratio is not None and self.against is None:
            raise ValueError(f"{self.name}: a target for a ratio needs an alternative.")

    @property
    def value(self) -> float:
        """The median."""
        return float(median(self.values))

    @property
    def against_value(self) -> float | None:
        """The median of the alternative."""
        return float(median(self.against_values)) if self.against_values else None

    @property
    def ratio(self) -> float | None:
        """The alternative's median over ours: 2 is half the time or half the memory."""
        other = self.against_value
        return other / self.value if other is not None and self.value > 0 else None

    @property
    def met(self) -> bool | None:
        """Whether every target was reached; None where there is none."""
        found: list[bool] = []
        if self.target is not None:
            found.append(self.value <= self.target)
        if self.target_ratio is not None:
            found.append(self.ratio is not None and self.ratio >= self.target_ratio)
        return all(found) if found else None

    def as_record(self) -> dict[str, Any]:
        """What one JSON line holds."""
        return {
            "name": self.name,
            "what": self.what,
            "value": _short(self.value),
            "unit": self.unit,
            "values": [_short(value) for value in self.values],
            "against": self.against,
            "against_value": _short(self.against_value),
            "against_values": [_short(value) for value in self.against_values],
            "ratio": _short(self.ratio),
            "target": self.target,
            "target_ratio": self.target_ratio,
            "met": self.met,
            "settings": dict(self.settings),
            "machine": {**_machine(), "load_average": load_average()},
        }

    def line(self) -> str:
        """The same for people."""
        parts = [f"{self.name}: {self.value:.4g} {self.unit}"]
        if len(self.values) > 1:
            low, high = min(self.values), max(self.values)
            parts.append(f"median of {len(self.values)}, {low:.4g} to {high:.4g}")
        if self.against == UNAVAILABLE:
            parts.append("the alternative could not be run")
        elif self.against_value is not None:
            parts.append(f"{self.against}: {self.against_value:.4g} {self.unit}, ratio {self.ratio:.3g}")
        if self.target is not None:
            parts.append(f"target at most {self.target:g} {self.unit}")
        if self.target_ratio is not None:
            parts.append(f"target ratio at least {self.target_ratio:g}")
        if self.met is not None:
            parts.append("met" if self.met else "NOT MET")
        return "; ".join(parts)


def tell(text: str) -> None:
    """A line for people; standard output is for the records alone."""
    print(text, file=sys.stderr, flush=True)


def emit(measurement: Measurement) -> None:
    """Print the record on standard output and its line on standard error."""
    tell(measurement.line())
    print(json.dumps(measurement.as_record(), ensure_ascii=False), flush=True)


@cache
def _machine() -> dict[str, Any]:
    return machine()  # asks another process for torch's build, so once is enough


def _short(value: float | None) -> float | None:
    # Six digits say all that a clock knows, and keep a line readable.
    return None if value is None else float(f"{value:.6g}")
