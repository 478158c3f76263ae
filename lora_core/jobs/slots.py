"""Devices as locks: on each graphics card of this computer one training at a time.

Covered: which devices there are, whether another workspace uses one, taking one for the life of a
process. Not covered: which job gets which (see dispatch.py).

The locks lie in a folder of the user on this computer, not in the workspace, so that two workspaces
do not share a card. `LORA_DEVICE_LOCKS` names another folder. The processor is no such lock: two
workspaces that train on it are slow, and neither runs out of memory for it.
"""

import logging
import os
import shutil
import socket
import sys
import tempfile
from pathlib import Path
from typing import Final

from lora_core import machine
from lora_core.jobs import liveness
from lora_core.jobs.records import Job
from lora_core.reporting import Ended, Reporter
from lora_core.workspace import Workspace, safe_name

CPU: Final = "cpu"
_CARD: Final = "cuda:"
_VISIBLE: Final = "CUDA_VISIBLE_DEVICES"
_TURN_S: Final = 0.25

_log = logging.getLogger(__name__)


def devices(workspace: Workspace) -> tuple[str, ...]:
    """The devices that a training may use, such as `("cuda:0", "cuda:1")` or `("cpu",)`.

    The number of cards is what torch told at its last look. A card is named as CUDA_VISIBLE_DEVICES
    names it, so that two processes that were given different cards know the same one by one name.
    """
    facts = machine.read_facts(workspace)
    allowed = os.environ.get(_VISIBLE)
    if facts is None:
        # Torch was not asked yet: it would take the first card, if there is one.
        here = _entries(allowed) if allowed is not None else ["0"]
        return (f"{_CARD}{here[0]}",) if here and _driver_there() else (CPU,)
    if facts.get("device") != "cuda":
        return (str(facts.get("device") or CPU),)
    counted, told = facts.get("device_count"), facts.get("visible_devices")
    count = counted if isinstance(counted, int) and counted > 0 else 1
    then = _entries(told) if isinstance(told, str) else [str(number) for number in range(count)]
    names = then[:count]
    if allowed is not None and allowed != told:
        names = _entries(allowed)
        if not isinstance(told, str):  # then all cards were counted, and CUDA ends at a number beyond
            beyond = [name.isdigit() and int(name) >= count for name in names]
            names = names[: beyond.index(True)] if True in beyond else names
    return tuple(f"{_CARD}{name}" for name in names) or (CPU,)


def _entries(value: str) -> list[str]:
    """The cards that a value of CUDA_VISIBLE_DEVICES names; CUDA itself ends at the first odd one."""
    found: list[str] = []
    for part in (entry.strip() for entry in value.split(",")):
        if not part or part.startswith("-") or part in found:
            break
        found.append(part)
    return found


def _driver_there() -> bool:
    return shutil.which("nvidia-smi") is not None


def folder() -> Path:
    """Where the locks of the devices of this computer are, for this user."""
    if chosen := os.environ.get("LORA_DEVICE_LOCKS"):
        return Path(chosen)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or tempfile.gettempdir()
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    # A home folder may be shared by several computers; their cards are not.
    return Path(base).expanduser() / "lora-easy-trainer" / "devices" / safe_name(socket.gethostname())


def lock_of(device: str) -> Path:
    return folder() / f"{safe_name(device.replace(':', '-'))}.lock"


def _claim_of(device: str) -> Path:
    return lock_of(device).with_suffix(".claim")


def in_use(device: str) -> bool:
    """True when a process of any workspace has the device, or is about to."""
    if not device.startswith(_CARD):
        return False
    try:
        return liveness.alive(lock_of(device)) or liveness.probe(_claim_of(device))
    except OSError as error:
        _log.warning("whether %s is in use could not be seen: %s", device, error)
        return False


def claim(device: str | None) -> liveness.Lock | None:
    """Speak for the device until the process that is to use it has it.

    None where there is nothing to claim, or where no lock can be made; the device counts as free then.

    Raises:
        TimeoutError: another workspace was faster.
    """
    if device is None or not device.startswith(_CARD):
        return None
    try:
        folder().mkdir(parents=True, exist_ok=True)
        lock = liveness.Lock.acquire(_claim_of(device), timeout_s=0)
    except TimeoutError:
        raise
    except OSError as error:
        _log.warning("%s was not claimed: %s", device, error)
        return None
    if taken(device):
        lock.release()
        raise TimeoutError(f"{device} is in use")
    return lock


def taken(device: str) -> bool:
    """True when the process that is to use the device has its lock."""
    try:
        return liveness.probe(lock_of(device))
    except OSError:
        return False


def take(job: Job, device: str | None, reporter: Reporter) -> liveness.Lock | None:
    """Take the device for the rest of this process, and show this process no other card.

    Call it before anything loads torch, and after `spawn.keep_environment`: a runner that this
    process starts must see all cards. Waits while another workspace has the card.

    Raises:
        Ended: it was asked to end while it waited.
    """
    if device is None or not device.startswith(_CARD):
        return None
    os.environ[_VISIBLE] = device.removeprefix(_CARD)
    try:
        folder().mkdir(parents=True, exist_ok=True)
        lock = _wait_for(lock_of(device), reporter)
        liveness.write_owner(lock, job=job.id, name=job.name, workspace=str(job.folder.parent.parent))
    except OSError as error:
        reporter.note(f"Other workspaces do not see that this job uses the graphics card: {error}")
        return None
    return lock


def _wait_for(path: Path, reporter: Reporter) -> liveness.Lock:
    told = False
    while True:
        try:
            return liveness.Lock.acquire(path, timeout_s=_TURN_S)
        except TimeoutError:
            if not told:
                reporter.phase("Waiting for the graphics card, which another workspace uses")
                told = True
            if (asked := reporter.request()) is not None:
                raise Ended(asked, step=0) from None
