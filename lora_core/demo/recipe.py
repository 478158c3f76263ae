"""The demo run: which dataset, which base, and how to train.

Covered: a run configuration that any engine for Stable Diffusion 1.x takes. How well it does is
measured in docs/demo.md. Not covered: starting the run (see `lora_core.runs`).
"""

import secrets
import shutil
from pathlib import Path
from typing import Final

from lora_core.demo.dataset import CONCEPT_FOLDER, ORDINARY_FOLDER, write_dataset
from lora_core.demo.shapes import SIZE, TRIGGER
from lora_core.settings import (
    BatchSettings,
    DatasetFile,
    DatasetSettings,
    MetadataSettings,
    ModelSettings,
    RunConfig,
    SamplingSettings,
    SavingSettings,
    SubsetSettings,
)
from lora_core.settings.presets import PRESETS, read_preset
from lora_core.workspace import Workspace, disk_errors

BASE_DIR: Final = Path(__file__).resolve().parent / "base"
"""The bundled base model, a diffusers folder."""
DATASET_NAME: Final = "demo"
SAMPLE_PROMPTS: Final = (
    f"a red {TRIGGER} on a white background",
    f"a blue {TRIGGER} on a black background",
    f"a green {TRIGGER} on a grey background",
    "a yellow star on a black background",
)
"""Three of the concept, and one that should stay as it is."""
_SAMPLE_FLAGS: Final = f"--w {SIZE} --h {SIZE} --s 12 --l 2.5 --d 1"
"""Twelve steps: a sample then takes less than a second on two cores, and more look the same."""


def create_demo(workspace: Workspace) -> RunConfig:
    """Draw the demo dataset into the workspace, unless it is there, and say how to train on it.

    Raises:
        DiskFullError: the disk has no room for about 280 small files; nothing is left of them.
    """
    folder = workspace.datasets / DATASET_NAME
    if not folder.exists():
        # Under a name that no list of datasets shows, until it is whole.
        half = workspace.datasets / f".{DATASET_NAME}-{secrets.token_hex(4)}"
        try:
            with disk_errors("The demo was not made."):
                write_dataset(half)
                _moved(half, folder)
        finally:
            shutil.rmtree(half, ignore_errors=True)
    return demo_run(folder)


def _moved(half: Path, folder: Path) -> None:
    try:
        half.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another tab was quicker, and its pictures are the same
            raise


def demo_run(folder: Path) -> RunConfig:
    """The demo run on the pictures in `folder`; writes nothing."""
    run = RunConfig(
        model=ModelSettings(pretrained_model_name_or_path=BASE_DIR),
        batch=BatchSettings(seed=1),
        # With a state at its end, so that it can be trained longer, like any other training.
        saving=SavingSettings(output_name="demo", save_every_n_steps=200, save_state_on_train_end=True),
        sampling=SamplingSettings(
            sample_prompts=tuple(f"{prompt} {_SAMPLE_FLAGS}" for prompt in SAMPLE_PROMPTS),
            sample_every_n_steps=175,
            sample_at_first=True,
        ),
        metadata=MetadataSettings(metadata_title="Demo", metadata_trigger_phrase=TRIGGER),
        dataset=DatasetFile(
            datasets=(
                DatasetSettings(
                    resolution=(SIZE, SIZE),
                    batch_size=4,
                    enable_bucket=False,
                    subsets=(
                        SubsetSettings(image_dir=folder / CONCEPT_FOLDER, num_repeats=9),
                        SubsetSettings(image_dir=folder / ORDINARY_FOLDER, num_repeats=1),
                    ),
                ),
            )
        ),
    )
    return read_preset(PRESETS / "demo.toml").applied(run)
