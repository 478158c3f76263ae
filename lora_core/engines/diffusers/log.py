"""What a run leaves for curves: `progress.jsonl` and TensorBoard scalars.

`progress.jsonl` is the truth. Each line is one object with a `kind`: `start` (always the first
line: `total`, `steps_per_epoch`, `resumed_from`), `step`, `validation`, `epoch`, `spill` (the card's
memory is full and steps became slow), and at the end of each attempt `peak`. Numbers are written so
that the float32 they came from is read back to the last bit.

A resumed run has one curve: records after the step it goes on from are dropped, and TensorBoard's
file is written anew from those that are left.

Not covered: reading for pages (see `lora_core.runs`), other trackers.
"""

import errno
import json
import os
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from math import fsum
from pathlib import Path
from typing import Any, Final

from accelerate import Accelerator

from lora_core.workspace import disk_errors, replacing

PROGRESS_NAME: Final = "progress.jsonl"
TENSORBOARD_NAME: Final = "tensorboard"
_NOT_WRITTEN: Final = "The progress of the run was not written."
_STEP_TAGS: Final = {
    "loss": "loss/current",
    "loss_average": "loss/average",
    "lr": "lr/unet",
    "grad_norm": "norm/grad",
    "memory_mib": "memory/mib",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class StepRecord:
    """One optimizer step."""

    step: int
    """Steps done with this one, from 1."""
    epoch: int
    """From 1."""
    loss: float
    """Mean over the batches of the step."""
    loss_average: float
    """Mean over the last epoch's worth of steps, as sd-scripts' loss/average."""
    lr: float
    """The rate that this step used."""
    grad_norm: float
    """Length of the gradient before it was clipped; 0 for a step that fp16 left out."""
    step_s: float
    """Seconds that the step took, samples and saves left out."""
    memory_mib: float
    """Most GPU memory in use since the start; on a CPU, memory of the process."""
    time: float
    """Seconds since 1970."""


class LossAverage:
    """Mean of the last losses; what it remembers travels with a state."""

    def __init__(self, length: int, losses: list[float]) -> None:
        self._losses = deque(losses, maxlen=length)

    def add(self, loss: float) -> float:
        """The mean, this loss included."""
        self._losses.append(loss)
        return self.value

    @property
    def value(self) -> float:
        # fsum of what is there, not a running sum: no drift, and a resumed run gets the same bits.
        return fsum(self._losses) / len(self._losses)

    def losses(self) -> list[float]:
        return list(self._losses)


class RunLog:
    """Writes the records of one run; each is on disk before the next step begins."""

    def __init__(
        self, folder: Path, accelerator: Accelerator, *, total: int, steps_per_epoch: int, resumed_from: int
    ) -> None:
        """Begin the records in `folder`; those up to step `resumed_from` are kept."""
        path = folder / PROGRESS_NAME
        start = {
            "kind": "start",
            "total": total,
            "steps_per_epoch": steps_per_epoch,
            "resumed_from": resumed_from,
            "time": time.time(),
        }
        kept = list(_records(path, last_step=resumed_from))
        with replacing(path) as part:
            part.write_text("".join(_line(record) for record in (start, *kept)), "utf-8")
        self._file = path.open("ab", buffering=0)
        for file in (folder / TENSORBOARD_NAME).glob("events.out.tfevents.*"):
            file.unlink()  # drawn anew below, without what is no longer true
        accelerator.init_trackers(TENSORBOARD_NAME)
        self._writer = accelerator.get_tracker("tensorboard", unwrap=True)
        for record in kept:
            self._draw(record)
        self._writer.flush()

    def step(self, record: StepRecord) -> None:
        self._write({"kind": "step", **asdict(record)})

    def validation(self, step: int, loss: float) -> None:
        self._write({"kind": "validation", "step": step, "validation_loss": loss, "time": time.time()})

    def epoch(self, step: int, epoch: int, loss: float) -> None:
        record = {"kind": "epoch", "step": step, "epoch": epoch, "epoch_loss": loss, "time": time.time()}
        self._write(record)

    def peak(self, step: int, *, device: str, gpu_mib: float | None, ram_mib: float | None) -> None:
        """The most memory that this attempt took, of the GPU and of the computer."""
        record = {"kind": "peak", "step": step, "device": device, "gpu_mib": gpu_mib, "ram_mib": ram_mib}
        self._write({**record, "time": time.time()})

    def spill(self, step: int, step_s: float) -> None:
        """Memory of the card spills into that of the computer since about this step."""
        self._write({"kind": "spill", "step": step, "step_s": step_s, "time": time.time()})

    def close(self) -> None:
        self._file.close()

    def _write(self, record: dict[str, Any]) -> None:
        with disk_errors(_NOT_WRITTEN):
            self._append(_line(record).encode())
            self._draw(record)
            self._writer.flush()

    def _append(self, line: bytes) -> None:
        """Add a whole line or nothing: a full disk takes a part of it and says so only at the next."""
        end = self._file.seek(0, os.SEEK_END)
        try:
            written = self._file.write(line)
        except OSError:
            self._file.truncate(end)
            raise
        if written != len(line):
            self._file.truncate(end)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _draw(self, record: Mapping[str, Any]) -> None:
        for tag, value, axis in _scalars(record):
            self._writer.add_scalar(tag, value, axis, walltime=record["time"])


def _scalars(record: Mapping[str, Any]) -> Iterator[tuple[str, float, int]]:
    """What a record draws: tag, value, and place on the axis, which for epochs counts epochs."""
    if record["kind"] == "step":
        for key, tag in _STEP_TAGS.items():
            yield tag, record[key], record["step"]
        yield "speed/steps_per_s", 1 / max(record["step_s"], 1e-9), record["step"]
    elif record["kind"] == "validation":
        yield "loss/validation", record["validation_loss"], record["step"]
    elif record["kind"] == "epoch":
        yield "loss/epoch_average", record["epoch_loss"], record["epoch"]


def _records(path: Path, *, last_step: int) -> Iterator[dict[str, Any]]:
    """The records up to `last_step`; a line that was cut off by a crash is skipped."""
    if not path.is_file():
        return
    for line in path.read_text("utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(record, dict) and record.get("kind") != "start" and record.get("step", 0) <= last_step:
            yield record


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record) + "\n"
