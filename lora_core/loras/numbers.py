"""The numbers of a tensor, read in pieces and without torch.

Covered: the float types of LoRA files as numpy float32 (or float64), and whether each is finite. Not
covered: whole tensors in memory; a piece is at most 4 MiB of the file.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from lora_core.loras.header import Tensor

PIECE_BYTES: Final = 4 * 2**20

# In a float whose exponent bits are all ones there is no number: it is infinite or none at all.
_BFLOAT_EXPONENT: Final = 0x7F80
_E5M2_EXPONENT: Final = 0x7C
_E4M3_NOT_A_NUMBER: Final = 0x7F  # this type has no infinity and one pattern, with either sign, for "none"

_TYPES: Final[Mapping[str, str]] = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_FINITE: Final[Mapping[str, Callable[[NDArray[Any]], NDArray[np.bool_]]]] = {
    "F64": np.isfinite,
    "F32": np.isfinite,
    "F16": np.isfinite,
    "BF16": lambda bits: (bits & _BFLOAT_EXPONENT) != _BFLOAT_EXPONENT,
    "F8_E5M2": lambda bits: (bits & _E5M2_EXPONENT) != _E5M2_EXPONENT,
    "F8_E4M3": lambda bits: (bits & _E4M3_NOT_A_NUMBER) != _E4M3_NOT_A_NUMBER,
}


def not_finite(file: BinaryIO, tensor: Tensor) -> int:
    """How many of its numbers are infinite or not numbers; 0 for whole numbers, which always are."""
    if tensor.dtype not in _FINITE:
        return 0
    finite = _FINITE[tensor.dtype]
    return sum(int(np.count_nonzero(~finite(piece))) for piece in _pieces(file, tensor))


def _pieces(file: BinaryIO, tensor: Tensor) -> Iterator[NDArray[Any]]:
    file.seek(tensor.start)
    left = tensor.end - tensor.start
    while left:
        data = file.read(min(PIECE_BYTES, left))
        if not data:
            raise EOFError
        left -= len(data)
        yield np.frombuffer(data, _TYPES.get(tensor.dtype, "u1"))


def single_number(path: Path, tensor: Tensor) -> float | None:
    """The number in a tensor of one, such as an alpha; None if it has more or is not a float."""
    if tensor.count != 1 or tensor.dtype not in _TYPES:
        return None
    with path.open("rb") as file:
        (piece,) = _pieces(file, tensor)
    if tensor.dtype == "BF16":
        piece = (piece.astype("<u4") << 16).view("<f4")
    return float(piece[0])
