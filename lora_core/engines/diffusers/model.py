"""The base model: its networks, loaded from a diffusers folder, and what a caption means to it.

Covered: Stable Diffusion 1.x from local files only, in float32, from safetensors only; captions
turned into text embeddings. Not covered: single files, SDXL's second text encoder, long prompts.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from diffusers.utils import logging as diffusers_logging
from safetensors import SafetensorError
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from lora_core.errors import ModelError

_LOAD_ERRORS: Final = (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError)
"""What diffusers and transformers were seen to raise over missing, cut off and foreign files."""
_CACHED_TEXT_MIB: Final = 256
_CLASSES: Final[dict[str, Any]] = {
    "unet": UNet2DConditionModel,
    "vae": AutoencoderKL,
    "text_encoder": CLIPTextModel,
    "tokenizer": CLIPTokenizer,
    "scheduler": DDPMScheduler,
}
_WITH_WEIGHTS: Final = ("unet", "vae", "text_encoder")


@dataclass(frozen=True, slots=True)
class BaseModel:
    """The frozen parts. diffusers and transformers ship no types, so they are Any."""

    unet: Any
    vae: Any
    text_encoder: Any
    tokenizer: Any
    scheduler: Any
    """Noise levels of the base's own schedule, as a diffusers DDPMScheduler."""


def load_base(folder: Path, unet_dtype: torch.dtype = torch.float32) -> BaseModel:
    """The parts of the base model in `folder`, frozen, on the CPU; all but the UNet in float32.

    Raises:
        ModelError: a part is missing, damaged or of another kind.
    """
    # Their bars and hints are for notebooks; here they would fill the run's log.
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    try:
        base = BaseModel(
            unet=_load(folder, "unet", torch_dtype=unet_dtype),
            vae=_load(folder, "vae", torch_dtype=torch.float32),
            text_encoder=_load(folder, "text_encoder", dtype=torch.float32),
            tokenizer=_load(folder, "tokenizer"),
            scheduler=_load(folder, "scheduler"),
        )
    except _LOAD_ERRORS as error:
        raise ModelError(
            f"The base model {folder.name} was not loaded.",
            why=f"{_first_sentence(error)}.",
            fix="Use a whole Stable Diffusion 1.x folder whose weights are .safetensors files.",
        ) from error
    for network in (base.unet, base.vae, base.text_encoder):
        network.requires_grad_(False).eval()
    return base


def _load(folder: Path, part: str, **options: Any) -> Any:
    if part in _WITH_WEIGHTS:
        options["use_safetensors"] = True  # a pickle is never run
    return _CLASSES[part].from_pretrained(folder, subfolder=part, local_files_only=True, **options)


def _first_sentence(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text.split(". ")[0][:300].rstrip(".")


class TextEmbeddings:
    """Captions as the text encoder's last hidden states, each encoded once while it is remembered."""

    def __init__(self, base: BaseModel, device: torch.device) -> None:
        self._tokenizer, self._encoder, self._device = base.tokenizer, base.text_encoder, device
        self._length = min(base.tokenizer.model_max_length, base.text_encoder.config.max_position_embeddings)
        bytes_each = self._length * base.text_encoder.config.hidden_size * 4
        remember = lru_cache(maxsize=max(64, _CACHED_TEXT_MIB * 2**20 // bytes_each))
        self._remembered = remember(self._encode)

    def __call__(self, captions: list[str]) -> Tensor:
        """(captions, tokens, width) on the training device."""
        return torch.stack([self._remembered(caption) for caption in captions])

    @torch.no_grad()
    def _encode(self, caption: str) -> Tensor:
        # One caption at a time: in a batch the last bits would depend on its neighbours, and so on
        # which captions happen to be remembered, and a resumed run would differ.
        tokens = self._tokenizer(
            caption, padding="max_length", truncation=True, max_length=self._length, return_tensors="pt"
        )
        hidden: Tensor = self._encoder(tokens.input_ids.to(self._device))[0]
        return hidden[0]
