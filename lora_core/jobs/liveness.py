"""Who is alive: file locks of the operating system, and nothing else, say so.

Covered: taking a lock and keeping it for the life of a process, looking whether somebody has it,
writing down who has it. Not covered: what the owner does, and owners on other computers (see
`lora_core.jobs.hosts`): their locks may not be seen here.

The rules that make it true:

- The lock is the kernel's, so it ends with its owner, however that ends.
- Its descriptor is never inherited: not through exec (close-on-exec), not through fork (closed in
  the child), so a worker that a dead owner left behind cannot keep the lock alive.
- A look is a shared lock, taken and given back at once. Owners poll for theirs for a while, so a
  look can delay an owner by a moment and never refuse it.
- Nobody is called dead after one look, nor while the process that wrote itself down still runs.
- A process id is never believed without the start time of its process, which no other can have, nor in a
  copy of the folder that it was written in.
- Where the file system's locks do not hold (see `lora_core.volumes`), the lock that is called
  `engine.lock` lies on this computer's own disk; the record of its owner stays where its name says.
"""

import contextlib
import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import psutil

from lora_core.errors import WorkspaceError
from lora_core.jobs import platform
from lora_core.volumes import here, lock_file
from lora_core.workspace import long_path, read_json, replace_open

_POLL_S: Final = 0.02
_LOOKS: Final = 3
_LOOK_GAP_S: Final = 0.015  # longer than another process needs for its look, measured 0.03 ms

_KNOWN: Final = frozenset({"format", "pid", "started", "host", "folder"})

_held: dict[int, "Lock"] = {}


class Lock:
    """A lock that this process has, until `release` or until the process ends."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        _held[id(self)] = self

    @classmethod
    def acquire(cls, path: Path, *, timeout_s: float = 10.0) -> Self:
        """Wait for the lock at `path`; the file is made if it is not there.

        Raises:
            TimeoutError: another process kept it for `timeout_s`.
            OSError: the file could not be made or opened.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            descriptor = _open(path)
            # A file that was removed or replaced in between would lock nobody out.
            if platform.lock(descriptor, shared=False) and _same_file(descriptor, path):
                return cls(path, descriptor)
            os.close(descriptor)
            if time.monotonic() >= deadline:
                raise TimeoutError(f"{path} has been locked by another process for {timeout_s:g} s")
            time.sleep(_POLL_S)

    def release(self) -> None:
        """Give it back; once is enough, more does no harm."""
        if _held.pop(id(self), None) is not None:
            platform.unlock(self._descriptor)
            os.close(self._descriptor)

    def heal(self) -> bool:
        """Take the lock anew if its file was removed or replaced meanwhile; True when it is ours."""
        if _same_file(self._descriptor, self.path):
            return True
        try:
            fresh = _open(self.path)
        except OSError:
            return False
        if not platform.lock(fresh, shared=False):
            os.close(fresh)
            return False
        os.close(self._descriptor)
        self._descriptor = fresh
        return True

    def _forget(self) -> None:
        # In a forked child: closing lets go of the copy; unlocking would end the parent's lock.
        with contextlib.suppress(OSError):
            os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _forget_all() -> None:
    for lock in _held.values():
        lock._forget()
    _held.clear()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_forget_all)


def _open(path: Path) -> int:
    # Python opens with close-on-exec; the lock file is never truncated, others may look at it.
    return os.open(long_path(lock_file(path)), os.O_RDWR | os.O_CREAT, 0o644)


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        there, ours = lock_file(path).stat(), os.fstat(descriptor)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


def probe(path: Path) -> bool:
    """One look: True when somebody has the lock right now."""
    try:
        descriptor = os.open(long_path(lock_file(path)), os.O_RDONLY if platform.LOOKS_SHARE else os.O_RDWR)
    except (FileNotFoundError, PermissionError):
        return False  # of another user: who wrote itself down decides
    try:
        if not platform.lock(descriptor, shared=True):
            return True
        platform.unlock(descriptor)
        return False
    finally:
        os.close(descriptor)


def alive(path: Path) -> bool:
    """True when an owner lives. Several looks, so that no look of another process decides it.

    The process that wrote itself down beside the lock counts as well, by id and start time: the
    lock's file may have been removed under it. Takes about 30 ms for a dead owner.
    """
    # On Windows two looks exclude each other, so there only an unbroken row of "held" means an
    # owner. Elsewhere looks share, and a single "held" can only be an owner's.
    row = not platform.LOOKS_SHARE
    for look in range(_LOOKS):
        if look:
            time.sleep(_LOOK_GAP_S)
        if probe(path) is not row:
            row = not row
            break
    if row:
        return True
    owner = read_owner(path)
    return owner is not None and owner.lives()


@dataclass(frozen=True, kw_only=True, slots=True)
class Owner:
    """Who wrote itself down as the owner of a lock."""

    pid: int
    started: str
    """Start of the process as the system tells it; with `pid` it names one process for ever."""
    host: str
    about: Mapping[str, Any]
    """What the owner told besides, such as the attempt."""
    copied: bool = False
    """True when the record came here with a copy of its folder: then its process works on the other one."""

    def lives(self) -> bool:
        """True when this very process runs on this machine and works here; a zombie does not."""
        return not self.copied and self.host == here() and process_start(self.pid) == self.started

    def from_before_restart(self) -> bool:
        """True when the computer was started again since; False where the system cannot tell."""
        boot, mark, _ = self.started.partition(":")
        return bool(mark) and self.host == here() and boot != _boot_id()


def write_owner(lock: Lock, **about: Any) -> None:
    """Write who this process is beside its lock: `engine.lock` gets an `engine.json`.

    Not into the lock's own file, which others open while they look.
    """
    record = {
        "format": 1,
        "pid": os.getpid(),
        "started": process_start(os.getpid()) or "",
        "host": here(),
        "folder": _place(lock.path),
    }
    path = lock.path.with_suffix(".json")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(json.dumps(record | about, indent=1) + "\n", "utf-8")
    replace_open(part, path)


def read_owner(path: Path) -> Owner | None:
    """Who had or has the lock at `path`; None when nobody wrote that down readably."""
    try:
        record = read_json(path.with_suffix(".json"))
        about = {k: v for k, v in record.items() if k not in _KNOWN}
        return Owner(
            pid=int(record["pid"]),
            started=str(record["started"]),
            host=str(record["host"]),
            about=about,
            copied=_is_copy(record.get("folder"), path),
        )
    except (OSError, WorkspaceError, KeyError, TypeError, ValueError, OverflowError):
        return None


def _place(path: Path) -> list[Any]:
    folder = path.parent.resolve()
    return [str(folder), folder.stat().st_ino]


def _is_copy(written: object, path: Path) -> bool:
    """True when a record lies in another folder than that for which it was written.

    One that was moved has another name and the same number, one on some network volumes the other way round.
    """
    return isinstance(written, list) and not set(map(str, written)) & set(map(str, _place(path)))


def process_start(pid: int) -> str | None:
    """When the process `pid` started, in a form that no later process of this id can have.

    None when there is no such process, or only its zombie. On Linux the boot's own id and the
    clock ticks since then (field 22 of /proc/PID/stat), which a changed clock does not touch.
    """
    if pid <= 0:
        return None
    if sys.platform == "linux":
        try:
            # The name in brackets may itself hold spaces and brackets.
            fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in {"Z", "X"} else f"{_boot_id()}:{fields[19]}"
    else:  # noqa: RET505  mypy calls the rest unreachable without it
        try:
            process = psutil.Process(pid)
            return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
        except psutil.Error:
            return None


def _boot_id() -> str:
    """Names this run of the computer, and of a container by the start of its first process."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        boot = "unknown"
    try:
        first = Path("/proc/1/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        first = "0"  # hidden from other users by some systems
    return f"{boot}+{first}"
