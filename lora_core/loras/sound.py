"""Whether a LoRA file is whole: it can be loaded and every number in it is one.

Covered: header and file fit, each layer has all of its parts (LoRA, LoHa, LoKr, GLoRA, and DoRA on them),
their ranks agree, an alpha is one number and there for all layers or for none, all floats are finite. Not
covered: whether the LoRA is any good; parts of rarer LyCORIS kinds, such as OFT, beyond their numbers.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from lora_core.errors import LoraFileError
from lora_core.loras.header import Header, read_header
from lora_core.loras.layout import DORA_SCALE, Module, layout_of, modules_of

_Shape = tuple[int, ...]

_TOGETHER: Final = (
    ("lora_down.weight", "lora_up.weight"),
    ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"),
    ("hada_t1", "hada_t2"),
    ("lokr_w1_a", "lokr_w1_b"),
    ("lokr_w2_a", "lokr_w2_b"),
    ("a1.weight", "a2.weight", "b1.weight", "b2.weight"),
)
"""Parts of a LyCORIS layer of which none is of use without the others."""
_PAIRS: Final = (
    # (first factor, second factor, the part that is there when the layer is kept in Tucker's form)
    ("hada_w1_a", "hada_w1_b", "hada_t1"),
    ("hada_w2_a", "hada_w2_b", "hada_t2"),
    ("lokr_w1_a", "lokr_w1_b", "lokr_t1"),
    ("lokr_w2_a", "lokr_w2_b", "lokr_t2"),
)
_KRONECKER: Final = (("lokr_w1", "lokr_w1_a"), ("lokr_w2", "lokr_w2_a"))
"""Each side of a LoKr layer is one matrix or two factors."""


def check_sound(path: Path) -> None:
    """Do nothing if the LoRA in `path` is whole. Reads the whole file once, 4 MiB at a time.

    Raises:
        LoraFileError: it is not; the first reason is told.
    """
    header = read_header(path)
    layout = layout_of(header.tensors)
    if layout is None:
        raise unsound(path, "It holds no LoRA.", "Choose a LoRA file. A base model is not one.")
    modules = modules_of(header, layout)
    if layout == "LyCORIS":  # whose kinds have parts of their own
        for module in modules:
            _check_parts(path, module.name, _parts(header, module.name))
        # Whole matrices and norms have no rank, and need no alpha.
        modules = [module for module in modules if module.ranked is not None]
    else:
        for module in modules:
            _check_factors(path, header, module)
    _check_alphas(path, header, modules)
    _check_numbers(path, header)


def _parts(header: Header, name: str) -> dict[str, _Shape]:
    """The parts of a LyCORIS layer with their shapes."""
    start = f"{name}."
    return {
        key.removeprefix(start): tensor.shape
        for key, tensor in header.tensors.items()
        if key.startswith(start)
    }


def _check_parts(path: Path, name: str, parts: Mapping[str, _Shape]) -> None:
    for group in _TOGETHER:
        missing = [part for part in group if part not in parts]
        if missing and len(missing) < len(group):
            raise unsound(path, f"The part {missing[0]} of the layer {name} is missing.")
    if any(part.startswith("lokr_") for part in parts):
        for whole, factor in _KRONECKER:
            if whole not in parts and factor not in parts:
                raise unsound(path, f"The part {whole} of the layer {name} is missing.")
    if not parts.keys() - {DORA_SCALE, "alpha"}:
        raise unsound(path, f"The layer {name} has no factors.")
    if any(0 in shape for shape in parts.values()):
        raise unsound(path, f"A part of the layer {name} is empty.")
    if "lora_down.weight" in parts:
        _check_pair(path, name, parts["lora_down.weight"], parts["lora_up.weight"])
    for first, second, tucker in _PAIRS:
        if first in parts:
            a, b = parts[first], parts[second]
            # In Tucker's form both begin with the rank; else the first ends with it.
            fits = a and b and len(a) > 1 and (a[0] if tucker in parts else a[1]) == b[0]
            if not fits:
                raise unsound(path, f"{first} and {second} of the layer {name} do not fit each other.")


def _check_alphas(path: Path, header: Header, modules: list[Module]) -> None:
    for module in modules:
        if module.alpha is not None and header.tensors[module.alpha].count != 1:
            raise unsound(path, f"The alpha of the layer {module.name} is not one number.")
    with_alpha = [module for module in modules if module.alpha is not None]
    if with_alpha and len(with_alpha) < len(modules):
        lacking = next(module.name for module in modules if module.alpha is None)
        raise unsound(path, f"{len(modules) - len(with_alpha)} layers have no alpha, such as {lacking}.")


def _check_factors(path: Path, header: Header, module: Module) -> None:
    if module.down is None or module.up is None:
        missing = "first" if module.down is None else "second"
        raise unsound(path, f"The {missing} factor of the layer {module.name} is missing.")
    _check_pair(path, module.name, header.tensors[module.down].shape, header.tensors[module.up].shape)


def _check_pair(path: Path, name: str, down: _Shape, up: _Shape) -> None:
    if len(down) < 2 or len(up) < 2 or down[0] != up[1] or 0 in (*down, *up):
        raise unsound(path, f"The two factors of the layer {name} do not fit each other: {down} and {up}.")


def _check_numbers(path: Path, header: Header) -> None:
    from lora_core.loras.numbers import not_finite  # here: numpy would hold up all that reads no numbers

    with path.open("rb") as file:
        for name, tensor in header.tensors.items():
            try:
                bad = not_finite(file, tensor)
            except EOFError as error:
                raise unsound(path, "It became shorter while it was read.") from error
            if bad:
                raise LoraFileError(
                    f"The LoRA {path.name} cannot be used.",
                    why=f"{bad} of the numbers in {name} are infinite or not numbers. The training blew up.",
                    fix="Train again with a lower learning rate, or use an earlier save.",
                )


def unsound(
    path: Path, why: str, fix: str = "Use another save of this run, or train again."
) -> LoraFileError:
    """The error for a file that cannot be used as a LoRA."""
    return LoraFileError(f"The LoRA {path.name} cannot be used.", why=why, fix=fix)
