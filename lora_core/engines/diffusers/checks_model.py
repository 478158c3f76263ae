"""What is wrong with a run's base model and with how it reads captions, before anything is loaded.

Covered: the model, its VAE and its tokenizer, judged by small files and the headers of large ones;
text settings that shut each other out, as in sd-scripts. Loads no torch. Not covered: what a base
model is (see `lora_core.models`), reading weights (see `model.py`).
"""

from collections.abc import Iterator
from typing import Final

from lora_core.errors import ModelError, Problem
from lora_core.models import BaseModel, inspect_base, tokenizer_folder, vae_place
from lora_core.settings import ModelSettings, RunConfig, setting

_CHANGE_CAPTIONS: Final = (
    "shuffle_caption",
    "enable_wildcard",
    "caption_tag_dropout_rate",
    "token_warmup_step",
)
_READ_EACH_TIME: Final = {"cache_text_encoder_outputs": False, "cache_text_encoder_outputs_to_disk": False}


def model_problems(run: RunConfig) -> list[Problem]:
    """Why the built-in trainer cannot use this base model, or cannot read captions with it so."""
    found: list[Problem] = []
    base = None
    try:
        base = inspect_base(run.model.pretrained_model_name_or_path)
    except ModelError as error:
        found.append(_problem("pretrained_model_name_or_path", error))
    return [*found, *_vae(run.model, base), *_tokenizer(run.model, base), *_texts(run, base)]


def _vae(model: ModelSettings, base: BaseModel | None) -> Iterator[Problem]:
    try:
        if model.vae is not None:
            vae_place(model.vae, base)
        elif base is not None and not base.has_vae:
            what = f"The base model {base.name} has no VAE."
            yield Problem(setting="vae", what=what, fix="Name a VAE of its family in the setting vae.")
    except ModelError as error:
        yield _problem("vae", error)


def _tokenizer(model: ModelSettings, base: BaseModel | None) -> Iterator[Problem]:
    try:
        if base is not None and base.is_file:
            tokenizer_folder(base.path, model.tokenizer_cache_dir)
    except ModelError as error:
        yield _problem("tokenizer_cache_dir", error)


def _texts(run: RunConfig, base: BaseModel | None) -> Iterator[Problem]:
    if base is not None and base.family == "sdxl" and run.text.clip_skip is not None:
        yield Problem(
            setting="clip_skip",
            what="SDXL always uses the same layers of its text encoders, so clip skip changes nothing.",
            fix="Leave clip_skip out.",
            severity="advice",
            mend={"clip_skip": None},
            mend_label="Leave clip_skip out",
        )
    if not run.text.cache_text_encoder_outputs:
        return
    if not run.network.network_train_unet_only:
        yield Problem(
            setting="cache_text_encoder_outputs",
            what="The text encoders are trained, so what they say changes and cannot be kept.",
            fix="Turn off cache_text_encoder_outputs, or turn on network_train_unet_only.",
            mend=_READ_EACH_TIME,
            mend_label="Read captions at each use",
        )
    for key in _CHANGE_CAPTIONS:
        if any(getattr(subset, key) for dataset in run.dataset.datasets for subset in dataset.subsets):
            yield Problem(
                setting=key,
                what="It changes captions at each use, and cache_text_encoder_outputs reads them only once.",
                fix=f"Turn off {key}, or turn off cache_text_encoder_outputs.",
                mend={key: setting(key).default},
                mend_label=f"Turn off {key}",
            )


def _problem(key: str, error: ModelError) -> Problem:
    return Problem(setting=key, what=f"{error.what} {error.why}", fix=error.fix)
