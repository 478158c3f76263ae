"""Other programs, run to be measured: when each line came, how long it took, how much memory it had.

Covered: Linux and macOS, one process at a time. Not covered: Windows, whose peak memory would have
to be asked for while the process lives.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final, cast

from benchmarks.machine import ROOT

_SHOWN_LINES: Final = 25
_KIB: Final = 1024 if sys.platform != "darwin" else 1  # macOS counts bytes


class CannotMeasureError(Exception):
    """A benchmark, or an alternative of one, cannot be run here; the text says why."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of output and when it came, in Unix time."""

    time: float
    text: str


@dataclass(slots=True)
class Finished:
    """A process that has ended well."""

    started: float
    """Unix time at which it was asked for."""
    ended: float
    peak_memory_mb: float
    """Most memory of the process itself, in millions of bytes; what its own children had does not count."""
    lines: list[Line] = field(default_factory=list)


def watched(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
    timeout_s: float = 3600,
) -> Finished:
    """Run a command to its end. Both outputs are read together; each redraw of a bar is a line.

    Raises:
        CannotMeasureError: it ended with an error, or took longer than `timeout_s`.
    """
    started = time.time()
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # a Ctrl-C here ends it once, below, and not halfway
    )
    output = cast("IO[bytes]", process.stdout)  # a pipe was asked for above
    overdue = threading.Timer(timeout_s, _kill_session, [process.pid])
    overdue.start()
    try:
        lines = list(_lines(output))
        # wait4 and not Popen.wait: it alone tells the peak memory of this one process.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    finally:
        overdue.cancel()
        output.close()
        if process.returncode is None:
            _kill_session(process.pid)
            process.wait()
    ended = time.time()
    if process.returncode != 0:
        raise CannotMeasureError(_why(command, process.returncode, ended - started, timeout_s, lines))
    return Finished(started, ended, usage.ru_maxrss * _KIB / 1e6, lines)


def _kill_session(leader: int) -> None:
    """End a process and what it started, unless they are gone already."""
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def _lines(output: IO[bytes]) -> Iterator[Line]:
    """The lines as they come; a carriage return ends one too, as bars use it."""
    rest = b""
    # os.read gives what is there at once, where a buffered read would wait for more.
    while data := os.read(output.fileno(), 65536):
        now = time.time()
        *whole, rest = (rest + data).replace(b"\r", b"\n").split(b"\n")
        yield from (Line(now, text.decode("utf-8", "replace")) for text in whole if text.strip())
    if rest.strip():
        yield Line(time.time(), rest.decode("utf-8", "replace"))


def _why(
    command: Sequence[str | Path], code: int, took_s: float, timeout_s: float, lines: Sequence[Line]
) -> str:
    what = f"took more than {timeout_s:.0f} s" if took_s >= timeout_s else f"ended with code {code}"
    said = "\n".join(f"  {line.text}" for line in lines[-_SHOWN_LINES:])
    return f"{' '.join(str(part) for part in command)}\n{what}. It said at the end:\n{said}"
