from pathlib import Path

import torch

from trainer_rig import Ears, Rig, Trained, records


def test_a_run_ends_with_a_lora_file_and_one_record_a_step(rig: Rig, train: Trained) -> None:
    folder = rig.folder(max_train_steps=6)
    ears = Ears()
    path = train(folder, ears)
    assert path == folder / "checkpoints" / "tiny.safetensors"
    assert path.is_file()
    assert [record["step"] for record in records(folder)] == [1, 2, 3, 4, 5, 6]
