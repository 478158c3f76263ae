"""What is wrong with a run's base model, told before anything heavy is loaded.

Covered: the model, its VAE and its tokenizer, judged by small files and the headers of large ones;
loads no torch. Not covered: what a base model is (see `lora_core.models`), reading weights (see
`model.py`).
"""

from lora_core.errors import ModelError, Problem
from lora_core.models import BaseModel, inspect_base, tokenizer_folder, vae_place
from lora_core.settings import ModelSettings


def base_problems(model: ModelSettings) -> list[Problem]:
    """Why the built-in trainer cannot use this base model; empty when it can."""
    found: list[Problem] = []
    base = None
    try:
        base = inspect_base(model.pretrained_model_name_or_path)
    except ModelError as error:
        found.append(_problem("pretrained_model_name_or_path", error))
    try:
        if model.vae is not None:
            vae_place(model.vae)
        elif base is not None and not base.has_vae:
            found.append(
                Problem(
                    setting="vae",
                    what=f"The base model {base.name} has no VAE.",
                    fix="Name a VAE of its family in the setting vae.",
                )
            )
    except ModelError as error:
        found.append(_problem("vae", error))
    return [*found, *_tokenizer(model, base)]


def _tokenizer(model: ModelSettings, base: BaseModel | None) -> list[Problem]:
    try:
        if base is not None and base.is_file:
            tokenizer_folder(base.path, model.tokenizer_cache_dir)
    except ModelError as error:
        return [_problem("tokenizer_cache_dir", error)]
    return []


def _problem(setting: str, error: ModelError) -> Problem:
    return Problem(setting=setting, what=f"{error.what} {error.why}", fix=error.fix)
