"""What follows the end of a training, once: `python -m lora_core.jobs.after JOB_FOLDER`.

Covered: verifying the result, the retry ladder, messages, the command at the end, in this order; the message
about a run that stands still. Not covered: starting this process (watchers.py), sending (sending.py), running
the command (command.py).

Each step is on disk in the job's `after.json` before the next one begins, so a process that is killed here is
followed by one that goes on. A message and the command are written down *before* they go out: after a kill at
just that moment nobody knows whether they did, and they are not repeated.
"""

import logging
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from lora_core.errors import JobError, LoraError, WorkspaceError
from lora_core.jobs import addresses, choices, command, listing, messages, pace, remarks, requests, sending
from lora_core.jobs.liveness import Lock
from lora_core.jobs.messages import Message
from lora_core.jobs.records import Job, Status, read_job, read_status
from lora_core.jobs.verify import verified
from lora_core.workspace import Workspace, read_json, write_json

NAME: Final = "after.json"
TRIES: Final = 3
TRY_AGAIN_S: float = 10.0
"""Between two tries to send a message that the service did not take."""
_LOCK_S: Final = 30.0

_log = logging.getLogger(__name__)


def lock_of(folder: Path) -> Path:
    """Held by the process that deals with the end of the job in `folder`."""
    return folder / "after.lock"


def is_done(folder: Path, status: Status) -> bool:
    """True when everything that follows this end of the job was done."""
    record = _read(folder)
    return _is_of(record, status) and record.get("done") is True


def nothing_to_do(folder: Path, status: Status) -> None:
    """Write down that nothing was chosen for this end: what is chosen later does not reach back.

    Raises:
        OSError, WorkspaceError: it could not be written.
    """
    record = _Record(folder, status)
    record.finish()


def is_asked(job: Job, status: Status) -> bool:
    """True when the user asked for this end, who therefore need not be told."""
    if status.state not in {"stopped", "paused"}:
        return False
    # Without an exit code no process ended: it was taken out of the queue, by a person.
    return requests.pending(job.folder) is not None or status.end is None or status.end.exit_code is None


class _Record:
    """`after.json` of one end of a job; every change is on disk when the call returns."""

    def __init__(self, folder: Path, status: Status) -> None:
        self._path = folder / NAME
        known = _read(folder)
        self._values: dict[str, Any] = known
        if not _is_of(known, status):
            self._values = {
                "format": 1,
                "attempt": status.attempt,
                "ended_at": status.end.at if status.end else 0.0,
                "state": status.state,
                "steps": {},
                "done": False,
                "stall": known.get("stall"),
            }

    def step(self, name: str) -> dict[str, Any]:
        """What is known of a step; empty before it began."""
        found = self._steps().get(name)
        return dict(found) if isinstance(found, dict) else {}

    def _steps(self) -> dict[str, Any]:
        if not isinstance(self._values.get("steps"), dict):
            self._values["steps"] = {}
        steps: dict[str, Any] = self._values["steps"]
        return steps

    def put(self, name: str, **values: Any) -> dict[str, Any]:
        made = {**self.step(name), **values, "at": time.time()}
        self._steps()[name] = made
        write_json(self._path, self._values)
        return made

    def finish(self) -> None:
        self._values["done"] = True
        write_json(self._path, self._values)

    @property
    def done(self) -> bool:
        return self._values.get("done") is True


def main(arguments: Sequence[str]) -> int:
    """Deal with the end of the job in the folder given; with `stall` behind it, tell that it stands still."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    folder = Path(arguments[0]).resolve()
    workspace = Workspace(folder.parent.parent)
    job = read_job(folder)
    try:
        lock = Lock.acquire(lock_of(folder), timeout_s=_LOCK_S)
    except TimeoutError:
        return 0  # another one does it
    with lock:
        if arguments[1:] == ["stall"]:
            _tell_stall(workspace, job)
        else:
            _follow(workspace, job)
    return 0


# --- the end ----------------------------------------------------------------------------------------


def _follow(workspace: Workspace, job: Job) -> None:
    status = read_status(job.folder)
    if status is None or not status.ended:
        return  # it was resumed meanwhile
    record = _Record(job.folder, status)
    if record.done:
        return
    sound = _verify(workspace, job, status, record)
    asked = is_asked(job, status)
    goes_on = _take_ladder(workspace, job, status, record)
    event = messages.event_of(status.state, asked=asked)
    if event is not None and getattr(choices.events(workspace), event):
        saved = status.saved.step if status.saved else None
        message = messages.ended(job.name, status, saved_step=saved, sound=sound, goes_on=goes_on)
        _tell(workspace, job, record, message)
    record.put("messages", state="done")
    if not asked:
        command.run_once(workspace, job, status, record, well=status.state == "finished" and sound)
    record.finish()


def _verify(workspace: Workspace, job: Job, status: Status, record: _Record) -> bool:
    """True when the LoRA file of a finished run is what was recorded, and sound."""
    known = record.step("verify")
    if not known:
        if status.state != "finished":
            known = record.put("verify", state="nothing to verify")
        elif (why := verified(workspace, job, status)) is None:
            known = record.put("verify", state="verified")
        else:
            known = record.put("verify", state="not verified", why=why)
            _remark(job, f"The LoRA file was looked at again after the end: {why}")
    return known.get("state") == "verified"


def _take_ladder(workspace: Workspace, job: Job, status: Status, record: _Record) -> bool:
    """Let the run go on with a cheaper setting, if the user chose that beforehand; True when it does."""
    if status.state != "failed" or not job.params.get("retry_ladder"):
        return False
    known = record.step("ladder")
    if known.get("state") == "begun":
        # Killed in between. What was taken shows: the job waits or runs again, or a later one stands for it.
        taken = _went_on(workspace, job)
        known = record.put("ladder", state="taken") if taken else {}
    if not known:
        record.put("ladder", state="begun")
        try:
            # By name: what a run is lies above jobs.
            ladder = import_module("lora_core.runs.ladder")
            taken = ladder.take_if_chosen(workspace, job, status) is not None
            known = record.put("ladder", state="taken" if taken else "nothing fits")
        except (ImportError, LoraError, OSError) as error:
            why = error.what if isinstance(error, LoraError) else type(error).__name__
            known = record.put("ladder", state="failed", why=why)
    return known.get("state") == "taken"


def _went_on(workspace: Workspace, job: Job) -> bool:
    now = read_status(job.folder)
    if now is not None and not now.ended:
        return True
    return any(other.parent == job.id and other.id > job.id for other in listing.jobs(workspace, limit=20))


# --- messages ---------------------------------------------------------------------------------------


def _tell(workspace: Workspace, job: Job, record: _Record, message: Message) -> None:
    """Send `message` to each address that did not get it yet."""
    for address, url in addresses.with_secrets(workspace):
        name = f"message {address.fingerprint}"
        known = record.step(name)
        if known.get("state") == "sending":
            record.put(name, state="not known", why="The process was ended while it was sent.")
        elif not known:
            record.put(name, service=address.service, state="sending")
            problem = sending.LOCKED if url is None else _send(url, message)
            if problem is None:
                record.put(name, state="sent")
            else:
                record.put(name, state="failed", why=problem)
                _remark(
                    job, f"The message to {address.service} {address.fingerprint} was not sent. {problem}"
                )


def _send(url: str, message: Message) -> str | None:
    problem = sending.send(url, message)
    for _ in range(TRIES - 1):
        if problem is None or problem == sending.NO_SERVICE:
            break
        time.sleep(TRY_AGAIN_S)  # a network that comes back in the next half minute is worth waiting for
        problem = sending.send(url, message)
    return problem


def _tell_stall(workspace: Workspace, job: Job) -> None:
    """Send the message about a stall, once in each attempt."""
    status, stall = read_status(job.folder), remarks.stall_of(job.folder)
    if status is None or stall is None or stall.attempt != status.attempt or not status.active:
        return
    values = _read(job.folder) or {"format": 1, "steps": {}}
    known = values.get("stall")
    if isinstance(known, dict) and known.get("attempt") == stall.attempt:
        return
    sent: dict[str, str] = {}
    values["stall"] = {"attempt": stall.attempt, "at": time.time(), "messages": sent}
    write_json(job.folder / NAME, values)
    message = messages.stalled(job.name, status, pace.as_said(stall.quiet_s))
    for address, url in addresses.with_secrets(workspace):
        problem = sending.LOCKED if url is None else _send(url, message)
        sent[address.fingerprint] = problem or "sent"
        write_json(job.folder / NAME, values)


# --- the record -------------------------------------------------------------------------------------


def _read(folder: Path) -> dict[str, Any]:
    try:
        return read_json(folder / NAME)
    except (OSError, WorkspaceError):
        return {}


def _is_of(record: dict[str, Any], status: Status) -> bool:
    at = status.end.at if status.end else 0.0
    return (record.get("attempt"), record.get("ended_at")) == (status.attempt, at)


def _remark(job: Job, text: str) -> None:
    try:
        remarks.add(job.folder, text)
    except (OSError, WorkspaceError, JobError) as error:
        _log.warning("a remark was not written: %s", error)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
