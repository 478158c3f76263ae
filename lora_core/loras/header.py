"""The header of a safetensors file: what tensors it has and where, read without torch.

A file starts with the length of its header (8 bytes, little-endian), then the header as JSON, then
the tensors one after the other without a gap (the format's own rules, safetensors 0.4).

Covered: every way in which a header can lie about the file. Not covered: the numbers in the tensors
(see `sound.py`) and what they mean (see `info.py`).
"""

import json
import math
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from lora_core.errors import LoraFileError

HEADER_LIMIT: Final = 100_000_000
"""Bytes. The limit of the safetensors library itself."""

BITS: Final[Mapping[str, int]] = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "F8_E4M3": 8, "F8_E5M2": 8,
    "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32, "U16": 16, "U8": 8, "BOOL": 8,
}  # fmt: skip
"""Size of one number of each type that LoRA and model files use."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor as the header names it."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    """First byte, from the start of the file."""
    end: int
    """Byte after the last."""

    @property
    def count(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Header:
    """What a safetensors file says about itself."""

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]
    size_bytes: int


def read_header(path: Path) -> Header:
    """The header of `path`, held against the file itself.

    Raises:
        LoraFileError: the file is missing, cut off, or its header does not fit its content.
    """
    try:
        # Asked before opening: a pipe with the name of a LoRA would hold whoever opens it for ever.
        if not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():
            raise _broken(path, "It is not a file.")
        with path.open("rb") as file:
            return header_in(path, file, path.stat().st_size)
    except OSError as error:
        raise _broken(path, f"The system answered: {error.strerror}.") from error


def header_in(path: Path, file: IO[bytes], size: int) -> Header:
    """The header of an open file of `size` bytes that is called `path`: it may have come from a browser.

    Raises:
        LoraFileError: the file is cut off, or its header does not fit its content.
    """
    length = int.from_bytes(file.read(8), "little")
    if size < 8 + 2:
        raise _broken(path, "It is shorter than the shortest safetensors file.")
    if length > HEADER_LIMIT:
        raise _broken(path, "It does not start like a safetensors file.")
    if 8 + length > size:
        raise _broken(path, "It is cut off inside its header.")
    return _parsed(path, file.read(length), size)


def _parsed(path: Path, text: bytes, size: int) -> Header:
    try:
        record = json.loads(text.decode("utf-8"), object_pairs_hook=_unique)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError, ValueError) as error:
        raise _broken(path, "Its header is not readable.") from error
    if not isinstance(record, dict):
        raise _broken(path, "Its header is not a table.")
    metadata = record.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _broken(path, "The notes in its header are not texts.")
    start = 8 + len(text)
    tensors = {name: _tensor(path, name, entry, start) for name, entry in record.items()}
    _check_places(path, tensors, start, size)
    return Header(tensors, metadata, size)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        raise ValueError("a name stands twice")
    return record


def _tensor(path: Path, name: str, entry: Any, start: int) -> Tensor:
    """One entry of the header, with its places counted from the start of the file."""
    try:
        dtype, shape, (first, last) = entry["dtype"], entry["shape"], entry["data_offsets"]
    except (TypeError, KeyError, ValueError) as error:
        raise _broken(path, f"The entry {name} in its header is not complete.") from error
    numbers = [*shape, first, last] if isinstance(shape, list) else [None]
    if not all(
        isinstance(number, int) and not isinstance(number, bool) and number >= 0 for number in numbers
    ):
        raise _broken(path, f"The entry {name} in its header has places that are no whole numbers.")
    if not isinstance(dtype, str) or dtype not in BITS:
        raise _broken(
            path, f"The entry {name} has numbers of a type that this app does not know: {dtype!r:.40}."
        )
    if (last - first) * 8 != math.prod(shape) * BITS[dtype]:
        raise _broken(path, f"The entry {name} does not have the size that its shape needs.")
    return Tensor(dtype, tuple(shape), start + first, start + last)


def _check_places(path: Path, tensors: Mapping[str, Tensor], start: int, size: int) -> None:
    place = start
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        if tensor.end > size:
            raise _broken(
                path, f"It is cut off: {tensor.end - size} bytes of {name} and maybe more are missing."
            )
        if tensor.start != place:
            raise _broken(path, f"There is a gap or an overlap before {name}.")
        place = tensor.end
    if place != size:
        raise _broken(path, f"There are {size - place} bytes behind its last tensor.")


def _broken(path: Path, why: str) -> LoraFileError:
    return LoraFileError(
        f"The file {path.name} cannot be used.",
        why=why,
        fix="Copy or download it again. If a run wrote it, go on from the run's last saved state.",
    )
