"""The command at the end, for example to stop a rented machine.

Covered: when it may run, running it once, its output and its exit code. Not covered: choosing it
(choices.py).

It runs when a training has ended, its result is verified (or the user wants it after a failure too), and
nothing else waits or runs in the workspace: a held job counts as waiting. So the last training of a queue
runs it. It is written down before it is started, so a process killed in between does not run it twice.
"""

import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from lora_core.errors import LoraError, WorkspaceError
from lora_core.jobs import addresses, choices, listing, liveness, log_pipe, look, platform, remarks
from lora_core.jobs.choices import AtEnd
from lora_core.jobs.liveness import Lock
from lora_core.jobs.records import Job, Status
from lora_core.workspace import Workspace, read_json, write_json

LOG: Final = "after.log"
LOG_LIMIT_BYTES: Final = 4 * 1024 * 1024
"""Size at which it is put aside; two older parts are kept, as of a job's own log."""
WAIT_S: Final = 3600.0
"""How long it waits for other jobs that are no trainings, such as an import."""
LOOK_S: float = 2.0
_SECRET: Final = ("LORA_TOKEN", addresses.ENVIRONMENT)


class Record(Protocol):
    """Where a step is written down."""

    def step(self, name: str) -> dict[str, Any]:
        """What is known of a step; empty before it began."""

    def put(self, name: str, **values: Any) -> dict[str, Any]:
        """Write a step down; it is on disk when this returns."""


def run_once(workspace: Workspace, job: Job, status: Status, record: Record, *, well: bool) -> None:
    """Run the command if it is due; what came of it is in `record` and, where it ran, among the notes.

    `well` says that the training finished and its result is verified.
    """
    known = record.step("command")
    if known.get("state") == "started":
        record.put("command", state="not known", why="It was started. How it ended was not seen.")
        _remark(job, "The command at the end was started. How it ended was not seen. It is not run again.")
    if known:
        return
    chosen = choices.at_end(workspace)
    if not chosen.command:
        record.put("command", state="none", why=chosen.problem)
        if chosen.problem:
            _remark(job, f"The command at the end was not run. {chosen.problem}")
        return
    if not well and not chosen.also_after_failure:
        _left_out(job, record, "This training did not end with a verified result.")
        return
    deadline = time.monotonic() + WAIT_S
    with _turn(workspace):
        while (why := _others(workspace, job)) is not None:
            final, sentence = why
            if final or time.monotonic() >= deadline:
                _left_out(job, record, sentence)
                return
            time.sleep(LOOK_S)
        if (name := _ran_since(workspace, job, status)) is not None:
            record.put("command", state="left out", why=f"It was run already, after {name}.")
            return
        _run(workspace, job, status, record, chosen)


def _turn(workspace: Workspace) -> Lock:
    """One after the other where several trainings end at once; whoever comes second finds that it ran."""
    path = workspace.runner / "at_end.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        try:
            return Lock.acquire(path, timeout_s=0.1)
        except TimeoutError:
            time.sleep(LOOK_S)


def _others(workspace: Workspace, job: Job) -> tuple[bool, str] | None:
    """Why the command has to wait, and whether that is for good; None when nothing else waits or runs."""
    waits: tuple[bool, str] | None = None
    for other in listing.jobs(workspace):
        try:
            seen = look.status(other)
        except (LoraError, OSError):
            continue
        if getattr(seen, "elsewhere", None):
            continue  # another computer's
        if seen.state == "queued" or seen.active:
            doing = "waits" if seen.state == "queued" else "runs"
            if other.kind == "train":
                return True, f"{other.name} {doing}. The command follows the last training."
            waits = False, f"{other.name} {doing}."
        elif other.id != job.id and seen.ended and _still_telling(other):
            waits = False, f"The messages about {other.name} are being sent."
    return waits


def _still_telling(other: Job) -> bool:
    """True while the process that follows another training has not sent its messages."""
    if not liveness.probe(other.folder / "after.lock"):
        return False
    try:
        steps = read_json(other.folder / "after.json").get("steps")
    except (OSError, WorkspaceError):
        return True
    return not (isinstance(steps, dict) and "messages" in steps)


def _ran_since(workspace: Workspace, job: Job, status: Status) -> str | None:
    """The name of the training after which the command ran, if that was after this one had ended."""
    try:
        record = read_json(workspace.runner / "at_end.json")
        at, ended_at = float(record["at"]), status.end.at if status.end else 0.0
        of_another = record.get("job") != job.id and ended_at <= at <= time.time() + 60.0
    except (OSError, WorkspaceError, KeyError, TypeError, ValueError):
        return None
    return str(record.get("name")) if of_another else None


def _run(workspace: Workspace, job: Job, status: Status, record: Record, chosen: AtEnd) -> None:
    record.put("command", state="started")
    write_json(
        workspace.runner / "at_end.json", {"format": 1, "job": job.id, "name": job.name, "at": time.time()}
    )
    try:
        with log_pipe.written_to(job.folder / LOG, most_bytes=LOG_LIMIT_BYTES) as log:
            code = _code_of(chosen, log, workspace.root, _environment(workspace, job, status))
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
        record.put("command", state="failed", why=f"It could not be started: {why}.")
        _remark(job, f"The command at the end could not be started: {why}.")
        return
    if code is None:
        record.put("command", state="failed", why=f"It was ended after {chosen.timeout_s:.0f} s.")
        _remark(job, f"The command at the end did not end within {chosen.timeout_s:.0f} s, so it was ended.")
        return
    record.put("command", state="done", exit_code=code)
    _remark(job, f"The command at the end was run. Its exit code is {code}. Its output is in {LOG}.")


def _code_of(chosen: AtEnd, log: int, folder: Path, environment: Mapping[str, str]) -> int | None:
    """The exit code of the command; None when it did not end in time and was ended."""
    child = subprocess.Popen(
        list(chosen.command),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        cwd=folder,
        env=environment,
        start_new_session=True,
    )
    try:
        return child.wait(chosen.timeout_s)
    except subprocess.TimeoutExpired:
        platform.end_group(child.pid, kill=True)
        child.wait()
        return None


def _environment(workspace: Workspace, job: Job, status: Status) -> Mapping[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in _SECRET}
    result = status.end.result if status.end and status.end.result else ""
    file = str(workspace.absolute(result)) if result else ""
    return {**kept, "LORA_JOB": job.id, "LORA_STATE": status.state, "LORA_FILE": file}


def _left_out(job: Job, record: Record, why: str) -> None:
    record.put("command", state="left out", why=why)
    _remark(job, f"The command at the end was not run. {why}")


def _remark(job: Job, text: str) -> None:
    try:
        remarks.add(Path(job.folder), text)
    except (OSError, WorkspaceError):
        return  # it stands in after.json too
