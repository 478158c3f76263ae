"""Saved states: all that is needed to go on exactly where a run stopped.

A state is a folder: `lora.safetensors` (the LoRA in float32 as it is trained, which a schedule-free
optimizer averages before it is used), `optimizer.pt` (optimizer, schedule, scaler of fp16) and
`state.json` (position, losses of the running mean, where it was made, and size and hash of the
files: see `lora_core.engines.manifest`). There is no random state in it, because there is none in a run:
see `noise.py`. A state appears whole, under its name, or not at all.

Covered: writing, reading with checks, and what keeps a resumed run from being the same to the
last bit. Not covered: states of other engines; pickles are never run.
"""

import hashlib
import io
import os
import platform
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from math import fsum, isfinite
from pathlib import Path
from typing import Any, Final

import torch
from accelerate import Accelerator
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from lora_core.engines import manifest
from lora_core.errors import DiskFullError, EngineError
from lora_core.models import inspect_base
from lora_core.settings import RunConfig
from lora_core.workspace import disk_errors, read_json, write_atomic, write_json

_LORA: Final = "lora.safetensors"
_OPTIMIZER: Final = "optimizer.pt"
_SPOTS: Final = 64
_SPOT_BYTES: Final = 4096
_PACKAGES: Final = ("torch", "diffusers", "transformers", "lycoris-lora", "accelerate", "numpy")


@dataclass(frozen=True, kw_only=True, slots=True)
class Position:
    """Where a run is, and what it must remember to go on."""

    step: int
    """Steps done."""
    epoch: int
    """Epochs begun."""
    losses: list[float]
    """Losses of the running mean, the oldest first."""
    session_id: int
    started_at: float
    """Seconds since 1970; the run keeps them when it is resumed."""
    origin: dict[str, str]
    """Where, with what and from what it was made; see `origin_of`."""


@dataclass(frozen=True, slots=True)
class State:
    """A state that was read and checked."""

    position: Position
    lora: Mapping[str, Tensor]
    movers: dict[str, Any]
    """State of what moves the LoRA, as `Learner.movers` gave it: optimizer, schedule, fp16's scaler."""


def save_state(path: Path, position: Position, *, lora: dict[str, Tensor], movers: dict[str, Any]) -> None:
    """Write a state to `path`, read it back, and only then replace one that is there.

    Raises:
        DiskFullError: the disk is full; nothing of the new state is left.
        EngineError: the disk gave back something else than was written; nothing of it is left.
    """
    buffer = io.BytesIO()
    torch.save(movers, buffer)
    files = {_LORA: save(lora), _OPTIMIZER: buffer.getvalue()}
    record = {
        "format": manifest.FORMAT,
        **asdict(position),
        "loss": fsum(position.losses) / len(position.losses) if position.losses else None,
        "files": {name: manifest.facts(data) for name, data in files.items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    part = manifest.half_name(path)
    try:
        with disk_errors(f"The state {path.name} was not saved."):
            part.mkdir()
            for name, data in files.items():
                write_atomic(part / name, data)
            write_json(part / manifest.NAME, record)
            if wrong := manifest.damage(part):
                raise EngineError(
                    f"The state {path.name} was not saved.",
                    why=f"It was written and read back. {wrong}",
                    fix="Look at the disk: it may be failing. Older saves are untouched.",
                )
            manifest.put_in_place(part, path)
            _sync(path.parent)
    except DiskFullError as error:  # it names a file inside, which tells nobody anything
        raise DiskFullError(f"The state {path.name} was not saved.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)  # nothing is left to remove when the rename worked


def _sync(folder: Path) -> None:
    # Without it a power cut can undo the rename; Windows has no such call.
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def load_state(path: Path, optimizer: str | None = None) -> State:
    """The state in the folder `path`, every file checked against its hash before it is used.

    Raises:
        EngineError: it is missing, damaged, not a state of this trainer, or, where `optimizer` names the
            class of a run's, one of another optimizer.
        FileTooNewError: a newer version of the app wrote it.
    """
    if not (path / manifest.NAME).is_file():
        raise _unusable(path, "It is not there, or it is not a state of the built-in trainer.")
    record = read_json(path / manifest.NAME, newest_format=manifest.FORMAT)
    try:
        data = {name: (path / name).read_bytes() for name in (_LORA, _OPTIMIZER)}
        damaged = [
            name for name, content in data.items() if _hash(content) != record["files"][name]["sha256"]
        ]
        if damaged:
            raise _unusable(path, f"Its file {damaged[0]} was changed or cut off.")
        position = _position(record)
        movers = torch.load(io.BytesIO(data[_OPTIMIZER]), map_location="cpu", weights_only=True)
        if optimizer is not None and movers.get("class", optimizer) != optimizer:
            raise other_optimizer()
        return State(position, load(data[_LORA]), movers)
    except (OSError, KeyError, TypeError, ValueError, AttributeError, RuntimeError, SafetensorError) as error:
        raise _unusable(path, "A part of it is missing or damaged.") from error


def other_optimizer() -> EngineError:
    """The error of a state that belongs to another optimizer than the run's."""
    return EngineError(
        "The run was not resumed.",
        why="The state was made with another optimizer, or with other parts to train.",
        fix="Use the settings that it was made with, or start anew with network_weights.",
    )


def _position(record: Mapping[str, Any]) -> Position:
    """Where the run was, from the state's record; a value of another kind is a TypeError."""
    found = Position(**{name: record[name] for name in Position.__dataclass_fields__})
    counts = (found.step, found.epoch, found.session_id)
    numbers = (found.started_at, *found.losses)
    origin = (*found.origin.keys(), *found.origin.values())
    if not (
        all(type(count) is int and count >= 0 for count in counts)
        and all(type(number) in {int, float} and isfinite(number) for number in numbers)
        and all(isinstance(text, str) for text in origin)
    ):
        raise TypeError("a value of another kind")
    return found


def _unusable(path: Path, why: str) -> EngineError:
    return EngineError(
        f"The saved state {path.name} cannot be used.",
        why=why,
        fix="Go on from an older state, or start anew.",
    )


def origin_of(run: RunConfig, accelerator: Accelerator, pictures: str) -> dict[str, str]:
    """What decides the last bits of a run: machine, build, threads, settings, base model, pictures.

    The values are text for people; equal text means that a resumed run repeats every bit.
    `pictures` stands for everything that is learned from.
    """
    device = accelerator.device
    dataset = [
        (table.model_dump(exclude={"subsets", "validation_split"}), len(table.subsets))
        for table in run.dataset.datasets
    ]
    precision = run.precision.model_dump(exclude={"save_precision"})
    model = run.model.model_dump(exclude={"pretrained_model_name_or_path", "tokenizer_cache_dir"})
    lists = [run.other.get(name) for name in ("optimizer_args", "lr_scheduler_args")]
    records = [run.network, run.optimizer, run.schedule, run.batch, run.loss, run.text]
    settings = (records, model, precision, dataset, lists)
    return {
        "machine": f"{platform.system()} {platform.machine()} {_processor()}",
        "GPU": torch.cuda.get_device_name(device) if device.type == "cuda" else "none",
        "instructions": str(torch.backends.cpu.get_cpu_capability()),
        "threads": str(torch.get_num_threads()),
        "device": device.type,
        "precision": run.precision.mixed_precision,
        "code": "compiled" if run.precision.torch_compile else "plain",
        **{package: version(package) for package in _PACKAGES},
        "settings": _hash(repr(settings).encode()),
        "base model": _base_digest(inspect_base(run.model.pretrained_model_name_or_path).path),
        "pictures": pictures,
    }


def _base_digest(place: Path) -> str:
    """Stands for a base model wherever it lies: names within its folder, sizes, and samples of the content.

    The folders of two models often have files of the very same names and sizes. Reading all of their
    gigabytes again would take as long as loading them.
    """
    files = [place] if place.is_file() else sorted(place.rglob("*.safetensors"))
    known = hashlib.sha256()
    for file in files:
        size = file.stat().st_size
        known.update(repr((file.relative_to(place).as_posix(), size)).encode())
        with file.open("rb") as content:
            for number in range(_SPOTS):
                content.seek(size * number // _SPOTS)
                known.update(content.read(_SPOT_BYTES))
    return known.hexdigest()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def why_not_exact(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Why a run resumed here differs in the last bits; empty when it does not."""
    reasons = []
    for name, value in now.items():
        if before.get(name) == value:
            continue
        if name in {"settings", "pictures", "base model"}:
            reasons.append(f"the {name} changed")
        else:
            reasons.append(f"{name} was {before.get(name)} and is {value}")
    if now.get("code") == "compiled":
        reasons.append("compiled code rounds in another way than the code it replaces")
    if now.get("device") != "cpu":
        reasons.append("some GPU sums do not repeat to the last bit")
    return reasons
