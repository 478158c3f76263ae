"""Writes a diffusers folder as one `.safetensors` file in the layout of the original code.

Covered: Stable Diffusion 1.x and SDXL with all their parts, and a VAE alone. The names are written
out here on their own, not taken from the conversion that is tested.
"""

import re
from pathlib import Path
from typing import Any

_UNET_ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
}
_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
_OPEN_CLIP = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}


def single_file(folder: Path, path: Path, **marks: Any) -> Path:
    """The model in `folder` as the file `path`; `marks` are further tensors, such as `v_pred`."""
    import torch
    from safetensors.torch import save_file

    tensors = {f"model.diffusion_model.{name}": value for name, value in _unet(folder).items()}
    tensors |= {f"first_stage_model.{name}": value for name, value in vae_tensors(folder / "vae").items()}
    text = _weights(folder / "text_encoder")
    if (folder / "text_encoder_2").is_dir():
        first, second = "conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."
        text2 = _open_clip(_weights(folder / "text_encoder_2"))
        tensors |= {second + name: value for name, value in text2.items()}
    else:
        first = "cond_stage_model.transformer."
    tensors |= {f"{first}text_model.{name}": value for name, value in text.items()}
    tensors[f"{first}text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_file({name: value.contiguous() for name, value in {**tensors, **marks}.items()}, path)
    return path


def vae_tensors(folder: Path) -> dict[str, Any]:
    """The VAE in `folder` under its original names."""
    found = _weights(folder)
    blocks = 1 + max(int(name.split(".")[2]) for name in found if name.startswith("encoder.down_blocks."))
    renamed = {}
    for name, value in found.items():
        new = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
        new = re.sub(r"down_blocks\.(\d+)\.resnets\.", r"down.\1.block.", new)
        new = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", new)
        new = re.sub(r"up_blocks\.(\d+)", lambda match: f"up.{blocks - 1 - int(match[1])}", new)
        new = new.replace(".resnets.", ".block.") if "mid_block" not in new else new
        new = new.replace("upsamplers.0", "upsample")
        new = re.sub(r"mid_block\.resnets\.(\d)", lambda match: f"mid.block_{int(match[1]) + 1}", new)
        if "mid_block.attentions.0" in new:
            new = new.replace("mid_block.attentions.0", "mid.attn_1")
            for ours, theirs in _VAE_ATTENTION.items():
                new = new.replace(f".{ours}.", f".{theirs}.")
        convolution = "attentions" in name and value.ndim == 2
        renamed[new] = value[:, :, None, None] if convolution else value
    return renamed


def _unet(folder: Path) -> dict[str, Any]:
    found = _weights(folder / "unet")
    return {_unet_name(name, found): value for name, value in found.items()}


def _unet_name(name: str, names: Any) -> str:
    for ours, theirs in _UNET_ENDS.items():
        if name.startswith(f"{ours}."):
            return _with_resnet(theirs + name.removeprefix(ours))
    side, block, kind, layer, rest = re.match(r"(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.*)", name).groups()
    block, layer = int(block), int(layer)
    if side == "down":
        place = 1 + 3 * block + (2 if kind == "downsamplers" else layer)
        return _with_resnet(
            f"input_blocks.{place}."
            + {"resnets": f"0.{rest}", "attentions": f"1.{rest}"}.get(kind, f"0.{rest.replace('conv', 'op')}")
        )
    place = 3 * block + (2 if kind == "upsamplers" else layer)
    attends = any(each.startswith(f"up_blocks.{block}.attentions") for each in names)
    inside = {"resnets": "0", "attentions": "1"}.get(kind, "2" if attends else "1")
    return _with_resnet(f"output_blocks.{place}.{inside}.{rest}")


def _with_resnet(name: str) -> str:
    for ours, theirs in _RESNET.items():
        if re.fullmatch(rf"(input_blocks|output_blocks)\.\d+\.0\.{ours}\.\w+", name) or re.fullmatch(
            rf"middle_block\.[02]\.{ours}\.\w+", name
        ):
            return name.replace(f".{ours}.", f".{theirs}.")
    return name


def _open_clip(found: dict[str, Any]) -> dict[str, Any]:
    import torch

    renamed = {
        "token_embedding.weight": found["text_model.embeddings.token_embedding.weight"],
        "positional_embedding": found["text_model.embeddings.position_embedding.weight"],
        "ln_final.weight": found["text_model.final_layer_norm.weight"],
        "ln_final.bias": found["text_model.final_layer_norm.bias"],
        "text_projection": found["text_projection.weight"].T,
        "logit_scale": torch.tensor(4.6),
    }
    for name, value in found.items():
        if match := re.match(r"text_model\.encoder\.layers\.(\d+)\.(.*)\.(weight|bias)", name):
            layer, part, kind = match.groups()
            start = f"transformer.resblocks.{layer}"
            if part.endswith(("q_proj", "k_proj", "v_proj")):
                packed = [found[name.replace(part, f"self_attn.{each}_proj")] for each in "qkv"]
                renamed[f"{start}.attn.in_proj_{kind}"] = torch.cat(packed)
            else:
                renamed[f"{start}.{_OPEN_CLIP[part]}.{kind}"] = value
    return renamed


def _weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    (file,) = folder.glob("*.safetensors")
    return load_file(file)
