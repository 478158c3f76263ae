"""What is written down about a job: its frozen record, its status, and which state may follow which.

Covered: `job.json`, `status.json`, the table of allowed state changes, and the lock under which a
state changes. Not covered: whether the status is still true (see look.py), and who may ask for
what (see control.py).
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, get_args

from lora_core.errors import FileTooNewError, JobError, WorkspaceError
from lora_core.jobs import fields
from lora_core.jobs.liveness import Lock
from lora_core.workspace import read_json, replace_open, write_json

FORMAT: Final = 1
NOTES_KEPT: Final = 50
CHANGE_TIMEOUT_S: Final = 30.0  # a change takes milliseconds; on a machine with 20 busy processes, seconds

State = Literal[
    "queued", "starting", "running", "pausing", "paused", "stopping", "finished", "stopped", "failed", "lost"
]
STATES: Final[tuple[State, ...]] = get_args(State)

ACTIVE: Final[frozenset[State]] = frozenset({"starting", "running", "pausing", "stopping"})
"""A process is at work, or is about to be."""
ENDED: Final[frozenset[State]] = frozenset({"finished", "stopped", "paused", "failed", "lost"})
"""No process works on it, and none will unless somebody asks."""
RESUMABLE: Final[frozenset[State]] = ENDED - {"finished"}

_ENDS: Final[frozenset[State]] = ENDED
TABLE: Final[Mapping[State, frozenset[State]]] = MappingProxyType(
    {
        # A job that waits can be taken back, set aside, or turn out to be impossible to start.
        "queued": frozenset({"starting", "stopped", "paused", "failed"}),
        "starting": frozenset({"running", "stopping", "pausing", "stopped", "paused", "failed", "lost"}),
        "running": _ENDS | {"stopping", "pausing"},
        # A stop overrules a pause. Work may end on its own before it hears either.
        "pausing": _ENDS | {"stopping"},
        "stopping": _ENDS - {"paused"},
        # Resuming puts a job back into the queue; the same job, the next attempt.
        "paused": frozenset({"queued", "stopped"}),
        "stopped": frozenset({"queued"}),
        "failed": frozenset({"queued"}),
        "lost": frozenset({"queued"}),
        "finished": frozenset(),
    }
)
"""Every change of state there is: from each state, those that may follow."""


class ImpossibleChangeError(RuntimeError):
    """A bug: somebody tried a change of state that `TABLE` does not have."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A long action, as it was asked for. Nothing in it changes afterwards."""

    id: str
    """Name of its folder; sorts by time of creation."""
    kind: str
    """Which work it is: a key of `kinds.KINDS`, such as `train`."""
    name: str
    """What the user calls it; for a run the name of the LoRA."""
    folder: Path
    """Where its files are. Not in the record: the workspace may move."""
    created: float
    """Unix time in seconds."""
    engine: str | None = None
    """The trainer of a run, such as `diffusers`; None for other kinds."""
    host: str = ""
    """Name of the machine that it was created on."""
    parent: str | None = None
    """Id of the run that this one goes back to, if it does."""
    project: str | None = None
    """Name of the project that it belongs to, if it does."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """What the kind needs to know; plain JSON values, paths relative to the workspace."""
    hashes: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of what it was made from: the base model's config, the dataset's listing."""

    @property
    def log(self) -> Path:
        """Everything that its process printed, over all attempts."""
        return self.folder / "train.log"


@dataclass(frozen=True, kw_only=True, slots=True)
class Saved:
    """The newest file or state that is complete on disk."""

    step: int
    path: str
    """Relative to the workspace."""


@dataclass(frozen=True, kw_only=True, slots=True)
class End:
    """How a job ended, in plain words."""

    cause: str
    """What happened and why, in one or two sentences."""
    fix: str = ""
    """What to do next; empty when there is nothing to mend."""
    evidence: str = ""
    """Lines of the log, or figures of the system, that show it."""
    exit_code: int | None = None
    """Of the process, negative for a signal; None where nobody saw it end."""
    at: float = 0.0
    """Unix time in seconds."""
    step: int = 0
    """Last step that was reported."""
    result: str | None = None
    """What it made, relative to the workspace: the LoRA file, the dataset folder."""
    row: str = ""
    """Id of the cause in the table of `explain`, such as `cuda_oom`; empty when it is not from there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """What a job is doing, or how it ended."""

    state: State
    phase: str = ""
    """The part of the work that goes on, such as `Loading the base model`."""
    step: int = 0
    """Units of work done: optimizer steps in training, files in an import."""
    total: int | None = None
    loss: float | None = None
    """Running mean of the training loss."""
    steps_per_s: float | None = None
    eta_s: float | None = None
    """Seconds left, as the work itself estimates it."""
    updated: float = 0.0
    """Unix time in seconds of this record."""
    attempt: int = 1
    """1 for the first start; each resume adds one."""
    order: float = 0.0
    """Its place in the queue: lower goes first. The time of queueing unless somebody moved it."""
    held: bool = False
    """True when it waits until somebody releases it. Matters only while it is queued."""
    not_before: float | None = None
    """Unix time before which it is not started; None for as soon as its turn comes."""
    device: str | None = None
    """Where this attempt computes, such as `cuda:0` or `cpu`; None for work that needs no device."""
    resume_from: str | None = None
    """The saved state that this attempt goes on from, relative to the job's folder."""
    saved: Saved | None = None
    notes: tuple[str, ...] = ()
    """The last sentences for the user, oldest first, at most 50."""
    end: End | None = None
    """Set in every ended state."""
    message: str = ""
    """What is happening in one plain sentence. Made when the status is read; not in the record."""
    grace_left_s: float | None = None
    """While it stops or pauses: seconds until it is ended by force. Not in the record."""
    elsewhere: str | None = None
    """The other computer that a waiting or running job belongs to. Not in the record."""
    newer: bool = False
    """True when a newer version of the app wrote it: nothing here may change it. Not in the record."""

    @property
    def active(self) -> bool:
        """A process is at work, or is about to be."""
        return self.state in ACTIVE

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def resumable(self) -> bool:
        return self.state in RESUMABLE


_NOT_WRITTEN: Final = frozenset({"message", "grace_left_s", "elsewhere", "newer"})


def move(status: Status, to: State, **changes: Any) -> Status:
    """`status` in the state `to`; the only way from one state to another.

    Raises:
        ImpossibleChangeError: `TABLE` has no such change.
    """
    if to not in TABLE[status.state]:
        raise ImpossibleChangeError(f"{status.state} -> {to}")
    return replace(status, state=to, **changes)


def noted(status: Status, *texts: str) -> Status:
    """`status` with `texts` behind its notes; the oldest are dropped beyond 50."""
    return replace(status, notes=(*status.notes, *texts)[-NOTES_KEPT:])


def status_record(status: Status) -> dict[str, Any]:
    """The record of `status.json`."""
    record: dict[str, Any] = {"format": FORMAT}
    for name in Status.__dataclass_fields__:
        if name in _NOT_WRITTEN:
            continue
        value = getattr(status, name)
        if isinstance(value, Saved | End):
            value = {part: getattr(value, part) for part in value.__dataclass_fields__}
        record[name] = list(value) if isinstance(value, tuple) else value
    return record


def read_status(folder: Path) -> Status | None:
    """The status on record; None where the file is missing or is not one, or has a state of a newer version.

    Single fields of the wrong type fall back to unknown, so that one odd value costs no more.
    """
    record = _status_file(folder)
    state = record.get("state")
    if state not in STATES:
        return None
    return Status(
        state=state,
        phase=fields.text(record, "phase"),
        step=fields.whole(record, "step") or 0,
        total=fields.whole(record, "total"),
        loss=fields.number(record, "loss"),
        steps_per_s=fields.finite(record, "steps_per_s"),
        eta_s=fields.finite(record, "eta_s"),
        updated=fields.moment(record, "updated"),
        attempt=fields.whole(record, "attempt") or 1,
        order=fields.moment(record, "order"),
        held=record.get("held") is True,
        not_before=fields.finite(record, "not_before"),
        device=fields.text(record, "device") or None,
        resume_from=fields.text(record, "resume_from") or None,
        saved=_saved(record.get("saved")),
        notes=_notes(record.get("notes")),
        end=_end(record.get("end")),
        newer=_is_newer(record),
    )


def too_new(folder: Path) -> bool:
    """True when a newer version of the app wrote the status: it may be read here, and not changed."""
    return _is_newer(_status_file(folder))


def _status_file(folder: Path) -> dict[str, Any]:
    try:
        return read_json(folder / "status.json")
    except (OSError, WorkspaceError):
        return {}


def _created(value: Any) -> float:
    if not 0 <= (created := float(value)) <= fields.LAST_MOMENT:
        raise ValueError(f"created is {value}, which no calendar can show")
    return created


def _is_newer(record: Mapping[str, Any]) -> bool:
    return (fields.whole(record, "format") or 0) > FORMAT


def write_status(folder: Path, status: Status, *, durable: bool = True) -> None:
    """Replace `status.json`; a reader sees the old one or the new one.

    `durable=False` leaves out the flush to the disk: for progress, which is written up to four
    times a second from inside the training loop and may be lost in a power cut.

    Raises:
        OSError, DiskFullError: it could not be written; the old one is as it was.
    """
    record = status_record(status)
    if durable:
        write_json(folder / "status.json", record)
        return
    part = folder / f".status.json.{os.getpid()}.part"  # one writer: the process at work
    try:
        # As `write_json` does it: a note may name a file whose name is no text.
        part.write_bytes(json.dumps(record, ensure_ascii=False).encode("utf-8", "backslashreplace"))
        replace_open(part, folder / "status.json")
    except OSError:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def changing(folder: Path) -> Iterator[None]:
    """Hold the right to change the job's state; read the status inside, then write it.

    Raises:
        JobError: another process held it for 30 s.
        FileTooNewError: a newer version of the app wrote the status; this one would lose a part of it.
    """
    try:
        lock = Lock.acquire(folder / "status.lock", timeout_s=CHANGE_TIMEOUT_S)
    except TimeoutError as error:
        raise JobError(
            "The job was not changed.",
            why="Another process has been changing it for more than 30 seconds.",
            fix="Try again. If it stays so, restart the computer.",
        ) from error
    with lock:
        if _is_newer(record := _status_file(folder)):
            raise FileTooNewError("status.json", record["format"], FORMAT)
        yield


def read_job(folder: Path) -> Job:
    """The record in `folder/job.json`.

    Raises:
        JobError: there is no such job, or its record is not readable.
        FileTooNewError: a newer version of the app wrote it.
    """
    try:
        record = read_json(folder / "job.json", newest_format=FORMAT)
        return Job(
            id=folder.name,
            kind=str(record["kind"]),
            name=str(record["name"]),
            folder=folder,
            created=_created(record["created"]),
            engine=fields.text(record, "engine") or None,
            host=fields.text(record, "host"),
            parent=fields.text(record, "parent") or None,
            project=fields.text(record, "project") or None,
            params=fields.mapping(record, "params"),
            hashes=fields.mapping(record, "hashes"),
        )
    except FileNotFoundError as error:
        raise JobError(
            f"There is no job {folder.name}.",
            why=f"The folder {folder} has no job.json.",
            fix="Look at the list of jobs for the right id.",
        ) from error
    except OSError as error:
        raise JobError(
            f"The job {folder.name} could not be read.",
            why=f"The system did not give out its job.json: {error.strerror or error}.",
            fix=f"Allow reading it, or remove the folder {folder}.",
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        raise JobError(
            f"The job {folder.name} could not be read.",
            why=f"Its job.json lacks a part or has a wrong one: {error}.",
            fix=f"Restore the file from a backup, or remove the folder {folder}.",
        ) from error


def job_record(job: Job) -> dict[str, Any]:
    """The record of `job.json`."""
    skipped = {"id", "folder"}
    parts = {name: getattr(job, name) for name in Job.__dataclass_fields__ if name not in skipped}
    return {"format": FORMAT, "id": job.id} | {
        name: dict(value) if isinstance(value, Mapping) else value for name, value in parts.items()
    }


def _notes(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        return ()
    return tuple(text for text in value if isinstance(text, str))[-NOTES_KEPT:]


def _saved(value: object) -> Saved | None:
    if not isinstance(value, dict) or not isinstance(value.get("path"), str):
        return None
    return Saved(step=fields.whole(value, "step") or 0, path=value["path"])


def _end(value: object) -> End | None:
    if not isinstance(value, dict):
        return None
    return End(
        cause=fields.text(value, "cause"),
        fix=fields.text(value, "fix"),
        evidence=fields.text(value, "evidence"),
        exit_code=fields.whole(value, "exit_code"),
        at=fields.moment(value, "at"),
        step=fields.whole(value, "step") or 0,
        result=fields.text(value, "result") or None,
        row=fields.text(value, "row"),
    )
