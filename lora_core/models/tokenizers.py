"""Where the tokenizer of a base model lies, when the model brings none: single files never do.

Looked through in this order: the folder that `tokenizer_cache_dir` names (also in sd-scripts' layout),
the folders beside the model (so the workspace's `models/text_encoders`), other models beside it, the
hub's cache. Both families read words with one vocabulary, OpenAI's CLIP: any of their models will do.

Covered: finding the folder. Not covered: reading it (see the engine's `model.py`), downloads (see
`hub.py`). Loads no torch.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from lora_core.errors import ModelError
from lora_core.models.hub import TOKENIZER_FILES, cached_file

CLIP: Final = "openai/clip-vit-large-patch14"
_ON_THE_HUB: Final = (
    # (repository, folder in it) that hold CLIP's vocabulary
    (CLIP, ""),
    ("stable-diffusion-v1-5/stable-diffusion-v1-5", "tokenizer/"),
    ("stabilityai/stable-diffusion-xl-base-1.0", "tokenizer/"),
    ("runwayml/stable-diffusion-v1-5", "tokenizer/"),
    ("CompVis/stable-diffusion-v1-4", "tokenizer/"),
)


def is_tokenizer(folder: Path) -> bool:
    """True for a folder that CLIP's tokenizer can be read from."""
    has = {name for name in TOKENIZER_FILES if (folder / name).is_file()}
    return "tokenizer.json" in has or {"vocab.json", "merges.txt"} <= has


def tokenizer_folder(model: Path, named: Path | None) -> Path:
    """The folder of the tokenizer for the single file `model`; `named` is what the setting names.

    Raises:
        ModelError: there is none, and what to do about it.
    """
    if named is not None:
        inside = (named, named / CLIP.replace("/", "_"), named / "tokenizer")
        if found := next((folder for folder in inside if is_tokenizer(folder)), None):
            return found
        raise _missing(model, f"The folder {named} holds no tokenizer (vocab.json and merges.txt).")
    for folder in (*_beside(model), *_cached()):
        if is_tokenizer(folder):
            return folder
    raise _missing(
        model, "It is a single file, and those bring no tokenizer. None was found on this machine."
    )


def _beside(model: Path) -> Iterator[Path]:
    shelf = model.parent
    yield shelf / "tokenizer"
    for texts in (shelf / "text_encoders", shelf.parent / "text_encoders"):
        yield from (texts, texts / CLIP.replace("/", "_"), texts / "tokenizer")
    try:
        yield from (folder / "tokenizer" for folder in sorted(shelf.iterdir()) if folder.is_dir())
    except OSError:  # a shelf that cannot be listed has nothing to offer
        return


def _cached() -> Iterator[Path]:
    for repository, inside in _ON_THE_HUB:
        for name in ("vocab.json", "tokenizer.json"):
            if found := cached_file(repository, f"{inside}{name}"):
                yield found.parent


def _missing(model: Path, why: str) -> ModelError:
    return ModelError(
        f"The base model {model.name} cannot be used yet.",
        why=why,
        fix=f"Download it once with: python -m lora_core.models.hub --tokenizer {CLIP} . Or let "
        "tokenizer_cache_dir name the folder tokenizer of another Stable Diffusion model.",
    )
