"""Base models: what is recognised, and what is refused in which words."""

import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from small_bases import sd1_folder, write

from lora_core.errors import ModelError
from lora_core.loras import read_header
from lora_core.models import available, inspect_base, list_bases, look_for_bases
from lora_core.models import base as of_bases
from lora_core.workspace import Workspace


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The files of a Stable Diffusion 1.x folder, with tiny weights."""
    return sd1_folder(tmp_path / "tiny base")


def refusal(path: Path) -> ModelError:
    with pytest.raises(ModelError) as caught:
        inspect_base(path)
    return caught.value


def test_a_whole_folder_is_recognised(base: Path) -> None:
    found = inspect_base(base)
    assert (found.family, found.name, found.path) == ("sd15", "tiny base", base)
    assert found.family_name == "Stable Diffusion 1.x"
    assert found.size_bytes > 3 * 32


def test_an_sdxl_folder_needs_both_of_its_text_encoders(base: Path) -> None:
    index = {"_class_name": "StableDiffusionXLPipeline", "text_encoder": ["transformers", "CLIPTextModel"]}
    write(base / "model_index.json", index)
    assert "text_encoder_2" in refusal(base).why
    shutil.copytree(base / "text_encoder", base / "text_encoder_2")
    assert "tokenizer_2" in refusal(base).why
    shutil.copytree(base / "tokenizer", base / "tokenizer_2")
    assert inspect_base(base).family == "sdxl"


@pytest.mark.parametrize(
    ("pipeline", "family"),
    [
        ("StableDiffusionXLImg2ImgPipeline", "Stable Diffusion XL Refiner"),
        ("FluxPipeline", "FLUX.1"),
        ("StableDiffusion3Pipeline", "Stable Diffusion 3"),
        ("SomethingElse", "SomethingElse"),
    ],
)
def test_another_family_is_refused_by_its_name(base: Path, pipeline: str, family: str) -> None:
    write(base / "model_index.json", {"_class_name": pipeline})
    assert family in refusal(base).why


def test_stable_diffusion_2_is_told_from_1_by_its_text_encoder(base: Path) -> None:
    write(base / "text_encoder" / "config.json", {"hidden_size": 1024})
    assert "Stable Diffusion 2.x" in refusal(base).why


@pytest.mark.parametrize(
    ("scheduler", "predicts_v", "zero_snr"),
    [
        ({}, False, False),
        ({"prediction_type": "v_prediction"}, True, False),
        ({"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}, True, True),
    ],
)
def test_what_a_folder_says_of_its_prediction_is_read(
    base: Path, scheduler: dict[str, Any], predicts_v: bool, zero_snr: bool
) -> None:
    write(base / "scheduler" / "scheduler_config.json", scheduler)
    found = inspect_base(base)
    assert (found.predicts_v, found.zero_terminal_snr) == (predicts_v, zero_snr)


def test_a_model_that_predicts_something_else_is_refused(base: Path) -> None:
    write(base / "scheduler" / "scheduler_config.json", {"prediction_type": "sample"})
    assert "It predicts sample" in refusal(base).why


def test_a_model_for_inpainting_is_refused(base: Path) -> None:
    write(base / "unet" / "config.json", {"in_channels": 9})
    assert "parts of pictures" in refusal(base).why


SD1_FILE: dict[str, tuple[int, ...]] = {
    "model.diffusion_model.input_blocks.0.0.weight": (2, 4, 1, 1),
    "first_stage_model.encoder.conv_in.weight": (2, 3, 1, 1),
    "cond_stage_model.transformer.text_model.final_layer_norm.weight": (2,),
}
SDXL_FILE: dict[str, tuple[int, ...]] = {
    **{name: shape for name, shape in SD1_FILE.items() if not name.startswith("cond_stage")},
    "conditioner.embedders.0.transformer.text_model.final_layer_norm.weight": (2,),
    "conditioner.embedders.1.model.ln_final.weight": (2,),
}


def file_of(path: Path, shapes: dict[str, tuple[int, ...]], **notes: str) -> Path:
    save_file({name: np.zeros(shape, np.float32) for name, shape in shapes.items()}, path, notes or None)
    return path


def test_a_single_file_is_recognised_by_the_names_of_its_tensors(tmp_path: Path) -> None:
    sd1 = inspect_base(file_of(tmp_path / "one.safetensors", SD1_FILE))
    assert (sd1.family, sd1.name, sd1.is_file, sd1.has_vae, sd1.predicts_v) == (
        "sd15",
        "one",
        True,
        True,
        False,
    )
    assert inspect_base(file_of(tmp_path / "xl.safetensors", SDXL_FILE)).family == "sdxl"


def test_the_marks_of_v_prediction_in_a_single_file_are_read(tmp_path: Path) -> None:
    marked = inspect_base(file_of(tmp_path / "a.safetensors", {**SDXL_FILE, "v_pred": (0,), "ztsnr": (0,)}))
    assert (marked.predicts_v, marked.zero_terminal_snr) == (True, True)
    noted = {"modelspec.prediction_type": "v"}
    assert inspect_base(file_of(tmp_path / "b.safetensors", SD1_FILE, **noted)).predicts_v


def test_a_single_file_without_a_vae_says_so(tmp_path: Path) -> None:
    shapes = {name: shape for name, shape in SD1_FILE.items() if not name.startswith("first_stage")}
    assert not inspect_base(file_of(tmp_path / "a.safetensors", shapes)).has_vae


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["model.diffusion_model.double_blocks.0.img_attn.qkv.weight"], "FLUX.1"),
        (["model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight"], "Stable Diffusion 3"),
        (["cond_stage_model.model.ln_final.weight", *SD1_FILE], "Stable Diffusion 2.x"),
        (["conditioner.embedders.0.model.ln_final.weight"], "Stable Diffusion XL Refiner"),
        (["lora_unet_mid_block.lora_down.weight"], "It is a LoRA"),
        (["unet.down_blocks.0.attentions.0.lora_A.weight"], "It is a LoRA"),
        (["model.diffusion_model.input_blocks.0.0.weight"], "without the part that reads words"),
        (["encoder.down.0.block.0.conv1.weight"], "a VAE alone"),
        (["down_blocks.0.resnets.0.conv1.weight"], "one part of a diffusers folder"),
        (["something.weight"], "no family that this app knows"),
    ],
)
def test_a_single_file_of_another_kind_is_refused_as_what_it_is(
    tmp_path: Path, names: list[str], said: str
) -> None:
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(names, (2, 4, 1, 1))
    assert said in refusal(file_of(tmp_path / "model.safetensors", shapes)).why


def test_a_single_file_for_inpainting_is_refused(tmp_path: Path) -> None:
    shapes = {**SD1_FILE, "model.diffusion_model.input_blocks.0.0.weight": (2, 9, 1, 1)}
    assert "parts of pictures" in refusal(file_of(tmp_path / "model.safetensors", shapes)).why


def test_a_single_file_that_lacks_a_part_or_has_a_foreign_one_is_refused(tmp_path: Path) -> None:
    one = {name: shape for name, shape in SDXL_FILE.items() if ".embedders.0." not in name}
    assert "The first of its two parts" in refusal(file_of(tmp_path / "one.safetensors", one)).why
    foreign = {**SD1_FILE, "first_stage_model.decoder.conv_in.weight": (2, 16, 3, 3)}
    assert "one of another family" in refusal(file_of(tmp_path / "vae.safetensors", foreign)).why


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (pickle.dumps({"a": 1}), "It is a pickle"),
        (b"PK\x03\x04" + bytes(100), "It is a pickle"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "left by a failed download"),
        (b"<!DOCTYPE html><html></html>", "left by a failed download"),
        (b"", "shorter than"),
    ],
)
def test_what_only_has_the_name_of_a_safetensors_file_is_told_apart(
    tmp_path: Path, content: bytes, said: str
) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    assert said in refusal(tmp_path / "model.safetensors").why


def test_a_single_file_that_is_cut_off_is_named(tmp_path: Path) -> None:
    path = file_of(tmp_path / "model.safetensors", SD1_FILE)
    path.write_bytes(path.read_bytes()[:-5])
    error = refusal(path)
    assert "cut off" in error.why
    assert "again" in error.fix


def test_a_file_that_could_run_code_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.ckpt").write_bytes(b"x")
    assert "can run code" in refusal(tmp_path / "model.ckpt").why


def test_a_file_that_is_no_model_and_a_place_that_is_empty_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x", "utf-8")
    assert "not a model" in refusal(tmp_path / "notes.txt").why
    assert "no folder or file" in refusal(tmp_path / "none").why
    assert "model_index.json" in refusal(tmp_path).why


@pytest.mark.parametrize(
    "part",
    [
        "unet/config.json",
        "vae/config.json",
        "text_encoder/config.json",
        "scheduler/scheduler_config.json",
        "tokenizer/tokenizer.json",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
    ],
)
def test_a_missing_part_is_named(base: Path, part: str) -> None:
    (base / part).unlink()
    assert part.partition("/")[0] in refusal(base).why


@pytest.mark.parametrize("content", ["", "{", "[]", "[" * 100_000])
def test_a_damaged_description_is_named(base: Path, content: str) -> None:
    (base / "unet" / "config.json").write_text(content, "utf-8")
    assert "unet/config.json cannot be read" in refusal(base).why


def test_weights_that_are_cut_off_are_named(base: Path) -> None:
    weights = base / "vae" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    error = refusal(base)
    assert "vae/diffusion_pytorch_model.safetensors is damaged" in error.why
    assert "again" in error.fix


def test_headers_are_read_once_until_a_file_changes(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    monkeypatch.setattr(of_bases, "read_header", lambda file: read.append(file) or read_header(file))
    inspect_base(base)
    once = len(read)
    inspect_base(base)
    assert 0 < once == len(read)
    weights = base / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:40])
    assert "unet" in refusal(base).why


def test_weights_that_could_run_code_are_refused(base: Path) -> None:
    weights = base / "vae" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    assert "can run code" in refusal(base).why


def test_the_list_has_the_bundled_base_first_then_the_workspace_and_names_what_is_unusable(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(available, "DEMO_BASE", base)
    workspace = Workspace.open(tmp_path / "ws")
    shutil.copytree(base, workspace.checkpoints / "mine")
    (workspace.checkpoints / "file.safetensors").write_bytes(b"x")
    (workspace.checkpoints / ".hidden").mkdir()
    assert [found.path.name for found in look_for_bases(workspace)] == [
        "tiny base",
        "file.safetensors",
        "mine",
    ]
    assert [found.name for found in list_bases(workspace)] == [available.DEMO_NAME, "mine"]


def test_a_workspace_that_is_not_there_has_no_bases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(available, "DEMO_BASE", tmp_path / "none")
    assert list_bases(Workspace(tmp_path / "nowhere")) == []
