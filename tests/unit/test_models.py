"""Base models: what is recognised, and what is refused in which words."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from lora_core.errors import ModelError
from lora_core.models import available, inspect_base, list_bases, look_for_bases
from lora_core.workspace import Workspace


def write(path: Path, record: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record), "utf-8")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The files of a Stable Diffusion 1.x folder, with tiny weights."""
    folder = tmp_path / "tiny base"
    write(folder / "model_index.json", {"_class_name": "StableDiffusionPipeline"})
    write(folder / "unet" / "config.json", {"in_channels": 4, "cross_attention_dim": 768})
    write(folder / "vae" / "config.json", {})
    write(folder / "text_encoder" / "config.json", {"hidden_size": 768})
    write(folder / "scheduler" / "scheduler_config.json", {"prediction_type": "epsilon"})
    write(folder / "tokenizer" / "tokenizer.json", {})
    for part, name in (
        ("unet", "diffusion_pytorch_model"),
        ("vae", "diffusion_pytorch_model"),
        ("text_encoder", "model"),
    ):
        save_file({"w": np.ones(8, np.float32)}, folder / part / f"{name}.safetensors")
    return folder


def refusal(path: Path) -> ModelError:
    with pytest.raises(ModelError) as caught:
        inspect_base(path)
    return caught.value


def test_a_whole_folder_is_recognised(base: Path) -> None:
    found = inspect_base(base)
    assert (found.family, found.name, found.path) == ("sd15", "tiny base", base)
    assert found.family_name == "Stable Diffusion 1.x"
    assert found.size_bytes > 3 * 32


@pytest.mark.parametrize(
    ("pipeline", "family"),
    [
        ("StableDiffusionXLPipeline", "Stable Diffusion XL"),
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


def test_a_model_that_predicts_something_else_is_refused(base: Path) -> None:
    write(base / "scheduler" / "scheduler_config.json", {"prediction_type": "v_prediction"})
    assert "v_prediction" in refusal(base).why


def test_a_model_for_inpainting_is_refused(base: Path) -> None:
    write(base / "unet" / "config.json", {"in_channels": 9})
    assert "parts of pictures" in refusal(base).why


@pytest.mark.parametrize("name", ["model.safetensors", "model.ckpt"])
def test_a_single_file_is_told_apart_from_a_damaged_model(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    assert "reads diffusers folders in this version" in refusal(tmp_path / name).why


def test_a_file_that_is_no_model_and_a_place_that_is_empty_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x", "utf-8")
    assert "not a model" in refusal(tmp_path / "notes.txt").why
    assert "no folder" in refusal(tmp_path / "none").why
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
