"""The sizes of a single file's networks, read from the shapes of its tensors.

What a family fixes stands here as a value (how many heads, which activation, the scale of the
latents); what a file can tell by itself is read: widths, layers, depths, vocabulary. So one
description fits the full models, smaller ones of the same make, and whatever a test makes.

Covered: configurations of the UNet, the VAE and the text encoders of Stable Diffusion 1.x and SDXL,
as diffusers and transformers take them. Not covered: the weights (see `single_file.py`).
"""

from collections.abc import Collection, Mapping
from typing import Any, Final

Shapes = Mapping[str, tuple[int, ...]]
"""Name of a tensor, without the prefix of its part -> its shape."""

_HEAD: Final = 64
"""Width of one attention head in SDXL and in the text encoders; SD 1.x has 8 heads of any width."""
_LATENT_SCALE: Final = {"sd1": 0.18215, "sdxl": 0.13025}
SCHEDULE: Final[Mapping[str, Any]] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
"""Noise levels of both families (Rombach et al., 2022); a file does not hold them."""


def unet_config(shapes: Shapes, family: str) -> dict[str, Any]:
    """For `UNet2DConditionModel`; names as behind `model.diffusion_model.`.

    Raises:
        KeyError: a tensor that the family has is missing.
    """
    inputs = _count(shapes, "input_blocks")
    levels = range(inputs // 3)  # two residual blocks and a halving each; the last level has no halving
    firsts = [1 + 3 * level for level in levels]
    widths = tuple(shapes[f"input_blocks.{first}.0.out_layers.3.weight"][0] for first in firsts)
    depths = [_count(shapes, f"input_blocks.{first}.1.transformer_blocks") for first in firsts]
    attended = next(first for first, depth in zip(firsts, depths, strict=True) if depth)
    attention = f"input_blocks.{attended}.1"
    middle = _count(shapes, "middle_block.1.transformer_blocks")
    down = tuple("CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in depths)
    config: dict[str, Any] = {
        "sample_size": 128 if family == "sdxl" else 64,
        "in_channels": shapes["input_blocks.0.0.weight"][1],
        "out_channels": shapes["out.2.weight"][0],
        "block_out_channels": widths,
        "down_block_types": down,
        "up_block_types": tuple("CrossAttnUpBlock2D" if depth else "UpBlock2D" for depth in reversed(depths)),
        "layers_per_block": 2,
        "cross_attention_dim": shapes[f"{attention}.transformer_blocks.0.attn2.to_k.weight"][1],
        "use_linear_projection": len(shapes[f"{attention}.proj_in.weight"]) == 2,
        "attention_head_dim": 8,
    }
    if family == "sdxl":
        config |= {
            "attention_head_dim": tuple(max(1, width // _HEAD) for width in widths),
            # diffusers takes the middle's depth from the last level.
            "transformer_layers_per_block": (*(depth or 1 for depth in depths[:-1]), middle),
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": shapes["label_emb.0.0.weight"][1],
        }
    return config


def vae_config(shapes: Shapes, family: str) -> dict[str, Any]:
    """For `AutoencoderKL`; names as behind `first_stage_model.`, or as diffusers has them.

    Raises:
        KeyError: a tensor that every VAE has is missing.
    """
    ours = is_diffusers_vae(shapes)
    level, block = ("encoder.down_blocks", "resnets") if ours else ("encoder.down", "block")
    levels = range(_count(shapes, level))
    widths = tuple(shapes[f"{level}.{number}.{block}.0.conv1.weight"][0] for number in levels)
    return {
        "block_out_channels": widths,
        "down_block_types": ("DownEncoderBlock2D",) * len(widths),
        "up_block_types": ("UpDecoderBlock2D",) * len(widths),
        "layers_per_block": _count(shapes, f"{level}.0.{block}"),
        "latent_channels": shapes["decoder.conv_in.weight"][1],
        "sample_size": 1024 if family == "sdxl" else 512,
        "scaling_factor": _LATENT_SCALE[family],
        "force_upcast": family == "sdxl",
    }


def is_diffusers_vae(names: Collection[str]) -> bool:
    """True for the names that diffusers gives a VAE's tensors."""
    return any(name.startswith("encoder.down_blocks.") for name in names)


def clip_config(shapes: Shapes) -> dict[str, Any]:
    """For `CLIPTextModel` as OpenAI published it; names as transformers has them, without `text_model.`.

    Raises:
        KeyError: a tensor is missing.
    """
    words, width = shapes["embeddings.token_embedding.weight"]
    return {
        **_text_config(words, width),
        "intermediate_size": shapes["encoder.layers.0.mlp.fc1.weight"][0],
        "num_hidden_layers": _count(shapes, "encoder.layers"),
        "max_position_embeddings": shapes["embeddings.position_embedding.weight"][0],
        "projection_dim": width,
        "hidden_act": "quick_gelu",
    }


def open_clip_config(shapes: Shapes) -> dict[str, Any]:
    """For `CLIPTextModelWithProjection`; names as OpenCLIP has them, as behind `embedders.1.model.`.

    Raises:
        KeyError: a tensor is missing.
    """
    words, width = shapes["token_embedding.weight"]
    return {
        **_text_config(words, width),
        "intermediate_size": shapes["transformer.resblocks.0.mlp.c_fc.weight"][0],
        "num_hidden_layers": _count(shapes, "transformer.resblocks"),
        "max_position_embeddings": shapes["positional_embedding"][0],
        "projection_dim": shapes["text_projection"][1],
        "hidden_act": "gelu",
    }


def _text_config(words: int, width: int) -> dict[str, Any]:
    # The tokens that start and end a text are the last two of CLIP's vocabulary.
    return {
        "vocab_size": words,
        "hidden_size": width,
        "num_attention_heads": max(1, width // _HEAD),
        "bos_token_id": words - 2,
        "eos_token_id": words - 1,
        "pad_token_id": words - 1,
    }


def _count(names: Collection[str], place: str) -> int:
    """How many numbered members `place` has: `place.0`, `place.1`, …"""
    start = len(place) + 1
    return len({name[start:].partition(".")[0] for name in names if name.startswith(f"{place}.")})
