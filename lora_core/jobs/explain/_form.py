"""What an explanation and a row of the tables are.

Covered: their fields. Not covered: the rows themselves (table_*.py).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

EVIDENCE_LINES: Final = 12
_EVIDENCE_WIDTH: Final = 500

Fixes = tuple[tuple[str, Any], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation:
    """Why a process ended."""

    cause: str
    fix: str
    evidence: str
    """Up to 12 lines of the log, the one that tells the cause among them."""
    known: bool
    """False when nothing in the tables fits and the cause is honestly unknown."""
    row: str = ""
    """Id of the row that fits, such as `cuda_oom`; `own` for an error of this app; empty when unknown."""
    fixes: Fixes = ()
    """Settings and the values that would mend it, each a change of its own that a page can offer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One known error."""

    id: str
    pattern: re.Pattern[str]
    """Looked for in the text of an exception, and where there is none, in the last lines of the log."""
    cause: str
    fix: str
    fixes: Fixes = ()
    frames: re.Pattern[str] | None = None
    """Must also be found in the traceback, where set: where in the program it happened."""
    anywhere: bool = False
    """True when the line tells the cause also if it stands far above an error that nobody knows."""


def evidence(lines: Iterable[str]) -> str:
    """Lines of a log as they are kept with an end: each of a length that one can read."""
    return "\n".join(
        line if len(line) <= _EVIDENCE_WIDTH else f"{line[:_EVIDENCE_WIDTH]} [and more]" for line in lines
    )


def row(
    id: str,  # noqa: A002  the word for it in the notes and in the status file
    pattern: str,
    cause: str,
    fix: str,
    *fixes: tuple[str, Any],
    frames: str = "",
    anywhere: bool = False,
) -> Row:
    """A row, its patterns compiled; they are searched over several lines."""
    return Row(
        id=id,
        pattern=re.compile(pattern, re.MULTILINE),
        cause=cause,
        fix=fix,
        fixes=fixes,
        frames=re.compile(frames) if frames else None,
        anywhere=anywhere,
    )
