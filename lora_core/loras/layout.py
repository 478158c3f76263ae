"""Which tensors of a LoRA file belong together, in the layouts that programs write.

Covered: the layout of sd-scripts (`lora_down`, `lora_up`, `alpha`), of PEFT and diffusers (`lora_A`,
`lora_B`), and of older diffusers (`lora.down`, `lora.up`); the layers of LyCORIS files, their ranks and
their kind. Not covered: converting one into the other.
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
DORA_SCALE: Final = "dora_scale"
_LYCORIS: Final = (
    "hada_w1_a",
    "lokr_w1",
    "lokr_w1_a",
    "oft_blocks",
    "oft_diag",
    DORA_SCALE,
    "a1.weight",
    "diff",
)
_KINDS: Final = (
    # (how a part of such a layer is called, the kind); the first that fits counts
    ("hada_w1_a", "LoHa"),
    ("lokr_w1", "LoKr"),
    ("lokr_w1_a", "LoKr"),
    ("lora_down.weight", "LoRA"),
)
_RANKS: Final = ("lora_down.weight", "hada_w1_b", "lokr_w2_b", "lokr_w1_b")
"""Parts of LyCORIS layers whose first side is the rank."""
_TEXT_ENCODER_PREFIXES: Final = ("lora_te", "text_encoder")


@dataclass(frozen=True, slots=True)
class Module:
    """The part of a LoRA that changes one layer: the names of its tensors, None for one that is missing."""

    name: str
    down: str | None
    up: str | None
    alpha: str | None
    ranked: str | None = None
    """The tensor whose first side is the rank; None where a layer has no rank."""

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
    """The modules in the order of their names. Those of LyCORIS have no `down` and `up`: kinds differ."""
    if layout == "LyCORIS":
        return [_lycoris(header, name) for name in sorted({key.partition(".")[0] for key in header.tensors})]
    down, up = _ENDINGS[layout]
    names: set[str] = set()
    for key in header.tensors:
        for ending in (down, up, ".alpha"):
            if key.endswith(ending):
                names.add(key.removesuffix(ending))
    return [
        Module(name, *(_there(header, name + ending) for ending in (down, up, ".alpha", down)))
        for name in sorted(names)
    ]


def _lycoris(header: Header, name: str) -> Module:
    ranked = next((f"{name}.{end}" for end in _RANKS if f"{name}.{end}" in header.tensors), None)
    return Module(name, None, None, _there(header, f"{name}.alpha"), ranked)


def kind_of(header: Header, layout: Layout) -> str:
    """What people call such a network: LoRA, LoCon, LoHa, LoKr, DoRA, or LyCORIS for its other kinds."""
    ends = {name.partition(".")[2] for name in header.tensors}
    if layout != "LyCORIS":
        down = _ENDINGS[layout][0]
        shapes = [tensor.shape for name, tensor in header.tensors.items() if name.endswith(down)]
        return "LoCon" if any(len(shape) == 4 and shape[2:] != (1, 1) for shape in shapes) else "LoRA"
    kind = next((kind for end, kind in _KINDS if end in ends), "LyCORIS")
    if DORA_SCALE in ends:
        return "DoRA" if kind == "LoRA" else f"DoRA on {kind}"
    return kind


def _there(header: Header, key: str) -> str | None:
    return key if key in header.tensors else None
