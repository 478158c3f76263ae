"""The one folder that holds all a user has, and how files in it are written.

Covered: where things are, atomic replacement of files, names made safe for a file system,
format versions. Not covered: what is in the files (see the packages that own them) and
locks (see `lora_core.jobs.liveness`).
"""

import errno
import json
import ntpath
import os
import re
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import uuid4

from lora_core.errors import DiskFullError, FileTooNewError, WorkspaceError

APP_ROOT: Final = Path(__file__).resolve().parent.parent
"""The folder of Home.py."""

T = TypeVar("T")
_PATIENCE_S: Final = 5.0
_RETRY_S: Final = 0.01
_SHORT_PATH: Final = 248  # Windows ends folders at 248 characters and files at 260

_RESERVED = re.compile(r"^(con|prn|aux|nul|com\d|lpt\d)(\..*)?$", re.IGNORECASE)
_NAME_LIMIT: Final = 100  # bytes; leaves room for suffixes under the 255 of common file systems


@dataclass(frozen=True, slots=True)
class Workspace:
    """Paths inside one workspace. Making it writes nothing; `open` creates the folders."""

    root: Path

    @classmethod
    def open(cls, root: Path | None = None) -> "Workspace":
        """The workspace at `root`, else at `LORA_WORKSPACE`, else `workspace/` beside Home.py.

        Raises:
            WorkspaceError: the folder cannot be made or written to.
        """
        chosen = root or Path(os.environ.get("LORA_WORKSPACE") or APP_ROOT / "workspace")
        try:
            workspace = cls(chosen.expanduser().resolve())
        except (RuntimeError, ValueError) as error:  # `~nobody`, or a sign that no path can have
            raise WorkspaceError(
                f"The workspace folder {chosen} could not be made.",
                why="There is no such user on this computer, or the name has a sign that no path can have.",
                fix="Choose another folder with --workspace, or with LORA_WORKSPACE.",
            ) from error
        try:
            for folder in workspace.folders():
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WorkspaceError(
                f"The workspace folder {workspace.root} could not be made.",
                why=f"The system answered: {error.strerror}.",
                fix="Choose another folder with --workspace, or allow writing to this one.",
            ) from error
        return workspace

    def folders(self) -> tuple[Path, ...]:
        """Every folder that exists in an opened workspace."""
        return (self.projects, self.datasets, self.checkpoints, self.jobs, self.loras, self.engines)

    @property
    def projects(self) -> Path:
        return self.root / "projects"

    @property
    def datasets(self) -> Path:
        return self.root / "datasets"

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def checkpoints(self) -> Path:
        """Base models: diffusers folders and single files."""
        return self.models / "checkpoints"

    @property
    def engines(self) -> Path:
        return self.root / "engines"

    @property
    def jobs(self) -> Path:
        return self.root / "jobs"

    @property
    def loras(self) -> Path:
        """Finished LoRA files."""
        return self.root / "loras"

    @property
    def runner(self) -> Path:
        """Lock and log of the process that supervises the jobs."""
        return self.root / ".runner"

    @property
    def settings_file(self) -> Path:
        return self.root / "settings.toml"

    def relative(self, path: Path) -> str:
        """`path` as it is written into job records: inside the workspace relative, else absolute."""
        resolved = path.resolve()
        if resolved.is_relative_to(self.root):
            return resolved.relative_to(self.root).as_posix()
        return str(resolved)

    def absolute(self, text: str) -> Path:
        """The path that `relative` wrote."""
        path = Path(text)
        return path if path.is_absolute() else self.root / path


@contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """Turn a full disk into a `DiskFullError` that starts with `what`."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise DiskFullError(what) from error
        raise


_guards: list[Callable[[], None]] = []


def guard_writes(check: Callable[[], None]) -> None:
    """Call `check` from now on before each file of this process takes its place; it may end the process."""
    _guards.append(check)


def about_to_write() -> None:
    """For whatever puts something in its place otherwise than by `replacing`: call it just before."""
    for check in _guards:
        check()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it takes the place of `path` when the block ends well.

    A reader sees the old file or the new one, never a part. The block writes and closes the file.

    Raises:
        DiskFullError: the disk is full; `path` is as it was.
    """
    # Beside the target: a rename is atomic only inside one file system.
    part = Path(long_path(path.with_name(f".{path.name}.{uuid4().hex}.part")))
    try:
        with disk_errors(f"The file {path.name} was not saved."):
            yield part
            with part.open("rb+") as file:
                os.fsync(file.fileno())  # or a power cut can leave an empty file
            about_to_write()
            replace_open(part, path)
            _sync_folder(path.parent)
    finally:
        part.unlink(missing_ok=True)  # nothing is left to remove when the rename worked


def replace_open(part: Path, path: Path, *, windows: bool = sys.platform == "win32") -> None:
    """Put `part` in the place of `path`, also while somebody reads that; all see the old file or the new one.

    Windows refuses while a reader has the file open, so there it is tried again for 5 s.
    """
    old, new = Path(long_path(part, windows=windows)), Path(long_path(path, windows=windows))
    _patiently(lambda: old.replace(new), windows=windows)


def read_open(path: Path, *, windows: bool = sys.platform == "win32") -> str:
    """The text in `path`, also while somebody replaces it: Windows refuses for that moment."""
    file = Path(long_path(path, windows=windows))
    return _patiently(lambda: file.read_text("utf-8"), windows=windows)


def _patiently(do: Callable[[], T], *, windows: bool) -> T:
    deadline = time.monotonic() + (_PATIENCE_S if windows else 0.0)
    while True:
        try:
            return do()
        except PermissionError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(_RETRY_S)


def long_path(path: Path, *, windows: bool = sys.platform == "win32") -> str:
    """`path` in the form that Windows takes beyond 259 characters; elsewhere as it is.

    Shorter ones stay plain there too: the long form knows no `/`, no `.` and no `..`.
    """
    text = str(path)
    if not windows or len(text) < _SHORT_PATH or text.startswith("\\\\?\\"):
        return text
    text = ntpath.normpath(text)
    if not ntpath.isabs(text):
        return text  # against the working folder, which has a short path
    return f"\\\\?\\UNC{text[1:]}" if text.startswith("\\\\") else f"\\\\?\\{text}"


def _sync_folder(folder: Path) -> None:
    # The rename itself is in the folder's own data; Windows has no such call and needs none.
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_atomic(path: Path, content: str | bytes) -> None:
    """Replace `path` with `content`; text is written as UTF-8 with `\\n` line ends.

    Raises:
        DiskFullError: the disk is full; `path` is as it was.
        WorkspaceError: the text holds a file name that is no text; `path` is as it was.
    """
    try:
        data = content.encode("utf-8") if isinstance(content, str) else content
    except UnicodeEncodeError as error:
        raise WorkspaceError(
            f"The file {path.name} was not saved.",
            why="It would hold the name of a file or folder that is not UTF-8 text.",
            fix="Rename that file or folder, then do it again.",
        ) from error
    with replacing(path) as part:
        part.write_bytes(data)


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Replace `path` with `record` as readable JSON; any text reads back the same."""
    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    # POSIX paths are bytes: one that is no UTF-8 holds letters that only JSON's own escapes can write.
    write_atomic(path, text.encode("utf-8", "backslashreplace"))


def read_json(path: Path, *, newest_format: int | None = None) -> dict[str, Any]:
    """The record in `path`.

    Raises:
        FileTooNewError: its `format` is above `newest_format`.
        WorkspaceError: the file is not a JSON object.
        FileNotFoundError: there is no such file.
    """
    try:
        record = _DECODER.decode(read_open(path))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise _unreadable(path) from error
    if not isinstance(record, dict):
        raise _unreadable(path)
    found = record.get("format", 1)
    if newest_format is not None and isinstance(found, int) and found > newest_format:
        raise FileTooNewError(path.name, found, newest_format)
    return record


def _whole_number(digits: str) -> int | float:
    # Beyond what any field holds Python refuses to read it, or to make a float of it: infinity at most.
    return int(digits) if len(digits) <= _DIGITS else float(digits)


_DIGITS: Final = 40
_DECODER: Final = json.JSONDecoder(parse_int=_whole_number)


def _unreadable(path: Path) -> WorkspaceError:
    return WorkspaceError(
        f"The file {path.name} could not be read.",
        why="Its content is not what this app writes; it may have been cut off or edited.",
        fix=f"Restore it from a backup, or remove it: {path}",
    )


def safe_name(text: str, *, fallback: str = "unnamed") -> str:
    """`text` as one file or folder name that every common file system takes.

    Separators, control characters and what Windows reserves become `_`; the result is never
    empty, never hidden, never longer than 100 bytes, and never leaves its folder.
    """
    name = unicodedata.normalize("NFC", text)
    name = "".join("_" if c in '<>:"/\\|?*' or unicodedata.category(c)[0] == "C" else c for c in name)
    name = name.strip(" ._") or fallback
    if _RESERVED.match(name):
        name = f"_{name}"
    while len(name.encode("utf-8")) > _NAME_LIMIT:
        name = name[:-1]
    return name.rstrip(" .") or fallback


def free_name(folder: Path, wanted: str) -> str:
    """`wanted` made safe, with ` 2`, ` 3`, … behind it if `folder` already has that name."""
    base = safe_name(wanted)
    name, count = base, 1
    while (folder / name).exists():
        count += 1
        name = f"{base} {count}"
    return name
