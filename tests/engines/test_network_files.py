"""LoRA files of every kind: other programs' load here, ours load there, with the same answers."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline
from network_rig import (
    BOTH,
    LYCORIS,
    Parts,
    answers,
    assert_same,
    differ,
    file_of,
    keys,
    network,
    tiny,
    trained,
)
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor

from lora_core.engines.diffusers.merging import apply_lora
from lora_core.engines.diffusers.network_places import Place, diffusers_names, places, unet_names
from lora_core.errors import LoraFileError

EXACT = {"rtol": 1e-4, "atol": 1e-5}


def kohya_file(base: Parts, folder: Path, *, convolutions: bool) -> Path:
    """A LoRA of every layer with ranks of its own, written tensor by tensor, as networks.lora does."""
    generator = torch.Generator().manual_seed(4)
    tensors: dict[str, Tensor] = {}
    for number, place in enumerate(places(base)):
        if place.convolutional and not convolutions:
            continue
        rank, (outputs, *inputs) = 1 + number % 3, place.module.weight.shape
        spread = 0.3 / math.sqrt(math.prod(inputs))
        tensors[f"{place.key}.lora_down.weight"] = torch.randn(rank, *inputs, generator=generator) * spread
        ones = [1] * (len(inputs) - 1)
        tensors[f"{place.key}.lora_up.weight"] = torch.randn(outputs, rank, *ones, generator=generator)
        tensors[f"{place.key}.alpha"] = torch.tensor(0.75)
    path = folder / "kohya.safetensors"
    save_file(tensors, path)
    return path


def pipeline(base: Parts) -> Any:
    """diffusers' own pipeline around the parts; what drawing words needs besides is left out."""
    shared: Any = {
        "vae": None,
        "unet": base.unet,
        "scheduler": DDIMScheduler(steps_offset=1, clip_sample=False),
    }
    if base.family == "sdxl":
        first, second = base.text_encoders
        return StableDiffusionXLPipeline(
            text_encoder=first, text_encoder_2=second, tokenizer=None, tokenizer_2=None, **shared
        )
    return StableDiffusionPipeline(
        text_encoder=base.text_encoders[0],
        tokenizer=None,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
        **shared,
    )


@BOTH
@pytest.mark.parametrize("convolutions", [False, True], ids=["LoRA", "LoCon"])
def test_a_kohya_file_with_text_encoders_means_the_same_here_and_in_diffusers(
    tmp_path: Path, family: str, convolutions: bool
) -> None:
    plain, built_in, theirs, going_on = (tiny(family) for _ in range(4))
    path = kohya_file(plain, tmp_path, convolutions=convolutions)
    before = answers(plain)
    apply_lora(built_in, path)
    pipeline(theirs).load_lora_weights(path)
    network(going_on, network_weights=path, dim_from_weights=True, network_train_unet_only=False)
    assert min(differ(answers(built_in), before)) > 1e-3
    assert_same(answers(built_in), answers(theirs), **EXACT)
    assert_same(answers(going_on), answers(built_in), **EXACT)


def test_an_alpha_of_zero_stands_for_the_rank(tmp_path: Path) -> None:
    plain, zero, full, going_on = (tiny("sd1") for _ in range(4))
    tensors = load_file(kohya_file(plain, tmp_path, convolutions=True))
    ranks = {name: float(len(tensors[name.replace(".alpha", ".lora_down.weight")])) for name in tensors}
    for base, name, of in ((zero, "zero", lambda _: 0.0), (full, "full", ranks.__getitem__)):
        alphas = {key: torch.tensor(of(key)) for key in tensors if key.endswith(".alpha")}
        save_file({**tensors, **alphas}, tmp_path / f"{name}.safetensors")
        apply_lora(base, tmp_path / f"{name}.safetensors")
    network(
        going_on,
        network_weights=tmp_path / "zero.safetensors",
        dim_from_weights=True,
        network_train_unet_only=False,
    )
    assert_same(answers(zero), answers(full), **EXACT)
    assert_same(answers(going_on), answers(full), **EXACT)


@BOTH
@pytest.mark.parametrize("kind", [{}, {"conv_dim": 3, "conv_alpha": 1.5}], ids=["LoRA", "LoCon"])
def test_a_file_from_here_means_the_same_in_diffusers(
    tmp_path: Path, family: str, kind: dict[str, Any]
) -> None:
    ours, theirs = tiny(family), tiny(family)
    path = file_of(trained(ours, network_train_unet_only=False, **kind), tmp_path)
    pipeline(theirs).load_lora_weights(path)
    assert_same(answers(ours), answers(theirs), **EXACT)


@BOTH
@pytest.mark.parametrize("alpha", [None, 0.5])
def test_a_file_of_diffusers_is_built_in_and_gone_on_with(
    tmp_path: Path, family: str, alpha: float | None
) -> None:
    theirs, built_in, going_on = (tiny(family) for _ in range(3))
    torch.manual_seed(7)
    parts = {"unet": theirs.unet, "text_encoder": theirs.text_encoders[0]}
    if family == "sdxl":
        parts["text_encoder_2"] = theirs.text_encoders[1]
    packed: dict[str, Any] = {}
    for part, model in parts.items():
        wanted = ["to_q", "to_v", "conv1", "conv_shortcut"] if part == "unet" else ["q_proj", "fc1"]
        own = {} if alpha is None else {"lora_alpha": alpha, "alpha_pattern": {wanted[0]: 2.0}}
        config = LoraConfig(**{"r": 2, "lora_alpha": 2, "target_modules": wanted, **own})
        model.add_adapter(config)
        for name, weight in model.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(weight, std=0.1)
        packed[f"{part}_lora_layers"] = get_peft_model_state_dict(model)
        if alpha is not None:
            packed[f"{part}_lora_adapter_metadata"] = model.peft_config["default"].to_dict()
    type(pipeline(theirs)).save_lora_weights(tmp_path, **packed)
    path = tmp_path / "pytorch_lora_weights.safetensors"
    apply_lora(built_in, path)
    settings = {"network_weights": path, "dim_from_weights": True, "network_train_unet_only": False}
    network(going_on, **settings)
    assert min(differ(answers(theirs), answers(tiny(family)))) > 1e-3
    assert_same(answers(built_in), answers(theirs), **EXACT)
    assert_same(answers(going_on), answers(theirs), **EXACT)


KINDS = [
    {"algo": "lora"},
    {"algo": "locon", "use_tucker": True, "conv_dim": 3},
    {"algo": "loha"},
    {"algo": "loha", "use_tucker": True},
    {"algo": "lokr"},
    {"algo": "lokr", "factor": 4, "decompose_both": True},
    {"algo": "lokr", "full_matrix": True},
    {"algo": "lokr", "use_tucker": True, "unbalanced_factorization": True},
    {"algo": "lora", "dora_wd": True},
    {"algo": "lora", "dora_wd": True, "wd_on_output": False},
    {"algo": "loha", "dora_wd": True},
    {"algo": "lokr", "dora_wd": True},
    {"algo": "lora", "rs_lora": True},
    {"algo": "loha", "use_scalar": True},
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: " ".join(f"{k}={v}" for k, v in kind.items()))
def test_a_lycoris_file_loads_back_exactly_and_means_the_same_as_in_lycoris(
    tmp_path: Path, kind: dict[str, Any]
) -> None:
    settings = {**LYCORIS, **kind, "network_train_unet_only": False}
    ours, built_in, again, shaped, theirs = (tiny("sd1") for _ in range(5))
    path = file_of(trained(ours, **settings), tmp_path)
    said, stored = answers(ours), load_file(path)
    assert min(differ(said, answers(theirs))) > 1e-4

    once_more = network(again, network_weights=path, **settings)
    assert all(torch.equal(tensor, stored[name]) for name, tensor in once_more.tensors().items())
    assert_same(answers(again), said, rtol=0, atol=0)

    taken = network(shaped, network_weights=path, dim_from_weights=True, **settings)
    assert all(torch.equal(tensor, stored[name]) for name, tensor in taken.tensors().items())
    assert_same(answers(shaped), said, **EXACT)

    apply_lora(built_in, path)
    assert_same(answers(built_in), said, **EXACT)

    lycoris_answers(theirs, path, tmp_path, kind)
    assert_same(answers(theirs)[:1], said[:1], **EXACT)


PRESET = """enable_conv = true
unet_target_module = ["Transformer2DModel", "ResnetBlock2D", "Downsample2D", "Upsample2D"]
unet_target_name = ["conv_in", "conv_out", "time_embedding.linear_1", "time_embedding.linear_2"]
text_encoder_target_module = []
text_encoder_target_name = []
"""
"""LyCORIS' full preset without the blocks of other families: 4.1.3 takes one of them for SD 1.x's."""


def lycoris_answers(base: Parts, path: Path, folder: Path, kind: dict[str, Any]) -> None:
    """The reference: LyCORIS builds the network as sd-scripts asks it to, and answers in its own way."""
    from lycoris.kohya import create_network

    (folder / "preset.toml").write_text(PRESET, "utf-8")
    arguments = {
        "algo": "lora",
        **{key: value if key == "decompose_both" else str(value) for key, value in kind.items()},
    }
    arguments["preset"] = str(folder / "preset.toml")
    made = create_network(1.0, 2, 1.0, None, None, base.unet, warn_on_unmatched=False, **arguments)
    made.apply_to(None, base.unet, False, True)
    weights = {name: tensor for name, tensor in load_file(path).items() if name.startswith("lora_unet_")}
    made.load_state_dict(weights)
    base.unet.lycoris = [made]  # kept alive as long as the model that it answers for


@pytest.mark.parametrize("algo", ["loha", "lokr"])
def test_alpha_scales_what_lycoris_layers_add_once(tmp_path: Path, algo: str) -> None:
    settings = {**LYCORIS, "algo": algo, "network_dim": 4, "network_alpha": 1.0}
    ours, built_in = tiny("sd1"), tiny("sd1")
    path = file_of(trained(ours, **settings), tmp_path)
    apply_lora(built_in, path)
    assert_same(answers(built_in), answers(ours), **EXACT)


def test_diffusers_leaves_out_alphas_of_attention_that_differ_from_the_others(tmp_path: Path) -> None:
    """If this fails, diffusers reads them again: take the advice about it out of this app."""
    base = tiny("sd1")
    path = kohya_file(base, tmp_path, convolutions=False)
    tensors = load_file(path)
    tensors["lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q.alpha"] = torch.tensor(3.0)
    save_file(tensors, path)
    with pytest.warns(RuntimeWarning, match="alpha_pattern keys did not match"):
        pipeline(base).load_lora_weights(path)


def test_sdxl_files_of_lycoris_kinds_come_back_too(tmp_path: Path) -> None:
    settings = {**LYCORIS, "algo": "lokr", "dora_wd": True, "network_train_unet_only": False}
    ours, built_in, going_on = (tiny("sdxl") for _ in range(3))
    path = file_of(trained(ours, **settings), tmp_path)
    apply_lora(built_in, path)
    network(going_on, network_weights=path, dim_from_weights=True, **settings)
    assert_same(answers(built_in), answers(ours), **EXACT)
    assert_same(answers(going_on), answers(ours), **EXACT)


def test_diffusers_leaves_out_what_makes_a_dora_a_dora(tmp_path: Path) -> None:
    """If this fails, diffusers has learned DoRA: take the warnings about it out of this app."""
    ours, theirs, without = (tiny("sd1") for _ in range(3))
    path = file_of(trained(ours, algo="lora", dora_wd=True, preset="attn-mlp", **LYCORIS), tmp_path)
    bare = {name: tensor for name, tensor in load_file(path).items() if not name.endswith("dora_scale")}
    save_file(bare, tmp_path / "bare.safetensors")
    pipeline(theirs).load_lora_weights(path)
    pipeline(without).load_lora_weights(tmp_path / "bare.safetensors")
    assert_same(answers(theirs)[:1], answers(without)[:1], rtol=0, atol=0)
    assert differ(answers(theirs), answers(ours))[0] > 1e-3


@pytest.mark.parametrize("strength", [0.5, -1.0, 0.0])
def test_a_strength_scales_what_is_built_in(tmp_path: Path, strength: float) -> None:
    plain, base = tiny("sd1"), tiny("sd1")
    path = kohya_file(plain, tmp_path, convolutions=True)
    apply_lora(base, path, strength)
    tensors = load_file(path)
    for place in places(plain):
        down, up = (tensors[f"{place.key}.lora_{way}.weight"].flatten(1) for way in ("down", "up"))
        change = strength * float(tensors[f"{place.key}.alpha"]) / len(down) * (up @ down)
        wanted = place.module.weight + change.view_as(place.module.weight)
        torch.testing.assert_close(by_key(base)[place.key].module.weight, wanted, **EXACT)


def by_key(base: Parts) -> dict[str, Place]:
    return {place.key: place for place in places(base)}


def test_sdxl_files_under_the_names_of_diffusers_are_understood(tmp_path: Path) -> None:
    usual, renamed = tiny("sdxl"), tiny("sdxl")
    path = kohya_file(usual, tmp_path, convolutions=True)
    other = {key: diffusers_names(usual.unet)[name] for name, key in unet_names(usual).items()}
    tensors = {f"{other.get(key, key)}.{end}": t for (key, _, end), t in split(load_file(path))}
    assert not any("input_blocks" in name for name in tensors)
    save_file(tensors, tmp_path / "renamed.safetensors")
    apply_lora(usual, path)
    apply_lora(renamed, tmp_path / "renamed.safetensors")
    assert_same(answers(usual), answers(renamed), rtol=0, atol=0)


def split(tensors: dict[str, Tensor]) -> list[tuple[tuple[str, str, str], Tensor]]:
    return [(name.partition("."), tensor) for name, tensor in tensors.items()]


@pytest.mark.parametrize(
    "damage", ["another family", "another width", "a strange kind", "cut off", "missing"]
)
def test_a_file_that_does_not_fit_is_refused_and_nothing_is_changed(tmp_path: Path, damage: str) -> None:
    base = tiny("sd1")
    path = kohya_file(tiny("sdxl") if damage == "another family" else base, tmp_path, convolutions=False)
    tensors = load_file(path)
    key = next(iter(sorted(keys(tensors))))
    if damage == "another width":
        tensors[f"{key}.lora_down.weight"] = torch.zeros(1, 7)
    if damage == "a strange kind":
        tensors = {f"{key}.something": torch.zeros(3)}
    save_file(tensors, path)
    if damage == "cut off":
        path.write_bytes(path.read_bytes()[:-100])
    if damage == "missing":
        path = tmp_path / "nothing.safetensors"
    before = {name: weight.clone() for name, weight in base.unet.state_dict().items()}
    for use in (
        lambda: apply_lora(base, path),
        lambda: network(base, network_weights=path, dim_from_weights=True, network_train_unet_only=False),
        lambda: network(base, base_weights=(path,)),
    ):
        with pytest.raises(LoraFileError):
            use()
    assert all(torch.equal(weight, before[name]) for name, weight in base.unet.state_dict().items())
    assert "forward" not in by_key(base)["lora_unet_mid_block_attentions_0_proj_in"].module.__dict__
