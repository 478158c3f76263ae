"""What planning says before a run, against what a real run of the bundled base model leaves behind.

Covered: steps, epochs, steps an epoch; LoRA files written and kept, states, samples: exact; bytes of each
kind and of all: close. Not covered: time and memory (`test_smoke_run.py`).
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from trainer_rig import Ears, Rig, Trained, draw_pictures, records

from lora_core import planning
from lora_core.demo.recipe import BASE_DIR
from lora_core.planning import disk
from lora_core.settings import load_run

PROMPTS = ["a red star --w 64 --h 64 --s 1 --l 1", "a blue cat --w 64 --h 96 --s 1 --l 1"]
CASES: dict[str, dict[str, Any]] = {
    "epochs, two kept, the text part too": {
        "max_train_epochs": 4, "save_every_n_epochs": 1, "save_last_n_epochs": 2, "save_state": True,
        "network_train_unet_only": False, "optimizer_type": "Adafactor",
        "optimizer_args": ["relative_step=False", "scale_parameter=False"],
    },
    "every third epoch, state at the end": {
        "max_train_epochs": 7, "save_every_n_epochs": 3, "save_state_on_train_end": True,
        "sample_prompts": PROMPTS, "sample_every_n_epochs": 2, "sample_at_first": True,
    },
    "steps, by distance": {
        "max_train_steps": 20, "save_every_n_steps": 4, "save_last_n_steps": 8, "save_state": True,
        "save_last_n_steps_state": 4, "sample_prompts": PROMPTS, "sample_every_n_steps": 6,
    },
    "both, larger, on the disk": {
        "max_train_steps": 12, "save_every_n_steps": 5, "save_every_n_epochs": 1, "save_state": True,
        "save_last_n_epochs_state": 1, "network_dim": 16, "network_args": ["conv_dim=8", "conv_alpha=4"],
        "save_precision": "float", "cache_latents_to_disk": True, "gradient_accumulation_steps": 2,
    },
}  # fmt: skip


def size_of(paths: Iterable[Path]) -> int:
    files = [file for path in paths for file in (path, *path.rglob("*")) if file.is_file()]
    return sum(file.stat().st_size for file in files)


@pytest.mark.parametrize("case", CASES)
def test_what_was_said_is_what_the_run_leaves(case: str, rig: Rig, train: Trained, tmp_path: Path) -> None:
    pictures = tmp_path / "shapes"
    draw_pictures(pictures, [(64, 64), (64, 64), (96, 64), (64, 96), (70, 64)])
    folder = rig.folder(
        pretrained_model_name_or_path=str(BASE_DIR),
        dataset={"resolution": 64, "min_bucket_reso": 32, "max_bucket_reso": 128},
        subset={"image_dir": str(pictures)},
        **CASES[case],
    )
    run = load_run(folder / "config.toml", folder / "dataset.toml")
    said = planning.plan(run)
    assert said is not None
    files = disk.files(run, said, planning.look_at_images(run))
    assert files is not None
    ears = Ears()
    train(folder, ears)

    steps = records(folder)
    begun = records(folder, "start")[0]
    assert (begun["total"], begun["steps_per_epoch"]) == (said.steps, said.steps_per_epoch)
    assert (len(steps), steps[-1]["epoch"]) == (said.steps, said.epochs)
    loras = sorted((folder / "checkpoints").glob("*.safetensors"))
    states = [path for path in folder.rglob("*-state") if path.is_dir()]
    samples = list(folder.rglob("*.png"))
    written = {path for path, _ in ears.files if path.suffix == ".safetensors"}
    assert (len(written), len(loras), len(states), len(samples)) == (
        files.saves, files.kept, files.states, files.samples,
    )  # fmt: skip
    close(files.parts["LoRA files"], size_of(loras), 0.03)
    if states:
        close(files.parts["States"], size_of(states), 0.1)
    others = [path for path in pictures.rglob("*") if path.is_file()]
    if cached := [path for path in others if path.suffix not in {".png", ".txt"}]:
        close(files.parts["Prepared pictures"], size_of(cached), 0.1)
    close(files.total, size_of([folder]) + size_of(cached), 0.12)


def close(said: int, found: int, share: float) -> None:
    assert abs(said - found) <= share * found, f"{said} bytes were said, and there are {found}"
