"""Which jobs a workspace has, and which of them are not over, found fast among thousands that are.

Covered: one job by its id, the list, the open jobs. Not covered: whether what is on record is
still true (see look.py), and any change.
"""

import os
import threading
from collections.abc import Callable
from pathlib import Path

from lora_core.errors import JobError, LoraError, WorkspaceError
from lora_core.jobs.records import Job, Status, read_job, read_status, too_new
from lora_core.workspace import Workspace

_known: dict[str, tuple[int, Job]] = {}

Written = tuple[int, int, int]
"""Which file is there: two in one tick of the clock, which some disks count in seconds, still differ by their
number or by their size."""


def get(workspace: Workspace, job_id: str) -> Job:
    """The job with this id.

    Raises:
        JobError: there is none, or its record cannot be read.
        FileTooNewError: a newer version of the app wrote it.
    """
    if not job_id or Path(job_id).name != job_id or job_id.startswith("."):
        raise _no_job(job_id)
    return _known_or_read(str(workspace.jobs), job_id)


def _known_or_read(jobs_folder: str, job_id: str) -> Job:
    """As `get`, for a name that is one; plain strings, because a Path for each of thousands costs more."""
    folder = f"{jobs_folder}{os.sep}{job_id}"
    try:
        written = os.stat(f"{folder}{os.sep}job.json").st_mtime_ns  # noqa: PTH116  see above
    except OSError as error:
        raise _no_job(job_id) from error
    cached = _known.get(folder)
    if cached is None or cached[0] != written:
        cached = _known[folder] = (written, read_job(Path(folder)))
    return cached[1]


def _no_job(job_id: str) -> JobError:
    return JobError(
        f"There is no job {job_id or 'without an id'}.",
        why="This workspace has no folder of this name with a job.json in it.",
        fix="Look at the list of jobs for the right id.",
    )


def jobs(workspace: Workspace, *, kind: str | None = None, limit: int | None = None) -> list[Job]:
    """The jobs of this workspace, newest first; folders that are no readable jobs are left out.

    Ids sort by time, so only the records that are returned are opened, each once per process.
    """
    found: list[Job] = []
    jobs_folder = str(workspace.jobs)
    for job_id in ids(workspace):
        if limit is not None and len(found) >= limit:
            break
        try:
            job = _known_or_read(jobs_folder, job_id)
        except (JobError, WorkspaceError):
            continue
        if kind is None or job.kind == kind:
            found.append(job)
    return found


def ids(workspace: Workspace) -> list[str]:
    """Names of all job folders, newest first; none of them is opened."""
    try:
        names = os.listdir(workspace.jobs)  # noqa: PTH208  a Path for each of thousands costs more
    except FileNotFoundError:
        return []
    return sorted((name for name in names if not name.startswith(".")), reverse=True)


class OpenJobs:
    """The jobs that wait or run. One that is over is opened once, and again only if it changes."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._folder = str(workspace.jobs)
        self._closed: dict[str, tuple[Written, int | None]] = {}
        self._busy = threading.Lock()  # several pages of one process look at once
        self.closed_now: list[tuple[str, Status]] = []
        """Those that the last look found over for the first time, by id."""

    def look(self, still_there: Callable[[str], bool] = lambda _id: False) -> list[tuple[Job, Status | None]]:
        """Every job that is not over, oldest first, with what is on record; None for an unreadable status.

        `still_there` may say of a job that has ended that its process has not; it counts as open then.
        """
        with self._busy:
            names = ids(self._workspace)
            for gone in self._closed.keys() - set(names):
                del self._closed[gone]
            self.closed_now = []
            found = (self._open(name, still_there) for name in reversed(names))
            return [entry for entry in found if entry is not None]

    def _open(self, job_id: str, still_there: Callable[[str], bool]) -> tuple[Job, Status | None] | None:
        written = _written(f"{self._folder}{os.sep}{job_id}{os.sep}status.json")
        closed = self._closed.get(job_id)
        if closed is not None and closed[0] == written:
            return None
        status = read_status(Path(self._folder, job_id))
        if status is not None and status.ended and written is not None and not still_there(job_id):
            failed = status.attempt if status.state in {"failed", "lost"} else None
            self._closed[job_id] = (written, failed)
            self.closed_now.append((job_id, status))
            return None
        self._closed.pop(job_id, None)
        if status.newer if status is not None else too_new(Path(self._folder, job_id)):
            return None  # not ours to start, to end or to write down: a newer version of the app has it
        try:
            return _known_or_read(self._folder, job_id), status
        except LoraError:
            return None  # no job, or one of a newer version

    def failures(self) -> dict[str, int]:
        """Of the jobs that are over, those that failed or were lost, with the number of the attempt."""
        with self._busy:
            return {job_id: attempt for job_id, (_, attempt) in self._closed.items() if attempt is not None}


def _written(path: str) -> Written | None:
    try:
        facts = os.stat(path)  # noqa: PTH116  a Path for each of thousands costs more
    except OSError:
        return None
    return facts.st_mtime_ns, facts.st_ino, facts.st_size
