"""A job's log, as a person wants to read it.

Covered: reading from the end, reading what came since the last look, progress bars folded to what they
showed last, secrets blacked out, a log that was put aside because it grew too large. Not covered: writing
(log_writer.py).
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lora_core.jobs import log_writer
from lora_core.jobs.log_pipe import wait_until_whole
from lora_core.redact import redacted, secrets

_BLOCK_BYTES: Final = 65_536
_READ_LIMIT_BYTES: Final = 2_000_000
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")  # colours and cursor moves of a terminal


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a log was read; give it to `since` to read on from there."""

    file: int = 0
    """Number of the file on its disk: a log that was put aside has another than the new one."""
    offset: int = 0


def tail(path: Path, lines: int = 200) -> list[str]:
    """The last `lines` lines of the log at `path`, oldest first; none when there is no log yet.

    Reads from the end and at most 2 MB, so a log of gigabytes costs no more than a short one. Goes on
    in the files that were put aside where the log itself is shorter.
    """
    rows: list[str] = []
    names = [path, *(path.with_name(f"{path.name}.{number + 1}") for number in range(log_writer.KEPT))]
    for name in names:
        rows = _last_rows(name, lines - len(rows)) + rows
        if len(rows) >= lines or (name == path and not name.exists()):
            break
    return hidden([_folded(row) for row in rows])


def last_words(path: Path, lines: int = 200) -> list[str]:
    """As `tail`, of a process that has just ended: waits until what it printed last is written."""
    wait_until_whole(path)
    return tail(path, lines)


def since(path: Path, mark: Mark | None = None, *, most_lines: int = 200) -> tuple[list[str], Mark]:
    """The whole lines behind `mark` (all by default), at most the last `most_lines`, and the new mark.

    A line without its end is left for the next call. Where the log was put aside meanwhile, its rest
    comes first.
    """
    if mark is not None and mark.file:
        aside = path.with_name(f"{path.name}.1")
        if _number(path) != mark.file and _number(aside) == mark.file:
            rest, _ = _from(aside, mark.offset)
            fresh, offset = _from(path, 0)
            rows = rest + fresh
        else:
            rows, offset = _from(path, mark.offset if _number(path) == mark.file else 0)
    else:
        rows, offset = _from(path, 0)
    return hidden([_folded(row) for row in rows[-most_lines:]]), Mark(_number(path), offset)


def _number(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return 0


def _from(path: Path, offset: int) -> tuple[list[str], int]:
    """The whole lines behind `offset`, at most 2 MB of them, and where they end."""
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            start = max(0 if offset > end else offset, end - _READ_LIMIT_BYTES)
            file.seek(start)
            data = file.read(end - start)
    except OSError:
        return [], 0
    whole = data[: data.rfind(b"\n") + 1]
    rows = _rows(whole)
    return (rows[1:] if start > offset else rows), start + len(whole)


def _last_rows(path: Path, lines: int) -> list[str]:
    try:
        with path.open("rb") as file:
            start = file.seek(0, os.SEEK_END)
            end, data = start, b""
            while start > 0 and data.count(b"\n") <= lines and end - start < _READ_LIMIT_BYTES:
                size = min(_BLOCK_BYTES, start)
                start -= size
                file.seek(start)
                data = file.read(size) + data
    except OSError:
        return []
    rows = _rows(data)
    return rows[1:][-lines:] if start > 0 else rows[-lines:]  # the first one is cut


def _rows(data: bytes) -> list[str]:
    rows = data.decode("utf-8", "replace").replace("\r\n", "\n").split("\n")
    return rows if rows[-1] else rows[:-1]


def _folded(row: str) -> str:
    """What a terminal would show of a line that was overwritten with carriage returns."""
    parts = [part for part in row.split("\r") if part.strip()]
    return _ESCAPES.sub("", parts[-1]) if parts else ""


def hidden(rows: list[str]) -> list[str]:
    """`rows` with the secrets of this process's environment, and whatever looks like one, blacked out."""
    values = secrets()
    return [redacted(row.encode("utf-8", "surrogatepass"), values).decode("utf-8", "replace") for row in rows]
