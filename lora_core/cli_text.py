"""What the commands say: records for programs, lines for people, exit codes.

Covered: turning jobs, errors and LoRA files into text. Not covered: printing it, and the commands
themselves (see cli.py).
"""

import errno
import json
import math
import unicodedata
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from lora_core.errors import DiskFullError, LoraError, Problem, SettingsError
from lora_core.jobs import Job, State, Status
from lora_core.workspace import Workspace

if TYPE_CHECKING:  # numpy comes with it, and most commands need none
    from lora_core.loras import LoraInfo

EXIT_DONE: Final = 0
EXIT_FAILED: Final = 1
EXIT_BAD_INPUT: Final = 2
EXIT_STOPPED: Final = 3
EXIT_LEFT: Final = 130
"""The waiting was ended with Ctrl-C; what shells expect after SIGINT."""

_LINE_LIMIT: Final = 300
_FOLDERS: Final = (("samples", "Samples"), ("tensorboard", "TensorBoard"), ("log", "Log"))


def record(ws: Workspace, job: Job, status: Status) -> dict[str, Any]:
    """What `--json` prints of a job."""
    end = status.end
    places = {key: job.folder / key for key in ("samples", "tensorboard")} | {"log": job.log}
    return {
        "id": job.id,
        "kind": job.kind,
        "name": job.name,
        "engine": job.engine,
        "state": status.state,
        "phase": status.phase,
        "step": status.step,
        "total": status.total,
        "loss": status.loss,
        "steps_per_s": status.steps_per_s,
        "eta_s": status.eta_s,
        "attempt": status.attempt,
        "message": status.message,
        "notes": list(status.notes),
        "created": job.created,
        "folder": str(job.folder),
        "end": {part: getattr(end, part) for part in type(end).__dataclass_fields__} if end else None,
        "result": str(ws.absolute(end.result)) if end and end.result else None,
        **{key: str(path) if path.exists() else None for key, path in places.items()},
    }


def json_text(value: Any) -> str:
    """`value` as JSON that every reader takes.

    ASCII, because a name may hold what the encoding of a pipe, or any encoding, cannot write. Infinite
    numbers and those that are none become null, because JSON has no word for them.
    """
    return json.dumps(_finite(value), default=str, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def record_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """The same for people: a line each for what is known."""
    end = found["end"] or {}
    shown = {**found, "end": None, **{part: end.get(part) for part in ("cause", "fix", "evidence")}}
    for key, value in shown.items():
        if value not in (None, "", []):
            text = "\n  ".join(map(str, value)) if isinstance(value, list) else value
            yield plain(f"{key}: {text}")


def end_lines(ws: Workspace, job: Job, ended: Status) -> Iterator[str]:
    """How a job ended: where its results are, or why there are none and what to do."""
    if ended.state != "finished":
        cause = ended.end.cause if ended.end else ended.message
        yield plain(f"{printable(job.name)} is {ended.state}. {cause}")
        if ended.end and ended.end.fix:
            yield plain(f"What to do: {ended.end.fix}")
        return
    yield f"Finished: {printable(job.name)}"
    found = record(ws, job, ended)
    for key, label in (("result", "LoRA file" if job.kind == "train" else "Made"), *_FOLDERS):
        if found[key]:
            yield f"{label}: {found[key]}"


def exit_code(state: State) -> int:
    """What a command that waited for a job ends with."""
    if state == "finished":
        return EXIT_DONE
    return EXIT_STOPPED if state in {"stopped", "paused"} else EXIT_FAILED


def progress_text(status: Status) -> str:
    """Phase, done of total, rate, time left and loss, as far as they are known."""
    parts = [status.message or status.phase or status.state]
    if status.step or status.total:
        parts.append(f"{status.step} of {status.total}" if status.total else f"{status.step}")
    if status.steps_per_s:
        parts.append(f"{status.steps_per_s:.2f} a second")
    if status.eta_s is not None:
        minutes, seconds = divmod(round(status.eta_s), 60)
        parts.append(f"{minutes} min {seconds:02d} s left" if minutes else f"{seconds} s left")
    if status.loss is not None:
        parts.append(f"loss {status.loss:.4f}")
    return printable(" · ".join(part.removesuffix(".") for part in parts))


def error_record(error: LoraError) -> dict[str, Any]:
    """An error for programs."""
    problems = error.problems if isinstance(error, SettingsError) else ()
    listed = [{"setting": p.setting, "what": p.what, "fix": p.fix} for p in problems]
    return {"error": {"what": error.what, "why": error.why, "fix": error.fix, "problems": listed}}


def error_text(error: LoraError) -> str:
    """An error for people: what happened, why, and what to do; every problem on a line of its own."""
    if isinstance(error, SettingsError):
        return plain("\n".join([error.what, *(f"- {problem_line(problem)}" for problem in error.problems)]))
    return plain(f"{error.what}\nWhy: {error.why}\nWhat to do: {error.fix}")


def refused_by_system(error: OSError) -> LoraError:
    """A refusal of the system that no part of the app foresaw: a full disk, a name that is too long."""
    what = "The command was not carried out."
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return DiskFullError(what, safe="Files that were there are as they were.")
    name = printable(str(error.filename or ""))
    about = f" It is about {name}." if name else ""
    return LoraError(
        what,
        why=f"The system answered: {error.strerror or error}.{about}",
        fix="Check this path and whether you may read and write there. Then do it again.",
    )


def printable(text: str) -> str:
    """`text` from a file on one line: without what could move the cursor or change the terminal."""
    clean = "".join("?" if unicodedata.category(letter)[0] == "C" else letter for letter in text)
    return clean if len(clean) <= _LINE_LIMIT else f"{clean[: _LINE_LIMIT - 1]}…"


def plain(text: str) -> str:
    """As `printable`, of several lines and as long as they are."""
    lines = text.replace("\t", "    ").split("\n")
    return "\n".join(
        "".join("?" if unicodedata.category(letter) == "Cc" else letter for letter in line) for line in lines
    )


def problem_line(problem: Problem) -> str:
    """One problem with its setting and its fix."""
    name = f"{problem.setting}: " if problem.setting else ""
    return f"{name}{problem.what} {problem.fix}"


def lora_lines(found: "LoraInfo") -> Iterator[str]:
    """What a LoRA file is, a line each for what is known."""
    layers = f"{found.unet_layers} in the image part, {found.text_encoder_layers} in the text part"
    rows: list[tuple[str, Any]] = [
        ("Name", found.name),
        ("Kind", found.kind),
        ("Rank", ", ".join(map(str, found.ranks))),
        ("Alpha", ", ".join(f"{alpha:g}" for alpha in found.alphas)),
        ("Layers", layers),
        ("Family", found.family),
        ("Base model", found.base),
        ("Trigger word", found.trigger_word),
        ("Steps", found.steps),
        ("Epochs", found.epochs),
        ("Training size", found.resolution),
        ("Layout", found.layout),
        ("Size", f"{found.size_bytes / 1e6:.1f} MB as {found.dtype}"),
        ("Sound", "yes: every number was read"),
        ("Note", " ".join(found.warnings)),
    ]
    for label, value in rows:
        if value not in (None, ""):
            yield f"{label}: {printable(str(value))}"
