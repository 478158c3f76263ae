"""What the built-in trainer refuses, in which words, and before anything is loaded."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from small_bases import sd1_folder, write

from lora_core.engines import get
from lora_core.settings import RunConfig, loads_run


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return sd1_folder(tmp_path / "base")


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
        ('network_module = "networks.loha"', "network_module"),
        ("full_bf16 = true", "full_bf16"),
        ("v2 = true", "v2"),
        ('lr_scheduler = "constant"\nlr_warmup_steps = 5', "lr_warmup_steps"),
        ("lr_warmup_steps = 10.0", "lr_warmup_steps"),
        ('optimizer_args = ["strange={[]: 1}"]', "optimizer_args"),
        (f'optimizer_args = ["strange={"-" * 100_000}1"]', "optimizer_args"),
        (f'lr_scheduler_args = ["strange={"(" * 100_000}1"]', "lr_scheduler_args"),
        ('output_name = "cat-step00000100"', "output_name"),
        ('output_name = "cat/dog"', "output_name"),
        ("sample_every_n_steps = 5", "sample_prompts"),
    ],
)
def test_what_the_trainer_cannot_do_is_refused_by_name(base: Path, config: str, setting: str) -> None:
    assert refused(run_on(base, config)) == {setting}


def test_dataset_settings_that_it_lacks_are_refused_by_name_and_by_the_engine_that_has_them(
    base: Path,
) -> None:
    (problem,) = get("diffusers").check(run_on(base, subset="face_crop_aug_range = [2.0, 4.0]"))
    assert problem.setting == "face_crop_aug_range"
    assert "sd-scripts" in f"{problem.what} {problem.fix}"


def test_tags_with_nothing_between_them_are_refused(base: Path) -> None:
    assert refused(run_on(base, subset='caption_separator = ""')) == {"caption_separator"}


@pytest.mark.parametrize(
    ("file", "record"),
    [
        ("model_index.json", {"_class_name": "StableDiffusion3Pipeline"}),
        ("unet/config.json", {"in_channels": 9, "out_channels": 4}),
        ("text_encoder/config.json", {"hidden_size": 1024}),
        ("scheduler/scheduler_config.json", {"prediction_type": "sample"}),
        ("scheduler/scheduler_config.json", {"prediction_type": ["epsilon"]}),
        ("scheduler/scheduler_config.json", {"_class_name": "FlowMatchEulerDiscreteScheduler"}),
        ("scheduler/scheduler_config.json", {"_class_name": "EDMDPMSolverMultistepScheduler"}),
        ("scheduler/scheduler_config.json", {"num_train_timesteps": 0}),
        ("vae/config.json", {"scaling_factor": 0}),
        ("vae/config.json", {"scaling_factor": "much"}),
    ],
)
def test_a_base_model_of_another_kind_is_refused_before_it_is_loaded(
    base: Path, file: str, record: dict[str, Any]
) -> None:
    write(base / file, record)
    assert refused(run_on(base)) == {"pretrained_model_name_or_path"}


def test_a_missing_folder_and_a_broken_file_are_refused_as_base_model(base: Path) -> None:
    assert refused(run_on(base.with_name("nowhere"))) == {"pretrained_model_name_or_path"}
    file = base.with_name("model.safetensors")
    file.write_bytes(b"")
    assert refused(run_on(file)) == {"pretrained_model_name_or_path"}


def test_a_vae_that_is_none_is_refused_by_its_setting(base: Path) -> None:
    assert refused(run_on(base, f"vae = {json.dumps(str(base / 'vae'))}")) == set()
    for name in ("unet/config.json", "nowhere/at/all"):
        assert refused(run_on(base, f"vae = {json.dumps(str(base / name))}")) == {"vae"}


@pytest.mark.parametrize("harm", ["cut off", "a pickle", "another family"])
@pytest.mark.parametrize("alone", [False, True], ids=["a folder", "a file"])
def test_a_damaged_or_foreign_vae_is_named_before_anything_is_loaded(
    base: Path, harm: str, alone: bool
) -> None:
    place = base.with_name("my vae.safetensors" if alone else "my vae")
    file = place if alone else place / "diffusion_pytorch_model.safetensors"
    if not alone:
        write(place / "config.json", {})
    shape = (2, 16 if harm == "another family" else 4, 3, 3)
    save_file({f"{end}.weight": np.zeros(shape, np.float32) for end in VAE_ENDS}, file)
    assert refused(run_on(base, f"vae = {json.dumps(str(place))}")) == set() or harm == "another family"
    if harm == "cut off":
        file.write_bytes(file.read_bytes()[:-20])
    if harm == "a pickle":
        file.write_bytes(b"PK" + bytes(200))
    (problem,) = get("diffusers").check(run_on(base, f"vae = {json.dumps(str(place))}"))
    assert problem.setting == "vae"
    assert "my vae" in problem.what


VAE_ENDS = ("decoder.conv_in", "encoder.conv_in", "encoder.conv_out")


@pytest.mark.parametrize("form", ["folder", "diffusers file", "original file"])
@pytest.mark.parametrize(("levels", "said"), [(4, None), (3, "4 times smaller"), (1, "as large as")])
def test_a_vae_whose_latents_have_another_size_is_refused_before_anything_is_loaded(
    base: Path, form: str, levels: int, said: str | None
) -> None:
    names = ["encoder.conv_in.weight", "decoder.conv_in.weight"]
    level = "encoder.down.{}.block.0" if form == "original file" else "encoder.down_blocks.{}.resnets.0"
    names += [f"{level.format(number)}.conv1.weight" for number in range(levels)]
    place = base.with_name("my vae" if form == "folder" else "my vae.safetensors")
    if form == "folder":
        write(place / "config.json", {})
    tensors = {name: np.zeros((2, 4), np.float32) for name in names}
    save_file(tensors, place / "diffusion_pytorch_model.safetensors" if form == "folder" else place)
    found = get("diffusers").check(run_on(base, f"vae = {json.dumps(str(place))}"))
    assert [problem.setting for problem in found] == ([] if said is None else ["vae"])
    if said:
        assert said in found[0].what
        assert "8 times smaller" in found[0].what


def test_a_vae_folder_that_says_that_it_is_of_another_family_is_refused(base: Path) -> None:
    place = base.with_name("my vae")
    shutil.copytree(base / "vae", place)
    for factor, expected in ((0.18215, set()), (0.13025, {"vae"}), (1.0, set())):
        write(place / "config.json", {"scaling_factor": factor})
        assert refused(run_on(base, f"vae = {json.dumps(str(place))}")) == expected


@pytest.mark.parametrize(("part", "said"), [("unet", "It holds no VAE"), ("text_encoder", "There is no VAE")])
def test_a_folder_of_another_part_is_no_vae(base: Path, part: str, said: str) -> None:
    (problem,) = get("diffusers").check(run_on(base, f"vae = {json.dumps(str(base / part))}"))
    assert said in problem.what


def test_a_single_file_without_vae_and_tokenizer_is_told_of_both(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(base / "hub"))
    shapes = {
        "model.diffusion_model.input_blocks.0.0.weight": (2, 4, 1, 1),
        "cond_stage_model.transformer.text_model.final_layer_norm.weight": (2,),
    }
    file = base / "alone" / "model.safetensors"
    file.parent.mkdir()
    save_file({name: np.zeros(shape, np.float32) for name, shape in shapes.items()}, file)
    assert refused(run_on(file)) == {"vae", "tokenizer_cache_dir"}
    named = f"vae = {json.dumps(str(base))}\ntokenizer_cache_dir = {json.dumps(str(base / 'tokenizer'))}"
    assert refused(run_on(file, named)) == set()


@pytest.mark.parametrize(
    ("config", "subset", "setting"),
    [
        ("network_train_unet_only = false", "", "cache_text_encoder_outputs"),
        ("", "shuffle_caption = true", "shuffle_caption"),
        ("", "caption_tag_dropout_rate = 0.1", "caption_tag_dropout_rate"),
        ("", "caption_dropout_rate = 0.1", None),
    ],
)
def test_captions_that_are_read_once_must_stay_as_they_are(
    base: Path, config: str, subset: str, setting: str | None
) -> None:
    run = run_on(base, f"cache_text_encoder_outputs = true\n{config}", subset=subset)
    assert refused(run) == ({setting} if setting else set())
