"""What runs on this machine took: time and memory, kept in `measured.jsonl` of the workspace.

Covered: one line for each finished training and each smoke run, finding those that are like a planned
run. Not covered: measuring (the engine does it) and what is made of it (see `estimates.py`).

A line is appended with one write, so that two jobs cannot mix theirs; a line that was cut off is skipped.
"""

import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final, Literal

from lora_core.jobs import Job
from lora_core.planning.images import look_at_images
from lora_core.planning.layers import layers_of
from lora_core.planning.memory import MODEL, memory
from lora_core.planning.steps import plan
from lora_core.settings import RunConfig, load_run
from lora_core.workspace import Workspace, disk_errors

FILE: Final = "measured.jsonl"
FORMAT: Final = 1
_READ_BYTES: Final = 2_000_000
"""Of the end of the file; some thousand runs."""
_WARM_UP: Final = 3
"""First steps of a run that are slower, because caches fill and kernels are picked."""
_MIB: Final = 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class Likeness:
    """What two runs must share for the one to tell about the other."""

    engine: str
    family: str
    weights: int
    """Of the UNet: a small model of a family takes less than a large one."""
    resolution: tuple[tuple[int, int], ...]
    """Of each dataset table."""
    batch: tuple[int, ...]
    accumulation: int
    precision: str
    """With `+fp8` where the base model is in 8 bits."""
    checkpointing: bool
    text: bool
    """Whether the text encoders learn, too."""
    network: str
    cached: bool
    """Whether the pictures are made ready before the first step."""
    compiled: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What one run took."""

    kind: Literal["train", "smoke"]
    at: float
    """Unix time in seconds."""
    job: str
    like: Likeness
    rank: int
    optimizer: str
    device: str
    """`cpu`, `cuda` or `mps`."""
    steps: int
    step_s: tuple[float, float, float]
    """Seconds of a step: fast ones, the middle, slow ones."""
    start_s: float | None
    """From the start of the process to the end of the first step."""
    gpu_mib: float | None
    ram_mib: float | None
    counted_gpu_mib: float | None
    """What the count of the same model said beforehand."""
    counted_ram_mib: float | None

    def ratio(self, of: Literal["gpu", "ram"]) -> float | None:
        """What was measured over what was counted."""
        took = self.gpu_mib if of == "gpu" else self.ram_mib
        said = self.counted_gpu_mib if of == "gpu" else self.counted_ram_mib
        return took / said if took and said else None


def likeness(run: RunConfig, engine: str) -> Likeness | None:
    """What tells runs like `run`; None when its base model cannot be read."""
    base = layers_of(run.model.pretrained_model_name_or_path)
    if base is None:
        return None
    network, precision = run.network, run.precision
    return Likeness(
        engine=engine,
        family=base.family,
        weights=base.unet_weights,
        resolution=tuple(dataset.resolution for dataset in run.dataset.datasets),
        batch=tuple(dataset.batch_size for dataset in run.dataset.datasets),
        accumulation=run.batch.gradient_accumulation_steps,
        precision=precision.mixed_precision + ("+fp8" if precision.fp8_base else ""),
        checkpointing=precision.gradient_checkpointing,
        text=not network.network_train_unet_only,
        network=f"{network.network_module} {network.algo}{' dora' if network.dora_wd else ''}",
        cached=precision.cache_latents or precision.cache_latents_to_disk,
        compiled=precision.torch_compile,
    )


def remember(workspace: Workspace, job: Job, *, started: float) -> None:
    """Keep what the job in its folder took; nothing happens where it did not get to its second step.

    Raises:
        SettingsError: its frozen files no longer fit.
        DiskFullError: there is no room for the line.
    """
    run = load_run(job.folder / "config.toml", job.folder / "dataset.toml")
    found = _of_folder(job, run, started)
    if found is None:
        return
    record = {"format": FORMAT, "model": MODEL, "host": socket.gethostname(), **asdict(found)}
    with disk_errors("What the training took was not kept."), _appending(workspace.root / FILE) as descriptor:
        os.write(descriptor, (json.dumps(record) + "\n").encode())


@contextmanager
def _appending(path: Path) -> Iterator[int]:
    """A file descriptor that writes at the end, whoever else writes there."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _of_folder(job: Job, run: RunConfig, started: float) -> Measured | None:
    engine = job.engine or "diffusers"
    like, records = likeness(run, engine), list(_lines(job.folder / "progress.jsonl"))
    steps = [record for record in records if record.get("kind") == "step"]
    mine = [record for record in steps if _number(record.get("time"), 0.0) >= started] or steps
    times = [_number(record.get("step_s"), 0.0) for record in mine]
    times = times[_WARM_UP:] if len(times) > 2 * _WARM_UP else times[1:]
    peaks = [record for record in records if record.get("kind") == "peak"]
    if like is None or not times or not peaks:
        return None
    # Of a very long run only the end is read, and its first step is not there.
    from_start = records[0].get("kind") == "start"
    images, device = look_at_images(run), str(peaks[-1].get("device"))
    counted = memory(run, device=device, plan=plan(run, images), captions=images.count)
    return Measured(
        kind="smoke" if job.kind == "smoke" else "train",
        at=time.time(),
        job=job.id,
        like=like,
        rank=run.network.network_dim,
        optimizer=run.optimizer.optimizer_type,
        device=device,
        steps=len(steps),
        step_s=_spread(times),
        start_s=max(0.0, _number(mine[0].get("time"), started) - started) if from_start else None,
        gpu_mib=_most(peaks, "gpu_mib"),
        ram_mib=_most(peaks, "ram_mib"),
        counted_gpu_mib=counted.gpu / _MIB if counted and counted.gpu else None,
        counted_ram_mib=counted.ram / _MIB if counted else None,
    )


def _spread(times: list[float]) -> tuple[float, float, float]:
    ordered = sorted(times)
    return ordered[len(ordered) // 10], median(ordered), ordered[-1 - len(ordered) // 10]


def _most(records: list[dict[str, Any]], key: str) -> float | None:
    return max((float(r[key]) for r in records if isinstance(r.get(key), int | float)), default=None)


def _number(value: object, otherwise: float) -> float:
    return float(value) if isinstance(value, int | float) else otherwise


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _READ_BYTES))
            data = file.read()
    except OSError:
        return
    for line in data.splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            yield record


def measured(workspace: Workspace) -> list[Measured]:
    """What runs on this machine took, newest first."""
    here = socket.gethostname()
    found = []
    for record in _lines(workspace.root / FILE):
        if record.get("host") == here and record.get("format") == FORMAT:
            one = _read(record)
            if one is not None:
                found.append(one)
    return found[::-1]


def _read(record: Mapping[str, Any]) -> Measured | None:
    try:
        like = dict(record["like"])
        like["resolution"] = tuple((int(w), int(h)) for w, h in like["resolution"])
        like["batch"] = tuple(like["batch"])
        values = {name: record[name] for name in Measured.__dataclass_fields__}
        values |= {"like": Likeness(**like), "step_s": tuple(float(each) for each in record["step_s"])}
        if record.get("model") != MODEL:  # the count was another one then
            values |= {"counted_gpu_mib": None, "counted_ram_mib": None}
        return Measured(**values) if len(values["step_s"]) == 3 else None
    except (KeyError, TypeError, ValueError):
        return None


def took(workspace: Workspace, job_id: str) -> Measured | None:
    """What one finished training or smoke run took; None where nothing was kept of it."""
    return next((one for one in measured(workspace) if one.job == job_id), None)


def alike(workspace: Workspace, run: RunConfig, engine: str, *, device: str | None = None) -> list[Measured]:
    """Runs of this machine like `run` in all that decides how long a step takes, newest first."""
    like = likeness(run, engine)
    return [
        one
        for one in measured(workspace)
        if like is not None and one.like == like and device in {None, one.device}
    ]
