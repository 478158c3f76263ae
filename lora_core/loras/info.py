"""What a LoRA file says about itself: rank, alpha, base, trigger word, steps, and all its notes.

Covered: one file, read from its header and a few single numbers. Not covered: whether all of its
numbers are sound (see `sound.py`), and guessing what the file does not say.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lora_core.loras.header import Header, read_header
from lora_core.loras.layout import DORA_SCALE, Layout, Module, kind_of, layout_of, modules_of
from lora_core.loras.sound import unsound

_UNSET: Final = frozenset({"", "None", "null"})
_DIGITS: Final = 18

_FAMILIES: Final = (
    # (how ss_base_model_version or modelspec.architecture starts, the family's short name)
    ("sd_v1", "sd15"), ("stable-diffusion-v1", "sd15"),
    ("sd_v2", "sd2"), ("stable-diffusion-v2", "sd2"),
    ("sdxl", "sdxl"), ("stable-diffusion-xl", "sdxl"),
    ("sd3", "sd3"), ("stable-diffusion-3", "sd3"),
    ("flux", "flux1"), ("chroma", "chroma"), ("lumina", "lumina"), ("hunyuan-image", "hunyuan-image"),
    ("anima", "anima"),
)  # fmt: skip
_FAMILY_KEYS: Final = (("lora_te1_", "sdxl"), ("lora_te2_", "sdxl"), ("lora_unet_double_blocks_", "flux1"))


@dataclass(frozen=True, kw_only=True, slots=True)
class LoraInfo:
    """One LoRA file. What the file does not say is None."""

    path: Path
    name: str
    """Its title, else the name it was trained under, else the file's own."""
    layout: Layout
    kind: str
    """LoRA, LoCon, LoHa, LoKr, DoRA, "DoRA on LoKr", or LyCORIS for its other kinds."""
    family: str | None
    """Family of the base model: sd15, sdxl, …"""
    base: str | None
    """Name of the base model that it was trained on."""
    ranks: tuple[int, ...]
    """Every rank that its layers have, rising; one for most files, none where layers have no rank."""
    alphas: tuple[float, ...]
    """Every alpha that its layers have, rising."""
    unet_layers: int
    text_encoder_layers: int
    trigger_word: str | None
    steps: int | None
    epochs: int | None
    resolution: str | None
    dtype: str
    """Type of most of its tensors, such as F16."""
    size_bytes: int
    warnings: tuple[str, ...]
    """What other programs are known to do wrong with such a file, one sentence each."""
    metadata: Mapping[str, str]
    """All notes in the file, as they stand there."""

    @property
    def rank(self) -> int | None:
        """The rank, if all layers share one."""
        return self.ranks[0] if len(self.ranks) == 1 else None

    @property
    def alpha(self) -> float | None:
        """The alpha, if all layers share one."""
        return self.alphas[0] if len(self.alphas) == 1 else None

    def record(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        fields = {name: getattr(self, name) for name in type(self).__dataclass_fields__}
        return {**fields, "path": str(self.path), "metadata": dict(self.metadata)}


def inspect(path: Path) -> LoraInfo:
    """What the LoRA in `path` is; reads its header and its alphas, some kilobytes in all.

    Raises:
        LoraFileError: the file is damaged or holds no LoRA.
    """
    header = read_header(path)
    layout = layout_of(header.tensors)
    if layout is None:
        raise unsound(path, "It holds no LoRA.", "Choose a LoRA file. A base model is not one.")
    notes = header.metadata
    modules = modules_of(header, layout)
    in_text_encoder = sum(module.in_text_encoder for module in modules)
    return LoraInfo(
        path=path,
        name=_note(notes, "modelspec.title") or _note(notes, "ss_output_name") or path.stem,
        layout=layout,
        kind=kind_of(header, layout),
        family=_family(header),
        base=_note(notes, "ss_sd_model_name"),
        ranks=_ranks(header, modules),
        warnings=_warnings(header),
        alphas=_alphas(path, header, modules),
        unet_layers=len(modules) - in_text_encoder,
        text_encoder_layers=in_text_encoder,
        trigger_word=_note(notes, "modelspec.trigger_phrase"),
        steps=_whole(notes, "ss_steps"),
        epochs=_whole(notes, "ss_epoch"),
        resolution=_note(notes, "modelspec.resolution"),
        dtype=_usual_type(header),
        size_bytes=header.size_bytes,
        metadata=notes,
    )


DROPS_DORA: Final = (
    "diffusers leaves out the sizes (dora_scale) that DoRA learned, so its pictures differ. "
    "ComfyUI, A1111 and Forge read them."
)


def _warnings(header: Header) -> tuple[str, ...]:
    return (DROPS_DORA,) if any(name.endswith(f".{DORA_SCALE}") for name in header.tensors) else ()


def _note(notes: Mapping[str, str], key: str) -> str | None:
    value = notes.get(key, "").strip()
    return None if value in _UNSET else value


def _whole(notes: Mapping[str, str], key: str) -> int | None:
    value = _note(notes, key) or ""
    # Python refuses to read a number of some thousand digits, and no count of steps has more than these.
    return int(value) if value.isascii() and value.isdigit() and len(value) <= _DIGITS else None


def _family(header: Header) -> str | None:
    for key in ("ss_base_model_version", "modelspec.architecture"):
        said = (_note(header.metadata, key) or "").lower()
        for start, family in _FAMILIES:
            if said.startswith(start):
                return family
    for start, family in _FAMILY_KEYS:
        if any(name.startswith(start) for name in header.tensors):
            return family
    return None


def _ranks(header: Header, modules: list[Module]) -> tuple[int, ...]:
    shapes = (header.tensors[module.ranked].shape for module in modules if module.ranked)
    return tuple(sorted({shape[0] for shape in shapes if shape}))  # `check_sound` refuses one without a size


def _alphas(path: Path, header: Header, modules: list[Module]) -> tuple[float, ...]:
    from lora_core.loras.numbers import single_number  # here: numpy would hold up all that reads no numbers

    found = (single_number(path, header.tensors[module.alpha]) for module in modules if module.alpha)
    return tuple(sorted({alpha for alpha in found if alpha is not None}))


def _usual_type(header: Header) -> str:
    types = [tensor.dtype for tensor in header.tensors.values()]
    return max(set(types), key=lambda dtype: (types.count(dtype), dtype))


def tag_counts(info: LoraInfo) -> dict[str, int]:
    """How often each tag stood in the captions it was trained on, most frequent first; empty if unsaid."""
    try:
        folders = json.loads(info.metadata.get("ss_tag_frequency", "{}"))
        counts: dict[str, int] = {}
        for folder in folders.values():
            for tag, count in folder.items():
                counts[str(tag).strip()] = counts.get(str(tag).strip(), 0) + int(count)
    except (ValueError, AttributeError, TypeError, RecursionError):
        return {}
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
