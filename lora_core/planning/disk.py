"""How much a run leaves on the disk: LoRA files, states, caches, samples, logs.

Covered: which saves a run makes and which of them stay, by the rules of the built-in engine, which are
those of sd-scripts; sizes from the LoRA's shapes. Not covered: what is free (see `free.py`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from lora_core.planning.images import RunImages
from lora_core.planning.layers import layers_of
from lora_core.planning.lora_size import LoraSize, lora_size
from lora_core.planning.memory import optimizer_bytes
from lora_core.planning.sample_sizes import sample_pixels
from lora_core.planning.steps import Plan
from lora_core.settings import RunConfig

_LOG_BYTES: Final = 900
"""For each step: its record and TensorBoard's."""
_STATE_BYTES: Final = 10_000
"""Of a state besides what is trained: position, losses, chance."""
_TENSOR_BYTES: Final = 1_000
"""Of a state for each tensor that is trained: what torch writes round the numbers of the optimizer."""
_FACTORED: Final[Mapping[str, float]] = {"adafactor": 4, "came": 8}
"""Optimizers that keep rows and columns of a tensor: bytes for each weight, times the rank."""
_PIXEL_BYTES: Final = 2
"""Of a sample picture, for each of its pixels, as PNG."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Files:
    """What a run writes."""

    saves: int
    """LoRA files that are written, the finished one included."""
    kept: int
    """LoRA files that are there at the end."""
    states: int
    """States that are there at the end."""
    samples: int
    parts: Mapping[str, int]
    """Bytes of each kind at the end of the run."""

    one_more: int
    """Bytes of a LoRA file and a state: a new one is whole before an old one goes."""

    @property
    def total(self) -> int:
        return sum(self.parts.values())

    @property
    def peak(self) -> int:
        """The most that is on the disk at any time."""
        return self.total + self.one_more


def files(run: RunConfig, plan: Plan, images: RunImages) -> Files | None:
    """What `run` writes; None when its base model cannot be read."""
    base = layers_of(run.model.pretrained_model_name_or_path)
    if base is None:
        return None
    size = lora_size(base, run.network)
    epochs, steps = _by_epochs(run, plan), _by_steps(run, plan)
    drawn, times = sample_pixels(run), _sample_times(run, plan)
    kept = epochs.last(run.saving.save_last_n_epochs).count
    kept += steps.within(run.saving.save_last_n_steps).count + 1
    state, states = _state(run, size), _states(run, plan, epochs, steps)
    parts = {
        "LoRA files": kept * size.file_bytes(run.precision.save_precision),
        "States": states * state,
        "Samples": times * _PIXEL_BYTES * sum(drawn),
        "Logs": _LOG_BYTES * plan.steps,
    }
    if run.precision.cache_latents_to_disk:
        sides = 1 + any(s.flip_aug for d in run.dataset.datasets for s in d.subsets)
        pixels = sum(count.images * count.size.pixels for count in plan.buckets)
        parts["Prepared pictures"] = sides * 16 * pixels // base.shrinks**2
    if run.text.cache_text_encoder_outputs_to_disk:
        rows = (run.text.max_token_length or 75) // 75
        parts["Captions that were read"] = images.count * rows * 77 * base.text_width * 4
    saves = epochs.count + steps.count + 1
    return Files(
        saves=saves,
        kept=kept,
        states=states,
        samples=times * len(drawn),
        parts=parts,
        one_more=size.file_bytes(run.precision.save_precision) + state,
    )


def _state(run: RunConfig, size: LoraSize) -> int:
    name = run.optimizer.optimizer_type
    kept = optimizer_bytes(name)
    if each := _FACTORED.get(name.rpartition(".")[2].lower()):
        kept = (4 if each > 4 else 0) + each / run.network.network_dim
    trained = size.tensors - size.layers  # each layer has its alpha besides
    return int((4 + kept) * size.weights) + _TENSOR_BYTES * trained + _STATE_BYTES


CACHES: Final = ("Prepared pictures", "Captions that were read")
"""Parts of `Files` that lie beside the pictures and stay for the next run."""


@dataclass(frozen=True, slots=True)
class _Saves:
    """The newest `count` of saves that lie `every` steps apart; not listed, as there may be billions."""

    every: int
    number: int
    """Of the newest one, from 1."""
    count: int

    def last(self, count: int | None) -> "_Saves":
        """The newest `count`; all without one."""
        return self if count is None else replace(self, count=min(self.count, count))

    def within(self, distance: int | None) -> "_Saves":
        """Those that stay when each new one removes the one that lies too far back."""
        return self.last(distance // self.every + 1 if distance else None)

    def shared(self, other: "_Saves") -> int:
        """How many lie at the same steps as some of `other`."""
        low = max(each.every * (each.number - each.count + 1) for each in (self, other))
        high = min(each.every * each.number for each in (self, other))
        both = math.lcm(self.every, other.every)
        return max(0, high // both - (low - 1) // both) if self.count and other.count else 0


def _by_epochs(run: RunConfig, plan: Plan) -> _Saves:
    """After which epochs a file is written; the last has the finished file."""
    every = run.saving.save_every_n_epochs
    # sd-scripts alone has it, and uses it in place of the other.
    if ratio := run.continuing.save_n_epoch_ratio:
        every = plan.epochs // ratio or 1
    number = (plan.epochs - 1) // every if every else 0
    return _Saves((every or 1) * plan.steps_per_epoch, number, number)


def _by_steps(run: RunConfig, plan: Plan) -> _Saves:
    every = run.saving.save_every_n_steps
    number = plan.steps // every if every else 0
    return _Saves(every or 1, number, number)


def _states(run: RunConfig, plan: Plan, epochs: _Saves, steps: _Saves) -> int:
    """How many states are there at the end; two at the same step are one."""
    saving = run.saving
    count = int(saving.save_state or saving.save_state_on_train_end)
    if saving.save_state:
        epochs = epochs.last(saving.save_last_n_epochs_state or saving.save_last_n_epochs)
        steps = steps.within(saving.save_last_n_steps_state or saving.save_last_n_steps)
        at_end = steps.count > 0 and steps.every * steps.number == plan.steps
        count += epochs.count + steps.count - epochs.shared(steps) - int(at_end)
    return count


def _sample_times(run: RunConfig, plan: Plan) -> int:
    sampling, times = run.sampling, int(run.sampling.sample_at_first)
    if sampling.sample_every_n_epochs:
        return times + plan.epochs // sampling.sample_every_n_epochs
    if sampling.sample_every_n_steps:
        return times + plan.steps // sampling.sample_every_n_steps
    return times
