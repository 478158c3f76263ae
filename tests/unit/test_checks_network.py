"""What is told about a run's network before anything is loaded: contradictions, lists, files, advice."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from lora_core.engines.diffusers.checks_network import network_problems
from lora_core.settings import (
    DatasetFile,
    DatasetSettings,
    ModelSettings,
    RunConfig,
    SubsetSettings,
    with_values,
)

LYCORIS = {"network_module": "lycoris.kohya"}


def told(severity: str = "error", **values: Any) -> list[str]:
    """The settings that have a problem, by their keys."""
    subset = SubsetSettings(image_dir=Path("/data"))
    run = RunConfig(
        model=ModelSettings(pretrained_model_name_or_path=Path("/models/none")),
        dataset=DatasetFile(datasets=(DatasetSettings(subsets=(subset,)),)),
    )
    found = network_problems(with_values(run, values))
    for problem in found:
        assert problem.what.endswith(".")
        assert problem.fix.endswith(".")
    return [problem.setting for problem in found if problem.severity == severity]


def lora(folder: Path, *, rank: int = 16, end: str = "attn1_to_q", text: bool = False, **notes: str) -> Path:
    name = f"lora_{'te' if text else 'unet'}_{end}"
    tensors = {
        f"{name}.lora_down.weight": np.ones((rank, 6), np.float32),
        f"{name}.lora_up.weight": np.ones((6, rank), np.float32),
        f"{name}.alpha": np.array(8.0, np.float32),
    }
    save_file(tensors, folder / "lora.safetensors", metadata=notes)
    return folder / "lora.safetensors"


def loha(folder: Path, *more: str) -> Path:
    parts = {"hada_w1_a": (6, 2), "hada_w1_b": (2, 6), "hada_w2_a": (6, 2), "hada_w2_b": (2, 6)}
    tensors = {f"lora_unet_a.{part}": np.ones(shape, np.float32) for part, shape in parts.items()}
    tensors |= {f"lora_unet_a.{part}": np.ones((6, 1), np.float32) for part in more}
    save_file(tensors, folder / "loha.safetensors")
    return folder / "loha.safetensors"


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"conv_dim": 4, "network_dropout": 0.1, "rank_dropout": 0.1, "module_dropout": 0.1},
        {"network_train_unet_only": False, "text_encoder_lr": (1e-5, 2e-5)},
        {**LYCORIS, "algo": "lokr", "factor": 8, "decompose_both": True, "module_dropout": 0.1},
        {**LYCORIS, "algo": "loha", "rank_dropout": 0.1, "use_tucker": True},
        {**LYCORIS, "algo": "lora", "network_dropout": 0.1, "preset": "attn-mlp"},
    ],
    ids=str,
)
def test_networks_that_can_be_trained_have_no_problem(values: dict[str, Any]) -> None:
    assert told(**values) == []
    assert told("advice", **values) == []


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({**LYCORIS, "algo": "loha", "network_dropout": 0.1}, "network_dropout"),
        ({**LYCORIS, "dora_wd": True, "network_dropout": 0.1}, "network_dropout"),
        ({**LYCORIS, "algo": "lokr", "rank_dropout": 0.1}, "rank_dropout"),
        ({"network_train_text_encoder_only": True}, "network_train_text_encoder_only"),
        ({"network_train_unet_only": False, "text_encoder_lr": (-1.0,)}, "text_encoder_lr"),
        ({"network_train_unet_only": False, "text_encoder_lr": (1.0, 1.0, 1.0)}, "text_encoder_lr"),
        ({"base_weights_multiplier": (1.0,)}, "base_weights_multiplier"),
        ({"dim_from_weights": True}, "dim_from_weights"),
        ({"network_weights": Path("/nowhere/lora.safetensors")}, "network_weights"),
        ({"base_weights": (Path("/nowhere/lora.safetensors"),)}, "base_weights"),
    ],
    ids=str,
)
def test_what_contradicts_itself_or_would_do_nothing_is_named(values: dict[str, Any], key: str) -> None:
    assert told(**values) == [key]


def test_a_text_rate_that_is_not_used_is_only_advice() -> None:
    assert told(text_encoder_lr=(1e-5,)) == []
    assert told("advice", text_encoder_lr=(1e-5,)) == ["text_encoder_lr"]


def test_before_blocks_with_their_own_alphas_are_trained_one_hears_that_diffusers_does_not_read_them() -> (
    None
):
    blocks = {"block_dims": ",".join(["4"] * 25)}
    assert told("advice", **blocks, block_alphas=",".join(["4"] * 25)) == []
    assert told("advice", **blocks, block_alphas=",".join(["4"] * 24 + ["2"])) == ["block_alphas"]


def test_before_a_dora_is_trained_one_hears_that_diffusers_leaves_a_part_out() -> None:
    assert told("advice", **LYCORIS, dora_wd=True) == ["dora_wd"]


def test_a_lora_to_go_on_from_must_have_the_shape_that_is_set(tmp_path: Path) -> None:
    path = lora(tmp_path, rank=4)
    assert told(network_weights=path) == ["network_dim"]
    assert told(network_weights=path, network_dim=4) == []
    assert told(network_weights=path, dim_from_weights=True) == []


def test_a_lora_to_go_on_from_must_be_of_the_kind_that_is_set(tmp_path: Path) -> None:
    path = loha(tmp_path)
    assert told(network_weights=path) == ["network_module"]
    assert told(network_weights=path, **LYCORIS) == ["network_weights"]
    assert told(network_weights=path, **LYCORIS, dim_from_weights=True) == []
    assert told(network_weights=path, **LYCORIS, algo="loha", network_dim=2) == []
    dora = loha(tmp_path, "dora_scale")
    assert told(network_weights=dora, **LYCORIS, algo="loha", network_dim=2) == ["network_weights"]
    assert told(network_weights=dora, **LYCORIS, algo="loha", network_dim=2, dora_wd=True) == []


def test_a_file_that_is_damaged_or_no_lora_is_named(tmp_path: Path) -> None:
    path = lora(tmp_path)
    path.write_bytes(path.read_bytes()[:-10])
    assert told(network_weights=path, base_weights=(path,)) == ["base_weights", "network_weights"]
    save_file({"model.weight": np.ones(3, np.float32)}, path)
    assert told(base_weights=(path,)) == ["base_weights"]


def test_a_lora_in_the_layout_of_diffusers_is_held_against_the_settings(tmp_path: Path) -> None:
    path = tmp_path / "peft.safetensors"
    save_file({f"unet.a.lora_{x}.weight": np.ones((2, 2), np.float32) for x in "AB"}, path)
    assert told(network_weights=path) == ["network_dim"]
    assert told(network_weights=path, dim_from_weights=True, base_weights=(path,)) == []
