"""The built-in trainer: LoRA on Stable Diffusion 1.x and SDXL with diffusers, accelerate and lycoris-lora.

docs/engines.md leads through it. Importing this package loads no torch: pages ask it what it would
refuse. Training imports the rest, in a process of its own.
"""

from pathlib import Path
from typing import Final

from lora_core.engines.diffusers.checks import problems
from lora_core.errors import Problem
from lora_core.reporting import Reporter
from lora_core.settings import BUILT_IN, RunConfig


class DiffusersEngine:
    """The engine that is installed with the app. See `lora_core.engines.Engine` for the promises."""

    name: Final = BUILT_IN
    label: Final = "Built-in trainer"

    def check(self, run: RunConfig) -> list[Problem]:
        return problems(run)

    def train(self, folder: Path, reporter: Reporter, *, resume: Path | None = None) -> Path:
        from lora_core.engines.diffusers.trainer import train  # loads torch

        return train(folder, reporter, resume=resume)
