"""Ending processes together with the ones they started.

Covered: the process group of a job's process, on POSIX and on Windows. Not covered: deciding who
is to be ended; callers name a process by id only while they know that the id is still its own.
"""

import contextlib
import os
import signal
import subprocess
import sys

import psutil


def end_group(pid: int, *, kill: bool) -> None:
    """Ask the whole group of the process `pid` to end (SIGTERM), or kill it (SIGKILL).

    The process leads a session of its own, so its id is also that of its group, and the group
    holds everything it started. Nothing happens when the group is gone.
    """
    if sys.platform == "win32":
        # Windows has no groups that outlive their leader and no SIGTERM: the tree is ended.
        if kill:
            for process in _tree(pid):
                process.kill()
    else:
        try:
            os.killpg(pid, signal.SIGKILL if kill else signal.SIGTERM)
        except (ProcessLookupError, PermissionError):
            return


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
