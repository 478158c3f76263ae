"""What the system itself tells about a process that it ended for lack of memory.

Covered: how often Linux did so, in this process's own group or on the whole computer. Not covered: other
systems, which do not tell, and which process it was.
"""

from pathlib import Path

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")


def oom_kills(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int | None:
    """How many processes were ended for lack of memory so far; None where the system does not tell.

    Only a difference between two looks says something.
    """
    for line in _read(proc / "self" / "cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            events = cgroups / path.lstrip("/") / "memory.events"
        elif "memory" in controllers.split(","):
            events = cgroups / "memory" / path.lstrip("/") / "memory.oom_control"
        else:
            continue
        if (count := _count(_read(events))) is not None:
            return count
    return _count(_read(proc / "vmstat"))


def _count(text: str) -> int | None:
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name == "oom_kill" and value.strip().isdigit():
            return int(value)
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
