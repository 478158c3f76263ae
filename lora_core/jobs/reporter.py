"""How the work of a job reports into its folder and hears its requests.

Covered: `lora_core.reporting.Reporter` on files, cheap enough for every step of a training loop.
Not covered: the start and the end of the job (worker.py).
"""

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

from lora_core.errors import JobError, WorkspaceError
from lora_core.jobs import requests
from lora_core.jobs.fencing import Fence
from lora_core.jobs.liveness import Lock
from lora_core.jobs.records import TABLE, Job, Saved, State, Status, move, noted, write_status
from lora_core.jobs.spawn import ensure_runner
from lora_core.reporting import Progress, Request
from lora_core.workspace import Workspace

WRITE_EVERY_S: Final = 0.25
_HEAL_EVERY_S: Final = 2.0


class FolderReporter:
    """Reports into the folder of `job`; made by the process that holds `lock`."""

    def __init__(
        self, workspace: Workspace, job: Job, lock: Lock, status: Status, fence: Fence | None = None
    ) -> None:
        self.status = status
        self.terminated = False
        """Set by the handler of SIGTERM: end as if a stop had been asked for."""
        self._workspace, self._job, self._lock = workspace, job, lock
        self._fence = fence or Fence(job.folder)
        # Plain strings, looked up once: building paths cost more than the look itself.
        self._stop = str(requests.path_of(job.folder, "stop"))
        self._pause = str(requests.path_of(job.folder, "pause"))
        self._written_at = self._healed_at = self._fenced_at = time.monotonic()

    def phase(self, text: str) -> None:
        self.status = replace(self.status, phase=text)
        self._write(now=True)

    def progress(self, progress: Progress) -> None:
        self.status = replace(
            self.status,
            step=progress.step,
            total=progress.total,
            loss=progress.loss,
            steps_per_s=progress.steps_per_s,
            eta_s=progress.eta_s,
        )
        self._write(now=False)

    def request(self) -> Request | None:
        self._still_ours()
        # Two looks for a file take 4 µs together; the files are read by those who need more.
        if self.terminated or os.path.exists(self._stop):  # noqa: PTH110  a Path each step costs more
            asked: Request = "stop"
            if self.terminated and os.path.exists(self._pause) and not os.path.exists(self._stop):  # noqa: PTH110  the same
                asked = "pause"
        elif os.path.exists(self._pause):  # noqa: PTH110  the same
            asked = "pause"
        else:
            return None
        to: State = "stopping" if asked == "stop" else "pausing"
        if self.status.state != to and to in TABLE[self.status.state]:
            self.status = move(self.status, to)
            self._write(now=True)
        return asked

    def take(self, name: Literal["save", "sample"]) -> bool:
        self._still_ours()
        return requests.take(self._job.folder, name)

    def saved(self, path: Path, step: int) -> None:
        self.status = replace(self.status, saved=Saved(step=step, path=self._workspace.relative(path)))
        self._write(now=True)
        try:
            ensure_runner(self._workspace)
        except JobError as error:
            self.note(error.what)

    def note(self, text: str) -> None:
        self.status = noted(self.status, text)
        self._write(now=False)

    def _still_ours(self) -> None:
        """As `Fence.check`, as often as the status is written and not at each step."""
        if (clock := time.monotonic()) - self._fenced_at >= WRITE_EVERY_S:
            self._fenced_at = clock
            self._fence.check()

    def _write(self, *, now: bool) -> None:
        clock = time.monotonic()
        if clock - self._healed_at >= _HEAL_EVERY_S:
            self._healed_at = clock
            self._lock.heal()
        if not now and clock - self._written_at < WRITE_EVERY_S:
            return
        self._written_at = clock
        self.status = replace(self.status, updated=time.time())
        self._fence.check()
        try:
            write_status(self._job.folder, self.status, durable=False)
        except (OSError, WorkspaceError):
            return  # a full disk must not end training for a figure; the next write tries again
