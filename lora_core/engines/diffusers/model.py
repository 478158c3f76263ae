"""The base model: its networks, loaded from a diffusers folder, a hub's cache or a single file.

Covered: Stable Diffusion 1.x and SDXL from local files and safetensors only, a separate VAE, the
number types of the frozen weights, and what the model predicts. Not covered: what a caption means to
it (see `text.py`), which models are refused before this (see `lora_core.models`), downloads.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from diffusers.utils import logging as diffusers_logging
from safetensors import SafetensorError
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from lora_core.engines.diffusers import single_file
from lora_core.engines.diffusers.architecture import SCHEDULE
from lora_core.errors import ModelError
from lora_core.models import BaseModel as FoundModel
from lora_core.models import inspect_base, tokenizer_folder, vae_place
from lora_core.models.hub import HALF
from lora_core.settings import ModelSettings, PrecisionSettings

Family = Literal["sd1", "sdxl"]

_FAMILIES: Final[Mapping[str, Family]] = {"sd15": "sd1", "sdxl": "sdxl"}
_HALF: Final = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_LOAD_ERRORS: Final = (
    OSError, SafetensorError, ValueError, LookupError, TypeError, ArithmeticError, RuntimeError, StopIteration
)  # fmt: skip
"""What diffusers and transformers were seen to raise over missing, cut off and foreign files."""
_ALIGNMENT: Final = 64
"""Bytes; torch's own tensors start at multiples of it."""
_TOKENS: Final = 77
_SDXL_PAD: Final = "!"
"""OpenCLIP fills a short text with token 0, CLIP with its end token."""


@dataclass(frozen=True, slots=True)
class BaseModel:
    """The frozen parts. diffusers and transformers ship no types, so they are Any."""

    family: Family
    unet: Any
    vae: Any
    text_encoders: tuple[Any, ...]
    """CLIP; for SDXL also OpenCLIP with its projection."""
    tokenizers: tuple[Any, ...]
    """One for each text encoder."""
    scheduler: Any
    """Noise levels of the base's own schedule, as a diffusers DDPMScheduler. Its `prediction_type` and
    `rescale_betas_zero_snr` are those of the run: the model's own marks, or the setting."""


def load_base(
    model: ModelSettings, precision: PrecisionSettings, *, text_dtype: torch.dtype = torch.float32
) -> BaseModel:
    """The parts of the base model, frozen, on the CPU.

    Frozen weights need no master copy in float32: the UNet has the type that the run computes in. The
    VAE has it too unless `no_half_vae`; SDXL's own VAE is known to overflow in fp16.

    Raises:
        ModelError: a part is missing, damaged or of another kind.
    """
    # Their bars and hints are for notebooks; here they would fill the run's log.
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    found = inspect_base(model.pretrained_model_name_or_path)
    half = _HALF[precision.mixed_precision]
    vae_dtype = torch.float32 if model.no_half_vae else half
    try:
        load = _from_file if found.is_file else _from_folder
        base = load(found, model, half, vae_dtype, text_dtype)
    except _LOAD_ERRORS as error:
        raise ModelError(
            f"The base model {found.name} was not loaded.",
            why=f"{_first_sentence(error)}.",
            fix="Use a whole model of Stable Diffusion 1.x or SDXL whose weights are .safetensors files.",
        ) from error
    for network in (base.unet, base.vae, *base.text_encoders):
        network.requires_grad_(False).eval()
        _align(network)
    _check_words(found, base)
    return base


def _from_folder(
    found: FoundModel,
    model: ModelSettings,
    half: torch.dtype,
    vae_dtype: torch.dtype,
    text_dtype: torch.dtype,
) -> BaseModel:
    folder, family = found.path, _FAMILIES[found.family]
    encoders: list[Any] = [_part(CLIPTextModel, folder, "text_encoder", dtype=text_dtype)]
    tokenizers = [_tokenizer(folder / "tokenizer")]
    if family == "sdxl":
        encoders.append(_part(CLIPTextModelWithProjection, folder, "text_encoder_2", dtype=text_dtype))
        tokenizers.append(_tokenizer(folder / "tokenizer_2"))
    schedule: Any = DDPMScheduler
    return BaseModel(
        family=family,
        unet=_part(UNet2DConditionModel, folder, "unet", torch_dtype=half),
        vae=_vae(model, family, vae_dtype) or _part(AutoencoderKL, folder, "vae", torch_dtype=vae_dtype),
        text_encoders=tuple(encoders),
        tokenizers=tuple(tokenizers),
        scheduler=_scheduler(
            schedule.load_config(folder, subfolder="scheduler", local_files_only=True), found, model
        ),
    )


def _from_file(
    found: FoundModel,
    model: ModelSettings,
    half: torch.dtype,
    vae_dtype: torch.dtype,
    text_dtype: torch.dtype,
) -> BaseModel:
    path, family = found.path, _FAMILIES[found.family]
    words = tokenizer_folder(path, model.tokenizer_cache_dir)
    tokenizers = [_tokenizer(words)]
    if family == "sdxl":
        tokenizers.append(_tokenizer(words, pad_token=_SDXL_PAD))
    return BaseModel(
        family=family,
        unet=single_file.unet_from(path, family, half),
        vae=_vae(model, family, vae_dtype) or single_file.vae_from(path, family, vae_dtype),
        text_encoders=single_file.text_encoders_from(path, family, text_dtype),
        tokenizers=tuple(tokenizers),
        scheduler=_scheduler(SCHEDULE, found, model),
    )


def _part(kind: Any, folder: Path, part: str | None, **options: Any) -> Any:
    names = [file.name for file in (folder / (part or "")).glob("*.safetensors")]
    if names and all(HALF in name for name in names):
        options["variant"] = HALF.strip(".")
    # A pickle is never run, and nothing is fetched.
    network, report = kind.from_pretrained(
        folder,
        subfolder=part or "",
        local_files_only=True,
        use_safetensors=True,
        output_loading_info=True,
        **options,
    )
    # The libraries fill gaps with random weights and only log it.
    if missing := sorted(report["missing_keys"]):
        raise ModelError(
            f"The base model {folder.name} was not loaded.",
            why=f"{len(missing)} of the weights of its {part or 'VAE'} are missing, {missing[0]} for one.",
            fix="Copy or download the whole folder again.",
        )
    return network


def _vae(model: ModelSettings, family: Family, dtype: torch.dtype) -> Any:
    """The separate VAE of the settings; None when there is none."""
    if model.vae is None:
        return None
    place = vae_place(model.vae)
    if place.is_file():
        return single_file.vae_from(place, family, dtype)
    return _part(AutoencoderKL, place, None, torch_dtype=dtype)


def _tokenizer(folder: Path, **options: Any) -> Any:
    tokenizer: Any = CLIPTokenizer
    try:
        # Its notes may say another length, or none: the text encoders of both families read 77 tokens.
        return tokenizer.from_pretrained(folder, local_files_only=True, model_max_length=_TOKENS, **options)
    except Exception as error:  # the library raises no narrower one over a damaged vocabulary
        raise ModelError(
            f"The tokenizer in {folder} was not loaded.",
            why=f"{_first_sentence(error)}.",
            fix="Copy or download the whole folder again.",
        ) from error


def _scheduler(config: Mapping[str, Any], found: FoundModel, model: ModelSettings) -> Any:
    scheduler: Any = DDPMScheduler
    return scheduler.from_config(
        config,
        prediction_type="v_prediction" if found.predicts_v or model.v_parameterization else "epsilon",
        rescale_betas_zero_snr=found.zero_terminal_snr or model.zero_terminal_snr,
    )


def _align(network: Any) -> None:
    """Give each weight a place of its own in memory where it still lies in its file.

    The place in a file decides which instructions the processor takes, and so the last bits: the same
    weights from a folder and from a single file gave answers that differed.
    """
    for weight in network.parameters():
        if weight.data_ptr() % _ALIGNMENT:
            weight.data = weight.data.clone()


def _check_words(found: FoundModel, base: BaseModel) -> None:
    for tokenizer, encoder in zip(base.tokenizers, base.text_encoders, strict=True):
        if len(tokenizer) > encoder.config.vocab_size:
            raise ModelError(
                f"The base model {found.name} was not loaded.",
                why=f"Its tokenizer knows {len(tokenizer)} tokens, and its text encoder "
                f"{encoder.config.vocab_size}: they do not belong together.",
                fix="Let tokenizer_cache_dir name the folder of the model's own tokenizer.",
            )


def _first_sentence(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text.split(". ")[0][:300].rstrip(".")
