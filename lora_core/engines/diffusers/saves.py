"""The files that a run leaves: LoRA files, states, and which old ones go.

Names are those of sd-scripts: `NAME-000002.safetensors` after an epoch, `NAME-step00000100.safetensors`
after a step, `NAME.safetensors` at the end; states are `NAME-step00000100-state`.

Covered: names, places, keeping the last ones only. Not covered: what is in the files (see
`lora_file.py`, `metadata.py` and `states.py`).
"""

import re
from dataclasses import dataclass
from pathlib import Path

from lora_core.engines import manifest
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

    def forget_epochs(self, epoch: int, steps_per_epoch: int, *, verified: int) -> None:
        """Remove the epoch file and the state that the newest ones, of `epoch`, push out.

        `verified` is the step of the newest state that was read back; only older ones go.
        """
        files, states = self.settings.save_last_n_epochs, self.settings.save_last_n_epochs_state
        if oldest := self._old_epoch(epoch, files):
            self.epoch_file(oldest).unlink(missing_ok=True)
        if oldest := self._old_epoch(epoch, states or files):
            self._forget_state(oldest * steps_per_epoch, verified)

    def _old_epoch(self, epoch: int, keep: int | None) -> int:
        """The epoch whose save goes when `keep` are kept; 0 when there is none."""
        every = self.settings.save_every_n_epochs
        return max(0, epoch - every * keep) if every and keep else 0

    def forget_steps(self, step: int, *, verified: int) -> None:
        """Remove the step file and the state that lie further back than the settings allow.

        `verified` is as in `forget_epochs`.
        """
        files, states = self.settings.save_last_n_steps, self.settings.save_last_n_steps_state
        if oldest := self._old_step(step, files):
            self.step_file(oldest).unlink(missing_ok=True)
        if oldest := self._old_step(step, states or files):
            self._forget_state(oldest, verified)

    def forget_asked(self, steps_per_epoch: int, *, verified: int) -> None:
        """Remove states of pauses and of "save now" that lie further back than what the settings keep.

        `verified` is the step of the newest state, which was just read back; only older ones go.
        """
        settings = self.settings
        reaches = []
        if distance := settings.save_every_n_steps and (
            settings.save_last_n_steps_state or settings.save_last_n_steps
        ):
            reaches.append(verified - distance - 1)
        if keep := settings.save_every_n_epochs and (
            settings.save_last_n_epochs_state or settings.save_last_n_epochs
        ):
            every = settings.save_every_n_epochs or 1
            epoch = verified // steps_per_epoch // every * every
            reaches.append(self._old_epoch(epoch, keep) * steps_per_epoch)
        if not reaches:
            return
        name = re.compile(re.escape(settings.output_name) + r"-step(\d{8,})-state")
        for path in (self.folder / "states").iterdir():
            found = name.fullmatch(path.name)
            if found and int(found[1]) <= min(reaches) and not self._planned(int(found[1]), steps_per_epoch):
                self._forget_state(int(found[1]), verified)

    def _planned(self, step: int, steps_per_epoch: int) -> bool:
        """True for a step whose state `forget_steps` or `forget_epochs` removes when it is its turn."""
        each = self.settings.save_every_n_epochs
        by_epoch = each is not None and step % (each * steps_per_epoch) == 0
        return self.settings.save_state and (self.step_due(step) or by_epoch)

    def _forget_state(self, step: int, verified: int) -> None:
        if step < verified:  # else it may be the last good one
            manifest.remove(self.state(step))

    def _old_step(self, step: int, distance: int | None) -> int:
        every = self.settings.save_every_n_steps
        return max(0, (step - distance - 1) // every * every) if every and distance else 0

    def _file(self, suffix: str) -> Path:
        folder = self.folder / "checkpoints"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{self.settings.output_name}{suffix}.safetensors"
