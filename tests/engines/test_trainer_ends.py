"""How a run ends: saves, requests, bad input, numbers that are none."""

import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from trainer_rig import Ears, Rig, Trained, records

from lora_core.errors import CaptionError, DatasetError, EngineError, LoraFileError, SettingsError
from lora_core.reporting import Ended


def test_a_cut_off_picture_is_named_counted_and_costs_only_itself(
    rig: Rig, train: Trained, tmp_path: Path
) -> None:
    folder = tmp_path / "mixed"
    good = rig.pictures()
    folder.mkdir()
    for file in good.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    data = (folder / "01.png").read_bytes()
    (folder / "01.png").write_bytes(data[: len(data) // 2])
    (folder / "02.png").write_bytes(b"nothing")
    ears = Ears()
    run = rig.folder(max_train_epochs=1, subset={"image_dir": str(folder)})
    train(run, ears)
    assert sum("01.png" in note for note in ears.notes) == 1
    assert sum("02.png" in note for note in ears.notes) == 1
    assert records(run, "start")[0]["steps_per_epoch"] == 3


def test_when_every_picture_is_cut_off_the_run_is_refused(rig: Rig, train: Trained, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    data = (rig.pictures() / "01.png").read_bytes()
    (folder / "01.png").write_bytes(data[: len(data) // 2])
    run = rig.folder(subset={"image_dir": str(folder), "class_tokens": "x"})
    with pytest.raises(DatasetError):
        train(run)
    assert not (run / "checkpoints").exists()


def test_a_dataset_smaller_than_a_batch_is_told_before_anything_is_loaded(rig: Rig, train: Trained) -> None:
    ears = Ears()
    with pytest.raises(DatasetError, match=r"too few pictures for one batch.*batch_size to 5"):
        train(rig.folder(dataset={"batch_size": 6}, subset={"num_repeats": 1}), ears)
    assert ears.phases == ["Reading the pictures"]


def test_without_pictures_nothing_is_loaded(rig: Rig, train: Trained, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    ears = Ears()
    with pytest.raises(DatasetError):
        train(rig.folder(subset={"image_dir": str(tmp_path / "empty")}), ears)
    assert ears.phases == ["Reading the pictures"]


def test_an_empty_caption_stops_the_run_before_anything_is_loaded(rig: Rig, train: Trained) -> None:
    folder = rig.folder()
    (rig.pictures() / "00.txt").write_bytes(b"")
    ears = Ears()
    with pytest.raises(CaptionError, match=r"00\.txt"):
        train(folder, ears)
    assert ears.phases == ["Reading the pictures"]


def test_what_the_trainer_lacks_stops_the_run_first_of_all(rig: Rig, train: Trained) -> None:
    ears = Ears()
    with pytest.raises(SettingsError, match="optimizer_type"):
        train(rig.folder(optimizer_type="NoSuchOptimizer"), ears)
    assert ears.phases == []


def test_a_damaged_base_model_is_refused_by_name(rig: Rig, train: Trained, tmp_path: Path) -> None:
    broken = tmp_path / "broken base"
    shutil.copytree(rig.base, broken)
    weights = broken / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    ears = Ears()
    with pytest.raises(SettingsError, match=r"broken base.*damaged"):
        train(rig.folder(pretrained_model_name_or_path=str(broken)), ears)
    assert ears.phases == []


def test_a_request_to_stop_saves_a_state_and_ends_at_that_step(rig: Rig, train: Trained) -> None:
    folder = rig.folder(max_train_steps=20)
    ears = Ears(asks={3: "stop"})
    with pytest.raises(Ended) as ended:
        train(folder, ears)
    assert (ended.value.request, ended.value.step) == ("stop", 3)
    assert ears.files == [(folder / "states" / "tiny-step00000003-state", 3)]
    assert len(records(folder)) == 3
    assert not (folder / "checkpoints" / "tiny.safetensors").exists()


def test_a_request_before_the_first_step_ends_without_a_state(rig: Rig, train: Trained) -> None:
    folder = rig.folder()
    with pytest.raises(Ended) as ended:
        train(folder, Ears(asks={-1: "stop"}))
    assert ended.value.step == 0
    assert not (folder / "states").exists()


def test_save_now_writes_a_lora_and_a_state_and_goes_on(rig: Rig, train: Trained) -> None:
    folder = rig.folder(max_train_steps=4)
    ears = Ears(takes={2: "save"})
    final = train(folder, ears)
    assert ears.files == [
        (folder / "checkpoints" / "tiny-step00000002.safetensors", 2),
        (folder / "states" / "tiny-step00000002-state", 2),
        (final, 4),
    ]


def test_saves_in_between_have_the_names_and_cadence_of_sd_scripts(rig: Rig, train: Trained) -> None:
    folder = rig.folder(
        max_train_epochs=3,
        save_every_n_epochs=1,
        save_every_n_steps=3,
        save_state=True,
        dataset={"batch_size": 8},
    )
    train(folder)
    per_epoch = records(folder, "start")[0]["steps_per_epoch"]
    total = 3 * per_epoch
    steps = {f"tiny-step{step:08d}" for step in range(3, total + 1, 3)}
    names = {path.stem for path in (folder / "checkpoints").iterdir()}
    assert names == {"tiny", "tiny-000001", "tiny-000002"} | steps
    states = {path.name for path in (folder / "states").iterdir()}
    ends = {*range(3, total + 1, 3), per_epoch, 2 * per_epoch, total}
    assert states == {f"tiny-step{step:08d}-state" for step in ends}


def test_a_loss_that_is_not_a_number_names_the_step_and_saves_nothing_after_it(
    rig: Rig, train: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lora_core.engines.diffusers import learner

    plain, calls = learner.loss, []

    def broken(*tensors: Any, **settings: Any) -> torch.Tensor:
        calls.append(1)
        return plain(*tensors, **settings) * (math.nan if len(calls) == 3 else 1.0)

    monkeypatch.setattr(learner, "loss", broken)
    folder = rig.folder(save_every_n_steps=1, save_state=True, dataset={"batch_size": 8})
    with pytest.raises(EngineError, match="step 3"):
        train(folder)
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {
        "tiny-step00000001.safetensors",
        "tiny-step00000002.safetensors",
    }
    assert all(
        tensor.isfinite().all()
        for file in folder.rglob("*.safetensors")
        for tensor in load_file(file).values()
    )
    assert len(records(folder)) == 2


def test_a_base_model_whose_answer_is_no_number_is_not_blamed_on_the_learning_rate(
    rig: Rig, train: Trained, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    shutil.copytree(rig.base, base)
    weights = base / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    tensors["conv_out.bias"].fill_(math.nan)
    save_file(tensors, weights, {"format": "pt"})
    with pytest.raises(EngineError, match="stopped at step 1") as error:
        train(rig.folder(pretrained_model_name_or_path=str(base)))
    assert "another copy of the base model" in error.value.fix


@pytest.mark.parametrize("key", ["network_weights", "base_weights"])
def test_a_lora_with_values_that_are_no_numbers_is_told_before_the_base_model_is_loaded(
    rig: Rig, train: Trained, tmp_path: Path, key: str
) -> None:
    name, broken = "lora_unet_mid_block_attentions_0_proj_in", tmp_path / "broken.safetensors"
    ends = {"lora_down.weight": (4, 64), "lora_up.weight": (64, 4)}
    save_file({f"{name}.{end}": torch.full(shape, math.nan) for end, shape in ends.items()}, broken)
    ears = Ears()
    with pytest.raises(LoraFileError, match="values that are not numbers"):
        train(rig.folder(**{key: str(broken) if key == "network_weights" else [str(broken)]}), ears)
    assert ears.phases == []


@pytest.mark.parametrize("precision", ["fp16", "float"])
def test_a_step_that_throws_the_weights_off_saves_no_file_and_no_state(
    rig: Rig, train: Trained, precision: str
) -> None:
    """Its loss is a number, and so is its gradient; what is left of the LoRA is none."""
    rate = 1e30 if precision == "fp16" else 3e38
    folder = rig.folder(
        save_precision=precision, learning_rate=rate, max_train_steps=1, network_args=["loraplus_lr_ratio=10"]
    )
    with pytest.raises(EngineError, match="stopped at step 1") as error:
        train(folder)
    assert "learning rate" in error.value.fix
    assert not list((folder / "checkpoints").glob("*"))
    with pytest.raises(EngineError, match="stopped at step 1"):
        train(
            rig.folder(
                "kept",
                learning_rate=3e38,
                max_train_steps=1,
                save_state_on_train_end=True,
                network_args=["loraplus_lr_ratio=10"],
            )
        )
    assert not list((rig.root / "kept").rglob("*-state"))
