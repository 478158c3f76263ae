"""What the built-in trainer refuses, in which words, and before anything is loaded."""

import json
from pathlib import Path
from typing import Any

import pytest

from lora_core.engines import get
from lora_core.settings import RunConfig, loads_run


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    for part in ("unet", "vae", "text_encoder", "tokenizer", "scheduler"):
        (folder / part).mkdir(parents=True)
    write(folder / "model_index.json", _class_name="StableDiffusionPipeline")
    return folder


def write(path: Path, **record: Any) -> None:
    path.write_text(json.dumps(record), "utf-8")


def run_on(base: Path, config: str = "", dataset: str = "", subset: str = "") -> RunConfig:
    folder = base.parent / "pictures"
    return loads_run(
        f"pretrained_model_name_or_path = {json.dumps(str(base))}\n{config}",
        f"[[datasets]]\n{dataset}\n[[datasets.subsets]]\nimage_dir = {json.dumps(str(folder))}\n{subset}",
    )


def refused(run: RunConfig) -> set[str]:
    return {problem.setting for problem in get("diffusers").check(run)}


def test_a_plain_run_on_a_stable_diffusion_folder_has_no_problem(base: Path) -> None:
    assert get("diffusers").check(run_on(base)) == []


@pytest.mark.parametrize(
    ("config", "setting"),
    [
        ('optimizer_type = "Prodigy"', "optimizer_type"),
        ('lr_scheduler = "polynomial"', "lr_scheduler"),
        ('network_module = "networks.loha"', "network_module"),
        ("network_train_unet_only = false", "network_train_unet_only"),
        ('mixed_precision = "fp16"', "mixed_precision"),
        ("min_snr_gamma = 5.0", "min_snr_gamma"),
        ('lr_scheduler = "constant"\nlr_warmup_steps = 5', "lr_warmup_steps"),
        ("lr_warmup_steps = 10.0", "lr_warmup_steps"),
        ('output_name = "cat-step00000100"', "output_name"),
        ('output_name = "cat/dog"', "output_name"),
        ("sample_every_n_steps = 5", "sample_prompts"),
    ],
)
def test_what_the_trainer_cannot_do_is_refused_by_name(base: Path, config: str, setting: str) -> None:
    assert refused(run_on(base, config)) == {setting}


def test_dataset_settings_that_it_lacks_are_refused_by_name(base: Path) -> None:
    assert refused(run_on(base, subset="flip_aug = true")) == {"flip_aug"}


@pytest.mark.parametrize(
    ("file", "record"),
    [
        ("model_index.json", {"_class_name": "StableDiffusionXLPipeline"}),
        ("unet/config.json", {"in_channels": 9, "out_channels": 4}),
        ("text_encoder/config.json", {"hidden_size": 1024}),
        ("scheduler/scheduler_config.json", {"prediction_type": "v_prediction"}),
    ],
)
def test_a_base_model_of_another_kind_is_refused_before_it_is_loaded(
    base: Path, file: str, record: dict[str, Any]
) -> None:
    write(base / file, **record)
    assert refused(run_on(base)) == {"pretrained_model_name_or_path"}


def test_a_missing_folder_and_a_single_file_are_refused_as_base_model(base: Path) -> None:
    assert refused(run_on(base.with_name("nowhere"))) == {"pretrained_model_name_or_path"}
    file = base.with_name("model.safetensors")
    file.write_bytes(b"")
    assert refused(run_on(file)) == {"pretrained_model_name_or_path"}
