"""Whole base models of SD 1.x and SDXL with random weights, small enough to be made in a second.

Covered: every block, layer and key of the real families, at widths of 32 to 128: diffusers folders,
and the tokenizer they share. Not covered: single files (see single_files.py) and real sizes (see
full_width.py). The widths keep the families' own rules, so that whatever reads the number of heads
from a width finds what is here: 8 heads in SD 1.x, 64 wide heads in SDXL and in the text encoders.
"""

import json
from pathlib import Path
from typing import Any

WORDS = ("a", "cat", "dog", "red", "blue", "photo", "of", "sks", "tree", "house", ",")
"""Words that are one token each; all others are spelled in letters."""
END = "<|endoftext|>"
_SCHEDULE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


def tiny_sd1(folder: Path, **scheduler: Any) -> Path:
    """A Stable Diffusion 1.x folder; `scheduler` goes over the settings of its schedule."""
    import torch

    torch.manual_seed(0)
    tokenizer(folder / "tokenizer")
    sd1_unet().save_pretrained(folder / "unet")
    tiny_vae().save_pretrained(folder / "vae")
    text_encoder(folder / "tokenizer", 64).save_pretrained(folder / "text_encoder")
    _scheduler(folder, scheduler)
    parts = {
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "feature_extractor": [None, None],
        "safety_checker": [None, None],
        "requires_safety_checker": False,
    }
    return _index(folder, "StableDiffusionPipeline", parts)


def tiny_sdxl(folder: Path, **scheduler: Any) -> Path:
    """A Stable Diffusion XL folder with both text encoders."""
    import torch

    torch.manual_seed(0)
    tokenizer(folder / "tokenizer")
    tokenizer(folder / "tokenizer_2", pad_token="!")
    sdxl_unet().save_pretrained(folder / "unet")
    tiny_vae(scaling_factor=0.13025).save_pretrained(folder / "vae")
    text_encoder(folder / "tokenizer", 64).save_pretrained(folder / "text_encoder")
    text_encoder(folder / "tokenizer_2", 128, projected=True).save_pretrained(folder / "text_encoder_2")
    _scheduler(folder, scheduler)
    parts = {
        "text_encoder": ["transformers", "CLIPTextModel"],
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "tokenizer_2": ["transformers", "CLIPTokenizer"],
        "force_zeros_for_empty_prompt": True,
    }
    return _index(folder, "StableDiffusionXLPipeline", parts)


def sd1_unet(widths: tuple[int, ...] = (32, 64, 64, 64), text_width: int = 64) -> Any:
    """All blocks of SD 1.x; its real widths are 320, 640, 1280, 1280 and 768 for text."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=64,
        block_out_channels=widths,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        attention_head_dim=8,
        cross_attention_dim=text_width,
    )


def sdxl_unet(
    widths: tuple[int, ...] = (32, 64, 128),
    text_width: int = 192,
    pooled: int = 128,
    depths: tuple[int, ...] = (1, 1, 2),
) -> Any:
    """All blocks of SDXL; its real widths are 320, 640, 1280, text 2048, pooled 1280, depths 1, 2, 10."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=128,
        block_out_channels=widths,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=depths,
        attention_head_dim=tuple(max(1, width // 64) for width in widths),
        use_linear_projection=True,
        cross_attention_dim=text_width,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=6 * 256 + pooled,
    )


def tiny_vae(scaling_factor: float = 0.18215) -> Any:
    """All blocks of the families' VAE: a picture is halved three times."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(32, 32, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        sample_size=512,
        scaling_factor=scaling_factor,
    )


def text_encoder(tokenizer_folder: Path, width: int, *, layers: int = 3, projected: bool = False) -> Any:
    """CLIP's text encoder with heads 64 wide; `projected` gives OpenCLIP's activation and a projection."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    size = len(json.loads((tokenizer_folder / "vocab.json").read_text("utf-8")))
    config = CLIPTextConfig(
        vocab_size=size,
        hidden_size=width,
        intermediate_size=width * 4,
        projection_dim=width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        hidden_act="gelu" if projected else "quick_gelu",
        bos_token_id=size - 2,
        eos_token_id=size - 1,
        pad_token_id=0 if projected else size - 1,
    )
    return CLIPTextModelWithProjection(config) if projected else CLIPTextModel(config)


def tokenizer(folder: Path, pad_token: str = END) -> None:
    """CLIP's byte-pair form: every letter, every letter that ends a word, and the `WORDS`."""
    folder.mkdir(parents=True)
    letters = [chr(code) for code in (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))]
    letters += [chr(256 + number) for number in range(256 - len(letters))]
    tokens = letters + [letter + "</w>" for letter in letters]
    merges = []
    for word in WORDS:
        pieces = [*word[:-1], word[-1] + "</w>"]
        while len(pieces) > 1:
            pair = (pieces[0], pieces[1])
            pieces[:2] = ["".join(pair)]
            if pieces[0] not in tokens:
                tokens.append(pieces[0])
                merges.append(" ".join(pair))
    tokens += ["<|startoftext|>", END]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": 77,
        "bos_token": "<|startoftext|>",
        "eos_token": END,
        "pad_token": pad_token,
        "unk_token": END,
    }
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), "utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", "utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")


def _scheduler(folder: Path, changes: dict[str, Any]) -> None:
    from diffusers import DDIMScheduler

    DDIMScheduler(**{**_SCHEDULE, **changes}).save_pretrained(folder / "scheduler")


def _index(folder: Path, pipeline: str, parts: dict[str, Any]) -> Path:
    shared = {
        "scheduler": ["diffusers", "DDIMScheduler"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    index = {"_class_name": pipeline, "_diffusers_version": "0.42.1", **shared, **parts}
    (folder / "model_index.json").write_text(json.dumps(index), "utf-8")
    return folder
