"""What the tests of networks share: base models without a VAE, and what they answer.

Not covered: whole folders (see tiny_models.py) and runs (see trainer_rig.py).
"""

import importlib
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tiny_models import sd1_unet, sdxl_unet
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from lora_core.engines.diffusers.network import Network
from lora_core.settings import NetworkSettings

LYCORIS = {"network_module": "lycoris.kohya"}
BOTH = pytest.mark.parametrize("family", ["sd1", "sdxl"])


@dataclass(frozen=True)
class Parts:
    """A base model as far as a network sees it."""

    family: str
    unet: Any
    text_encoders: tuple[Any, ...]


def encoder(width: int, layers: int, *, projected: bool = False) -> Any:
    config = CLIPTextConfig(
        vocab_size=100,
        hidden_size=width,
        intermediate_size=width * 2,
        projection_dim=width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        bos_token_id=98,
        eos_token_id=99,
    )
    return CLIPTextModelWithProjection(config) if projected else CLIPTextModel(config)


def tiny(family: str) -> Parts:
    """Every kind of block of the family, few of each; the same weights each time."""
    from diffusers import UNet2DConditionModel

    torch.manual_seed(5)
    small: dict[str, Any] = {"block_out_channels": (32, 64), "layers_per_block": 1, "norm_num_groups": 8}
    if family == "sd1":
        unet = UNet2DConditionModel(
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            attention_head_dim=4,
            cross_attention_dim=64,
            **small,
        )
        return Parts(family, unet.eval(), (encoder(64, 1).eval(),))
    unet = UNet2DConditionModel(
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2),
        attention_head_dim=(1, 1),
        use_linear_projection=True,
        cross_attention_dim=192,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=6 * 256 + 128,
        **small,
    )
    return Parts(family, unet.eval(), (encoder(64, 1).eval(), encoder(128, 1, projected=True).eval()))


def whole(family: str) -> Parts:
    """Every block of the family at small widths."""
    torch.manual_seed(5)
    if family == "sd1":
        return Parts(family, sd1_unet((32, 32, 64, 64)), (encoder(64, 1),))
    unet = sdxl_unet((32, 64, 64), text_width=192, pooled=128, depths=(1, 1, 1))
    return Parts(family, unet, (encoder(64, 1), encoder(128, 1, projected=True)))


def full(family: str) -> Parts:
    """The architecture in its real size, without weights."""
    with torch.device("meta"):
        if family == "sd1":
            return Parts(family, sd1_unet((320, 640, 1280, 1280), 768), (encoder(768, 12),))
        unet = sdxl_unet((320, 640, 1280), text_width=2048, pooled=1280, depths=(1, 2, 10))
        return Parts(family, unet, (encoder(768, 12), encoder(1280, 32, projected=True)))


def network(base: Parts, seed: int = 1, **settings: Any) -> Network:
    return Network(base, NetworkSettings(**{"network_dim": 2, "network_alpha": 1.0, **settings}), seed)


def keys(tensors: Mapping[str, Tensor]) -> set[str]:
    return {name.partition(".")[0] for name in tensors}


def shaken(tensors: Mapping[str, Tensor], strength: float = 0.05) -> dict[str, Tensor]:
    """Weights as if they were trained: every number moved, alphas and DoRA's sizes kept in reach."""
    generator = torch.Generator().manual_seed(9)
    return {
        name: tensor
        if name.endswith(".alpha")
        else tensor + strength * torch.randn(tensor.shape, generator=generator)
        for name, tensor in tensors.items()
    }


def trained(base: Parts, **settings: Any) -> Network:
    """A network whose layers all do something."""
    made = network(base, **settings)
    made.load(shaken(made.tensors()))
    return made


def file_of(made: Network, folder: Path, name: str = "lora.safetensors") -> Path:
    path = folder / name
    save_file(made.tensors(), path)
    return path


@torch.no_grad()
def answers(base: Parts, size: int = 8) -> list[Tensor]:
    """What the UNet and the text encoders say to the same questions."""
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(2, 4, size, size, generator=generator)
    words = torch.randn(2, 7, base.unet.config.cross_attention_dim, generator=generator)
    more = None
    if base.family == "sdxl":
        pooled = torch.randn(2, 128, generator=generator)
        more = {"text_embeds": pooled, "time_ids": torch.tensor([[64.0, 64, 0, 0, 64, 64]] * 2)}
    said = [base.unet(latents, torch.tensor([500, 20]), words, added_cond_kwargs=more).sample]
    ids = torch.tensor([[98, 1, 2, 99, 99], [98, 3, 4, 5, 99]])
    return said + [
        encoder(ids, output_hidden_states=True).hidden_states[-1] for encoder in base.text_encoders
    ]


def assert_same(first: list[Tensor], second: list[Tensor], **within: float) -> None:
    for one, other in zip(first, second, strict=True):
        torch.testing.assert_close(one, other, **within)


def differ(first: list[Tensor], second: list[Tensor]) -> list[float]:
    return [float((one - other).abs().max()) for one, other in zip(first, second, strict=True)]


@contextmanager
def sd_scripts() -> Iterator[ModuleType]:
    """`networks.lora` of the checkout that LORA_SD_SCRIPTS names, without what it does not need here."""
    checkout = os.environ["LORA_SD_SCRIPTS"]
    utilities = ModuleType("library.utils")
    utilities.setup_logging = lambda *_args, **_options: None  # type: ignore[attr-defined]  # made here
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.syspath_prepend(checkout)
        patch.setitem(sys.modules, "library.utils", utilities)
        try:
            yield importlib.import_module("networks.lora")
        finally:
            for name in [n for n in sys.modules if n.partition(".")[0] in {"library", "networks"}]:
                del sys.modules[name]
