"""What a LoRA file says about the base model that it was trained on.

Covered: family, kind of prediction, name and hashes of the base model and of a separate VAE, as
sd-scripts at 48d368f writes them. Not covered: everything else in a file's notes (see `metadata.py`).
"""

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from lora_core.models import BaseModel, inspect_base
from lora_core.settings import RunConfig

_VERSIONS: Final = {"sd15": "sd_v1", "sdxl": "sdxl_base_v1-0"}
_ARCHITECTURES: Final = {"sd15": "stable-diffusion-v1/lora", "sdxl": "stable-diffusion-xl-v1-base/lora"}
_LAYOUTS: Final = {"sd15": "diffusers", "sdxl": "https://github.com/Stability-AI/generative-models"}
"""Whose names the layers in the file have, as `modelspec.implementation` wants it."""
_LEGACY_PLACE: Final = 0x100000
_LEGACY_BYTES: Final = 0x10000


def base_facts(run: RunConfig) -> dict[str, Any]:
    """The `ss_` notes on the base model and the VAE.

    Raises:
        ModelError: the base model is not there any more.
    """
    base, vae = inspect_base(run.model.pretrained_model_name_or_path), run.model.vae
    version = _VERSIONS[base.family]
    if base.family == "sd15" and _predicts_v(run, base):
        version += "_v"
    return {
        "ss_base_model_version": version,
        "ss_zero_terminal_snr": run.model.zero_terminal_snr or base.zero_terminal_snr,
        **_named("sd_model", run.model.pretrained_model_name_or_path),
        **({} if vae is None else _named("vae", vae)),
    }


def _named(kind: str, wanted: Path) -> dict[str, str]:
    """Name and hashes of a file or folder; a name on the hub stands for itself."""
    if not wanted.exists():
        return {f"ss_{kind}_name": wanted.as_posix()}
    legacy, whole = _hashes(wanted)
    return {f"ss_{kind}_name": wanted.name, f"ss_{kind}_hash": legacy, f"ss_new_{kind}_hash": whole}


def base_spec(run: RunConfig) -> dict[str, str]:
    """The `modelspec` notes on the base model."""
    base = inspect_base(run.model.pretrained_model_name_or_path)
    prediction = "v" if _predicts_v(run, base) else "epsilon"
    spec = {
        "architecture": _ARCHITECTURES[base.family],
        "implementation": _LAYOUTS[base.family],
        "prediction_type": prediction,
    }
    if run.text.clip_skip and base.family == "sd15":  # SDXL reads the same layers always
        spec["encoder_layer"] = str(run.text.clip_skip)
    return spec


def _predicts_v(run: RunConfig, base: BaseModel) -> bool:
    return run.model.v_parameterization or base.predicts_v


def _hashes(path: Path) -> tuple[str, str]:
    """The short hash that A1111 once used, and the sha256 of the whole file.

    For a folder, both are the word that sd-scripts writes.
    """
    if not path.is_file():
        return "IsADirectory", "IsADirectory"
    facts = path.stat()
    return _file_hashes(path, facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=8)
def _file_hashes(path: Path, size: int, modified: int) -> tuple[str, str]:
    del size, modified  # they make a file that was replaced another one
    with path.open("rb") as file:
        whole = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(_LEGACY_PLACE)
        return hashlib.sha256(file.read(_LEGACY_BYTES)).hexdigest()[:8], whole
