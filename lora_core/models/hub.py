"""Models by their name on the Hugging Face hub, found in the hub's cache on this machine.

Covered: telling a name (`owner/name`) from a path, the cached folder of a name, and the download
that a person asked for. Nothing here reaches for the network on its own: `cached_file` and
`model_folder` look at the disk, `download` is called only where someone chose to download.
Not covered: other sites, and logging in (see the hub's own command, `hf auth login`).
"""

import sys
from collections.abc import Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Final

from lora_core.errors import ModelError

_BASE_FILES: Final = [
    "model_index.json",
    *(f"{part}/*.json" for part in ("unet", "vae", "text_encoder", "text_encoder_2", "scheduler")),
    *(f"{part}/*.safetensors" for part in ("unet", "vae", "text_encoder", "text_encoder_2")),
    *(f"{part}/*" for part in ("tokenizer", "tokenizer_2")),
]
_NOT_NEEDED: Final = ["*.non_ema.*", "*.bin", "*.onnx", "*openvino*"]
HALF: Final = ".fp16."
"""In the names of weights that a repository keeps in half precision, beside others or alone."""
TOKENIZER_FILES: Final = ("tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json")


def is_name(path: Path) -> bool:
    """True for `owner/name` where no such file or folder is there."""
    absolute = path.is_absolute() or PureWindowsPath(path).is_absolute()
    return not absolute and len(path.parts) == 2 and not path.exists()


def cached_file(name: str, file: str) -> Path | None:
    """One file of the repository `name` in the hub's cache; None when it is not there."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(name, file)
    except HFValidationError:  # two words with a slash between them need not be a name on the hub
        return None
    return Path(found) if isinstance(found, str) else None


def model_folder(path: Path) -> Path:
    """`path` itself, or the cached folder if it is a name on the hub.

    Raises:
        ModelError: it is a name, and the cache of this machine does not have it.
    """
    if not is_name(path):
        return path
    name = path.as_posix()
    index = cached_file(name, "model_index.json")
    if index is None:
        raise ModelError(
            f"The base model {name} is not on this machine.",
            why="It looks like a name on the Hugging Face hub, and the hub's cache here does not have it. "
            "Nothing is downloaded without being asked for.",
            fix=f"Download it once with: python -m lora_core.models.hub {name}",
        )
    return index.parent


def download(name: str, *, tokenizer_only: bool = False) -> Path:
    """Fetch what training needs of the repository `name` into the hub's cache. Returns its folder.

    Raises:
        ModelError: the hub could not be reached, or does not hand it out.
    """
    from huggingface_hub import HfApi, snapshot_download

    files = [*TOKENIZER_FILES] if tokenizer_only else _BASE_FILES
    try:
        twice = stored_twice(HfApi().list_repo_files(name))
        return Path(snapshot_download(name, allow_patterns=files, ignore_patterns=[*_NOT_NEEDED, *twice]))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{name} was not downloaded.",
            why=f"The hub answered: {' '.join(str(error).split())[:200]}.",
            fix="Check the name and the connection. A model that asks for consent needs hf auth login first.",
        ) from error


def stored_twice(files: Iterable[str]) -> list[str]:
    """The half precision weights whose folder has others too; those that stand alone are needed."""
    weights = [PurePosixPath(file) for file in files if file.endswith(".safetensors")]
    whole = {file.parent for file in weights if HALF not in file.name}
    return [str(file) for file in weights if HALF in file.name and file.parent in whole]


def main(arguments: list[str]) -> int:
    """`python -m lora_core.models.hub NAME`: download one model, or with --tokenizer its tokenizer alone."""
    names = [argument for argument in arguments if not argument.startswith("-")]
    if len(names) != 1:
        sys.stderr.write("Usage: python -m lora_core.models.hub [--tokenizer] OWNER/NAME\n")
        return 2
    try:
        folder = download(names[0], tokenizer_only="--tokenizer" in arguments)
    except ModelError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
