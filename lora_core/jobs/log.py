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
_LOOK_BACK_BYTES: Final = 8_000_000
"""A progress bar of a night is one line of some megabytes."""
LONGEST_ROW: Final = 2_000
"""Characters; of a longer line its middle is left out. The log itself has all of it."""
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")  # colours and cursor moves of a terminal


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a log was read; give it to `since` to read on from there."""

    file: int = 0
    """Number of the file on its disk: a log that was put aside has another than the new one."""
    offset: int = 0


def tail(path: Path, lines: int = 200) -> list[str]:
    """The last `lines` lines of the log at `path`, oldest first; none when there is no log yet.

    Reads from the end and at most 8 MB, so a log of gigabytes costs no more than a short one. Goes on
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
    rows, read = _from(path, mark)
    if mark is not None and mark.file not in {0, read.file}:
        between: list[str] = []
        for number in range(log_writer.KEPT):
            older, its = _from(path.with_name(f"{path.name}.{number + 1}"), mark)
            between = older + between
            if its.file == mark.file:
                rows = between + rows
                break
    return hidden([_folded(row) for row in rows[-most_lines:]]), read


def _from(path: Path, mark: Mark | None) -> tuple[list[str], Mark]:
    """The whole lines behind `mark` if that is of this file, else from its start; at most the last 2 MB."""
    try:
        with path.open("rb") as file:
            # Of the open file: under its name another one may lie a moment later.
            number = os.fstat(file.fileno()).st_ino
            offset = mark.offset if mark is not None and mark.file == number else 0
            end = file.seek(0, os.SEEK_END)
            start = max(0 if offset > end else offset, end - _READ_LIMIT_BYTES)
            file.seek(start)
            data = file.read(end - start)
    except OSError:
        return [], Mark()
    whole = data[: data.rfind(b"\n") + 1]
    rows = _rows(whole)
    return (rows[1:] if start > offset else rows), Mark(number, start + len(whole))


def _last_rows(path: Path, lines: int) -> list[str]:
    """The last `lines` lines. Of a very long one the middle is left out, so what is before it is found."""
    found: list[bytes] = []
    row = b""
    try:
        with path.open("rb") as file:
            end = start = file.seek(0, os.SEEK_END)
            while start > 0 and len(found) <= lines and end - start < _LOOK_BACK_BYTES:
                size = min(_BLOCK_BYTES, start)
                start -= size
                file.seek(start)
                first, *others = file.read(size).split(b"\n")
                if others:
                    found += [others[-1] + row, *reversed(others[:-1])]
                    row = first
                else:
                    row = first + row
                    if len(row) > 2 * _BLOCK_BYTES:
                        row = row[:_BLOCK_BYTES] + row[-_BLOCK_BYTES:]
    except OSError:
        return []
    if start == 0 or len(found) < 2:  # else the first one is cut, and there are others
        found.append(row)
    if found and not found[0]:
        del found[0]  # behind the end of the last line
    return _rows(b"\n".join(reversed(found[:lines])) + b"\n") if lines and found else []


def _rows(data: bytes) -> list[str]:
    rows = data.decode("utf-8", "replace").replace("\r\n", "\n").split("\n")
    return rows if rows[-1] else rows[:-1]


def _folded(row: str) -> str:
    """What a terminal would show of a line that was overwritten with carriage returns."""
    # A Windows program may print UTF-16, whose every other byte is 0.
    parts = [part for part in row.replace("\0", "").split("\r") if part.strip()]
    return _ESCAPES.sub("", parts[-1]) if parts else ""


def hidden(rows: list[str]) -> list[str]:
    """`rows` as they may be shown.

    The secrets of this process's environment, and whatever looks like one, are blacked out; very long rows
    are without their middle.
    """
    values = secrets()
    texts = (
        redacted(row.encode("utf-8", "surrogatepass"), values).decode("utf-8", "replace") for row in rows
    )
    return [_shortened(text) for text in texts]


def _shortened(row: str) -> str:
    if (more := len(row) - LONGEST_ROW) <= 0:
        return row
    half = LONGEST_ROW // 2
    return f"{row[:half]} [{more} characters left out] {row[-half:]}"
