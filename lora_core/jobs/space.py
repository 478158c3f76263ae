"""Room on the disk before and while a job works: is there enough, and what happens when there is none left.

Covered: comparing a need with what is free, ending a training as paused when the disk runs full, and a small
file that keeps room for its last words. Not covered: how much a run needs (`lora_core.planning.disk`).
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from lora_core.errors import DiskFullError, Problem
from lora_core.jobs import look
from lora_core.jobs.states import complete_states
from lora_core.reporting import MAKE_ROOM, Ended
from lora_core.workspace import Workspace, disk_errors

RESERVE: Final = ".reserve.part"
"""In the folder of a training while it works. The ending makes the next attempt remove what a kill left."""
_RESERVE_BYTES: Final = 64 * 1024
_GIB: Final = 2**30
_MIB: Final = 2**20


def free_bytes(place: Path) -> int:
    """What is free on the disk of `place`, which need not be there yet."""
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def check(workspace: Workspace, need: int) -> Problem | None:
    """The problem that `need` bytes do not fit on the workspace's disk; None when they fit."""
    free = free_bytes(workspace.root)
    if need <= free:
        return None
    return Problem(
        setting="",
        what=f"The run writes about {amount(need)}, but only {amount(free)} are free on this disk.",
        fix=f"Free {amount(need - free)}, keep fewer saves, or start it all the same: "
        "it is paused when the disk is full.",
    )


def amount(count: int) -> str:
    """`count` bytes in words."""
    return f"{count / _GIB:.1f} GiB" if count >= _GIB else f"{count / _MIB:.1f} MiB"


@contextmanager
def pausing_when_full(folder: Path) -> Iterator[None]:
    """Turn a full disk inside the block into a pause of the job in `folder`.

    Every write of ours is whole or not there, so nothing is cut off. Half-written files are removed where
    they were made. A reserve keeps room for the status that says so.

    Raises:
        Ended: the disk is full; also at once where the newest save would not fit a second time.
    """
    reserve = folder / RESERVE
    try:
        _refuse_at_once(folder)
        # Bytes that cannot be packed, and flushed: some disks give out room only then.
        with disk_errors("The run was not started."), reserve.open("wb") as file:
            file.write(os.urandom(_RESERVE_BYTES))
            file.flush()
            os.fsync(file.fileno())
        yield
    except (OSError, DiskFullError) as error:
        if not isinstance(error, DiskFullError) and error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        said = error.what if isinstance(error, DiskFullError) else ""
        step = look.last_step(folder)
        at = f" at step {step}" if step else " before its first step"
        cause = f"The disk is full, so the run was paused{at}. {said}".strip()
        raise Ended("pause", step=step, cause=f"{cause} Nothing was half written.", fix=MAKE_ROOM) from error
    finally:
        with suppress(OSError):
            reserve.unlink(missing_ok=True)


def _refuse_at_once(folder: Path) -> None:
    """Loading takes minutes; that the last save cannot be repeated is known in a moment."""
    states = complete_states(folder)
    free = free_bytes(folder)
    if states and free < states[0].bytes:
        cause = f"The disk is full: a save needs {amount(states[0].bytes)}, and {amount(free)} are free."
        raise Ended("pause", step=states[0].step, cause=f"{cause} The run was not started.", fix=MAKE_ROOM)
