"""Where pictures come from: a folder or a zip, both seen as one list of files to read.

Names from a source are shown and compared, never used as paths. A zip that tries to leave its
folder, holds links or devices, is locked or unpacks to far more than its size is refused as a
whole: nobody makes such a file of their own pictures by accident.

Covered: listing, hostile and damaged zips, names in old encodings, sizes before reading. Not
covered: what becomes of the files (see `lora_core.datasets.importing`), rar and 7z, zips inside
zips, several-part zips.
"""

import lzma
import os
import re
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Final

from lora_core.errors import ImportRefusedError

MAX_FILES: Final = 200_000
"""More files than this are refused: it is a whole disk or a trap rather than a dataset."""
MAX_RATIO: Final = 100
"""A zip may unpack to this many times its own size. Pictures hardly shrink; only traps do."""
RATIO_FREE_BYTES: Final = 100 << 20
"""Up to this size the ratio does not matter: plain drawings as bmp do shrink a hundredfold."""

UNREADABLE: Final = (
    OSError, RuntimeError, EOFError, ValueError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error,
)  # fmt: skip
"""What opening a damaged zip or reading a file of it was seen to raise."""
_DRIVE = re.compile(r"^[A-Za-z]:")
_SHOWN: Final = 120  # characters of a name in a message


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a source."""

    path: PurePosixPath
    """Where it lies in the source; for messages and for matching, never opened by this name."""
    size_bytes: int
    """As the source claims; a zip may lie."""
    open: Callable[[], IO[bytes]]


@dataclass(frozen=True, slots=True)
class Refused:
    """A file that was not taken, and why."""

    file: str
    why: str


@dataclass(frozen=True, slots=True)
class Source:
    """An opened folder or zip."""

    members: tuple[Member, ...]
    refused: tuple[Refused, ...]
    byte_limit: int | None
    """How many bytes it may unpack to; None for a folder."""


@contextmanager
def open_source(path: Path, *, leave_out: Path | None = None) -> Iterator[Source]:
    """Open a folder or zip for reading; `leave_out` is a folder inside it that is not looked at.

    Raises:
        ImportRefusedError: there is nothing at `path`, it is neither, or it is a hostile or damaged zip.
    """
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except OSError:  # a name longer than any can be, a folder on the way that may not be looked into
        is_folder = is_file = False
    if is_folder:
        yield _folder(path.resolve(), leave_out)
    elif is_file:
        with _opened_zip(path) as archive:
            yield _zip(archive, path)
    else:
        raise ImportRefusedError(
            f"There is no folder or zip at {shown(str(path))}.",
            why="Nothing with this name was found on the machine that runs this app.",
            fix="Check the name. A folder on another computer must be copied here first.",
        )


def plain(name: str) -> str:
    """A name from outside as text that any page and file takes; what is no visible letter becomes `?`."""
    return "".join("?" if unicodedata.category(c)[0] == "C" else c for c in name)


def shown(name: str) -> str:
    """A name from outside, fit for one line of a message."""
    text = plain(name)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def hidden(path: PurePosixPath) -> bool:
    """True for what systems leave beside pictures: `.DS_Store`, `__MACOSX/…`, `Thumbs.db`."""
    return any(part.startswith(".") or part in {"__MACOSX", "Thumbs.db"} for part in path.parts)


def _folder(root: Path, leave_out: Path | None) -> Source:
    members: list[Member] = []
    refused: list[Refused] = []

    def not_listed(error: OSError) -> None:
        refused.append(Refused(shown(str(error.filename)), f"The system answered: {error.strerror}."))

    for here, folders, files in os.walk(root, onerror=not_listed):
        at = Path(here)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and at / name != leave_out)
        for name in sorted(files):
            path = at / name
            inside = PurePosixPath(path.relative_to(root).as_posix())
            if hidden(inside):
                continue
            if len(members) >= MAX_FILES:
                raise _too_many(root.name)
            why = _not_taken(path, root)
            if why:
                refused.append(Refused(shown(str(inside)), why))
            else:
                members.append(Member(inside, path.stat().st_size, lambda path=path: path.open("rb")))  # type: ignore[misc]  # a default argument binds this round's path
    return Source(tuple(members), tuple(refused), byte_limit=None)


def _not_taken(path: Path, root: Path) -> str:
    if path.is_symlink() and not path.resolve().is_relative_to(root):
        return "It is a link to another folder."
    return "" if path.is_file() else "It is not a file, or leads nowhere."


def _too_many(name: str) -> ImportRefusedError:
    return ImportRefusedError(
        f"{shown(name)} was not imported.",
        why=f"It holds more than {MAX_FILES:,} files.",
        fix="Choose the folder that holds the pictures alone.",
    )


@contextmanager
def _opened_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        archive = zipfile.ZipFile(path)
    except UnicodeDecodeError as error:
        raise _refused_zip(
            path, "A name in it is not written in the encoding that the zip claims."
        ) from error
    except UNREADABLE as error:
        if path.suffix.lower() == ".zip":
            raise _refused_zip(path, "It is damaged, or only part of it arrived.") from error
        raise ImportRefusedError(
            f"{shown(path.name)} was not imported.",
            why="It is neither a folder nor a zip.",
            fix="Unpack it, and import the folder.",
        ) from error
    with archive:
        yield archive


def _refused_zip(path: Path, why: str) -> ImportRefusedError:
    return ImportRefusedError(
        f"The zip {shown(path.name)} was not imported. Nothing was unpacked.",
        why=why,
        fix="Make a new zip of the pictures, or import their folder.",
    )


def _zip(archive: zipfile.ZipFile, path: Path) -> Source:
    entries = archive.infolist()
    if len(entries) > MAX_FILES:
        raise _too_many(path.name)
    members: list[Member] = []
    refused: list[Refused] = []
    seen: set[PurePosixPath] = set()
    for entry in entries:
        name = _name(entry)
        trap = _trap(entry, name)
        if trap:
            raise _refused_zip(path, f"{trap}: {shown(name)}.")
        inside = PurePosixPath(name)
        if entry.is_dir() or name.endswith("/") or hidden(inside) or not inside.parts:
            continue
        if inside in seen:
            refused.append(Refused(shown(name), "The zip has this name twice. The first was used."))
            continue
        seen.add(inside)
        members.append(Member(inside, entry.file_size, lambda entry=entry: archive.open(entry)))  # type: ignore[misc]  # a default argument binds this round's entry
    limit = max(RATIO_FREE_BYTES, MAX_RATIO * path.stat().st_size)
    if sum(member.size_bytes for member in members) > limit:
        raise bomb(path)
    return Source(tuple(members), tuple(refused), byte_limit=limit)


def bomb(path: Path) -> ImportRefusedError:
    """The refusal of a zip that claims or turns out to unpack beyond its limit."""
    return _refused_zip(path, f"It unpacks to more than {MAX_RATIO} times its size, as no pictures do.")


def _name(entry: zipfile.ZipInfo) -> str:
    """The entry's name with `/` between its parts, in the encoding that it was most likely written in."""
    name = entry.filename
    if not entry.flag_bits & 0x800:  # not marked as UTF-8: Python then reads it as cp437
        with suppress(UnicodeError):  # else it is an old name; a wrong letter in it does no harm
            name = name.encode("cp437").decode("utf-8")  # macOS writes UTF-8 and forgets the mark
    return unicodedata.normalize("NFC", name.replace("\\", "/"))  # some Windows tools write backslashes


def _trap(entry: zipfile.ZipInfo, name: str) -> str:
    """Why this entry makes the whole zip suspect; empty when it does not."""
    if name.startswith("/") or _DRIVE.match(name):
        return "A name in it is a path from the top of a disk"
    if ".." in PurePosixPath(name).parts:
        return "A name in it leads out of the folder"
    mode = entry.external_attr >> 16
    if stat.S_IFMT(mode) not in {0, stat.S_IFREG, stat.S_IFDIR}:
        return "It holds a link or a device"
    if entry.flag_bits & 0x1:
        return "It is locked with a password"
    return ""
