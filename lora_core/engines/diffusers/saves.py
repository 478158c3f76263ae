"""The files that a run leaves: LoRA files, states, and which old ones go.

Names are those of sd-scripts: `NAME-000002.safetensors` after an epoch, `NAME-step00000100.safetensors`
after a step, `NAME.safetensors` at the end; states are `NAME-step00000100-state`.

Covered: names, places, keeping the last ones only, refusing weights that are no numbers. Not covered: what
is in the files (see `lora_file.py`, `metadata.py` and `states.py`).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from lora_core.engines import manifest
from lora_core.errors import EngineError
from lora_core.settings import SavingSettings


@dataclass(frozen=True, slots=True)
class Saves:
    """Where the files of one run are."""

    folder: Path
    """The run's folder."""
    settings: SavingSettings

    def epoch_file(self, epoch: int) -> Path:
        return self._file(f"-{epoch:06d}")

    def step_file(self, step: int) -> Path:
        return self._file(f"-step{step:08d}")

    def final_file(self) -> Path:
        return self._file("")

    def state(self, step: int) -> Path:
        return self.folder / "states" / f"{self.settings.output_name}-step{step:08d}-state"

    def forget_halves(self) -> None:
        """Remove what an earlier attempt was writing when it was killed."""
        for half in self.folder.glob("checkpoints/.*.part"):
            half.unlink(missing_ok=True)
        manifest.tidy(self.folder / "states")

    def epoch_due(self, epoch: int, epochs: int) -> bool:
        """True when a file is written after `epoch`; never after the last, which has the final file."""
        every = self.settings.save_every_n_epochs
        return every is not None and epoch % every == 0 and epoch < epochs

    def step_due(self, step: int) -> bool:
        every = self.settings.save_every_n_steps
        return every is not None and step % every == 0

    def forget(self, step: int, epoch: int, steps_per_epoch: int, *, verified: int) -> None:
        """Remove what the saves up to `step` and after `epoch` push out, and what a kill kept from going.

        A file goes with its own schedule. A state goes when every schedule that has a save at its step lets
        go of it; one that was asked for (a pause, "save now") has none, and goes when all have passed it by.
        `verified` is the step of the newest state that was read back: only states older than that go.
        """
        by_steps, by_epochs = self._edges(step, epoch, steps_per_epoch, states=False)
        for path in (self.folder / "checkpoints").glob("*.safetensors"):
            at = self._number(path, r"-step(\d{8,})\.safetensors")
            made_after = self._number(path, r"-(\d{6})\.safetensors")
            old_step = at is not None and self.step_due(at) and at <= by_steps
            if old_step or (made_after is not None and made_after * steps_per_epoch <= by_epochs):
                path.unlink(missing_ok=True)
        by_steps, by_epochs = self._edges(step, epoch, steps_per_epoch, states=True)
        for path in (self.folder / "states").glob("*-state"):
            at = self._number(path, r"-step(\d{8,})-state")
            if at is None or at >= verified:  # else it may be the last good one
                continue
            each = self.settings.save_every_n_epochs
            by_epoch = each is not None and at % (each * steps_per_epoch) == 0
            plans = ((self.step_due(at), by_steps), (by_epoch, by_epochs)) if self.settings.save_state else ()
            planned = [edge for due, edge in plans if due]
            if at <= min(planned or [edge for edge in (by_steps, by_epochs) if edge] or [0]):
                manifest.remove(path)

    def _edges(self, step: int, epoch: int, steps_per_epoch: int, *, states: bool) -> tuple[int, int]:
        """The last step that goes, by the saves every n steps and those every n epochs; 0 where all stay."""
        saving = self.settings
        distance, keep = saving.save_last_n_steps, saving.save_last_n_epochs
        if states:
            distance = saving.save_last_n_steps_state or distance
            keep = saving.save_last_n_epochs_state or keep
        by_steps = by_epochs = 0
        if (every := saving.save_every_n_steps) and distance:
            by_steps = (step // every * every - distance - 1) // every * every
        if (every := saving.save_every_n_epochs) and keep:
            by_epochs = (epoch // every * every - every * keep) * steps_per_epoch
        return max(0, by_steps), max(0, by_epochs)

    def _number(self, path: Path, ending: str) -> int | None:
        """The step or epoch in the name of a file of this run."""
        found = re.fullmatch(re.escape(self.settings.output_name) + ending, path.name)
        return int(found[1]) if found else None

    def _file(self, suffix: str) -> Path:
        folder = self.folder / "checkpoints"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{self.settings.output_name}{suffix}.safetensors"


def diverged(step: int, what: str) -> EngineError:
    """The error of a run whose `what` is not a number any more."""
    fix = "Lower the learning rate, and go on from the last save."
    if step == 1 and what != "LoRA":
        fix = (
            "Nothing was learned before this step, so the learning rate is not the cause. Use another copy "
            "of the base model, set mixed_precision to bf16 or no, or leave out "
            "the LoRAs that the run starts with."
        )
    return EngineError(
        f"The training stopped at step {step}.",
        why=f"The {what} was not a number any more. Nothing of this step was saved.",
        fix=fix,
    )


def check_weights(step: int, weights: Iterable[Tensor]) -> None:
    """Look at what is to be saved: a step whose loss was sound may still have thrown the weights off.

    Raises:
        EngineError: a weight is not finite in the number type of the file.
    """
    if not all(bool(weight.isfinite().all()) for weight in weights):
        raise diverged(step, "LoRA")
