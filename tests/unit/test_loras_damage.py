"""Damage of LoRA files of every family is found and named; big files are read in pieces."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from lora_core.errors import LoraFileError
from lora_core.loras import check_sound, numbers

LAYERS = ("lora_unet_mid_block_attentions_0_proj_in", "lora_te_text_model_encoder_layers_0_mlp_fc1")
FAMILIES: dict[str, dict[str, tuple[int, ...]]] = {
    "DoRA": {"lora_down.weight": (4, 6), "lora_up.weight": (8, 4), "dora_scale": (8, 1)},
    "LoHa": {"hada_w1_a": (6, 3), "hada_w1_b": (3, 5), "hada_w2_a": (6, 3), "hada_w2_b": (3, 5)},
    "LoHa, Tucker": {
        "hada_t1": (3, 3, 2, 2),
        "hada_w1_a": (3, 6),
        "hada_w1_b": (3, 5),
        "hada_t2": (3, 3, 2, 2),
        "hada_w2_a": (3, 6),
        "hada_w2_b": (3, 5),
    },
    "LoKr": {"lokr_w1": (2, 2), "lokr_w2_a": (3, 5), "lokr_w2_b": (5, 4)},
    "LoKr, both sides in factors": {
        "lokr_w1_a": (2, 3),
        "lokr_w1_b": (3, 2),
        "lokr_w2_a": (3, 5),
        "lokr_w2_b": (5, 4),
    },
    "LoKr, Tucker": {"lokr_w1": (2, 2), "lokr_t2": (5, 5, 3, 3), "lokr_w2_a": (5, 3), "lokr_w2_b": (5, 4)},
    "GLoRA": {"a1.weight": (4, 6), "a2.weight": (6, 4), "b1.weight": (4, 6), "b2.weight": (6, 4)},
}
PARTS = [(family, part) for family, parts in FAMILIES.items() for part in parts]
NOT_LOST = {"dora_scale", "lokr_t2"}
"""Without it the rest is a whole layer of another kind, or its shapes alone can tell."""


def values_of(family: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for layer in LAYERS:
        found |= {f"{layer}.{part}": np.ones(shape, np.float16) for part, shape in FAMILIES[family].items()}
        found[f"{layer}.alpha"] = np.array(2.0, np.float16)
    return found


def written(tmp_path: Path, values: dict[str, Any]) -> Path:
    path = tmp_path / "file.safetensors"
    save_file(values, path)
    return path


@pytest.mark.parametrize("family", FAMILIES)
def test_a_whole_file_of_each_family_is_sound(tmp_path: Path, family: str) -> None:
    check_sound(written(tmp_path, values_of(family)))


@pytest.mark.parametrize(("family", "part"), [each for each in PARTS if each[1] not in NOT_LOST])
def test_a_layer_that_lost_a_part_is_named(tmp_path: Path, family: str, part: str) -> None:
    values = values_of(family)
    del values[f"{LAYERS[1]}.{part}"]
    with pytest.raises(LoraFileError, match=LAYERS[1]):
        check_sound(written(tmp_path, values))


@pytest.mark.parametrize(("family", "part"), PARTS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_one_number_that_is_none_is_found_in_every_part(
    tmp_path: Path, family: str, part: str, bad: float
) -> None:
    values = values_of(family)
    values[f"{LAYERS[0]}.{part}"].flat[-1] = bad
    with pytest.raises(LoraFileError, match="1 of the numbers in"):
        check_sound(written(tmp_path, values))


@pytest.mark.parametrize(
    ("family", "part", "shape"),
    [
        ("DoRA", "lora_up.weight", (8, 3)),
        ("LoHa", "hada_w1_b", (2, 5)),
        ("LoHa", "hada_w2_a", (6,)),
        ("LoHa, Tucker", "hada_w1_a", (6, 3)),
        ("LoKr", "lokr_w2_b", (4, 4)),
        ("LoKr", "lokr_w1", (0, 2)),
    ],
)
def test_parts_that_do_not_fit_each_other_are_not_sound(
    tmp_path: Path, family: str, part: str, shape: tuple[int, ...]
) -> None:
    values = values_of(family)
    values[f"{LAYERS[0]}.{part}"] = np.ones(shape, np.float16)
    with pytest.raises(LoraFileError, match=LAYERS[0]):
        check_sound(written(tmp_path, values))


def _no_alpha(values: dict[str, Any]) -> None:
    del values[f"{LAYERS[0]}.alpha"]


def _two_alphas(values: dict[str, Any]) -> None:
    values[f"{LAYERS[0]}.alpha"] = np.array([2.0, 2.0], np.float16)


def _no_number(values: dict[str, Any]) -> None:
    values[f"{LAYERS[0]}.alpha"] = np.array(np.nan, np.float16)


@pytest.mark.parametrize("damage", [_no_alpha, _two_alphas, _no_number])
@pytest.mark.parametrize("family", ["DoRA", "LoHa", "LoKr"])
def test_an_alpha_that_is_missing_or_not_one_number_is_not_sound(
    tmp_path: Path, family: str, damage: Callable[[dict[str, Any]], None]
) -> None:
    values = values_of(family)
    damage(values)
    with pytest.raises(LoraFileError, match=LAYERS[0]):
        check_sound(written(tmp_path, values))


def test_a_scale_of_dora_without_factors_is_not_sound(tmp_path: Path) -> None:
    values = values_of("DoRA")
    for part in ("lora_down.weight", "lora_up.weight"):
        del values[f"{LAYERS[0]}.{part}"]
    with pytest.raises(LoraFileError, match="no factors"):
        check_sound(written(tmp_path, values))


def test_norms_and_whole_matrices_need_no_alpha(tmp_path: Path) -> None:
    values = values_of("LoKr")
    values["lora_unet_conv_norm_out.w_norm"] = np.ones(4, np.float16)
    values["lora_unet_conv_in.diff"] = np.ones((4, 3), np.float16)
    check_sound(written(tmp_path, values))


def test_a_bad_number_is_found_in_the_last_of_many_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numbers, "PIECE_BYTES", 64)
    values = values_of("LoHa")
    values[f"{LAYERS[0]}.hada_w1_a"] = np.ones((600, 3), np.float32)
    check_sound(written(tmp_path, values))
    values[f"{LAYERS[0]}.hada_w1_a"][-1, -1] = np.nan
    with pytest.raises(LoraFileError, match=r"1 of the numbers in .*hada_w1_a"):
        check_sound(written(tmp_path, values))


def test_a_file_far_larger_than_a_piece_takes_no_more_memory_than_a_few(tmp_path: Path) -> None:
    import tracemalloc

    values = values_of("DoRA")
    values[f"{LAYERS[0]}.lora_down.weight"] = np.ones((4, 2_000_000), np.float32)  # 32 MB
    path = written(tmp_path, values)
    del values
    tracemalloc.start()
    try:
        check_sound(path)
        assert tracemalloc.get_traced_memory()[1] < 4 * numbers.PIECE_BYTES
    finally:
        tracemalloc.stop()
