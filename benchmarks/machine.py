"""The machine that a figure was taken on: without it a figure says nothing.

Covered: processor, cores, memory, GPU, the torch build and its threads, the commit, the load. Not
covered: judging whether the machine was idle; the load average stands in every record for that.
"""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import psutil

ROOT: Final = Path(__file__).resolve().parent.parent
_ASK_TORCH: Final = (
    "import json, torch\n"
    "gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None\n"
    "print(json.dumps({'torch': torch.__version__, 'threads': torch.get_num_threads(), 'gpu': gpu}))"
)


def machine() -> dict[str, Any]:
    """What decides how fast things are here; `threads` is what torch takes when nobody tells it."""
    return {
        "cpu": _cpu(),
        "cores": allowed_cores(),
        "memory_mb": round(psutil.virtual_memory().total / 1e6),
        "system": platform.platform(),
        "python": platform.python_version(),
        **_torch(),
        "commit": _commit(),
    }


def load_average() -> list[float] | None:
    """Processes that wanted to run in the last 1, 5 and 15 minutes; None where the system does not tell."""
    try:
        return [round(load, 2) for load in os.getloadavg()]
    except (AttributeError, OSError):
        return None


def allowed_cores() -> int:
    """Cores that this process may use; a container may have fewer than the machine."""
    cores = psutil.cpu_count(logical=False) or 1
    affinity = getattr(os, "sched_getaffinity", None)
    return min(cores, len(affinity(0))) if affinity else cores


def _cpu() -> str:
    # platform.processor() is empty on most Linux systems.
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _torch() -> dict[str, Any]:
    if "torch" in sys.modules:
        import torch

        gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
        return {"torch": torch.__version__, "threads": torch.get_num_threads(), "gpu": gpu}
    # Asked in another process: torch in this one would take memory and time from what is measured.
    asked = subprocess.run([sys.executable, "-c", _ASK_TORCH], capture_output=True, text=True, check=False)
    if asked.returncode != 0:
        return {"torch": None, "threads": None, "gpu": None}
    found: dict[str, Any] = json.loads(asked.stdout)
    return found


def _commit() -> str | None:
    """The commit of the code, with a plus if files differ from it."""
    asked = subprocess.run(
        ["git", "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.strip() or None
