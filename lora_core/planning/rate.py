"""The learning rate over a run, computed without torch, so that a page can draw it before the start.

Covered: the courses that sd-scripts and the built-in engine share, warm-up, REX. Not covered: schedules by
the name of a class, optimizers that find their own rate, and optimizers that need no schedule.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from lora_core.settings import RunConfig

POINTS: Final = 400
"""Of one drawing."""
_LOWEST: Final = 1e-7
"""Where polynomial ends: the fixed end of the library that both engines use."""

Share = Callable[[int], float]


@dataclass(frozen=True, slots=True)
class Course:
    """The rate at some steps; `steps` is empty where it cannot be told beforehand."""

    steps: tuple[int, ...]
    rates: tuple[float, ...]
    why: str = ""
    """Why nothing is told."""

    def at(self, step: int) -> float | None:
        """The rate at the told step that is nearest."""
        near = min(range(len(self.steps)), key=lambda i: abs(self.steps[i] - step), default=None)
        return None if near is None else self.rates[near]


def course(run: RunConfig, steps: int) -> Course:
    """The rate over a run of `steps`; that of the image part, where the parts have different ones."""
    optimizer, schedule = run.optimizer, run.schedule
    name = optimizer.optimizer_type.lower()
    top = optimizer.learning_rate
    unet = getattr(optimizer, "unet_lr", None)
    top = top if unet is None else unet
    if schedule.lr_scheduler_type:
        return Course(
            (), (), "The course is a class of its own, so it is seen only while the training goes on."
        )
    if "prodigy" in name or "dadapt" in name:
        return Course((), (), "This optimizer finds the rate while it trains.")
    if schedule.lr_scheduler == "adafactor":
        return Course((), (), "Adafactor finds the rate while it trains.")
    share: Share | None = (lambda _step: 1.0) if name.endswith("schedulefree") else share_of(run, steps)
    if share is None:
        return Course((), (), "This course is seen only while the training goes on.")
    every = max(1, steps // POINTS)
    told = sorted({*range(0, steps, every), steps - 1})
    return Course(tuple(step + 1 for step in told), tuple(top * share(step) for step in told))


def share_of(run: RunConfig, steps: int) -> Share | None:
    """The share of the rate at each step from 0 on; None for a course that is not known here."""
    shapes, name = _Shapes(run, steps), run.schedule.lr_scheduler
    if name == "constant":
        return lambda _step: 1.0
    if name == "piecewise_constant":
        return _pieces(run.schedule.step_rules)
    known: dict[str, Share] = {
        "constant_with_warmup": lambda _step: 1.0,
        "linear": shapes.linear,
        "cosine": shapes.cosine,
        "cosine_with_restarts": shapes.restarts,
        "polynomial": shapes.polynomial,
        "inverse_sqrt": shapes.inverse,
        "cosine_with_min_lr": shapes.to_lowest,
        "warmup_stable_decay": shapes.stable,
        "rex": shapes.rex,
    }
    shape, warmup = known.get(name), shapes.warmup
    return None if shape is None else lambda step: step / max(1, warmup) if step < warmup else shape(step)


class _Shapes:
    """The courses after their warm-up."""

    def __init__(self, run: RunConfig, steps: int) -> None:
        self._set, self._steps = run.schedule, steps
        self._top = run.optimizer.learning_rate or 1.0
        self._lowest = self._set.lr_scheduler_min_lr_ratio or 0.0
        self._cycles = self._set.lr_scheduler_num_cycles
        self._decay = _count(self._set.lr_decay_steps, steps)
        self.warmup = _count(self._set.lr_warmup_steps, steps)

    def _done(self, step: int) -> float:
        return (step - self.warmup) / max(1, self._steps - self.warmup)

    def linear(self, step: int) -> float:
        return max(0.0, 1 - self._done(step))

    def cosine(self, step: int) -> float:
        return max(0.0, 0.5 * (1 + math.cos(math.pi * self._done(step))))

    def restarts(self, step: int) -> float:
        done = self._done(step)
        return 0.0 if done >= 1 else 0.5 * (1 + math.cos(math.pi * (self._cycles * done % 1)))

    def to_lowest(self, step: int) -> float:
        wave = 0.5 * (1 + math.cos(math.pi * self._cycles * self._done(step)))
        return max(0.0, wave * (1 - self._lowest) + self._lowest)

    def polynomial(self, step: int) -> float:
        end = _LOWEST / self._top
        left = max(0.0, 1 - self._done(step))
        return float((1 - end) * left**self._set.lr_scheduler_power + end)

    def inverse(self, step: int) -> float:
        scale = self._set.lr_scheduler_timescale or self.warmup or 10_000
        return 1 / math.sqrt((step + scale - self.warmup) / scale)

    def stable(self, step: int) -> float:
        fallen = step - (self._steps - self._decay)
        if fallen < 0:
            return 1.0
        wave = 0.5 * (1 + math.cos(math.pi * self._cycles * fallen / max(1, self._decay)))
        return max(0.0, (1 - self._lowest) * wave + self._lowest)

    def rex(self, step: int) -> float:
        bend = self._set.d
        left = 1 - min(1.0, self._done(step))
        return self._lowest + (1 - self._lowest) * left / (1 - bend + bend * left)


def _pieces(rules: str | None) -> Share | None:
    try:
        *pieces, last = (rules or "").split(",")
        pairs = [(int(end), float(share)) for share, end in (piece.split(":") for piece in pieces)]
        rest = float(last)
    except ValueError:
        return None
    return lambda step: next((share for end, share in pairs if step < end), rest)


def _count(value: float, steps: int) -> int:
    return int(value * steps) if isinstance(value, float) else value
