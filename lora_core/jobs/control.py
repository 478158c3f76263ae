"""What pages, commands and other packages may do with jobs.

Covered: asking for a job, its true status, stop, pause, save now, sample now, resume, waiting, the
log's end. Not covered: doing the work (worker.py), supervising it (runner.py), the order of those
that wait (queue.py).
Nothing here keeps anything in memory that matters: any process may ask, at any time.
"""

import secrets
import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from lora_core.errors import DiskFullError, JobError, WorkspaceError
from lora_core.jobs import hosts, log, look, requests
from lora_core.jobs.dispatch import waits_by_itself
from lora_core.jobs.kinds import kind_of
from lora_core.jobs.listing import get
from lora_core.jobs.log_pipe import wait_until_whole
from lora_core.jobs.queue import arranging, at_end, at_front
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
    write_status,
)
from lora_core.jobs.spawn import ensure_runner, runner_alive
from lora_core.jobs.states import SavedState, complete_states
from lora_core.workspace import Workspace, disk_errors, write_atomic, write_json

FORCE_GRACE_S: Final = 2.0
LOG_WHOLE_WITHIN_S: Final = 0.3
"""How long the end of a log is waited for: its writer needs a moment after the job's own end."""
SETTLED_WITHIN_S: float = 5.0
"""How long a resume waits for the end of a process that has just died to be written."""
_WAIT_POLL_S: Final = 0.1


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
    hold: bool = False,
    not_before: float | None = None,
) -> Job:
    """Write a job down, queued, and see to it that a runner is there to start it.

    `params` are plain JSON values for the work; `files` are written into the job's folder by
    name (`config.toml`). All of it is frozen from here on. The folder appears whole or not at
    all. `start=False` leaves starting a runner to a later `ensure_runner`. With `hold` it waits
    until it is released, with `not_before` until this Unix time.

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
    _write(workspace, job, files or {}, Status(state="queued", updated=now, held=hold, not_before=not_before))
    if start:
        ensure_runner(workspace)
    return job


def _write(workspace: Workspace, job: Job, files: Mapping[str, str | bytes], status: Status) -> None:
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
            with arranging(workspace):
                write_status(made, replace(status, order=at_end(workspace)))
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


def status(workspace: Workspace, job_id: str) -> Status:
    """What the job is doing, true at this moment: a dead process is never shown as running.

    Whoever looks also mends: where a runner is missing and something waits or runs, one is started.

    Raises:
        JobError: there is no such job.
    """
    job = get(workspace, job_id)
    seen = look.status(job)
    open_ = seen.state == "queued" or seen.state in ACTIVE or seen.end is look.UNSETTLED
    if open_ and seen.elsewhere is None and not seen.newer:
        try:
            if not runner_alive(workspace):
                ensure_runner(workspace)
        except JobError as error:
            return look.with_message(job, noted(seen, f"{error.what} {error.why}"))
    if seen.state == "queued" and (why := waits_by_itself(seen, time.time())) is not None:
        return replace(seen, message=why)
    return seen


def stop(workspace: Workspace, job_id: str, *, force: bool = False) -> None:
    """End the job. A running one is asked to save and end, and ended by force after its grace.

    Queued and paused jobs are stopped at once; one that has ended stays as it is. `force=True`
    does not wait for a save: 2 s, then the process is killed.

    Raises:
        JobError: there is no such job, or force was asked for and another computer works on it.
    """
    job = get(workspace, job_id)
    if force:
        _refuse_elsewhere(job, "stopped by force")
    _end(workspace, job_id, "stop", force=force)


def remove(workspace: Workspace, job_id: str) -> None:
    """Take a waiting job out of the queue; `resume` puts it back, at the end.

    Raises:
        JobError: there is no such job, or it does not wait any more.
    """
    job = get(workspace, job_id)
    with changing(job.folder):
        now = look.recorded(job)
        if now.state == "queued":
            _end_at_once(job, now, "stop")
            return
    raise JobError(
        f"The job {job.name} was not taken out of the queue.",
        why=f"It does not wait any more: it is {now.state}.",
        fix="Stop it, if it should not go on." if now.active else "There is nothing to do.",
    )


def pause(workspace: Workspace, job_id: str) -> None:
    """Save, end the process and free the device; `resume` goes on exactly from there.

    A queued job is set aside at once; one that has ended stays as it is.

    Raises:
        JobError: there is no such job.
    """
    _end(workspace, job_id, "pause", force=False)


def _refuse_elsewhere(job: Job, wish: str) -> None:
    seen = look.status(job)
    if seen.elsewhere:
        raise JobError(
            f"The job {job.name} was not {wish}.",
            why=f"The computer {seen.elsewhere} works on it, and two at once would damage its files.",
            fix=f"Do it on {seen.elsewhere}. If that computer is off for good, take the job over.",
        )


def _end_at_once(job: Job, now: Status, name: Literal["stop", "pause"]) -> None:
    """Of a job that no process works on; call it while holding `changing`."""
    if now.state == "queued" and now.attempt == 1:
        end = End(cause="It was taken out of the queue before it started.", at=time.time())
    else:
        end = End(cause="It was ended while no process worked on it.", at=time.time(), step=now.step)
    write_status(job.folder, move(now, "stopped" if name == "stop" else "paused", end=end, updated=end.at))


def _end(workspace: Workspace, job_id: str, name: Literal["stop", "pause"], *, force: bool) -> None:
    job = get(workspace, job_id)
    with changing(job.folder):
        now = look.recorded(job)
        if now.state == "queued" or (now.state == "paused" and name == "stop"):
            _end_at_once(job, now, name)
            return
        if now.state in ENDED:
            return
        asked = requests.pending(job.folder)
        if now.state != "starting" and look.status(job).end is look.UNSETTLED:
            pass  # its process is dead already: it did not end because of us, and its end must not say so
        # Asked again, from another tab say: its grace goes on, and what was asked with force stays so.
        elif asked is None or asked.name != name or (force and not asked.force):
            grace_s = FORCE_GRACE_S if force else kind_of(job.kind).grace_s
            requests.ask(job.folder, name, grace_s=grace_s, force=force)
    ensure_runner(workspace)


def request(workspace: Workspace, job_id: str, name: Literal["save", "sample"]) -> None:
    """Ask a job that starts or runs to save or to draw samples at its next step; asked twice is asked once.

    Raises:
        JobError: there is no such job, no process works on it, or it is about to end.
    """
    job = get(workspace, job_id)
    status(workspace, job_id)  # a runner that is missing is started
    with changing(job.folder):  # or a resume in between would take the request away
        now = look.status(job)
        if now.state in {"starting", "running"}:
            requests.ask(job.folder, name)
            return
    wish = "save" if name == "save" else "draw samples"
    if now.active:
        last = "It saves before it ends." if job.kind == "train" else "It ends at its next step."
        raise JobError(f"The job {job.name} was not asked to {wish}.", why=f"It is {now.state}.", fix=last)
    raise JobError(
        f"The job {job.name} was not asked to {wish}.",
        why=f"It is {now.state}, so no process is there to do it.",
        fix="Resume it first." if now.resumable else "Do this while it runs.",
    )


def states(workspace: Workspace, job_id: str) -> list[SavedState]:
    """The complete saved states of a run, newest step first."""
    return complete_states(get(workspace, job_id).folder)


def resume(workspace: Workspace, job_id: str, state: str | None = None) -> Job:
    """Queue the same job again, from its newest complete state or the one named `state`.

    A paused job goes to the front of the queue, any other to the end. With nothing saved it starts
    from the beginning and says so in its notes.

    Raises:
        JobError: no such job or state, it has not ended, it is finished, or another computer works on it.
    """
    job = get(workspace, job_id)
    _wait_for_its_end(workspace, job_id)
    _refuse_elsewhere(job, "resumed")
    with arranging(workspace), changing(job.folder):
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
            device=None,
            order=at_front(workspace) if now.state == "paused" else at_end(workspace),
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


def _wait_for_its_end(workspace: Workspace, job_id: str) -> None:
    """Of a process that has just died: the runner writes it down, and ends what the process left behind."""
    deadline = time.monotonic() + SETTLED_WITHIN_S
    while status(workspace, job_id).end is look.UNSETTLED:
        if time.monotonic() >= deadline:
            raise JobError(
                "The job was not resumed.",
                why="Its process is gone, and how it ended is not written down yet.",
                fix="Try again in a few seconds.",
            )
        time.sleep(_WAIT_POLL_S)


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
    job = get(workspace, job_id)
    if look.recorded(job).ended:
        wait_until_whole(job.log, LOG_WHOLE_WITHIN_S)
    return log.tail(job.log, lines)
