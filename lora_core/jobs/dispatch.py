"""Which waiting job starts next, on which device, and why each of the others waits.

Covered: the order, held jobs, times, devices, the limit of jobs beside a training, the stop after a
failure. Not covered: reading any of that, and starting (runner.py). The runner and the page that
shows the queue ask here, so that what is shown is what will happen.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lora_core.errors import JobError
from lora_core.jobs.kinds import BESIDE, kind_of
from lora_core.jobs.records import Job, Status


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What happens next to a waiting job."""

    job: Job
    status: Status
    starts: bool
    why: str
    """One plain sentence: why it waits, or that it starts."""
    device: str | None = None
    """Where it will compute; None for work that needs no device, and for a job that waits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Busy:
    """A job that is at work."""

    job: Job
    device: str | None
    """None where its record does not tell."""


def needs_device(job: Job) -> bool:
    """True when its kind needs a device for itself; a kind that is not known needs nothing."""
    try:
        return kind_of(job.kind).device
    except JobError:
        return False


def place(job: Job, status: Status) -> tuple[float, str]:
    """Sorts waiting jobs into the order in which they are started."""
    return status.order, job.id


def waits_by_itself(status: Status, now: float) -> str | None:
    """Why the job would wait even with nothing else to do; None when it would not."""
    if status.held:
        return "It is held until you release it."
    if status.not_before is not None and status.not_before > now:
        return f"It does not start before {_when(status.not_before, now)}."
    return None


def _when(at: float, now: float) -> str:
    try:
        then, today = time.localtime(at), time.localtime(now)
        clock = time.strftime("%H:%M", then)
        if then[:3] == today[:3]:
            return clock
        day = f"{then.tm_mday} {time.strftime('%B', then)}"
        return f"{day} {then.tm_year}, {clock}" if then.tm_year != today.tm_year else f"{day}, {clock}"
    except (OverflowError, OSError, ValueError):
        return "a time that this computer cannot show"


def decide(
    waiting: Sequence[tuple[Job, Status]],
    busy: Sequence[Busy],
    *,
    devices: Sequence[str],
    in_use: Callable[[str], bool],
    failed: str | None,
    now: float,
) -> list[Decision]:
    """What happens next to each waiting job, in the order in which they will be started.

    `in_use` says of a device whether another workspace has it; `failed` is the name of the job whose
    failure the queue waits for; `now` is Unix time.
    """
    slots = _Slots(busy, devices, in_use, failed)
    found: list[Decision] = []
    for job, status in sorted(waiting, key=lambda entry: place(*entry)):
        why, device = waits_by_itself(status, now), None
        if why is None:
            why, device = slots.give(job)
        found.append(
            Decision(
                job=job, status=status, starts=why is None, why=why or "It starts in a moment.", device=device
            )
        )
    return found


class _Slots:
    """What is left to give while one decision follows another."""

    def __init__(
        self,
        busy: Sequence[Busy],
        devices: Sequence[str],
        in_use: Callable[[str], bool],
        failed: str | None,
    ) -> None:
        self._failed = failed
        self._devices = devices
        self._in_use = in_use
        self._users = {entry.device: entry.job.name for entry in busy if entry.device is not None}
        self._free = [device for device in devices if device not in self._users]
        self._foreign = False
        for entry in busy:  # whose record does not tell where it is: it may be on any
            if entry.device is None and needs_device(entry.job) and self._free:
                self._users[self._free.pop(0)] = entry.job.name
        self._beside = sum(not needs_device(entry.job) for entry in busy)

    def give(self, job: Job) -> tuple[str | None, str | None]:
        """Why the job waits, or the device that it gets."""
        if not needs_device(job):
            if self._beside >= BESIDE:
                return f"{BESIDE} other jobs are running. It starts when one of them has ended.", None
            self._beside += 1
            return None, None
        if self._failed is not None:
            return f"The queue waits because {self._failed} did not end well.", None
        while self._free:
            device = self._free.pop(0)
            if self._in_use(device):
                self._foreign = True
                continue
            self._users[device] = job.name
            return None, device
        return self._taken(), None

    def _taken(self) -> str:
        if len(self._devices) > 1:
            other = " One of them is used from another workspace." if self._foreign else ""
            return f"All {len(self._devices)} graphics cards are in use.{other}"
        if self._foreign:
            return "The graphics card is used from another workspace on this computer."
        users = (f"“{self._users[device]}”" for device in self._devices if device in self._users)
        name = next(users, "Another job")
        if self._devices and self._devices[0] == "cpu":
            return f"{name} comes first. Only one training runs at a time on this computer."
        return f"{name} uses the graphics card."
