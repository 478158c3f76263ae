"""Files that their owner alone may read: tokens, keys, addresses.

Covered: writing one that is private from its first byte on, opening one without following a link. Not
covered: what is in them, and folders. On Windows the access rules of the folder they are in protect them.
"""

import os
import stat
from pathlib import Path
from uuid import uuid4


def open_plain(path: Path) -> int | None:
    """A descriptor to read `path`; None where something else than a plain file lies there.

    No link is followed, and a pipe laid in its place cannot hold the caller up.

    Raises:
        OSError: it is not there, is a link, or may not be read.
    """
    flags = os.O_RDONLY | _flag("O_NOFOLLOW") | _flag("O_NONBLOCK") | _flag("O_CLOEXEC")
    descriptor = os.open(path, flags)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    return None


def write_new(path: Path, text: str) -> None:
    """Make `path` with this text; it is on disk when this returns.

    Raises:
        FileExistsError: something of this name is there already.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _flag("O_NOFOLLOW") | _flag("O_CLOEXEC")
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())


def replace(path: Path, text: str) -> None:
    """Put a file with this text in the place of `path`; a reader sees the old one or the new one."""
    part = part_of(path)
    try:
        write_new(part, text)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def part_of(path: Path) -> Path:
    """A name beside `path` that nobody else uses."""
    return path.with_name(f".{path.name}.{uuid4().hex}.part")


def _flag(name: str) -> int:
    return int(getattr(os, name, 0))  # Windows lacks these
