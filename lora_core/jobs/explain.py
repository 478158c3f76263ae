"""From an exit code and a log to a cause, its evidence and a fix, in plain words.

Covered: the ways in which a process can die without telling its end itself, and the commonest
errors of training. Not covered: errors that the work itself explained (`LoraError`). What is not
in the table is called unknown and shows its last traceback.
"""

import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

EVIDENCE_LINES: Final = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation:
    """Why a process ended."""

    cause: str
    fix: str
    evidence: str
    known: bool
    """False when nothing in the table fits and the cause is honestly unknown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    pattern: re.Pattern[str]
    cause: str
    fix: str


def _row(pattern: str, cause: str, fix: str) -> _Row:
    return _Row(pattern=re.compile(pattern), cause=cause, fix=fix)


# Tried in this order on each line, the last lines first.
_ROWS: Final = (
    _row(
        r"(CUDA|HIP) out of memory|OutOfMemoryError|CUBLAS_STATUS_ALLOC_FAILED|MPS backend out of memory",
        "The graphics card ran out of memory.",
        "Use batch size 1 and gradient checkpointing, cache the latents, or lower the resolution. "
        "Close other programs that use the card.",
    ),
    _row(
        r"DataLoader worker .*(killed|exited unexpectedly)|paging file is too small|[Bb]us error"
        r"|Cannot allocate memory|^MemoryError|DefaultCPUAllocator: (can't|not enough)",
        "The computer's main memory ran out.",
        "Close other programs, use fewer loader workers or a smaller batch. "
        "In a container, allow more shared memory.",
    ),
    _row(
        r"No space left on device|\[Errno 28\]|DiskFullError|Disk quota exceeded",
        "The disk is full.",
        "Free some space on this disk, then resume.",
    ),
    _row(
        r"no kernel image is available for execution|sm_\d+ is not compatible",
        "This build of torch is too old for the graphics card.",
        "Run the set-up again, so that it chooses a newer torch.",
    ),
    _row(
        r"CUDA error|CUDA driver version is insufficient|NVIDIA driver.* too old|cudaErrorUnknown",
        "The graphics card or its driver reported an error.",
        "Restart the computer. If it comes back, update the driver.",
    ),
    _row(
        r"SafetensorError|HeaderTooLarge|MetadataIncompleteBuffer|PytorchStreamReader failed|UnpicklingError",
        "A model file is not complete, or is not a model.",
        "Download it again and compare its size.",
    ),
    _row(
        r"ModuleNotFoundError: No module named '([^']+)'|ImportError: cannot import name",
        "A package that this work needs is missing or has the wrong version.",
        "Run the set-up again.",
    ),
    _row(
        r"PermissionError|\[Errno 13\]|Read-only file system",
        "A file or folder could not be written to.",
        "Allow writing to the folder that the log names, or choose another workspace.",
    ),
)

_SIGNALS: Final = {
    "SIGKILL": (
        "It was stopped by the system, often for lack of memory.",
        "Close other programs, or lower the batch size or the resolution. Then go on with it.",
    ),
    "SIGTERM": ("It was asked to end from outside the app.", "Go on with it."),
    "SIGSEGV": (
        "It crashed inside native code, such as a driver or a compiled package.",
        "Go on with it. If it comes back, update the driver and run the set-up again.",
    ),
    "SIGABRT": (
        "A compiled package gave up and ended the process.",
        "Read the last lines of the log. Go on with it; if it comes back, run the set-up again.",
    ),
    "SIGBUS": (
        "It lost memory that it was using: the disk or the shared memory was full.",
        "Free some disk space. In a container, allow more shared memory.",
    ),
    "SIGILL": (
        "It used an instruction that this processor does not have.",
        "Run the set-up again, so that it chooses another build of torch.",
    ),
}


def explain(exit_code: int | None, log: Sequence[str], *, restarted: bool = False) -> Explanation:
    """Why a process ended that left `log` (its last lines, oldest first).

    `exit_code` is negative for a signal and None where nobody saw the process end; `restarted`
    tells that the computer was started again since.
    """
    if restarted:
        return _from("The computer was restarted while this ran.", "Go on with it.", exit_code, log)
    trace = last_traceback(log)
    for line in reversed(trace or log):
        for row in _ROWS:
            if row.pattern.search(line):
                return Explanation(cause=row.cause, fix=row.fix, evidence=line.strip(), known=True)
    if (name := signal_name(exit_code)) in _SIGNALS and not trace:
        return _from(*_SIGNALS[name], exit_code, log)
    if trace:
        cause = "It ended with an error that this app does not know."
        return Explanation(
            cause=cause, fix="Read the error below.", evidence="\n".join(trace[-EVIDENCE_LINES:]), known=False
        )
    cause = "Its process ended without a word, and nobody saw how."
    if exit_code is not None:
        cause = f"Its process ended by itself with the code {exit_code}, and the log does not say why."
    return Explanation(cause=cause, fix="Read the log.", evidence=_evidence(exit_code, log), known=False)


def _from(cause: str, fix: str, exit_code: int | None, log: Sequence[str]) -> Explanation:
    return Explanation(cause=cause, fix=fix, evidence=_evidence(exit_code, log), known=True)


def signal_name(exit_code: int | None) -> str:
    """The signal that ended a process, told from its exit code; empty when none did.

    A shell reports 128 + number, the system minus number.
    """
    if exit_code is None:
        return ""
    number = -exit_code if exit_code < 0 else exit_code - 128
    try:
        return signal.Signals(number).name
    except ValueError:
        return ""


def last_traceback(log: Sequence[str]) -> list[str]:
    """The last Python traceback in `log`, up to and with the line of its exception; else empty."""
    starts = [i for i, line in enumerate(log) if line.startswith("Traceback (most recent call last)")]
    if not starts:
        return []
    found: list[str] = []
    for line in log[starts[-1] :]:
        found.append(line)
        if len(found) > 1 and line and not line[0].isspace():
            break
    return found


def _evidence(exit_code: int | None, log: Sequence[str]) -> str:
    lines = [line for line in log if line.strip()][-EVIDENCE_LINES:]
    if exit_code is not None:
        name = signal_name(exit_code)
        lines.append(f"exit code {exit_code}" + (f" ({name})" if name else ""))
    return "\n".join(lines)
