"""Whole runs with the networks beyond plain LoRA: their files say what they are, and they go on exactly."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from network_rig import keys
from safetensors import safe_open
from safetensors.torch import load_file
from tiny_models import tiny_sdxl
from trainer_rig import Ears, Rig, Trained, losses

from lora_core.engines import get
from lora_core.errors import LoraFileError, SettingsError
from lora_core.loras import inspect
from lora_core.planning import check
from lora_core.settings import load_run

DOKR: dict[str, Any] = {
    "network_module": "lycoris.kohya",
    "network_args": ["algo=lokr", "dora_wd=True", "factor=2", "module_dropout=0.2"],
    "network_train_unet_only": False,
    "text_encoder_lr": [0.001],
}


def notes(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return dict(file.metadata())


@pytest.fixture(scope="session")
def sdxl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sdxl(tmp_path_factory.mktemp("base") / "xl")


def test_a_lycoris_file_says_what_it_is(rig: Rig, train: Trained) -> None:
    path = train(rig.folder(max_train_steps=2, scale_weight_norms=0.5, **DOKR))
    said = notes(path)
    assert said["ss_network_module"] == "lycoris.kohya"
    assert said["ss_text_encoder_lr"] == "0.001"
    assert json.loads(said["ss_network_args"]) == {
        "algo": "lokr",
        "dora_wd": "True",
        "factor": "2",
        "module_dropout": "0.2",
    }
    info = inspect(path)
    assert (info.kind, info.family) == ("DoRA on LoKr", "sd15")
    assert info.unet_layers > info.text_encoder_layers > 0
    assert "diffusers" in info.warnings[0]


@pytest.mark.parametrize("algo", ["loha", "lokr"])
def test_a_lycoris_run_that_goes_on_is_the_same_to_the_last_bit(rig: Rig, train: Trained, algo: str) -> None:
    settings = {**DOKR, "network_args": [f"algo={algo}", "module_dropout=0.3"], "scale_weight_norms": 0.2}
    whole = rig.folder("whole", max_train_steps=5, **settings)
    through = load_file(train(whole))
    half = rig.folder("half", max_train_steps=5, save_state=True, save_every_n_steps=2, **settings)
    train(half)
    again = rig.folder("again", max_train_steps=5, **settings)
    finished = load_file(train(again, resume=half / "states" / "tiny-step00000002-state"))
    assert losses(again) == losses(whole)[2:]
    assert all(torch.equal(tensor, finished[name]) for name, tensor in through.items())


def test_an_sdxl_run_trains_both_text_encoders_and_says_so(
    rig: Rig, train: Trained, sdxl: Path, tmp_path: Path
) -> None:
    settings = {
        "pretrained_model_name_or_path": str(sdxl),
        "network_train_unet_only": False,
        "text_encoder_lr": [0.01, 0.02],
        "network_args": ["conv_dim=2", "block_dims=" + ",".join(["3"] * 23)],
        "save_precision": "float",
    }
    path = train(rig.folder(max_train_steps=2, dataset={"batch_size": 1, "resolution": 64}, **settings))
    tensors, said = load_file(path), notes(path)
    moved = {name.split("_")[1] for name, tensor in tensors.items() if "lora_up" in name and tensor.any()}
    assert moved == {"unet", "te1", "te2"}
    assert not any("down_blocks" in key for key in keys(tensors))
    assert said["ss_base_model_version"] == "sdxl_base_v1-0"
    assert said["modelspec.architecture"] == "stable-diffusion-xl-v1-base/lora"
    assert said["ss_text_encoder_lr"] == "[0.01, 0.02]"
    info = inspect(path)
    assert (info.kind, info.family, info.ranks) == ("LoCon", "sdxl", (2, 3, 4))


def test_a_run_goes_on_from_another_runs_file(rig: Rig, train: Trained) -> None:
    first = train(rig.folder("first", max_train_steps=2, save_precision="float"))
    more = rig.folder(
        "more", max_train_steps=1, learning_rate=0.0, network_weights=str(first), save_precision="float"
    )
    second = load_file(train(more))
    assert all(torch.equal(tensor, second[name]) for name, tensor in load_file(first).items())


def test_a_lora_of_another_shape_ends_the_run_before_training(rig: Rig, train: Trained, sdxl: Path) -> None:
    first = train(rig.folder("first", max_train_steps=1))
    with pytest.raises(SettingsError, match="rank 4"):
        train(rig.folder("rank", network_dim=8, network_weights=str(first)))
    folder = rig.folder("alpha", network_alpha=1.0, network_weights=str(first))
    ears = Ears()
    with pytest.raises(LoraFileError, match="another network"):
        get("diffusers").train(folder, ears)
    assert "Training" not in ears.phases
    assert not list(folder.rglob("*.safetensors"))
    with pytest.raises(SettingsError, match="another family"):
        train(rig.folder("family", pretrained_model_name_or_path=str(sdxl), network_weights=str(first)))


def test_what_does_not_fit_the_family_and_what_diffusers_drops_is_told_before_training(rig: Rig) -> None:
    run = load_run(rig.folder(network_args=["block_dims=4,4"], text_encoder_lr=[1e-5, 2e-5]) / "config.toml")
    errors = [problem.setting for problem in check(run, "diffusers") if problem.severity == "error"]
    assert {"block_dims", "text_encoder_lr"} <= set(errors)
    run = load_run(rig.folder(**DOKR) / "config.toml")
    (advice,) = [problem for problem in check(run, "diffusers") if problem.setting == "dora_wd"]
    assert advice.severity == "advice"
    assert "dora_scale" in advice.what
