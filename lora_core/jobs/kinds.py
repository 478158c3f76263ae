"""Which kinds of jobs there are, and which function does the work of each.

Covered: the table, what a kind needs of the machine, the call that its work gets. Not covered:
the work itself; it is imported in the job's own process only, after the process holds its lock.

The functions are named here and nowhere else. A job's record holds the name of a kind, never a
name to import, so that a job folder from somebody else can run nothing of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Final

from lora_core.errors import JobError
from lora_core.jobs.records import Job
from lora_core.reporting import Reporter
from lora_core.workspace import Workspace


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """What the work of a job is called with."""

    workspace: Workspace
    job: Job
    reporter: Reporter
    resume_from: Path | None
    """The saved state to go on from; None to start from the beginning."""


Work = Callable[[Task], Path | None]
"""Does the work and returns what it made; raises `Ended` when it stopped because it was asked to."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """One kind of long action."""

    work: str
    """`module:function` of its `Work`."""
    label: str
    """What it does, for lists: `Training`."""
    grace_s: float = 5.0
    """How long it may take to end by itself after a request, in seconds."""
    device: bool = False
    """True when it needs the machine's accelerator (or all of its CPU) for itself."""
    online: bool = False
    """True when it may reach the network; all other work is told to stay offline."""


KINDS: Final[dict[str, Kind]] = {
    "train": Kind(work="lora_core.runs.work:train", label="Training", grace_s=60.0, device=True),
    "smoke": Kind(work="lora_core.runs.work:smoke", label="Trying two steps", grace_s=10.0, device=True),
    "export": Kind(work="lora_core.runs.work:export", label="Writing a zip"),
    "import": Kind(work="lora_core.jobs.work:import_dataset", label="Import of pictures"),
    "machine": Kind(work="lora_core.jobs.work:probe_machine", label="Looking at the machine"),
    "notify_test": Kind(work="lora_core.jobs.work:notify_test", label="Sending a test message", online=True),
}

BESIDE: Final = 2
"""How many jobs that need no device run at a time."""


def kind_of(name: str) -> Kind:
    """The entry of `name`.

    Raises:
        JobError: this version has no such kind.
    """
    try:
        return KINDS[name]
    except KeyError:
        raise JobError(
            f"A job of the kind {name} cannot be run.",
            why=f"This version of the app knows {', '.join(sorted(KINDS))}.",
            fix="Update the app, or remove the job.",
        ) from None


def load(kind: Kind) -> Work:
    """The function that does the work; imports it."""
    module, _, function = kind.work.partition(":")
    work: Work = getattr(import_module(module), function)
    return work
