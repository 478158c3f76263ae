"""What differs between Linux, macOS and Windows, behind one interface.

Covered: process groups, lock primitives, detached processes, a closed terminal, replacing a file that a
reader holds open, paths over 260 characters. Not covered: deciding who is to be ended or locked out
(liveness.py, runner.py). Windows and macOS are type-checked and have never been run.

Callers name a process by id only while they know that the id is still its own. Names of users and
folders need nothing here: every path is a `Path`, every text is UTF-8, and no shell reads a command.
"""

import contextlib
import os
import signal
import subprocess
import sys
from typing import Any, Final, NoReturn

import psutil

from lora_core.workspace import long_path, replace_open

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = [
    "LOOKS_SHARE",
    "detach_options",
    "end_group",
    "ignore_terminal",
    "leave",
    "lock",
    "long_path",
    "reap",
    "replace_open",
    "unlock",
    "utf8",
]

LOOKS_SHARE: Final = sys.platform != "win32"
"""True where two shared locks at once do not see each other."""

_LOCKED_BYTE: Final = 1 << 30


# --- locks ----------------------------------------------------------------------------------------


def lock(descriptor: int, *, shared: bool) -> bool:
    """Try once to lock the open file; False when another process has it.

    Raises:
        OSError: the file system has no locks.
    """
    if sys.platform == "win32":
        # Windows has no shared form here: two looks at once see each other, which is why one
        # look never decides. The byte lies far behind the end, so the file stays readable.
        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
    else:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def unlock(descriptor: int) -> None:
    """Give the lock back; the file stays open."""
    if sys.platform == "win32":
        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        with contextlib.suppress(OSError):
            msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


# --- processes ------------------------------------------------------------------------------------


def detach_options() -> dict[str, Any]:
    """Options of `subprocess.Popen` for a process that no terminal reaches: no Ctrl-C, no closed window."""
    if sys.platform == "win32":
        # Closing the app's console says nothing to it then. A console of its own that nobody sees, rather
        # than none: without one, each program that it starts would open a window.
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    else:  # noqa: RET505  mypy calls the rest unreachable without it
        return {"start_new_session": True}


def ignore_terminal() -> None:
    """Let Ctrl-C in the app's terminal, and its closing, mean nothing to this process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "win32":
        signal.signal(signal.SIGBREAK, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


def utf8() -> dict[str, str]:
    """What makes a Python that is started write UTF-8 at once, wherever the system would choose otherwise."""
    return {"PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}


def end_group(pid: int, *, kill: bool) -> None:
    """Ask the whole group of the process `pid` to end (SIGTERM), or kill it (SIGKILL).

    The process leads a session of its own, so its id is also that of its group, and the group
    holds everything it started. Nothing happens when the group is gone.
    """
    if sys.platform == "win32":
        # Windows has no groups that outlive their leader and no SIGTERM: the tree is ended.
        if kill:
            for process in _tree(pid):
                with contextlib.suppress(psutil.Error):  # it ended meanwhile
                    process.kill()
    else:
        try:
            os.killpg(pid, signal.SIGKILL if kill else signal.SIGTERM)
        except (ProcessLookupError, PermissionError):
            return


def leave(code: int) -> NoReturn:
    """End this process at once, with what it started in its own group; no block of it is left in order."""
    if sys.platform != "win32" and os.getpgrp() == os.getpid():
        for child in _tree(os.getpid())[:-1]:
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                if os.getpgid(child.pid) == os.getpid():  # the writer of the log has a group of its own
                    child.kill()
    os._exit(code)


def _tree(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [*process.children(recursive=True), process]
    except psutil.Error:
        return []


def reap(child: subprocess.Popen[bytes]) -> int | None:
    """The exit code of `child` if it has ended, after killing what it left behind; else None."""
    if sys.platform == "linux":  # macOS has waitid from Python 3.13 on
        # While the dead leader is not waited for, nobody else can get its id, so the group that
        # is killed here is surely its own.
        with contextlib.suppress(ChildProcessError):
            if os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                end_group(child.pid, kill=True)
        return child.poll()
    else:  # noqa: RET505  mypy calls the rest unreachable without it
        code = child.poll()
        if code is not None:
            end_group(child.pid, kill=True)
        return code
