"""Models of real width train, save, load and resume: too large for the default run."""

import shutil
from pathlib import Path
from typing import Any

import psutil
import pytest
from full_width import full_sd1, full_sdxl
from safetensors.torch import load_file
from trainer_rig import Ears, Rig, Trained, losses

GIB = 2**30


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("make", "needs_gib", "modules"),
    [(full_sd1, 6, 192), (full_sdxl, 14, 722)],
    ids=["sd1", "sdxl"],
)
def test_a_model_of_real_width_trains_saves_loads_and_resumes(
    tmp_path: Path, train: Trained, make: Any, needs_gib: int, modules: int
) -> None:
    if psutil.virtual_memory().available < needs_gib * GIB:
        pytest.skip(f"needs {needs_gib} GiB of free memory")
    rig = Rig(tmp_path, make(tmp_path / "base"))
    table = {"resolution": 64, "min_bucket_reso": 64, "max_bucket_reso": 64, "bucket_reso_steps": 64}
    values: dict[str, Any] = {"mixed_precision": "bf16", "save_state": True, "save_every_n_steps": 2}
    whole = rig.folder("whole", dataset=table, max_train_steps=3, **values)
    final = train(whole)
    assert len(losses(whole)) == 3
    assert len({name.split(".")[0] for name in load_file(final)}) == modules
    resumed = rig.folder("resumed", dataset=table, max_train_steps=3, **values)
    ears = Ears()
    again = train(resumed, ears, resume=whole / "states" / "tiny-step00000002-state")
    assert losses(resumed) == losses(whole)[2:]
    assert not [note for note in ears.notes if "not bit for bit" in note]
    first, second = load_file(final), load_file(again)
    assert all(bool((first[name] == second[name]).all()) for name in first)
    shutil.rmtree(tmp_path / "base")  # pytest would keep gigabytes
