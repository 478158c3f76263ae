"""What pages, commands and other packages may do with jobs.

Covered: asking for a job, listing, its true status, stop, pause, save now, sample now, resume,
waiting, the log's end. Not covered: doing the work (worker.py) and supervising it (runner.py).
Nothing here keeps anything in memory that matters: any process may ask, at any time.
"""

import secrets
import shutil
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from lora_core.errors import DiskFullError, JobError, WorkspaceError
from lora_core.jobs import hosts, log, look, requests
from lora_core.jobs.kinds import kind_of
from lora_core.jobs.records import (
    ACTIVE,
    ENDED,
    End,
    Job,
    Status,
    changing,
    job_record,
    move,
    noted,
    read_job,
    write_status,
)
from lora_core.jobs.spawn import ensure_runner, runner_alive
from lora_core.jobs.states import SavedState, complete_states
from lora_core.workspace import Workspace, disk_errors, write_atomic, write_json

FORCE_GRACE_S: Final = 2.0
_WAIT_POLL_S: Final = 0.1

_known: dict[Path, tuple[int, Job]] = {}


def create(
    workspace: Workspace,
    kind: str,
    name: str,
    params: Mapping[str, Any] | None = None,
    *,
    engine: str | None = None,
    files: Mapping[str, str | bytes] | None = None,
    parent: str | None = None,
    project: str | None = None,
    hashes: Mapping[str, str] | None = None,
    start: bool = True,
) -> Job:
    """Write a job down, queued, and see to it that a runner is there to start it.

    `params` are plain JSON values for the work; `files` are written into the job's folder by
    name (`config.toml`). All of it is frozen from here on. The folder appears whole or not at
    all. `start=False` leaves starting a runner to a later `ensure_runner`.

    Raises:
        JobError: no such kind, or no runner could be started (the job is queued then).
        DiskFullError: the disk is full; nothing was made.
        WorkspaceError: the workspace cannot be written to; nothing was made.
    """
    kind_of(kind)
    now = time.time()
    # UTC, so that ids sort by time across a change of clocks; the end tells two of a second apart.
    job_id = f"{datetime.fromtimestamp(now, UTC):%Y%m%d-%H%M%S-%f}-{secrets.token_hex(2)}"
    job = Job(
        id=job_id,
        kind=kind,
        name=name,
        folder=workspace.jobs / job_id,
        created=now,
        engine=engine,
        host=hosts.here(),
        parent=parent,
        project=project,
        params=dict(params or {}),
        hashes=dict(hashes or {}),
    )
    _write(job, files or {})
    if start:
        ensure_runner(workspace)
    return job


def _write(job: Job, files: Mapping[str, str | bytes]) -> None:
    made = job.folder.with_name(f".new-{job.id}")
    try:
        with disk_errors(f"The job {job.name} was not started."):
            made.mkdir(parents=True)
            (made / "requests").mkdir()
            for name, content in files.items():
                if Path(name).name != name:
                    raise ValueError(f"{name} is not a plain file name")
                write_atomic(made / name, content)
            write_json(made / "job.json", job_record(job))
            write_status(made, Status(state="queued", updated=job.created, order=job.created))
            made.rename(job.folder)
    except DiskFullError:
        raise
    except OSError as error:
        raise WorkspaceError(
            f"The job {job.name} was not started.",
            why=f"Its folder could not be made in {job.folder.parent}: {error.strerror or error}.",
            fix="Allow writing to this folder, or choose another workspace.",
        ) from error
    finally:
        shutil.rmtree(made, ignore_errors=True)  # nothing is left to remove when the rename worked


def get(workspace: Workspace, job_id: str) -> Job:
    """The job with this id.

    Raises:
        JobError: there is none, or its record cannot be read.
        FileTooNewError: a newer version of the app wrote it.
    """
    if not job_id or Path(job_id).name != job_id or job_id.startswith("."):
        raise _no_job(job_id)
    folder = workspace.jobs / job_id
    try:
        written = (folder / "job.json").stat().st_mtime_ns
    except OSError as error:
        raise _no_job(job_id) from error
    cached = _known.get(folder)
    if cached is None or cached[0] != written:
        cached = _known[folder] = (written, read_job(folder))
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
    for job_id in ids(workspace):
        if limit is not None and len(found) >= limit:
            break
        try:
            job = get(workspace, job_id)
        except (JobError, WorkspaceError):
            continue
        if kind is None or job.kind == kind:
            found.append(job)
    return found


def ids(workspace: Workspace) -> list[str]:
    """Names of all job folders, newest first; none of them is opened."""
    try:
        names = [entry.name for entry in workspace.jobs.iterdir()]
    except FileNotFoundError:
        return []
    return sorted((name for name in names if not name.startswith(".")), reverse=True)


def status(workspace: Workspace, job_id: str) -> Status:
    """What the job is doing, true at this moment: a dead process is never shown as running.

    Whoever looks also mends: where a runner is missing and something waits or runs, one is started.

    Raises:
        JobError: there is no such job.
    """
    job = get(workspace, job_id)
    seen = look.status(job)
    open_ = seen.state == "queued" or seen.state in ACTIVE or seen.end is look.UNSETTLED
    if open_ and seen.elsewhere is None:
        try:
            if not runner_alive(workspace):
                ensure_runner(workspace)
        except JobError as error:
            return look.with_message(job, noted(seen, f"{error.what} {error.why}"))
    return seen


def stop(workspace: Workspace, job_id: str, *, force: bool = False) -> None:
    """End the job. A running one is asked to save and end, and ended by force after its grace.

    Queued and paused jobs are stopped at once; one that has ended stays as it is. `force=True`
    does not wait for a save: 2 s, then the process is killed.

    Raises:
        JobError: there is no such job.
    """
    _end(workspace, job_id, "stop", force=force)


def pause(workspace: Workspace, job_id: str) -> None:
    """Save, end the process and free the device; `resume` goes on exactly from there.

    A queued job is set aside at once; one that has ended stays as it is.

    Raises:
        JobError: there is no such job.
    """
    _end(workspace, job_id, "pause", force=False)


def _end(workspace: Workspace, job_id: str, name: Literal["stop", "pause"], *, force: bool) -> None:
    job = get(workspace, job_id)
    with changing(job.folder):
        now = look.recorded(job)
        if now.state == "queued" or (now.state == "paused" and name == "stop"):
            to: Literal["stopped", "paused"] = "stopped" if name == "stop" else "paused"
            if now.state == "queued" and now.attempt == 1:
                end = End(cause="It was taken out of the queue before it started.", at=time.time())
            else:
                end = End(cause="It was ended while no process worked on it.", at=time.time(), step=now.step)
            write_status(job.folder, move(now, to, end=end, updated=time.time()))
            return
        if now.state in ENDED:
            return
        asked = requests.pending(job.folder)
        # Asked again, from another tab say: its grace goes on, and what was asked with force stays so.
        if asked is None or asked.name != name or (force and not asked.force):
            grace_s = FORCE_GRACE_S if force else kind_of(job.kind).grace_s
            requests.ask(job.folder, name, grace_s=grace_s, force=force)
    ensure_runner(workspace)


def request(workspace: Workspace, job_id: str, name: Literal["save", "sample"]) -> None:
    """Ask a running job to save or to draw samples at its next step.

    Raises:
        JobError: there is no such job, or no process works on it.
    """
    job = get(workspace, job_id)
    now = status(workspace, job_id)
    if not now.active:
        wish = "save" if name == "save" else "draw samples"
        raise JobError(
            f"The job {job.name} was not asked to {wish}.",
            why=f"It is {now.state}, so no process is there to do it.",
            fix="Resume it first." if now.resumable else "Do this while it runs.",
        )
    requests.ask(job.folder, name)


def states(workspace: Workspace, job_id: str) -> list[SavedState]:
    """The complete saved states of a run, newest step first."""
    return complete_states(get(workspace, job_id).folder)


def resume(workspace: Workspace, job_id: str, state: str | None = None) -> Job:
    """Queue the same job again, from its newest complete state or the one named `state`.

    With nothing saved it starts from the beginning and says so in its notes.

    Raises:
        JobError: no such job or state, it has not ended, or it is finished.
    """
    job = get(workspace, job_id)
    status(workspace, job_id)  # settles one whose process has just died
    with changing(job.folder):
        now = look.recorded(job)
        if not now.resumable:
            raise JobError(
                f"The job {job.name} was not resumed.",
                why="It is finished." if now.state == "finished" else f"It is {now.state}.",
                fix="Start a new one." if now.state == "finished" else "Stop it first, or let it go on.",
            )
        chosen = _chosen(job, state)
        started_before = now.attempt > 1 or now.state != "paused" or now.step > 0
        requests.clear(job.folder)
        hosts.claim(job)  # whoever asks for it gets it, on the computer where it is asked
        queued = move(
            now,
            "queued",
            attempt=now.attempt + 1 if started_before else now.attempt,
            resume_from=f"states/{chosen.name}" if chosen else None,
            step=chosen.step if chosen else 0,
            phase="",
            loss=None,
            steps_per_s=None,
            eta_s=None,
            end=None,
            order=time.time(),
            updated=time.time(),
        )
        said = (
            f"It goes on from step {chosen.step}."
            if chosen
            else "Nothing was saved, so it starts from the beginning."
        )
        write_status(job.folder, noted(queued, said))
    ensure_runner(workspace)
    return job


def _chosen(job: Job, name: str | None) -> SavedState | None:
    found = complete_states(job.folder)
    if name is None:
        return found[0] if found else None
    for state in found:
        if state.name == name:
            return state
    raise JobError(
        f"The job {job.name} was not resumed.",
        why=f"It has no complete saved state named {name}.",
        fix="Choose one of the saved states in the list.",
    )


def wait(workspace: Workspace, job_id: str, timeout_s: float | None = None) -> Status:
    """Wait until the job has ended; returns how.

    Raises:
        TimeoutError: it had not after `timeout_s`.
        JobError: there is no such job.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        seen = status(workspace, job_id)
        if seen.ended and seen.end is not look.UNSETTLED:
            return seen
        if deadline is not None and time.monotonic() >= deadline:
            raise TimeoutError(f"job {job_id} is still {seen.state} after {timeout_s:g} s")
        time.sleep(_WAIT_POLL_S)


def log_tail(workspace: Workspace, job_id: str, lines: int = 200) -> list[str]:
    """The last `lines` lines of what the job's process printed; progress bars folded, secrets hidden.

    Raises:
        JobError: there is no such job.
    """
    return log.tail(get(workspace, job_id).log, lines)
