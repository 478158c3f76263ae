"""The network: which layers it has, under which names, how they begin, and which rate each learns at."""

import logging
from itertools import product
from typing import Any

import pytest
import torch
from network_rig import (
    BOTH,
    LYCORIS,
    Parts,
    answers,
    assert_same,
    encoder,
    full,
    keys,
    network,
    sd_scripts,
    shaken,
    tiny,
    whole,
)
from torch import nn

from lora_core.engines.diffusers.network_places import block_number, places
from lora_core.errors import LoraFileError, SettingsError
from lora_core.settings import OptimizerSettings

ATTENTION = [f"attn{number}_{part}" for number in (1, 2) for part in ("to_q", "to_k", "to_v", "to_out_0")]
IN_TRANSFORMER = [*ATTENTION, "ff_net_0_proj", "ff_net_2"]
IN_TEXT = [f"self_attn_{part}_proj" for part in ("q", "k", "v", "out")] + ["mlp_fc1", "mlp_fc2"]


def transformers(prefixes: dict[str, int]) -> set[str]:
    """Keys of transformer blocks: prefix of each and how deep it is."""
    found = set()
    for prefix, depth in prefixes.items():
        found |= {f"lora_unet_{prefix}_{end}" for end in ("proj_in", "proj_out")}
        found |= {
            f"lora_unet_{prefix}_transformer_blocks_{n}_{p}" for n, p in product(range(depth), IN_TRANSFORMER)
        }
    return found


def text(prefix: str, layers: int) -> set[str]:
    return {
        f"lora_{prefix}_text_model_encoder_layers_{n}_{part}" for n, part in product(range(layers), IN_TEXT)
    }


def sd1_keys(*, convolutions: bool) -> set[str]:
    """The layout that sd-scripts publishes for Stable Diffusion 1.x."""
    blocks = [f"down_blocks_{n}_attentions_{i}" for n in range(3) for i in range(2)]
    blocks += [
        "mid_block_attentions_0",
        *(f"up_blocks_{n}_attentions_{i}" for n in (1, 2, 3) for i in range(3)),
    ]
    found = transformers(dict.fromkeys(blocks, 1)) | text("te", 12)
    if convolutions:
        resnets = [f"down_blocks_{n}_resnets_{i}" for n in range(4) for i in range(2)]
        resnets += ["mid_block_resnets_0", "mid_block_resnets_1"]
        resnets += [f"up_blocks_{n}_resnets_{i}" for n in range(4) for i in range(3)]
        ends = [f"{resnet}_{part}" for resnet in resnets for part in ("conv1", "conv2", "time_emb_proj")]
        wider = ["down_blocks_1_resnets_0", "down_blocks_2_resnets_0", *resnets[-12:]]
        ends += [f"{resnet}_conv_shortcut" for resnet in wider]
        ends += [f"down_blocks_{n}_downsamplers_0_conv" for n in range(3)]
        ends += [f"up_blocks_{n}_upsamplers_0_conv" for n in range(3)]
        found |= {f"lora_unet_{end}" for end in ends}
    return found


def sdxl_keys(*, convolutions: bool) -> set[str]:
    """The layout that sd-scripts publishes for SDXL: blocks in the numbers of Stability AI's own code."""
    depths = {f"input_blocks_{n}_1": 2 for n in (4, 5)} | {f"input_blocks_{n}_1": 10 for n in (7, 8)}
    depths |= {"middle_block_1": 10} | {f"output_blocks_{n}_1": 10 for n in (0, 1, 2)}
    depths |= {f"output_blocks_{n}_1": 2 for n in (3, 4, 5)}
    found = transformers(depths) | text("te1", 12) | text("te2", 32)
    if convolutions:
        resnets = [f"input_blocks_{n}_0" for n in (1, 2, 4, 5, 7, 8)] + ["middle_block_0", "middle_block_2"]
        resnets += [f"output_blocks_{n}_0" for n in range(9)]
        ends = [
            f"{resnet}_{part}"
            for resnet in resnets
            for part in ("in_layers_2", "out_layers_3", "emb_layers_1")
        ]
        ends += [
            f"{resnet}_skip_connection" for resnet in ["input_blocks_4_0", "input_blocks_7_0", *resnets[-9:]]
        ]
        ends += [
            "input_blocks_3_0_op",
            "input_blocks_6_0_op",
            "output_blocks_2_2_conv",
            "output_blocks_5_2_conv",
        ]
        found |= {f"lora_unet_{end}" for end in ends}
    return found


PUBLISHED = {"sd1": sd1_keys, "sdxl": sdxl_keys}
COUNTS = {"sd1": (192 + 72, 192 + 72 + 86), "sdxl": (722 + 264, 722 + 264 + 66)}


@BOTH
@pytest.mark.parametrize("convolutions", [False, True])
def test_the_full_size_architecture_gets_the_whole_key_set_of_sd_scripts_and_no_other(
    family: str, convolutions: bool
) -> None:
    wanted = PUBLISHED[family](convolutions=convolutions)
    assert len(wanted) == COUNTS[family][convolutions]
    more = {"conv_dim": 1} if convolutions else {}
    made = network(full(family), network_dim=1, network_train_unet_only=False, **more)
    tensors = made.tensors()
    assert keys(tensors) == wanted
    assert len(tensors) == 3 * len(wanted)


def sd_scripts_model(family: str) -> tuple[Any, Any]:
    """sd-scripts' own full-size UNet and its text encoders, without weights."""
    import importlib

    class WithOuterName(nn.Module):  # as transformers had it in the versions that sd-scripts knows
        def __init__(self, model: Any) -> None:
            super().__init__()
            self.text_model = model

    with torch.device("meta"):
        if family == "sdxl":
            unet = importlib.import_module("library.sdxl_original_unet").SdxlUNet2DConditionModel()
            return unet, [WithOuterName(encoder(768, 12)), encoder(1280, 32, projected=True)]
        model = importlib.import_module("library.original_unet").UNet2DConditionModel
        unet = model(sample_size=64, attention_head_dim=8, cross_attention_dim=768)
        return unet, WithOuterName(encoder(768, 12))


@pytest.mark.sd_scripts
@BOTH
@pytest.mark.parametrize("convolutions", [False, True])
def test_sd_scripts_own_code_makes_the_very_same_keys_and_shapes(family: str, convolutions: bool) -> None:
    with sd_scripts() as theirs:
        unet, encoders = sd_scripts_model(family)
        more: dict[str, str] = {"conv_dim": "3", "conv_alpha": "2"} if convolutions else {}
        with torch.device("meta"):
            made = theirs.create_network(1.0, 2, 1.0, None, encoders, unet, **more)
            made.apply_to(encoders, unet, True, True)
        shapes = {name: tuple(tensor.shape) for name, tensor in made.state_dict().items()}
        numbers = {
            lora.lora_name: theirs.get_block_index(lora.lora_name, family == "sdxl")
            for lora in made.unet_loras
        }
    mine = network(
        full(family), network_train_unet_only=False, **{key: int(value) for key, value in more.items()}
    )
    assert {name: tuple(tensor.shape) for name, tensor in mine.tensors().items()} == shapes
    assert {key: block_number(key, family) for key in numbers} == numbers


@pytest.mark.sd_scripts
def test_lycoris_gives_the_unet_of_sd_scripts_the_same_sdxl_keys() -> None:
    from lycoris.kohya import create_network

    logging.getLogger("LyCORIS").setLevel(logging.ERROR)
    with sd_scripts():
        unet, encoders = sd_scripts_model("sdxl")
        with torch.device("meta"):
            made = create_network(1.0, 2, 1.0, None, encoders, unet, warn_on_unmatched=False, algo="lora")
    theirs = {layer.lora_name for layer in made.loras}
    with torch.device("meta"):
        mine = network(full("sdxl"), network_train_unet_only=False, algo="lora", **LYCORIS)
    assert {placed.place.key for placed in mine.placed} == theirs


def test_ranks_and_alphas_go_to_the_layers_that_sd_scripts_gives_them() -> None:
    made = network(tiny("sd1"), network_dim=4, network_alpha=2.0, conv_dim=3, conv_alpha=1.5)
    shape = {name: tuple(tensor.shape) for name, tensor in made.tensors().items()}
    alphas = {name: float(tensor) for name, tensor in made.tensors().items() if name.endswith(".alpha")}
    resnet = "lora_unet_down_blocks_1_resnets_0"
    assert shape[f"{resnet}_conv1.lora_down.weight"] == (3, 32, 3, 3)
    assert shape[f"{resnet}_conv1.lora_up.weight"][1:] == (3, 1, 1)
    assert shape["lora_unet_up_blocks_0_upsamplers_0_conv.lora_down.weight"][0] == 3
    assert shape[f"{resnet}_time_emb_proj.lora_down.weight"][0] == 4
    assert shape["lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight"] == (4, 32, 1, 1)
    assert alphas[f"{resnet}_conv1.alpha"] == 1.5
    assert alphas[f"{resnet}_time_emb_proj.alpha"] == 2.0


def test_the_convolutions_alpha_is_1_when_it_is_not_set_as_in_sd_scripts() -> None:
    tensors = network(tiny("sd1"), conv_dim=4).tensors()
    assert tensors["lora_unet_mid_block_resnets_0_conv1.alpha"] == 1.0


KINDS = [
    {},
    {"conv_dim": 2},
    *({**LYCORIS, "algo": algo} for algo in ("loha", "lokr")),
    {**LYCORIS, "dora_wd": True},
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_fresh_network_changes_nothing_and_depends_on_the_seed_alone(kind: dict[str, Any]) -> None:
    plain = answers(tiny("sd1"))
    made = []
    for stream, seed in enumerate((1, 1, 2)):
        base = tiny("sd1")
        torch.manual_seed(100 + stream)  # the global stream must not matter
        made.append(network(base, seed, network_train_unet_only=False, **kind).tensors())
        assert_same(answers(base), plain, rtol=1e-5, atol=1e-5)
    first, again, other = made
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_down_weights_are_spread_as_torch_starts_a_linear_layer() -> None:
    tensors = network(tiny("sd1"), network_dim=64).tensors()
    down = tensors["lora_unet_mid_block_attentions_0_transformer_blocks_0_ff_net_2.lora_down.weight"]
    bound = down.shape[1] ** -0.5
    assert float(down.abs().max()) <= bound
    assert float(down.std()) == pytest.approx(bound / 3**0.5, rel=0.05)


def test_the_base_model_keeps_its_weights_their_names_and_learns_nothing() -> None:
    base, before = tiny("sdxl"), tiny("sdxl")
    made = network(base, network_train_unet_only=False)
    for model, old in zip(
        (base.unet, *base.text_encoders), (before.unet, *before.text_encoders), strict=True
    ):
        assert list(model.state_dict()) == list(old.state_dict())
        assert not any(weight.requires_grad for weight in model.parameters())
    assert all(weight.requires_grad and weight.dtype == torch.float32 for weight in made.parameters)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_every_trained_weight_gets_a_gradient(kind: dict[str, Any]) -> None:
    base = tiny("sd1")
    made = network(base, network_train_unet_only=False, **kind)
    made.load(shaken(made.tensors()))
    words = base.text_encoders[0](torch.tensor([[98, 1, 2, 99]])).last_hidden_state
    base.unet(torch.randn(1, 4, 8, 8), torch.tensor([7]), words).sample.square().mean().backward()
    dead = [weight for weight in made.parameters if weight.grad is None or not weight.grad.any()]
    # The last layer of the middle of an 8 px picture sees a single pixel, so normalising leaves it little.
    assert len(dead) <= len(made.parameters) // 50, f"{len(dead)} of {len(made.parameters)} learn nothing"


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        ({}, {"unet"}),
        ({"network_train_unet_only": False}, {"unet", "te1", "te2"}),
        ({"network_train_unet_only": False, "network_train_text_encoder_only": True}, {"te1", "te2"}),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", [{}, {**LYCORIS, "algo": "loha"}], ids=str)
def test_only_the_parts_that_are_asked_for_get_layers(
    flags: dict[str, bool], parts: set[str], kind: dict[str, Any]
) -> None:
    made = network(tiny("sdxl"), **flags, **kind)
    assert {key.split("_")[1] for key in keys(made.tensors())} == parts
    assert made.trains_text == bool(parts - {"unet"})


def test_training_neither_part_is_refused() -> None:
    with pytest.raises(SettingsError, match="nothing is left"):
        network(tiny("sd1"), network_train_unet_only=True, network_train_text_encoder_only=True)


def rates(base: Parts, optimizer: OptimizerSettings, **settings: Any) -> dict[str, float]:
    groups = network(base, network_train_unet_only=False, **settings).groups(optimizer)
    return {group["name"]: group["lr"] for group in groups}


def test_each_part_learns_at_its_own_rate() -> None:
    optimizer = OptimizerSettings(learning_rate=0.5)
    base = tiny("sdxl")
    names = ("unet", "textencoder 1", "textencoder 2")
    assert rates(base, optimizer) == dict.fromkeys(names, 0.5)
    faster = optimizer.model_copy(update={"unet_lr": 2.0})
    assert rates(base, faster, text_encoder_lr=(0.25,)) == dict(zip(names, (2.0, 0.25, 0.25), strict=True))
    assert rates(base, faster, text_encoder_lr=(0.25, 0.125)) == dict(
        zip(names, (2.0, 0.25, 0.125), strict=True)
    )
    assert rates(tiny("sd1"), optimizer, text_encoder_lr=(0.25,)) == {"unet": 0.5, "textencoder": 0.25}


def test_a_part_whose_rate_is_0_is_in_no_group_and_is_not_trained() -> None:
    made = network(tiny("sdxl"), network_train_unet_only=False, text_encoder_lr=(0.0,))
    assert made.trains_text
    assert [group["name"] for group in made.groups(OptimizerSettings())] == ["unet"]
    assert not made.trains_text


def test_the_groups_hold_every_weight_once() -> None:
    made = network(tiny("sdxl"), network_train_unet_only=False, text_encoder_lr=(1e-5, 2e-5), conv_dim=1)
    grouped = [id(weight) for group in made.groups(OptimizerSettings()) for weight in group["params"]]
    assert sorted(grouped) == sorted(id(weight) for weight in made.parameters)


def test_weights_of_another_network_are_refused_and_change_nothing() -> None:
    other = network(tiny("sd1"), network_dim=3).tensors()
    made = network(tiny("sd1"))
    before = made.tensors()
    for wrong in (other, {**before, "lora_unet_x.alpha": torch.tensor(1.0)}, dict(list(before.items())[:-1])):
        with pytest.raises(LoraFileError, match="another network"):
            made.load(wrong)
    assert all(torch.equal(tensor, before[name]) for name, tensor in made.tensors().items())


def test_another_alpha_is_another_network() -> None:
    with pytest.raises(LoraFileError):
        network(tiny("sd1"), network_alpha=2.0).load(network(tiny("sd1"), network_alpha=1.0).tensors())


@BOTH
def test_every_place_has_a_name_of_its_own(family: str) -> None:
    names = [place.key for place in places(whole(family))]
    assert len(set(names)) == len(names)
