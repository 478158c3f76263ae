"""What every trainer can be asked to do.

Covered: the protocol. Not covered: the trainers (see `lora_core.engines.diffusers`) and the
process that they run in (see `lora_core.jobs`).
"""

from pathlib import Path
from typing import Protocol

from lora_core.errors import Problem
from lora_core.reporting import Reporter
from lora_core.settings import RunConfig


class Engine(Protocol):
    """A program that trains a LoRA. Pages and checks use all of it except `train`."""

    @property
    def name(self) -> str:
        """The word that settings, job records and commands know it by."""

    @property
    def label(self) -> str:
        """The name that a page shows."""

    def check(self, run: RunConfig) -> list[Problem]:
        """Every reason why this engine would refuse the run, each with its setting; loads no torch."""

    def train(self, folder: Path, reporter: Reporter, *, resume: Path | None = None) -> Path:
        """Train what `config.toml` and `dataset.toml` in `folder` say, and write all results there.

        Args:
            folder: the run's own folder; see docs/engines.md for what is written into it.
            reporter: hears of progress, and is asked at every step whether to end.
            resume: a saved state to go on from; None starts at step 0, or at the state that the
                setting `resume` names.

        Returns:
            The finished LoRA file.

        Raises:
            Ended: the reporter asked for it; a state is saved if a step was done.
            LoraError: the run cannot start or cannot go on; what was saved before is untouched.
        """
