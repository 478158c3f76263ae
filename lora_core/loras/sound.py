"""Whether a LoRA file is whole: it can be loaded and every number in it is one.

Covered: header and file fit, each layer has both of its factors, their ranks agree, alphas are there
for all layers or for none, all floats are finite. Not covered: whether the LoRA is any good.
"""

from pathlib import Path

from lora_core.errors import LoraFileError
from lora_core.loras.header import Header, read_header
from lora_core.loras.layout import Module, layout_of, modules_of


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
    if layout != "LyCORIS":  # whose kinds have parts of their own, and some have no alpha
        _check_modules(path, header, modules)
    _check_numbers(path, header)


def _check_modules(path: Path, header: Header, modules: list[Module]) -> None:
    for module in modules:
        _check_factors(path, header, module)
    with_alpha = [module for module in modules if module.alpha is not None]
    if with_alpha and len(with_alpha) < len(modules):
        lacking = next(module.name for module in modules if module.alpha is None)
        raise unsound(path, f"{len(modules) - len(with_alpha)} layers have no alpha, such as {lacking}.")


def _check_factors(path: Path, header: Header, module: Module) -> None:
    if module.down is None or module.up is None:
        missing = "first" if module.down is None else "second"
        raise unsound(path, f"The {missing} factor of the layer {module.name} is missing.")
    down, up = header.tensors[module.down].shape, header.tensors[module.up].shape
    if len(down) < 2 or len(up) < 2 or down[0] != up[1] or 0 in (*down, *up):
        raise unsound(
            path, f"The two factors of the layer {module.name} do not fit each other: {down} and {up}."
        )


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
