"""How much a run leaves on the disk: LoRA files, states, caches, samples, logs.

Covered: which saves a run makes and which of them stay, by the rules of the built-in engine, which are
those of sd-scripts; sizes from the LoRA's shapes. Not covered: what is free (see `free.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
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
    by_epoch, by_step = _epochs(run, plan), _steps(run, plan)
    kept_epochs = by_epoch[-run.saving.save_last_n_epochs :] if run.saving.save_last_n_epochs else by_epoch
    kept_steps = _within(by_step, run.saving.save_last_n_steps)
    state_epochs = kept_epochs
    if keep := run.saving.save_last_n_epochs_state:
        state_epochs = by_epoch[-keep:]
    state_steps = _within(by_step, run.saving.save_last_n_steps_state or run.saving.save_last_n_steps)
    at_end = run.saving.save_state or run.saving.save_state_on_train_end
    states = {epoch * plan.steps_per_epoch for epoch in state_epochs} | set(state_steps)
    states = (states if run.saving.save_state else set()) | ({plan.steps} if at_end else set())
    drawn, times = sample_pixels(run), _sample_times(run, plan)
    kept = len(kept_epochs) + len(kept_steps) + 1
    state = _state(run, size)
    parts = {
        "LoRA files": kept * size.file_bytes(run.precision.save_precision),
        "States": len(states) * state,
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
    saves = len(by_epoch) + len(by_step) + 1
    return Files(
        saves=saves,
        kept=kept,
        states=len(states),
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


def _epochs(run: RunConfig, plan: Plan) -> list[int]:
    """Epochs after which a file is written; the last has the finished file."""
    every = run.saving.save_every_n_epochs
    if (
        ratio := run.continuing.save_n_epoch_ratio
    ):  # sd-scripts alone has it, and uses it in place of the other
        every = plan.epochs // ratio or 1
    return list(range(every, plan.epochs, every)) if every else []


def _steps(run: RunConfig, plan: Plan) -> list[int]:
    every = run.saving.save_every_n_steps
    return list(range(every, plan.steps + 1, every)) if every else []


def _within(steps: list[int], distance: int | None) -> list[int]:
    """The step files that stay: each new one removes the one that lies too far back."""
    if not distance or not steps:
        return steps
    every = steps[0]
    gone = {(step - distance - 1) // every * every for step in steps}
    return [step for step in steps if step not in gone]


def _sample_times(run: RunConfig, plan: Plan) -> int:
    sampling, times = run.sampling, int(run.sampling.sample_at_first)
    if sampling.sample_every_n_epochs:
        return times + plan.epochs // sampling.sample_every_n_epochs
    if sampling.sample_every_n_steps:
        return times + plan.steps // sampling.sample_every_n_steps
    return times
