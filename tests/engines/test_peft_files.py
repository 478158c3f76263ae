"""LoRA files of diffusers and PEFT, sound and hostile: the same answers as there, or one clear error."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from network_rig import BOTH, LYCORIS, Parts, answers, assert_same, differ, network, tiny
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor

from lora_core.engines.diffusers.lora_file import read_lora
from lora_core.engines.diffusers.merging import apply_lora
from lora_core.errors import LoraFileError

EXACT = {"rtol": 1e-4, "atol": 1e-5}
NOTES = "lora_adapter_metadata"


def adapted(base: Parts, **config: Any) -> dict[str, dict[str, Tensor]]:
    """Put PEFT's own layers on every network of `base`; returns what they hold, by the part's name."""
    torch.manual_seed(7)
    found = {}
    for number, model in enumerate((base.unet, *base.text_encoders)):
        part = ("unet", "text_encoder", "text_encoder_2")[number]
        wanted = ["q_proj", "fc1"] if number else ["to_q", "to_v", "conv1", "conv_shortcut"]
        model.add_adapter(LoraConfig(**{"r": 2, "lora_alpha": 3, "target_modules": wanted, **config}))
        shake(model)
        found[part] = get_peft_model_state_dict(model)
    return found


@torch.no_grad()
def shake(model: Any) -> None:
    for name, weight in model.named_parameters():
        if "lora_magnitude" in name:
            weight.mul_(1 + 0.2 * torch.rand_like(weight))
        elif "lora_" in name:
            weight.normal_(std=0.1)


def write(
    path: Path, parts: dict[str, dict[str, Tensor]], notes: str | None, rename: Callable[[str], str] = str
) -> None:
    tensors = {
        rename(f"{part}.{name}"): tensor.contiguous()
        for part, held in parts.items()
        for name, tensor in held.items()
    }
    save_file(tensors, path, None if notes is None else {NOTES: notes})


def told(parts: dict[str, dict[str, Tensor]], **config: Any) -> str:
    return json.dumps({f"{part}.{name}": value for part in parts for name, value in config.items()})


@BOTH
@pytest.mark.parametrize("stable", [False, True], ids=["usual alphas", "rank-stabilised"])
def test_a_dora_of_peft_means_the_same_here(tmp_path: Path, family: str, stable: bool) -> None:
    theirs, built_in, going_on = (tiny(family) for _ in range(3))
    parts = adapted(theirs, use_dora=True, use_rslora=stable)
    path = tmp_path / "dora.safetensors"
    write(path, parts, told(parts, lora_alpha=3, use_rslora=stable, use_dora=True))
    assert any("lora_magnitude_vector" in name for name in load_file(path))
    apply_lora(built_in, path)
    settings = {**LYCORIS, "algo": "lora", "dora_wd": True, "network_train_unet_only": False}
    network(going_on, network_weights=path, dim_from_weights=True, **settings)
    assert min(differ(answers(theirs), answers(tiny(family)))) > 1e-3
    assert_same(answers(built_in), answers(theirs), **EXACT)
    assert_same(answers(going_on), answers(theirs), **EXACT)


@pytest.mark.parametrize("stable", [False, True])
def test_a_rank_stabilised_lora_means_the_same_here(tmp_path: Path, stable: bool) -> None:
    theirs, ours = tiny("sd1"), tiny("sd1")
    parts = adapted(theirs, use_rslora=stable, r=4, lora_alpha=8)
    path = tmp_path / "stable.safetensors"
    write(path, parts, told(parts, lora_alpha=8, use_rslora=stable))
    apply_lora(ours, path)
    assert_same(answers(ours), answers(theirs), **EXACT)


@BOTH
@pytest.mark.parametrize("way", ["lora", "lora_linear_layer"])
def test_the_names_of_older_versions_of_diffusers_are_read(tmp_path: Path, family: str, way: str) -> None:
    theirs, ours = tiny(family), tiny(family)
    parts = adapted(theirs, lora_alpha=2)
    path = tmp_path / "old.safetensors"
    write(
        path, parts, None, lambda name: name.replace("lora_A", f"{way}.down").replace("lora_B", f"{way}.up")
    )
    apply_lora(ours, path)
    assert_same(answers(ours), answers(theirs), **EXACT)


def test_alphas_that_stand_beside_the_layers_are_read(tmp_path: Path) -> None:
    theirs, ours = tiny("sd1"), tiny("sd1")
    parts = adapted(theirs)
    for held in parts.values():
        downs = [name for name in held if "lora_A" in name]
        held |= {name.replace("lora_A.weight", "alpha"): torch.tensor(3.0) for name in downs}
    path = tmp_path / "beside.safetensors"
    write(path, parts, None)
    apply_lora(ours, path)
    assert_same(answers(ours), answers(theirs), **EXACT)


@pytest.mark.parametrize(
    "config", [{}, {"use_rslora": True}, {"alpha_pattern": {"to_q": 5}}, {"use_dora": True}], ids=str
)
def test_an_adapter_of_peft_takes_its_alphas_from_the_file_beside_it(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    theirs, ours = tiny("sd1"), tiny("sd1")
    wanted = LoraConfig(**{"r": 2, "lora_alpha": 3, "target_modules": ["to_q", "to_v", "conv1"], **config})
    model: Any = get_peft_model(theirs.unet, wanted)
    torch.manual_seed(7)
    shake(model)
    model.save_pretrained(tmp_path)
    apply_lora(ours, tmp_path / "adapter_model.safetensors")
    assert_same(answers(ours)[:1], answers(Parts("sd1", model, theirs.text_encoders))[:1], **EXACT)


HOSTILE = {
    "no JSON": "{",
    "no table": "[1, 2]",
    "a table without an end": '{"a":' * 100_000,
    "an alpha that is a text": '{"unet.lora_alpha": "3"}',
    "an alpha that is a list": '{"unet.lora_alpha": [3]}',
    "an alpha that is true": '{"unet.lora_alpha": true}',
    "an alpha that is not a number": '{"unet.lora_alpha": NaN}',
    "an endless alpha": '{"unet.lora_alpha": Infinity}',
    "an alpha of 400 digits": f'{{"unet.lora_alpha": {10**400}}}',
    "an alpha of 5000 digits": '{"unet.lora_alpha": ' + "9" * 5000 + "}",
    "a bad expression": '{"unet.alpha_pattern": {"to_q(": 2}}',
    "an expression that takes for ever": '{"unet.alpha_pattern": {"(a+)+$": 2}}',
    "a pattern that is a list": '{"unet.alpha_pattern": ["to_q"]}',
    "a table in a pattern": '{"unet.alpha_pattern": {"to_q": {"to_q": 2}}}',
    "nothing in a pattern": '{"unet.alpha_pattern": {"to_q": null}}',
    "a text for yes": '{"unet.use_rslora": "false"}',
}


@pytest.mark.parametrize("notes", HOSTILE.values(), ids=HOSTILE)
def test_notes_that_cannot_be_trusted_are_one_clear_error(tmp_path: Path, notes: str) -> None:
    base, path = tiny("sd1"), tmp_path / "hostile.safetensors"
    layer = {"down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q": (32, 32)}
    write(path, {"unet": layer_tensors(layer)}, notes)
    before = answers(base)
    for use in (
        lambda: apply_lora(base, path),
        lambda: network(base, network_weights=path, dim_from_weights=True),
    ):
        with pytest.raises(LoraFileError, match=r"hostile\.safetensors") as error:
            use()
        assert error.value.why
        assert error.value.fix
    assert_same(answers(base), before, rtol=0, atol=0)


def layer_tensors(layers: dict[str, tuple[int, int]]) -> dict[str, Tensor]:
    return {
        f"{name}.lora_{end}.weight": torch.ones(2, wide) if end == "A" else torch.ones(high, 2)
        for name, (high, wide) in layers.items()
        for end in ("A", "B")
    }


@pytest.mark.parametrize(
    "notes",
    [
        "{}",
        '{"unet.lora_alpha": null, "unet.alpha_pattern": null, "unet.use_rslora": null}',
        '{"unet.alpha_pattern": {}, "text_encoder.lora_alpha": "of no layer here"}',
        json.dumps({"unet.lora_alpha": 2, "filling": ["x" * 1000] * 10_000}),
    ],
    ids=["empty", "nothing told", "of other parts", "ten megabytes"],
)
def test_notes_that_say_nothing_odd_leave_the_rank_as_alpha(tmp_path: Path, notes: str) -> None:
    path, name = tmp_path / "plain.safetensors", "mid_block.attentions.0.proj_in"
    write(path, {"unet": layer_tensors({name: (4, 4)})}, notes)
    assert float(read_lora(path, "sd1")["lora_unet_mid_block_attentions_0_proj_in.alpha"]) == 2.0


def test_a_broken_file_beside_an_adapter_is_an_error_and_not_another_alpha(tmp_path: Path) -> None:
    path = tmp_path / "adapter_model.safetensors"
    save_file({"base_model.model.mid_block.attentions.0.proj_in.lora_A.weight": torch.ones(2, 4)}, path)
    (tmp_path / "adapter_config.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(LoraFileError, match="adapter_model"):
        read_lora(path, "sd1")


ODD = {
    "a single number": {"lora_A.weight": torch.tensor(1.0)},
    "no rank": {"lora_A.weight": torch.ones(0, 32), "lora_B.weight": torch.ones(32, 0)},
    "numbers that are not finite": {"lora_A.weight": torch.full((2, 32), torch.nan)},
    "two alphas": {"alpha": torch.ones(2)},
    "an alpha that is not a number": {"alpha": torch.tensor(torch.nan)},
    "sizes of another layer": {"lora_magnitude_vector": torch.ones(7)},
    "a single size": {"lora_magnitude_vector": torch.tensor(1.0)},
    "half a layer": {"lora_A.weight": None},
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
@pytest.mark.parametrize("layout", ["PEFT", "sd-scripts"])
def test_tensors_that_fit_nothing_are_one_clear_error(
    tmp_path: Path, odd: dict[str, Tensor | None], layout: str
) -> None:
    base, path = tiny("sd1"), tmp_path / "odd.safetensors"
    module = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    usual = {"lora_A.weight": torch.ones(2, 32), "lora_B.weight": torch.ones(32, 2)}
    tensors = {f"{module}.{end}": tensor for end, tensor in {**usual, **odd}.items() if tensor is not None}
    if layout == "sd-scripts":
        ends = {"lora_A": "lora_down", "lora_B": "lora_up", "lora_magnitude_vector": "dora_scale"}
        for old, new in ends.items():
            tensors = {name.replace(old, new): tensor for name, tensor in tensors.items()}
        key = f"lora_{module}".replace(".", "_")
        tensors = {f"{key}{name.removeprefix(module)}": tensor for name, tensor in tensors.items()}
    save_file(tensors, path)
    before = answers(base)
    for use in (
        lambda: apply_lora(base, path),
        lambda: network(base, network_weights=path, dim_from_weights=True),
        lambda: network(base, network_weights=path, dim_from_weights=True, **LYCORIS, algo="lora"),
    ):
        with pytest.raises(LoraFileError):
            use()
    assert_same(answers(base), before, rtol=0, atol=0)
