"""Leading all that a process prints through the process that writes its log.

Covered: descriptors 1 and 2, so compiled code and child processes too; a writer that dies is replaced and
takes over the same pipe; waiting until a log is whole. Not covered: what the writer does (log_writer.py),
reading a log (log.py).

Nothing can make the job die of its log: this process keeps the reading end of the pipe as well, so that a
dead writer is no broken pipe, and the pipe keeps what was printed until the next writer reads it. Where no
process can be started at all, a thread of this process does the work.
"""

import atexit
import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from lora_core.jobs import liveness, log_writer
from lora_core.redact import secrets
from lora_core.volumes import lock_file
from lora_core.workspace import APP_ROOT

MOST_BYTES: Final = 64 * 1024 * 1024
"""Size at which a job's log is put aside and begun anew."""
_PIPE_BYTES: Final = 1024 * 1024  # so that a busy disk does not hold up a training
_TRIES: Final = 5
_LASTING_S: Final = 10.0  # a writer that lived this long was fine
_WHOLE_WITHIN_S: Final = 3.0


def lead_through(path: Path, *, most_bytes: int = MOST_BYTES) -> "LogPipe":
    """From now on all that this process and its children print goes into the log at `path`.

    Call it once, first of all. It takes about 5 ms; the writer starts while the caller goes on.
    """
    pipe = LogPipe(path, most_bytes)
    for printed, stream in ((1, sys.stdout), (2, sys.stderr)):
        with contextlib.suppress(AttributeError, ValueError, OSError):
            stream.flush()
        os.dup2(pipe.into, printed)
    os.close(pipe.into)
    atexit.register(pipe.drain)
    return pipe


@contextlib.contextmanager
def written_to(path: Path, *, most_bytes: int = MOST_BYTES) -> Iterator[int]:
    """Yield a descriptor for a program to print into; what comes out of it goes into the log at `path`.

    The log is whole when the block ends, unless the program left something behind that still prints.
    """
    pipe = LogPipe(path, most_bytes)
    try:
        yield pipe.into
    finally:
        os.close(pipe.into)
        pipe.let_go()


class LogPipe:
    """The pipe of this process and whoever reads it now."""

    def __init__(self, path: Path, most_bytes: int) -> None:
        self._command = [
            sys.executable,
            "-I",
            "-S",
            str(Path(log_writer.__file__)),
            str(path),
            str(most_bytes),
            str(lock_file(_lock(path))),
        ]
        self._path, self._most_bytes = path, most_bytes
        self._source, self.into = os.pipe()
        _widen(self.into)
        self.writer = self._started()
        self._ending = False
        self._keeper = threading.Thread(target=self._look_after, name="looks after the log", daemon=True)
        self._keeper.start()

    def _started(self) -> subprocess.Popen[bytes] | None:
        lock = -1 if sys.platform == "win32" else log_writer.hold_lock(lock_file(_lock(self._path)))
        options: dict[str, Any] = {"start_new_session": True, "pass_fds": (lock,) if lock >= 0 else ()}
        if sys.platform == "win32":
            flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS
            options = {"creationflags": flags}
        try:
            # It gets our environment, whose secrets it blacks out; its command line has none.
            return subprocess.Popen(
                self._command,
                stdin=self._source,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=APP_ROOT,
                close_fds=True,
                **options,
            )
        except OSError:
            return None
        finally:
            if lock >= 0:
                os.close(lock)  # the writer has it now, and nobody else

    def _look_after(self) -> None:
        """Replace the writer for as long as this process lives; after some failures do its work here."""
        tries = 0
        while tries < _TRIES:
            began = time.monotonic()
            if self.writer is not None:
                self.writer.wait()
                if self._ending:
                    return
            tries = 0 if time.monotonic() - began > _LASTING_S else tries + 1
            self.writer = self._started()
        log_writer.copy(self._source, log_writer.LogFile(self._path, self._most_bytes), secrets())

    def let_go(self) -> None:
        """Nothing of this process prints into it any more: wait for the writer's last word."""
        self._ending = True
        self._keeper.join(timeout=_WHOLE_WITHIN_S)
        if not self._keeper.is_alive():
            os.close(self._source)

    def drain(self) -> None:
        """At the end of this process: if no writer lives, let the thread deal with what is in the pipe."""
        self._ending = True
        if self.writer is not None and self.writer.poll() is None:
            return
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(AttributeError, ValueError, OSError):
                stream.flush()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for printed in (1, 2):
            os.dup2(nowhere, printed)
        self._keeper.join(timeout=_WHOLE_WITHIN_S)


def _lock(log: Path) -> Path:
    """Held while somebody writes this log; where it really lies says `volumes.lock_file`."""
    return log.with_name(f"{log.name}.lock")


def _widen(descriptor: int) -> None:
    if sys.platform == "linux":
        import fcntl

        with contextlib.suppress(OSError):  # beyond what this user may have: the usual 64 kB do
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def wait_until_whole(path: Path, timeout_s: float = _WHOLE_WITHIN_S) -> bool:
    """Wait until nobody writes the log at `path` any more; False when somebody still does.

    For whoever reads the last words of a process that just died: its writer needs a moment.
    """
    deadline = time.monotonic() + timeout_s
    while liveness.probe(_lock(path)):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.01)
    return True
