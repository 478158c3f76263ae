"""Reading a log as these programs print it: tracebacks, their chains, boxes, bars and wrapped lines.

Covered: chained tracebacks, one that begins behind a progress bar, Rich's boxes and wrapped messages, marks
of several processes, tracebacks that only report how another process ended, warnings that print one. Not
covered: what the found text means (table_*.py).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_RANK = re.compile(r"^\[rank\d+\]:\s?")
_HEAD: Final = "Traceback (most recent call last)"
_BOX: Final = "│╭╮╰╯─┃┏┓┗┛━"
_RICH = re.compile(
    r"^(?:\[[\d/ :]+\]|\s{10,})\s*(?:DEBUG|INFO|WARNING|ERROR|CRITICAL)\s{2,}(\S.*?)\s*(?:\S+\.py:\d+)?$"
)
_RICH_MORE = re.compile(r"^\s{20,}(\S.*?)\s*$")
_LINK = re.compile(r"^(During handling of the above|The above exception was the direct)")
_BAR = re.compile(r"\d+%\|")
_MESSAGE_ENDS = re.compile(
    r"^(\s*(Original )?Traceback \(most|During handling of|The above exception was"
    r"|\[?\d{4}-\d\d-\d\d|\d\d:\d\d:\d\d|(DEBUG|INFO|WARNING|ERROR|CRITICAL)\b"
    r"|What happened: |\S+\.py:\d+: \w+Warning)|\d+%\|"
)
_MESSAGE_LINES: Final = 16

_REPORTS = re.compile(r"^[\w.]*(CalledProcessError|ChildFailedError|SystemExit)\b")
"""Exceptions that only say that another process ended."""

HARMLESS = re.compile(
    r"mean ar error|no regularization images|[Tt]riton is not available|No module named 'triton'"
    r"|Cannot import apex RMSNorm|FutureWarning|UserWarning|DeprecationWarning"
    r"|The following values were not passed to `accelerate launch`|leaked semaphore"
)
"""Lines that look like errors and are none."""


@dataclass(slots=True)
class Block:
    """One traceback."""

    start: int
    """Index of its first line in the log."""
    end: int = 0
    """Index of the line behind its message."""
    frames: list[str] = field(default_factory=list)
    message: list[str] = field(default_factory=list)
    """The exception's own lines."""
    linked: bool = False
    """True when it came while, or because, the one before it was handled."""

    @property
    def text(self) -> str:
        return "\n".join(self.message)

    @property
    def reports_only(self) -> bool:
        return bool(self.message) and _REPORTS.match(self.message[0]) is not None


def cleaned(log: Sequence[str]) -> list[str]:
    """`log` without colours, boxes and marks; a traceback that begins behind a bar gets its own line."""
    lines: list[str] = []
    wrapped = False
    for raw in log:
        line = _RANK.sub(
            "", _ESCAPES.sub("", raw.rpartition("\r")[2] if "\r" in raw.rstrip("\r") else raw)
        ).rstrip()
        if _HEAD in line:
            before, _, _ = line.partition(_HEAD)
            before = before.strip(_BOX + " ")
            head = f"{_HEAD}:"
            if before.endswith("Original"):
                before, head = before.removesuffix("Original").rstrip(), f"Original {head}"
            lines += [before, head] if before else [head]
            wrapped = False
        elif line[:1] and line[0] in _BOX:
            content = line.strip(_BOX + " ")
            if content:
                lines.append(f"  {content}")
        elif found := _RICH.match(line):
            lines.append(found[1])
            wrapped = True
        elif wrapped and (found := _RICH_MORE.match(line)):
            lines[-1] += f" {found[1]}"
        else:
            lines.append(line)
            wrapped = False
    return lines


def blocks(lines: Sequence[str]) -> list[Block]:
    """The tracebacks in cleaned lines, oldest first; those of mere warnings are left out."""
    found: list[Block] = []
    at, linked = 0, False
    while at < len(lines):
        if not lines[at].lstrip().startswith((_HEAD, f"Original {_HEAD}")):
            if lines[at].strip():
                linked = bool(_LINK.match(lines[at]))
            at += 1
            continue
        original = lines[at].lstrip().startswith("Original")
        block = _block(lines, at)
        block.linked = linked or original
        linked = False
        if block.message and not _of_a_warning(block, lines[max(0, at - 2) : at]):
            found.append(block)
        at = max(block.end, at + 1)
    return found


def _block(lines: Sequence[str], start: int) -> Block:
    block = Block(start=start)
    at = start + 1
    while at < len(lines) and (not lines[at].strip() or lines[at][0].isspace()):
        if lines[at].lstrip().startswith(_HEAD):
            break
        block.frames.append(lines[at])
        at += 1
    while at < len(lines) and len(block.message) < _MESSAGE_LINES:
        if _MESSAGE_ENDS.search(lines[at]):
            break
        block.message.append(lines[at])
        at += 1
    while block.message and not block.message[-1].strip():
        block.message.pop()
        at -= 1
    block.end = at
    return block


def _of_a_warning(block: Block, before: Sequence[str]) -> bool:
    """True for a traceback that a library prints to explain why it does without something."""
    return any(HARMLESS.search(line) for line in before) and HARMLESS.search(block.text) is not None


def chains(found: Sequence[Block]) -> list[list[Block]]:
    """Tracebacks that belong together, oldest first; in each the last one is what ended the work."""
    chained: list[list[Block]] = []
    for block in found:
        if block.linked and chained:
            chained[-1].append(block)
        else:
            chained.append([block])
    return chained


def last_traceback(log: Sequence[str]) -> list[str]:
    """The last traceback in `log` that tells a cause, with its exception's first line; else empty."""
    lines = cleaned(log)
    telling = [block for block in blocks(lines) if not block.reports_only]
    if not telling:
        return []
    last = telling[-1]
    return [*lines[last.start : last.start + 1 + len(last.frames)], last.message[0]]


def bar_in(line: str) -> bool:
    """True for a line that a progress bar drew."""
    return _BAR.search(line) is not None
