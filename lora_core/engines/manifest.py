"""The manifest of a saved state: `state.json`, with the size and the hash of every file of the state.

It is written last. A state without it, or with a file that does not have the size that it names, is half
written; one whose file has another hash is damaged. Loads no torch, so that pages, the runner and every
engine can ask.

Covered: writing it, reading it, holding the files against it, removing a state so that no half of it can be
taken for a whole. Not covered: what is in the files (see the engines) and which states a run has (see
`lora_core.jobs.states`).
"""

import hashlib
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from lora_core.errors import FileTooNewError, WorkspaceError
from lora_core.workspace import about_to_write, read_json, write_json

NAME: Final = "state.json"
FORMAT: Final = 1
ENDING: Final = "-state"
"""Of the folder of a state."""
_PIECE_BYTES: Final = 4 * 2**20
_OLD: Final = ".old"
"""Replaced by another state of the same step."""
_GONE: Final = ".gone"
"""Being removed."""
_HALF: Final = ".part"
"""Being written."""


def facts(content: bytes) -> dict[str, Any]:
    """What the manifest says about a file with this content."""
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def seal(folder: Path, about: Mapping[str, Any]) -> None:
    """Make the state in `folder` complete, once all of its files are written: hash them, write the manifest.

    For engines that write states themselves. `about` holds at least `step` and `epoch`, and `loss` where it
    is known.

    Raises:
        OSError, DiskFullError: it could not be done; the state is not complete.
    """
    files = {}
    for path in sorted(each for each in folder.rglob("*") if each.is_file() and each.name != NAME):
        with path.open("rb+") as file:
            os.fsync(file.fileno())
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        files[path.relative_to(folder).as_posix()] = {"bytes": path.stat().st_size, "sha256": digest}
    write_json(folder / NAME, {"format": FORMAT, **about, "files": files})


def read(folder: Path) -> dict[str, Any] | None:
    """The manifest of a state whose files all are there in full size; None for any other folder.

    Raises:
        FileTooNewError: a newer version of the app wrote it.
    """
    try:
        record = read_json(folder / NAME, newest_format=FORMAT)
    except FileTooNewError:
        raise
    except (OSError, WorkspaceError):
        return None
    return record if _all_there(folder, record) else None


def _all_there(folder: Path, record: Mapping[str, Any]) -> bool:
    files = record.get("files")
    if not isinstance(files, dict) or not files:
        return False
    try:
        return all(
            isinstance(known["sha256"], str) and (folder / name).stat().st_size == known["bytes"]
            for name, known in files.items()
        )
    except (OSError, KeyError, TypeError, ValueError):
        return False


def size(record: Mapping[str, Any]) -> int:
    """Bytes of all files of the state."""
    return sum(int(known["bytes"]) for known in record["files"].values())


def damage(folder: Path) -> str:
    """What is wrong with the state in `folder`, in one sentence; empty when every byte is as it was written.

    Reads all of its files, in pieces.
    """
    record = read(folder)
    if record is None:
        return "It is only half written."
    for name, known in record["files"].items():
        try:
            with (folder / name).open("rb", buffering=0) as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != known["sha256"]:
                    return f"Its file {name} was changed or cut off."
        except OSError as error:
            return f"Its file {name} cannot be read: {error.strerror}."
    return ""


def put_in_place(part: Path, path: Path) -> None:
    """Give the finished folder `part` the name `path`; what was there is removed after that.

    A crash between the two renames leaves the old one under a name that `tidy` knows.
    """
    about_to_write()
    old = _hidden(path, _OLD)
    if path.exists():
        path.rename(old)
    part.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def half_name(path: Path) -> Path:
    """A name beside `path` under which its files are written, and which no reader takes for a state."""
    return _hidden(path, _HALF)


def _hidden(path: Path, ending: str) -> Path:
    return path.with_name(f".{path.name}.{uuid4().hex}{ending}")


def remove(path: Path) -> None:
    """Remove the state at `path`. Its name goes first: a crash leaves no half of it under that name."""
    about_to_write()
    try:
        gone = path.rename(_hidden(path, _GONE))
    except FileNotFoundError:
        return
    except OSError:  # Windows: somebody reads it; the next save tries again
        return
    shutil.rmtree(gone, ignore_errors=True)


def tidy(states: Path) -> None:
    """Finish in the folder of all states what a crash interrupted: put back what was moved, remove halves."""
    for old in states.glob(f".*{_OLD}"):
        home = states / meant(old.name)
        if home.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(home)
    for ending in (_HALF, _GONE):
        for half in states.glob(f".*{ending}"):
            shutil.rmtree(half, ignore_errors=True)


def halves(names: Iterable[str]) -> set[str]:
    """Of the names in a folder of states, the states that were being written when their process ended."""
    return {meant(name) for name in names if name.startswith(".") and name.endswith(_HALF)}


def meant(hidden: str) -> str:
    """The state's own name from that of `half_name`, or of one that is being replaced."""
    return hidden.removeprefix(".").rpartition(".")[0].rpartition(".")[0]
