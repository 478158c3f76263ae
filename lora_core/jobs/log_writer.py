"""The small process between a job and its log: reads a pipe to its end and writes a file.

Covered: secrets blacked out before they are on disk, a file that grows too large put aside, lines that a
full disk refused counted and told. Not covered: starting it and what happens when it dies (log_pipe.py).

It is run by its path, `python -I -S log_writer.py LOG BYTES`, because the package above it takes 20 times
as long to import: 40 ms and 11 MB this way. It has a session of its own and ends at the end of the pipe
only, that is when the last process that prints into it is gone, so what a killed job printed is kept.
"""

import contextlib
import errno
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":
    sys.path.append(str(Path(__file__).resolve().parents[2]))

from lora_core.redact import redacted, secrets, uncut

KEPT = 2
"""Older files kept beside the log: NAME.1 is the newer, NAME.2 the older."""
LONGEST_LINE = 65_536
"""A line that does not end is written in pieces of about this many bytes."""
_HELD_BACK = 4_096  # of such a line, so that a secret at the cut is still seen whole
_READ_BYTES = 65_536
_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


class LogFile:
    """A file that only grows, up to a limit, and never raises because of its disk."""

    def __init__(self, path: Path, most_bytes: int) -> None:
        self._path, self._most_bytes = path, most_bytes
        self._file = -1
        self._refused = 0
        self._why = ""
        self._whole_lines = True
        """False after a write that the disk broke off in the middle of a line."""

    def write(self, data: bytes) -> None:
        """Append `data`; what the disk refuses is counted in lines and told as soon as it can be."""
        if not data:
            return
        try:
            self._open()
            self._tell()
            self._append(data)
        except OSError as error:
            self._refused += max(1, data.count(b"\n"))
            self._why = "the disk was full" if error.errno in _FULL else (error.strerror or str(error))
            self._close()

    def end(self) -> None:
        """Tell what was refused, if that is possible now, and close the file."""
        with contextlib.suppress(OSError):
            if self._refused:
                self._open()
                self._tell()
        self._close()

    def _tell(self) -> None:
        if self._refused:
            lead = "" if self._whole_lines else "\n"
            noun = "line was" if self._refused == 1 else "lines were"
            self._append(f"{lead}{self._refused} {noun} not written: {self._why}.\n".encode())
            self._refused = 0

    def _append(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            count = os.write(self._file, rest)
            self._whole_lines = bytes(rest[count - 1 : count]) == b"\n"
            rest = rest[count:]

    def _open(self) -> None:
        """Open the file anew if it was taken away, and put it aside if it is too large."""
        if self._file >= 0:
            try:
                there, ours = self._path.stat(), os.fstat(self._file)
            except FileNotFoundError:
                self._close()
            else:
                if (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino):
                    self._close()
                elif ours.st_size >= self._most_bytes:
                    self._close()
                    self._put_aside()
        if self._file < 0:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
            self._file = os.open(self._path, flags, 0o644)

    def _put_aside(self) -> None:
        # Windows refuses while somebody reads the file; then it grows a little more, until the next write.
        with contextlib.suppress(OSError):
            older = [self._path.with_name(f"{self._path.name}.{number + 1}") for number in range(KEPT)]
            for newer, place in zip(reversed(older[:-1]), reversed(older), strict=False):
                with contextlib.suppress(FileNotFoundError):
                    newer.replace(place)
            self._path.replace(older[0])

    def _close(self) -> None:
        if self._file >= 0:
            with contextlib.suppress(OSError):
                os.close(self._file)
            self._file = -1


def copy(source: int, log: LogFile, values: Sequence[bytes]) -> None:
    """Read the descriptor `source` to its end; each line is written as soon as it is whole."""
    held = b""
    while True:
        try:
            data = os.read(source, _READ_BYTES)
        except InterruptedError:
            continue
        except OSError:
            data = b""
        if not data:
            break
        held += data
        # A progress bar ends its lines with a carriage return.
        cut = max(held.rfind(b"\n"), held.rfind(b"\r")) + 1
        if not cut and len(held) > LONGEST_LINE:
            cut = uncut(held, len(held) - _HELD_BACK, values)
        if cut:
            log.write(redacted(held[:cut], values))
            held = held[cut:]
    log.write(redacted(held, values))
    log.end()


def hold_lock(path: Path) -> int:
    """Open the lock at `path`, which says that a log is not whole yet, and hold it; -1 where that fails.

    On POSIX whoever starts the writer does this for it and hands it the descriptor, so that there is no
    moment without a holder; on Windows, where locks cannot be handed on, the writer does.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError:
        return -1
    with contextlib.suppress(OSError):  # another attempt's writer has it, which says the same
        if sys.platform == "win32":
            import msvcrt

            os.lseek(descriptor, 1 << 30, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


def main(arguments: Sequence[str]) -> int:
    """Copy the standard input into a log. The arguments are its path, its greatest size, and its lock."""
    for name in ("SIGINT", "SIGHUP", "SIGTERM", "SIGTSTP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    path, most_bytes = Path(arguments[0]), int(arguments[1])
    if sys.platform == "win32":
        hold_lock(Path(arguments[2]))  # kept until the process is gone
    copy(0, LogFile(path, most_bytes), secrets())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
