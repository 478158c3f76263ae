"""Fixtures of the trainers' tests."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from trainer_rig import Ears, Rig, Trained, write_base_model


@pytest.fixture(scope="session")
def base_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Stable Diffusion 1.x folder."""
    folder = tmp_path_factory.mktemp("base") / "tiny"
    write_base_model(folder)
    return folder


@pytest.fixture
def rig(tmp_path: Path, base_model: Path) -> Rig:
    """Makes run folders on the tiny base model."""
    return Rig(tmp_path, base_model)


@pytest.fixture(autouse=True)
def fresh_accelerate() -> Iterator[None]:
    """accelerate keeps its precision for the life of a process, and a test process has many runs."""
    yield
    if "accelerate" in sys.modules:
        from accelerate.state import AcceleratorState, GradientState

        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()


@pytest.fixture
def train() -> Trained:
    """Train a run folder in this process."""
    from lora_core.engines import get

    def run(folder: Path, ears: Ears | None = None, *, resume: Path | None = None) -> Path:
        return get("diffusers").train(folder, ears or Ears(), resume=resume)

    return run
