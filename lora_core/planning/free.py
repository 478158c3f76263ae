"""What is free on this machine now: GPU memory, memory, disk. Loads no torch.

Covered: what the driver and the system say, limits of a container, which device runs use as torch said
at its last look. Not covered: several GPUs (the first one counts).
"""

import platform
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from lora_core import machine
from lora_core.workspace import Workspace

_CARDS_KEPT_S: Final = 5.0
"""A page asks at every edit, and the driver's program takes up to seconds."""
_MIB: Final = 2**20
_CGROUP: Final = Path("/sys/fs/cgroup")

_cards: tuple[float, tuple[machine.Gpu, ...]] = (float("-inf"), ())


@dataclass(frozen=True, kw_only=True, slots=True)
class Free:
    """What a run could use, in bytes."""

    device: str | None
    """`cpu`, `cuda` or `mps`; None while it is not known what runs use."""
    device_name: str
    gpu: int | None
    """None where there is no GPU, or where its driver does not tell."""
    gpu_total: int | None
    ram: int
    disk: int
    bf16: bool | None
    """Whether the device has bf16 of its own."""


def free(workspace: Workspace) -> Free:
    """What is free now; the answer of the graphics driver is up to 5 s old."""
    facts = machine.read_facts(workspace) or {}
    if "error" in facts:
        facts = {}
    device = str(facts["device"]) if "device" in facts else None
    if device is None and platform.system() != "Darwin" and not _driver():
        device = "cpu"  # neither a card nor an Apple chip is there
    gpu = total = None
    if device == "cuda":
        cards = _now()
        total = cards[0].memory_mib * _MIB if cards else int(facts.get("memory_mib", 0)) * _MIB or None
        gpu = (cards[0].memory_mib - cards[0].memory_used_mib) * _MIB if cards else None
    return Free(
        device=device,
        device_name=str(facts.get("device_name", "")),
        gpu=gpu,
        gpu_total=total,
        ram=_ram(),
        disk=_disk(workspace.root),
        bf16=facts.get("bf16"),
    )


def _driver() -> bool:
    return shutil.which("nvidia-smi") is not None or Path("/dev/kfd").exists()


def _disk(place: Path) -> int:
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def _now() -> tuple[machine.Gpu, ...]:
    global _cards  # noqa: PLW0603  one answer for all pages of this process
    asked, found = _cards
    if time.monotonic() - asked > _CARDS_KEPT_S:
        found = machine.cards()
        _cards = time.monotonic(), found
    return found


def _ram() -> int:
    available = int(psutil.virtual_memory().available)
    limit, used = _number(_CGROUP / "memory.max"), _number(_CGROUP / "memory.current")
    if limit is None or used is None:
        return available
    return max(0, min(available, limit - used + _given_back(_CGROUP / "memory.stat")))


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text("ascii"))
    except (OSError, ValueError):  # no container, or the word `max`
        return None


def _given_back(path: Path) -> int:
    """Bytes of files that the system keeps in memory and gives back when they are needed."""
    try:
        lines = dict(line.split() for line in path.read_text("ascii").splitlines())
        return int(lines.get("inactive_file", 0))
    except (OSError, ValueError):
        return 0
