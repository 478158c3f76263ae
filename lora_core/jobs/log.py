"""The end of a job's log, as a person wants to read it.

Covered: reading from the end by offset, progress bars folded to what they showed last, secrets
blacked out. Not covered: writing; the process prints straight into the file.
"""

import os
import re
from pathlib import Path
from typing import Final

_BLOCK_BYTES: Final = 65_536
_READ_LIMIT_BYTES: Final = 2_000_000
_SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|CREDENTIAL", re.IGNORECASE)
_SECRET_FORM = re.compile(r"\bhf_[A-Za-z0-9]{16,}\b|\bsk-[A-Za-z0-9_-]{16,}\b")
_BLACKED_OUT: Final = "[hidden]"
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")  # colours and cursor moves of a terminal


def tail(path: Path, lines: int = 200) -> list[str]:
    """The last `lines` lines of the log at `path`, oldest first; none when there is no log yet.

    Reads from the end and at most 2 MB, so a log of gigabytes costs no more than a short one.
    """
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
    text = data.decode("utf-8", "replace")
    rows = text.replace("\r\n", "\n").split("\n")
    if start > 0:
        rows = rows[1:]  # the first one is cut
    if rows and not rows[-1]:
        rows.pop()
    return hidden([_folded(row) for row in rows[-lines:]])


def _folded(row: str) -> str:
    """What a terminal would show of a line that was overwritten with carriage returns."""
    parts = [part for part in row.split("\r") if part.strip()]
    return _ESCAPES.sub("", parts[-1]) if parts else ""


def _secrets() -> list[str]:
    found = [value for name, value in os.environ.items() if _SECRET_NAME.search(name) and len(value) >= 8]
    return sorted(found, key=len, reverse=True)


def hidden(rows: list[str]) -> list[str]:
    """`rows` with the secrets of this process's environment, and whatever looks like one, blacked out."""
    secrets = _secrets()
    return [_redacted(row, secrets) for row in rows]


def _redacted(row: str, secrets: list[str]) -> str:
    for secret in secrets:
        row = row.replace(secret, _BLACKED_OUT)
    return _SECRET_FORM.sub(_BLACKED_OUT, row)
