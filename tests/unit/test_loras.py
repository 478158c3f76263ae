"""LoRA files: damage is found and named, and a whole file says what it is."""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from lora_core.errors import LoraFileError
from lora_core.loras import check_sound, inspect, list_finished, read_header, tag_counts
from lora_core.workspace import Workspace

NOTES = {
    "ss_base_model_version": "sd_v1",
    "ss_sd_model_name": "base",
    "ss_steps": "120",
    "ss_epoch": "3",
    "ss_output_name": "zog",
    "modelspec.title": "None",
    "modelspec.trigger_phrase": "zogling",
    "modelspec.resolution": "64x64",
    "ss_tag_frequency": json.dumps({"a": {"zogling": 3, " red": 1}, "b": {"red": 4}}),
}


def tensors(modules: int = 2, *, rank: int = 4) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for number in range(modules):
        name = f"lora_unet_down_blocks_{number}_attn1_to_q"
        found[f"{name}.lora_down.weight"] = np.full((rank, 6), 0.5, np.float16)
        found[f"{name}.lora_up.weight"] = np.zeros((6, rank), np.float16)
        found[f"{name}.alpha"] = np.array(2.0, np.float16)
    return found


def lora(path: Path, values: dict[str, Any] | None = None, notes: dict[str, str] | None = None) -> Path:
    save_file(values if values is not None else tensors(), path, metadata=NOTES if notes is None else notes)
    return path


def raw(path: Path, header: Any, data: bytes = b"", length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def test_a_whole_file_is_sound_and_says_what_it_is(tmp_path: Path) -> None:
    path = lora(tmp_path / "file.safetensors")
    check_sound(path)
    info = inspect(path)
    assert (info.name, info.layout, info.family, info.base) == ("zog", "sd-scripts", "sd15", "base")
    assert (info.rank, info.alpha, info.unet_layers, info.text_encoder_layers) == (4, 2.0, 2, 0)
    assert (info.trigger_word, info.steps, info.epochs, info.dtype) == ("zogling", 120, 3, "F16")
    assert info.record()["metadata"]["ss_steps"] == "120"
    assert tag_counts(info) == {"red": 5, "zogling": 3}
    json.dumps(info.record())


def test_a_file_without_notes_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    info = inspect(lora(tmp_path / "bare.safetensors", notes={}))
    assert (info.name, info.steps, info.family, info.trigger_word) == ("bare", None, None, None)
    assert tag_counts(info) == {}


def test_the_layout_of_diffusers_is_known_too(tmp_path: Path) -> None:
    values = {
        "unet.a.lora_A.weight": np.ones((4, 6), np.float32),
        "unet.a.lora_B.weight": np.ones((6, 4), np.float32),
        "text_encoder.b.lora_A.weight": np.ones((8, 6), np.float32),
        "text_encoder.b.lora_B.weight": np.ones((6, 8), np.float32),
    }
    path = lora(tmp_path / "d.safetensors", values, {})
    check_sound(path)
    info = inspect(path)
    assert (info.layout, info.ranks, info.rank) == ("diffusers", (4, 8), None)
    assert (info.unet_layers, info.text_encoder_layers, info.alphas) == (1, 1, ())


def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    whole = lora(tmp_path / "whole.safetensors").read_bytes()
    path = tmp_path / "cut.safetensors"
    for length in (0, 5, 8, 9, 60, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(LoraFileError):
            read_header(path)


def test_bytes_behind_the_last_tensor_are_refused(tmp_path: Path) -> None:
    path = lora(tmp_path / "long.safetensors")
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(LoraFileError, match="behind its last tensor"):
        read_header(path)


ENTRY = {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: raw(path, {}, length=2**63), "does not start like"),
        (lambda path: raw(path, {}, length=200_000_000), "does not start like"),
        (lambda path: raw(path, b"{not json"), "not readable"),
        (lambda path: raw(path, b"\xff\xfe{}"), "not readable"),
        (lambda path: raw(path, b"[" * 50_000), "not readable"),
        (lambda path: raw(path, b'{"a":1,"a":2}'), "not readable"),
        (lambda path: raw(path, []), "not a table"),
        (lambda path: raw(path, {"__metadata__": {"a": 1}}), "not texts"),
        (lambda path: raw(path, {"a": 3}), "not complete"),
        (lambda path: raw(path, {"a": {**ENTRY, "data_offsets": [0]}}), "not complete"),
        (lambda path: raw(path, {"a": {**ENTRY, "data_offsets": [-4, 0]}}), "whole numbers"),
        (lambda path: raw(path, {"a": {**ENTRY, "shape": [True]}}), "whole numbers"),
        (lambda path: raw(path, {"a": {**ENTRY, "dtype": "F3"}}, b"1234"), "type"),
        (lambda path: raw(path, {"a": {**ENTRY, "dtype": ["F16"]}}, b"1234"), "type"),
        (lambda path: raw(path, {"a": {**ENTRY, "shape": [3]}}, b"1234"), "shape"),
        (lambda path: raw(path, {"a": ENTRY}, b"12"), "cut off"),
        (lambda path: raw(path, {"a": {**ENTRY, "data_offsets": [2, 6]}}, b"123456"), "gap"),
        (lambda path: raw(path, {"a": ENTRY, "b": {**ENTRY, "data_offsets": [2, 6]}}, b"123456"), "overlap"),
    ],
)
def test_a_header_that_lies_is_refused_with_the_reason(
    tmp_path: Path, make: Callable[[Path], Path], reason: str
) -> None:
    path = make(tmp_path / "bad.safetensors")
    for look in (read_header, inspect, check_sound):
        with pytest.raises(LoraFileError, match=reason):
            look(path)


@pytest.mark.parametrize(
    ("header", "data"),
    [
        ({"lora_unet_a.lora_down.weight": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]}}, b"1234"),
        ({"__metadata__": {"ss_steps": "9" * 5000}, "lora_unet_a.lora_down.weight": ENTRY}, b"1234"),
    ],
    ids=["a factor without a size", "steps of 5000 digits"],
)
def test_a_hostile_file_is_listed_and_refused_and_hides_no_other(
    tmp_path: Path, header: Any, data: bytes
) -> None:
    ws = Workspace.open(tmp_path)
    lora(ws.loras / "good.safetensors")
    bad = raw(ws.loras / "bad.safetensors", header, data)
    assert {found.name for found in list_finished(ws)} == {"bad", "good"}
    with pytest.raises(LoraFileError):
        check_sound(bad)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no named pipes in folders")
@pytest.mark.timeout(60)
def test_a_pipe_with_the_name_of_a_lora_holds_nobody(tmp_path: Path) -> None:
    ws = Workspace.open(tmp_path)
    os.mkfifo(ws.loras / "pipe.safetensors")
    (found,) = list_finished(ws)
    assert found.problem is not None
    assert found.problem.why == "It is not a file."


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(LoraFileError):
            inspect(path)


def test_a_file_without_a_lora_is_named_as_such(tmp_path: Path) -> None:
    path = lora(tmp_path / "base.safetensors", {"conv.weight": np.ones((2, 2), np.float32)})
    for look in (inspect, check_sound):
        with pytest.raises(LoraFileError, match="holds no LoRA"):
            look(path)


@pytest.mark.parametrize("missing", [".lora_down.weight", ".lora_up.weight", ".alpha"])
def test_a_layer_without_one_of_its_parts_is_not_sound(tmp_path: Path, missing: str) -> None:
    values = tensors()
    del values[f"lora_unet_down_blocks_1_attn1_to_q{missing}"]
    with pytest.raises(LoraFileError, match="lora_unet_down_blocks_1_attn1_to_q"):
        check_sound(lora(tmp_path / "part.safetensors", values))


def test_factors_of_different_rank_are_not_sound(tmp_path: Path) -> None:
    values = tensors(1)
    values["lora_unet_down_blocks_0_attn1_to_q.lora_up.weight"] = np.zeros((6, 3), np.float16)
    with pytest.raises(LoraFileError, match="do not fit each other"):
        check_sound(lora(tmp_path / "ranks.safetensors", values))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_number_that_is_none_makes_a_file_unsound(tmp_path: Path, dtype: type, bad: float) -> None:
    values = {name: value.astype(dtype) for name, value in tensors().items()}
    values["lora_unet_down_blocks_1_attn1_to_q.lora_up.weight"][3, 1] = bad
    with pytest.raises(LoraFileError, match="1 of the numbers in lora_unet_down_blocks_1"):
        check_sound(lora(tmp_path / "nan.safetensors", values))


@pytest.mark.parametrize(
    ("dtype", "size", "fine", "bad"),
    [
        ("BF16", 2, [0x3F80, 0x0001, 0x7F7F, 0xFF7F], [0x7F80, 0xFF80, 0x7FC0]),
        ("F8_E5M2", 1, [0x00, 0x7B, 0xFB], [0x7C, 0x7F, 0xFC]),
        ("F8_E4M3", 1, [0x00, 0x7E, 0xFE], [0x7F, 0xFF]),
    ],
)
def test_small_float_types_are_judged_by_their_bits(
    tmp_path: Path, dtype: str, size: int, fine: list[int], bad: list[int]
) -> None:
    for bits, sound in [*((value, True) for value in fine), *((value, False) for value in bad)]:
        entry = {"dtype": dtype, "shape": [1, 1]}
        header = {
            "lora_unet_a.lora_down.weight": {**entry, "data_offsets": [0, size]},
            "lora_unet_a.lora_up.weight": {**entry, "data_offsets": [size, 2 * size]},
        }
        path = raw(tmp_path / "small.safetensors", header, bits.to_bytes(size, "little") + bytes(size))
        if sound:
            check_sound(path)
        else:
            with pytest.raises(LoraFileError, match="not numbers"):
                check_sound(path)


def test_an_alpha_in_bfloat_is_read_as_its_number(tmp_path: Path) -> None:
    entry = {"dtype": "BF16", "shape": [1, 1]}
    header = {
        "lora_unet_a.lora_down.weight": {**entry, "data_offsets": [0, 2]},
        "lora_unet_a.lora_up.weight": {**entry, "data_offsets": [2, 4]},
        "lora_unet_a.alpha": {"dtype": "BF16", "shape": [], "data_offsets": [4, 6]},
    }
    path = raw(tmp_path / "alpha.safetensors", header, bytes(4) + (0x40A0).to_bytes(2, "little"))
    assert inspect(path).alpha == 5.0


def test_finished_loras_come_newest_first_with_preview_job_and_problem(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path)
    old, new = (lora(workspace.loras / f"{name}.safetensors") for name in ("old", "new"))
    os.utime(old, (1, 1))
    old.with_suffix(".png").write_bytes(b"picture")
    old.with_suffix(".json").write_text('{"format": 1, "job": "20260101-1"}', "utf-8")
    new.with_suffix(".json").write_text("rubbish", "utf-8")
    (workspace.loras / "bad.safetensors").write_bytes(b"x")
    (workspace.loras / ".half.safetensors").write_bytes(b"x")
    os.utime(workspace.loras / "bad.safetensors", (2, 2))
    first, bad, last = list_finished(workspace)
    assert (first.name, first.job, first.preview) == ("new", None, None)
    assert bad.info is None
    assert bad.problem is not None
    assert (last.name, last.job, last.preview) == ("old", "20260101-1", old.with_suffix(".png"))


def test_an_empty_workspace_has_no_finished_loras(tmp_path: Path) -> None:
    assert list_finished(Workspace(tmp_path / "nowhere")) == []


def lycoris(**parts: tuple[int, ...]) -> dict[str, Any]:
    """One layer of the UNet and one of a text encoder with these parts."""
    found: dict[str, Any] = {}
    for name in ("lora_unet_mid_block_attentions_0_proj_in", "lora_te1_text_model_encoder_layers_0_mlp_fc1"):
        found |= {
            f"{name}.{part.replace('__', '.')}": np.ones(shape, np.float16) for part, shape in parts.items()
        }
        found[f"{name}.alpha"] = np.array(2.0, np.float16)
    return found


PLAIN = {"lora_down__weight": (4, 6), "lora_up__weight": (6, 4)}
HADAMARD = {"hada_w1_a": (6, 3), "hada_w1_b": (3, 6), "hada_w2_a": (6, 3), "hada_w2_b": (3, 6)}
KRONECKER = {"lokr_w1": (2, 2), "lokr_w2_a": (3, 5), "lokr_w2_b": (5, 3)}


@pytest.mark.parametrize(
    ("parts", "kind", "ranks"),
    [
        (PLAIN, "LoRA", (4,)),
        ({"lora_down__weight": (4, 6, 3, 3), "lora_up__weight": (6, 4, 1, 1)}, "LoCon", (4,)),
        ({"lora_down__weight": (4, 6, 1, 1), "lora_up__weight": (6, 4, 1, 1)}, "LoRA", (4,)),
        (HADAMARD, "LoHa", (3,)),
        (KRONECKER, "LoKr", (5,)),
        ({"lokr_w1": (2, 2), "lokr_w2": (3, 3)}, "LoKr", ()),
        ({**PLAIN, "dora_scale": (6, 1)}, "DoRA", (4,)),
        ({**KRONECKER, "dora_scale": (6, 1)}, "DoRA on LoKr", (5,)),
        ({"oft_blocks": (2, 3, 3)}, "LyCORIS", ()),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_kind_of_a_network_its_ranks_and_layers_are_read_from_its_parts(
    tmp_path: Path, parts: dict[str, tuple[int, ...]], kind: str, ranks: tuple[int, ...]
) -> None:
    path = lora(tmp_path / "file.safetensors", lycoris(**parts), {})
    check_sound(path)
    info = inspect(path)
    assert (info.kind, info.ranks, info.alphas, info.family) == (kind, ranks, (2.0,), "sdxl")
    assert (info.unet_layers, info.text_encoder_layers) == (1, 1)
    assert bool(info.warnings) == ("DoRA" in kind)


def test_several_ranks_are_all_told_and_none_is_the_rank(tmp_path: Path) -> None:
    values = tensors(1, rank=2) | {
        "lora_unet_mid.lora_down.weight": np.ones((8, 6), np.float16),
        "lora_unet_mid.lora_up.weight": np.ones((6, 8), np.float16),
        "lora_unet_mid.alpha": np.array(1.0, np.float16),
    }
    info = inspect(lora(tmp_path / "file.safetensors", values))
    assert (info.ranks, info.rank, info.alphas, info.alpha) == ((2, 8), None, (1.0, 2.0), None)
