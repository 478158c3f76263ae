"""Which tensors of a LoRA file belong together, in the layouts that programs write.

Covered: the layout of sd-scripts (`lora_down`, `lora_up`, `alpha`), of PEFT and diffusers (`lora_A`,
`lora_B`), and of older diffusers (`lora.down`, `lora.up`); LyCORIS files are recognised by name. Not
covered: converting one into the other.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from lora_core.loras.header import Header

Layout = Literal["sd-scripts", "diffusers", "diffusers (old)", "LyCORIS"]

_ENDINGS: Final[Mapping[Layout, tuple[str, str]]] = {
    "sd-scripts": (".lora_down.weight", ".lora_up.weight"),
    "diffusers": (".lora_A.weight", ".lora_B.weight"),
    "diffusers (old)": (".lora.down.weight", ".lora.up.weight"),
}
_LYCORIS: Final = (
    "hada_w1_a",
    "lokr_w1",
    "lokr_w1_a",
    "oft_blocks",
    "oft_diag",
    "dora_scale",
    "a1.weight",
    "diff",
)
_TEXT_ENCODER_PREFIXES: Final = ("lora_te", "text_encoder")


@dataclass(frozen=True, slots=True)
class Module:
    """The part of a LoRA that changes one layer: the names of its tensors, None for one that is missing."""

    name: str
    down: str | None
    up: str | None
    alpha: str | None

    @property
    def in_text_encoder(self) -> bool:
        return self.name.startswith(_TEXT_ENCODER_PREFIXES)


def layout_of(names: Iterable[str]) -> Layout | None:
    """The layout of a file with these tensors; None when it is no LoRA."""
    known = list(names)
    if any(name.rpartition(".")[2] in _LYCORIS or name.endswith(_LYCORIS) for name in known):
        return "LyCORIS"
    for layout, endings in _ENDINGS.items():
        if any(name.endswith(endings) for name in known):
            return layout
    return None


def modules_of(header: Header, layout: Layout) -> list[Module]:
    """The modules in the order of their names; empty for LyCORIS, whose parts differ by method."""
    if layout == "LyCORIS":
        return []
    down, up = _ENDINGS[layout]
    names: set[str] = set()
    for key in header.tensors:
        for ending in (down, up, ".alpha"):
            if key.endswith(ending):
                names.add(key.removesuffix(ending))
    return [
        Module(name, *(_there(header, name + ending) for ending in (down, up, ".alpha")))
        for name in sorted(names)
    ]


def _there(header: Header, key: str) -> str | None:
    return key if key in header.tensors else None
