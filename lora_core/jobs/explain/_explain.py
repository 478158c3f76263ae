"""The decision: which row of which table tells why a process ended.

Covered: the order in which an error, the log and the exit code are believed. Not covered: the rows.

An error that ended the work comes first: the last traceback that does not merely report how another process
ended, with the ones it came from. Rows are tried in the order of the tables, so a more specific one wins
wherever in the chain it fits. Then the last lines of the log, then the exit code. A traceback that nobody
knows is shown, and never explained by a line that stands far above it.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from lora_core.jobs.explain import table_codes, table_files, table_memory, table_training
from lora_core.jobs.explain._form import EVIDENCE_LINES, Explanation, Row, evidence
from lora_core.jobs.explain._own import own
from lora_core.jobs.explain._reading import HARMLESS, Block, bar_in, blocks, chains, cleaned
from lora_core.jobs.explain.table_codes import Code

ROWS: Final[tuple[Row, ...]] = (*table_memory.ROWS, *table_training.ROWS, *table_files.ROWS)

_BEHIND: Final = 3
"""Lines that evidence shows behind the one that tells the cause."""
_LAST_LINES: Final = 60
_STALE_LINES: Final = 40
_STATUS = re.compile(
    r"returned non-zero exit status (-?\d+)|died with <Signals\.\w+: (\d+)>|exitcode\s*: (-?\d+)"
)
_WARNED = re.compile(r"WARN|[Ww]arning|^\s*\d+ lines? (was|were) not written: ")


@dataclass(frozen=True, slots=True)
class _Read:
    """A log, read."""

    lines: list[str]
    chain: list[Block]
    """The tracebacks of the error that ended the work; empty when there is none."""
    status: int | None
    """How a started process ended, as its starter's traceback reports it."""

    @property
    def behind(self) -> list[str]:
        return self.lines[self.chain[-1].end :] if self.chain else self.lines


def explain(
    exit_code: int | None, log: Sequence[str], *, restarted: bool = False, oom_kills: int | None = None
) -> Explanation:
    """Why a process ended that left `log` (its last lines, oldest first).

    `exit_code` is negative for a signal and None where nobody saw the process end; `restarted` tells that
    the computer was started again since. `oom_kills` is how many processes the system ended for lack of
    memory while this one ran; None where that is not known.
    """
    if restarted:
        code = Code("restarted", "The computer was restarted while this ran.", "Go on with it.")
        return _of_code(code, exit_code, cleaned(log))
    read = _read(log)
    code_tells = _meaning(exit_code, read, oom_kills)
    if read.chain and not _stale(
        read, sudden=code_tells is not None and code_tells.row in table_codes.SUDDEN
    ):
        if (ours := own(read.chain[-1], read.lines)) is not None:
            return ours
        if (found := _in_chain(read)) is not None:
            return found
        return _in_lines((row for row in ROWS if row.anywhere), read.lines) or _unknown(read)
    # A kill leaves no last word: what stands in the log was said before it, about something else.
    killed = code_tells is not None and code_tells.row in {
        "killed",
        "oom_killed",
        "console_closed",
        "logged_off",
    }
    if (
        not killed
        and (found := _in_lines(ROWS, read.behind[-_LAST_LINES:] if read.chain else read.lines)) is not None
    ):
        return found
    if code_tells is not None:
        extra = (
            f"the system ended {oom_kills} for lack of memory meanwhile"
            if code_tells.row == "oom_killed"
            else ""
        )
        return _of_code(code_tells, exit_code if exit_code != 1 else read.status, read.lines, extra)
    return _unknown(read) if read.chain else _silent(exit_code, read)


def _read(log: Sequence[str]) -> _Read:
    lines = cleaned(log)
    status: int | None = None
    found = chains(blocks(lines))
    while found and found[-1][-1].reports_only:
        chain = found.pop()
        said = _STATUS.search(" ".join(lines[chain[0].start : chain[-1].end + 30]))
        if said is not None and status is None:
            status = int(said[1] or said[3]) if said[1] or said[3] else -int(said[2])
        if telling := [block for block in chain if not block.reports_only]:
            found.append(telling)
    return _Read(lines, found[-1] if found else [], status)


def _meaning(exit_code: int | None, read: _Read, oom_kills: int | None) -> Code | None:
    code = table_codes.meaning(exit_code) or table_codes.meaning(read.status)
    if code is not None and code.row == "killed" and oom_kills:
        return table_codes.OOM_KILLED
    return code


def _stale(read: _Read, *, sudden: bool) -> bool:
    """True when the work went on after the error, so that this did not end it."""
    behind = [line for line in read.behind if line.strip()]
    if sudden:
        return len(behind) > EVIDENCE_LINES or any(bar_in(line) for line in behind)
    return len(behind) > _STALE_LINES


def _in_chain(read: _Read) -> Explanation | None:
    frames = "\n".join(line for block in read.chain for line in block.frames)
    for row in ROWS:
        if row.frames is not None and not row.frames.search(frames):
            continue
        for block in reversed(read.chain):
            # Boxes wrap a long text over lines, so it is read as one line as well.
            if row.pattern.search(block.text) or row.pattern.search(" ".join(block.message)):
                first = block.start + 1 + len(block.frames)
                hits = (n for n, line in enumerate(block.message) if row.pattern.search(line))
                at = first + next(hits, 0)
                return _of_row(row, read.lines[block.start : block.end], at - block.start)
    return None


def _in_lines(rows: Iterable[Row], lines: Sequence[str]) -> Explanation | None:
    for row in rows:
        for at in range(len(lines) - 1, -1, -1):
            if row.frames is None and row.pattern.search(lines[at]) and not HARMLESS.search(lines[at]):
                if _WARNED.search(lines[at]) and not row.anywhere:
                    continue
                return _of_row(row, lines, at)
    return None


def _of_row(row: Row, lines: Sequence[str], at: int) -> Explanation:
    return Explanation(
        cause=row.cause, fix=row.fix, evidence=_around(lines, at), known=True, row=row.id, fixes=row.fixes
    )


def _around(lines: Sequence[str], at: int) -> str:
    """Up to 12 lines that end a little behind the one that tells the cause."""
    end = min(len(lines), at + 1 + _BEHIND)
    return evidence(line for line in lines[max(0, end - EVIDENCE_LINES) : end] if line.strip())


def _of_code(code: Code, exit_code: int | None, lines: Sequence[str], extra: str = "") -> Explanation:
    last = _last(exit_code, lines, extra)
    return Explanation(cause=code.cause, fix=code.fix, evidence=last, known=True, row=code.row)


def _unknown(read: _Read) -> Explanation:
    last = read.chain[-1]
    lines = read.lines[last.start : last.end]
    shown = _around(lines, min(len(lines) - 1, 1 + len(last.frames)))
    cause = "It ended with an error that this app does not know."
    return Explanation(cause=cause, fix="Read the error below.", evidence=shown, known=False)


def _silent(exit_code: int | None, read: _Read) -> Explanation:
    cause = "Its process ended without a word, and nobody saw how."
    if exit_code is not None:
        cause = f"Its process ended by itself with the code {exit_code}, and the log does not say why."
    return Explanation(cause=cause, fix="Read the log.", evidence=_last(exit_code, read.lines), known=False)


def _last(exit_code: int | None, log: Sequence[str], extra: str = "") -> str:
    lines = [line for line in log if line.strip()]
    more = [extra] if extra else []
    if exit_code is not None:
        name = table_codes.code_name(exit_code)
        more.append(f"exit code {exit_code}" + (f" ({name})" if name else ""))
    return evidence([*lines[-(EVIDENCE_LINES - len(more)) :], *more])
