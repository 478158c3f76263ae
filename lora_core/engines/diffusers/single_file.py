"""Networks from a single `.safetensors` file in the layout of the original code.

diffusers' own conversion turns the names; sizes come from `architecture.py`, so nothing is looked up
on a hub. Every weight that a network has must be in the file: a gap is an error that names it.

Covered: the UNet, the VAE and the text encoders of Stable Diffusion 1.x and SDXL, and a VAE in a
file of its own. Not covered: which family a file is (see `lora_core.models`), LoRA files.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)
from safetensors import safe_open
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from lora_core.engines.diffusers import architecture
from lora_core.errors import ModelError

Weights = dict[str, Tensor]
_UNET: Final = "model.diffusion_model."
_VAE: Final = "first_stage_model."
_CLIP: Final = {"sd1": "cond_stage_model.transformer.", "sdxl": "conditioner.embedders.0.transformer."}
_OPEN_CLIP: Final = "conditioner.embedders.1.model."


def unet_from(path: Path, family: str, dtype: torch.dtype) -> Any:
    """The UNet in `path`.

    Raises:
        ModelError: weights are missing or of other shapes.
    """
    found = _read(path, _UNET)
    with _told(path):
        config = architecture.unet_config(_shapes(found), family)
        with init_empty_weights():
            unet: Any = UNet2DConditionModel.from_config(config)
        # diffusers' conversion expects the prefix.
        converted = convert_ldm_unet_checkpoint(
            {_UNET + name: value for name, value in found.items()}, config
        )
    return _filled(path, unet, converted, dtype)


def vae_from(path: Path, family: str, dtype: torch.dtype) -> Any:
    """The VAE in `path`: a whole model's, or a file of its own in either layout.

    Raises:
        ModelError: weights are missing or of other shapes.
    """
    found = _read(path, _VAE) or {
        name: value for name, value in _read(path, "").items() if not name.startswith("loss.")
    }
    with _told(path):
        config = architecture.vae_config(_shapes(found), family)
        with init_empty_weights():
            vae: Any = AutoencoderKL.from_config(config)
        if not architecture.is_diffusers_vae(found):
            found = convert_ldm_vae_checkpoint(found, config)
    return _filled(path, vae, found, dtype)


def text_encoders_from(path: Path, family: str, dtype: torch.dtype) -> tuple[Any, ...]:
    """The text encoders in `path`: CLIP, and for SDXL OpenCLIP after it.

    Raises:
        ModelError: weights are missing or of other shapes.
    """
    # The oldest files lack `text_model.`, and so does transformers' own class by now.
    found = {name.removeprefix("text_model."): value for name, value in _read(path, _CLIP[family]).items()}
    with _told(path), init_empty_weights():
        first: Any = CLIPTextModel(CLIPTextConfig(**architecture.clip_config(_shapes(found))))
    filled = _filled(path, first, found, dtype)
    if family == "sd1":
        return (filled,)
    found = _read(path, _OPEN_CLIP)
    with _told(path):
        with init_empty_weights():
            second: Any = CLIPTextModelWithProjection(
                CLIPTextConfig(**architecture.open_clip_config(_shapes(found)))
            )
        converted = convert_open_clip_checkpoint(second, found, prefix="")
    return filled, _filled(path, second, converted, dtype)


def _read(path: Path, prefix: str) -> Weights:
    """The tensors whose names start with `prefix`, without it; on disk until they are used."""
    with safe_open(path, framework="pt") as file:
        names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118 - it is no dict
        return {name.removeprefix(prefix): file.get_tensor(name) for name in names}


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Say which weight is missing, or that sizes make no network, where a network is laid out."""
    try:
        yield
    except KeyError as error:
        raise _not_loaded(path, f"Its weight {error.args[0]} is missing.") from error
    except (IndexError, ArithmeticError, StopIteration, TypeError, ValueError) as error:
        raise _not_loaded(path, "The sizes of its weights make no network of its family.") from error


def _not_loaded(path: Path, why: str) -> ModelError:
    return ModelError(
        f"The base model {path.name} was not loaded.",
        why=why,
        fix="Choose a whole model of Stable Diffusion 1.x or SDXL that no tool has cut down.",
    )


def _shapes(weights: Weights) -> architecture.Shapes:
    return {name: tuple(value.shape) for name, value in weights.items()}


def _filled(path: Path, network: Any, weights: Weights, dtype: torch.dtype) -> Any:
    """`network`, made without weights, with those of the file."""
    wanted = network.state_dict()
    wrong = sorted(
        name for name, empty in wanted.items() if name not in weights or weights[name].shape != empty.shape
    )
    if wrong:
        raise _not_loaded(
            path,
            f"{len(wrong)} of the weights of its {type(network).__name__} are missing or have other "
            f"sizes, {wrong[0]} for one.",
        )
    # Copies: weights left in the file would change with it, and lie where the processor reads slowly.
    network.load_state_dict({name: weights[name].to(dtype, copy=True) for name in wanted}, assign=True)
    return network
