"""Whether the UNet's blocks are turned into compiled code, decided from what the steps took.

With `torch_compile`, a run begins as it is, so that there is something to compare with. When the
steps that are left could make up for it, the transformer blocks are compiled, one graph for all of
them. What that took and what a step takes then is measured; if steps did not become faster, the run
goes back. Each decision is told.

Covered: the decision, as functions of times; compiling and going back. Not covered: the code that
torch makes. Compiled code rounds differently, so such a run does not repeat to the last bit.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

import torch
from diffusers.models.attention import BasicTransformerBlock

_WARM_UP: Final = 2
"""Steps before times count: the first ones also fill caches and pick kernels."""
_MEASURED: Final = 5


@dataclass(frozen=True, slots=True)
class Guess:
    """What compiling is expected to bring before this machine has shown it."""

    compile_s: float
    share: float
    """Time of a step afterwards, as a share of its time before."""


# A CPU of two cores took 270 s and went from 3.3 to 3.0 s a step (SD 1.x width, 256 px, bf16). On a GPU
# the blocks alone are compiled in about a minute; a tenth is what they bring at least.
GUESSES: Final = {"cpu": Guess(270.0, 0.91), "cuda": Guess(60.0, 0.9)}


def worth_trying(step_s: float, steps_left: int, guess: Guess) -> bool:
    """Whether the time saved over the run should be more than compiling takes."""
    return pays(guess.compile_s, step_s, step_s * guess.share, steps_left)


def pays(compile_s: float, before_s: float, after_s: float, steps_left: int) -> bool:
    """Whether `steps_left` steps of `after_s` and the compiling take less than as many of `before_s`."""
    return compile_s + after_s * steps_left < before_s * steps_left


def build_time(times: list[float], after_s: float) -> float:
    """Seconds that compiling took: what steps took above `after_s`, which they take once all is built."""
    return sum(max(0.0, each - after_s) for each in times)


class Compiling:
    """Watches the times of the steps of a run, and acts on them."""

    def __init__(self, unet: Any, *, wanted: bool, device: str) -> None:
        self._unet, self._guess = unet, GUESSES.get(device)
        self._state = "plain" if wanted and self._guess else "settled"
        self._times: list[float] = []
        self._before_s = 0.0

    def after_step(self, step_s: float, steps_left: int) -> str | None:
        """Hear how long a step took. Returns what was decided, in a sentence, if anything was."""
        if self._state == "settled" or self._guess is None:
            return None
        self._times.append(step_s)
        if len(self._times) < _WARM_UP + _MEASURED:
            return None
        newest_s, times = median(self._times[-_MEASURED:]), self._times
        self._times = []
        if self._state == "plain":
            return self._decide(newest_s, steps_left, self._guess)
        return self._judge(times, newest_s, steps_left)

    def _decide(self, step_s: float, steps_left: int, guess: Guess) -> str:
        self._before_s = step_s
        left = f"{steps_left} steps of {step_s:.2f} s are left"
        if not worth_trying(step_s, steps_left, guess):
            self._state = "settled"
            return f"The model is not compiled: {left}, and that takes about {guess.compile_s:.0f} s."
        self._state = "compiled"
        # A block that cannot be compiled runs as it is; the times will tell.
        torch._dynamo.config.suppress_errors = True
        for block in self._blocks():
            block.compile()
        return f"The model is compiled now, because {left}."

    def _judge(self, times: list[float], after_s: float, steps_left: int) -> str:
        self._state = "settled"
        built = f"Compiling took {build_time(times, after_s):.0f} s. A step takes {after_s:.2f} s"
        if after_s < self._before_s:
            saved = (self._before_s - after_s) * steps_left
            return f"{built} and took {self._before_s:.2f} s before, which saves {saved:.0f} s from here on."
        for block in self._blocks():
            block._compiled_call_impl = None
        return f"{built} and took {self._before_s:.2f} s before, so the run goes on without compiled code."

    def _blocks(self) -> Iterator[Any]:
        return (module for module in self._unet.modules() if isinstance(module, BasicTransformerBlock))
