"""The retry ladder: after GPU memory ran out, a run goes on from its last save with the next cheaper setting.

Covered: which changes there are for a run, taking one (the frozen settings of a run change in no other way),
the record of what was taken (`ladder.json`, with the settings before it as `config.1.toml`), and going on by
itself where that was chosen beforehand. Not covered: what each change saves (see `lora_core.planning.fit`,
which has the one list of them), and noticing that memory ran out (see `lora_core.jobs.explain`).
"""

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from lora_core import jobs
from lora_core.errors import JobError, LoraError, WorkspaceError
from lora_core.jobs import Job, Status, look
from lora_core.jobs.records import changing, noted, write_status
from lora_core.jobs.states import complete_states
from lora_core.planning.estimates import Known
from lora_core.planning.fit import Change, cheaper
from lora_core.planning.free import free
from lora_core.planning.images import RunImages
from lora_core.planning.memory import memory
from lora_core.settings import CONFIG_NAME, DATASET_NAME, RunConfig, load_run, run_files, with_values
from lora_core.workspace import Workspace, read_json, write_atomic, write_json

FILE: Final = "ladder.json"
FORMAT: Final = 1
OUT_OF_MEMORY: Final = "cuda_oom"
"""The row of `explain`'s table."""

RUNGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "cache_latents": "pictures prepared beforehand",
        "vae_batch_size": "pictures prepared one by one",
        "cache_text_encoder_outputs": "captions read beforehand",
        "gradient_checkpointing": "gradient checkpointing",
        "optimizer_type": "the 8-bit optimizer",
        "batch_size": "smaller batches",
        "mixed_precision": "half precision",
        "fp8_base": "the base model in 8 bits",
        "resolution": "smaller pictures",
    }
)
"""Every rung by the setting that it changes, in order of harm, with the words behind `Try again with`.

Changes of the same list that help the disk or the computer's memory alone are no rungs."""
_ONLY_OFFERED: Final = frozenset({"resolution"})
"""Never taken by itself: the result would be another one."""
_FIRST_SAVE_ONLY: Final = frozenset({"optimizer_type"})
"""What another optimizer remembers cannot be loaded, so such a change needs a run without a save."""
_SAYS_SO: Final = re.compile(
    r"CUDA out of memory|OutOfMemoryError|CUDA error: out of memory|HIP out of memory"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rung:
    """One step down: what would be changed, and what that costs."""

    key: str
    """A key of `RUNGS`."""
    label: str
    why: str
    """What it saves and what it costs, in one sentence."""
    changes: tuple[Change, ...]
    by_itself: bool
    """False for what is only offered, whatever was chosen beforehand."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """A rung that a run went down."""

    key: str
    label: str
    at: float
    """Unix time in seconds."""
    from_step: int
    """The step that it went on from."""
    beforehand: bool
    """True when it was taken by itself, as chosen when the run started."""
    changes: tuple[Mapping[str, Any], ...]
    """`key`, `before` and `after` of each setting."""


def rungs(run: RunConfig, engine: str, ws: Workspace, *, saved: bool) -> tuple[Rung, ...]:
    """Every change that makes `run` need less GPU memory, the least harmful first.

    `saved` tells whether the run has a state: then its optimizer stays.
    """
    known = Known(RunImages(()), free(ws), ())
    now = memory(run, device="cuda")
    found = []
    for changes in cheaper(run, known, engine):
        key = changes[0].key
        if key not in RUNGS or (saved and key in _FIRST_SAVE_ONLY):
            continue
        then = memory(with_values(run, _after(changes)), device="cuda")
        if now is not None and then is not None and then.gpu >= now.gpu:
            continue
        rung = Rung(
            key=key,
            label=RUNGS[key],
            why=changes[0].why,
            changes=tuple(changes),
            by_itself=key not in _ONLY_OFFERED,
        )
        found.append(rung)
    return tuple(found)


def next_rung(run: RunConfig, engine: str, ws: Workspace, *, saved: bool) -> Rung | None:
    """The change that the ladder takes next by itself; None at its end."""
    return next((rung for rung in rungs(run, engine, ws, saved=saved) if rung.by_itself), None)


def offer(ws: Workspace, job: Job, status: Status) -> tuple[Rung, ...]:
    """What could be changed, after GPU memory ran out or spilled; empty for every other run."""
    if job.kind != "train" or not (ran_out(job, status) or spilled(job, status)):
        return ()
    try:
        run = _frozen(job.folder)
    except (LoraError, OSError):  # its settings cannot be read; resuming says so
        return ()
    return rungs(run, job.engine or "diffusers", ws, saved=bool(complete_states(job.folder)))


def ran_out(job: Job, status: Status) -> bool:
    """True when the run failed for lack of GPU memory."""
    del job
    end = status.end
    if status.state != "failed" or end is None:
        return False
    return end.row == OUT_OF_MEMORY or bool(_SAYS_SO.search(f"{end.cause}\n{end.evidence}"))


def spilled(job: Job, status: Status) -> bool:
    """True when the run noticed, since its last rung, that GPU memory spills into the computer's."""
    if status.state in {"queued", "starting", "finished"}:
        return False
    since = max((step.at for step in taken(job)), default=0.0)
    try:
        with (job.folder / "progress.jsonl").open("rb") as file:
            return any(_time(line) > since for line in file if b'"spill"' in line)
    except OSError:
        return False


def _time(line: bytes) -> float:
    try:
        record = json.loads(line)
        return float(record["time"]) if record["kind"] == "spill" else 0.0
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return 0.0


def take(ws: Workspace, job: Job, rung: Rung, *, beforehand: bool = False) -> Job:
    """Change the settings of the run and let it go on from its last save.

    Raises:
        JobError: it has not ended, or its settings are no longer those that the rung was made for.
        DiskFullError: the record could not be written; nothing was changed.
    """
    finish_begun(job)
    with changing(job.folder):
        now = look.recorded(job)
        if not now.resumable:
            raise _refused(job, f"It is {now.state}.", "Pause it first." if now.active else "Let it go on.")
        run = _frozen(job.folder)
        states = complete_states(job.folder)
        there = rungs(run, job.engine or "diffusers", ws, saved=bool(states))
        if rung not in there:
            raise _refused(job, "Its settings were changed meanwhile.", "Look at the training again.")
        changed = with_values(run, _after(rung.changes))
        step = states[0].step if states else 0
        _write(job.folder, changed, _record(rung, step, beforehand=beforehand))
        write_status(job.folder, noted(now, _told(rung, beforehand=beforehand)))
    try:
        return jobs.resume(ws, job.id)
    except JobError:
        if look.recorded(job).resumable:
            raise
        return job  # somebody else resumed it in this moment; it goes on with the new settings


def take_if_chosen(ws: Workspace, job: Job, status: Status) -> Job | None:
    """Take the next rung where that was chosen beforehand and memory ran out; None where nothing was done."""
    if not job.params.get("retry_ladder") or job.kind != "train" or not ran_out(job, status):
        return None
    found = next((rung for rung in offer(ws, job, status) if rung.by_itself), None)
    return take(ws, job, found, beforehand=True) if found else None


def taken(job: Job) -> tuple[Taken, ...]:
    """The rungs that the run went down, the first one first."""
    try:
        return tuple(
            Taken(
                key=str(step["key"]),
                label=str(step["label"]),
                at=float(step["at"]),
                from_step=int(step["from_step"]),
                beforehand=step["beforehand"] is True,
                changes=tuple(dict(change) for change in step["changes"]),
            )
            for step in _steps(job.folder)
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        return ()


def finish_begun(job: Job) -> None:
    """Write the settings of a rung whose taking was interrupted between its two files.

    Raises:
        LoraError, OSError: it could not be done; the run must not go on with one half of a change.
    """
    steps = _steps(job.folder)
    if not steps or steps[-1].get("done") is not False:
        return
    kept = len(steps)
    run = load_run(job.folder / _kept(CONFIG_NAME, kept), job.folder / _kept(DATASET_NAME, kept))
    values = {str(change["key"]): change["after"] for change in steps[-1]["changes"]}
    _write_settings(job.folder, with_values(run, values), steps)


def _write(folder: Path, changed: RunConfig, step: dict[str, Any]) -> None:
    steps = [*_steps(folder), step]
    for name in (CONFIG_NAME, DATASET_NAME):
        write_atomic(folder / _kept(name, len(steps)), (folder / name).read_bytes())
    write_json(folder / FILE, {"format": FORMAT, "steps": steps})
    _write_settings(folder, changed, steps)


def _write_settings(folder: Path, changed: RunConfig, steps: list[dict[str, Any]]) -> None:
    for name, text in run_files(changed).items():
        write_atomic(folder / name, text)
    done = [*steps[:-1], {**steps[-1], "done": True}]
    write_json(folder / FILE, {"format": FORMAT, "steps": done})


def _record(rung: Rung, from_step: int, *, beforehand: bool) -> dict[str, Any]:
    changes = [{"key": c.key, "before": c.before, "after": c.after, "why": c.why} for c in rung.changes]
    about = {"key": rung.key, "label": rung.label, "at": time.time(), "from_step": from_step}
    return {**about, "beforehand": beforehand, "changes": changes, "done": False}


def _told(rung: Rung, *, beforehand: bool) -> str:
    listed = ", ".join(f"{c.key} from {_shown(c.before)} to {_shown(c.after)}" for c in rung.changes)
    chosen = "as chosen beforehand" if beforehand else "as asked"
    return f"To need less GPU memory, the training goes on with {rung.label}, {chosen}: {listed}. {rung.why}"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return " x ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _kept(name: str, number: int) -> str:
    """The file's name for the settings before the rung of that number, counted from 1."""
    stem, _, ending = name.rpartition(".")
    return f"{stem}.{number}.{ending}"


def _steps(folder: Path) -> list[dict[str, Any]]:
    try:
        steps = read_json(folder / FILE, newest_format=FORMAT).get("steps")
    except (OSError, WorkspaceError):
        return []
    return [step for step in steps if isinstance(step, dict)] if isinstance(steps, list) else []


def _frozen(folder: Path) -> RunConfig:
    dataset = folder / DATASET_NAME
    return load_run(folder / CONFIG_NAME, dataset if dataset.is_file() else None)


def _after(changes: tuple[Change, ...] | list[Change]) -> dict[str, Any]:
    return {change.key: change.after for change in changes}


def _refused(job: Job, why: str, fix: str) -> JobError:
    return JobError(f"The settings of {job.name} were not changed.", why=why, fix=fix)
