"""The LoRA layers: which modules of the UNet get one, under which names, and how they begin."""

from collections import Counter
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel

from lora_core.engines.diffusers.lora_file import key_of, lora_tensors
from lora_core.engines.diffusers.network import add_lora, lora_layers, sizes
from lora_core.settings import NetworkSettings


def sd15_unet() -> Any:
    """Stable Diffusion 1.5's UNet without weights."""
    with torch.device("meta"):
        return UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)


def tiny_unet() -> Any:
    return UNet2DConditionModel(
        block_out_channels=(32, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        norm_num_groups=8,
        attention_head_dim=4,
        cross_attention_dim=16,
    )


def test_a_lora_of_stable_diffusion_15_has_the_192_modules_that_sd_scripts_trains() -> None:
    keys = {key_of(name) for name in sizes(sd15_unet(), NetworkSettings())}
    assert len(keys) == 192
    assert "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q" in keys
    assert "lora_unet_mid_block_attentions_0_proj_in" in keys
    assert "lora_unet_up_blocks_3_attentions_2_transformer_blocks_0_ff_net_0_proj" in keys
    assert "lora_unet_up_blocks_1_attentions_1_transformer_blocks_0_attn2_to_out_0" in keys


def test_each_transformer_block_of_stable_diffusion_15_has_all_its_layers() -> None:
    ends = Counter(name.split("transformer_blocks.0.")[-1] for name in sizes(sd15_unet(), NetworkSettings()))
    attention = [f"attn{number}.{part}" for number in (1, 2) for part in ("to_q", "to_k", "to_v", "to_out.0")]
    assert {end: ends[end] for end in [*attention, "ff.net.0.proj", "ff.net.2"]} == dict.fromkeys(
        [*attention, "ff.net.0.proj", "ff.net.2"], 16
    )


def test_with_convolutions_the_residual_down_and_up_blocks_join_in() -> None:
    found = sizes(sd15_unet(), NetworkSettings(network_dim=8, network_alpha=4.0, conv_dim=3, conv_alpha=2.0))
    # 22 residual blocks of three layers, 14 of them with a shortcut; three layers down, three up.
    assert len(found) - 192 == 22 * 3 + 14 + 3 + 3
    rank = {name: size.rank for name, size in found.items()}
    assert rank["down_blocks.0.resnets.0.conv1"] == 3
    assert rank["down_blocks.0.downsamplers.0.conv"] == 3
    assert rank["up_blocks.0.upsamplers.0.conv"] == 3
    assert rank["down_blocks.0.resnets.0.time_emb_proj"] == 8
    assert rank["down_blocks.1.resnets.0.conv_shortcut"] == 8
    assert not {"conv_in", "conv_out", "time_embedding.linear_1"} & set(found)
    assert found["mid_block.resnets.1.conv2"].alpha == 2.0


def test_the_convolutions_alpha_is_1_when_it_is_not_set_as_in_sd_scripts() -> None:
    found = sizes(tiny_unet(), NetworkSettings(conv_dim=4))
    assert found["mid_block.resnets.0.conv1"].alpha == 1.0


def test_a_fresh_lora_changes_nothing_and_depends_on_the_seed_alone() -> None:
    settings = NetworkSettings(network_dim=2, conv_dim=2)
    unets = [tiny_unet() for _ in range(3)]
    for unet, seed in zip(unets, (1, 1, 2), strict=True):
        torch.manual_seed(len(unets) * seed + id(unet) % 7)  # the global stream must not matter
        add_lora(unet, settings, seed)
    first, again, other = (lora_tensors(unet) for unet in unets)
    assert all(torch.equal(first[key], again[key]) for key in first)
    downs = [key for key in first if key.endswith("lora_down.weight")]
    assert not any(torch.equal(first[key], other[key]) for key in downs)
    assert not any(tensor.any() for key, tensor in first.items() if key.endswith("lora_up.weight"))


def test_down_weights_are_spread_as_torch_starts_a_linear_layer() -> None:
    unet = tiny_unet()
    add_lora(unet, NetworkSettings(network_dim=64), seed=3)
    down = dict(lora_layers(unet))["mid_block.attentions.0.transformer_blocks.0.ff.net.2"].down.detach()
    bound = down.shape[1] ** -0.5
    assert float(down.abs().max()) <= bound
    assert float(down.std()) == pytest.approx(bound / 3**0.5, rel=0.05)


def test_only_the_lora_is_trained() -> None:
    unet = tiny_unet()
    add_lora(unet, NetworkSettings(network_dim=2), seed=3)
    trained = {name for name, weight in unet.named_parameters() if weight.requires_grad}
    assert trained
    assert all("lora_" in name for name in trained)
    assert len(trained) == 2 * len(dict(lora_layers(unet)))
