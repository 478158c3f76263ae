"""What this computer has for training, in findings with one sentence and one fix each.

Covered: Python, system, processor, memory, disk and NVIDIA cards at once (`probe`); torch's and
ONNX Runtime's own view through a process of its own (`run_probe`, kept in `machine.json`), because
loading them takes seconds and a broken build can end the process. Not covered: choosing what to
install (see `start.py`).
"""

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, Literal

import psutil

from lora_core.errors import WorkspaceError
from lora_core.reporting import Reporter
from lora_core.workspace import APP_ROOT, Workspace, read_json, write_json

State = Literal["ok", "attention", "problem"]

FORMAT: Final = 1
RECORD_NAME: Final = "machine.json"
TORCH_RECORD_NAME: Final = "lora-torch.json"
"""Written by start.py into the environment: which torch was wanted, which could be had, and why."""

_GIB: Final = 2**30
_DISK_NEEDED_GIB: Final = 1
_DISK_ADVISED_GIB: Final = 10
_MEMORY_ADVISED_GIB: Final = 4
_SMI_TIMEOUT_S: Final = 5
_TORCH_TIMEOUT_S: Final = 240  # a cold import from a slow disk was seen to take a minute
_SET_UP_AGAIN: Final = "Run this again: python3 start.py --setup-only"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One fact about the machine."""

    key: str
    """Short name, such as `disk`."""
    label: str
    value: str
    """The fact itself, such as `120 GiB free`."""
    state: State
    sentence: str
    """What it means for training."""
    fix: str = ""
    """What to do about it; empty when all is well."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gpu:
    """One NVIDIA card as its driver names it."""

    name: str
    driver: str
    memory_mib: int
    memory_used_mib: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """All findings of one look."""

    findings: tuple[Finding, ...]
    gpus: tuple[Gpu, ...]
    torch_known: bool
    """False until a job of the kind `machine` has asked torch itself, or when torch has changed since."""

    @property
    def worst(self) -> State:
        """The state of the finding that matters most."""
        states: tuple[State, ...] = ("problem", "attention", "ok")
        return next(
            state for state in states if state == "ok" or any(f.state == state for f in self.findings)
        )

    def record(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return {**asdict(self), "worst": self.worst}


def probe(workspace: Workspace) -> Machine:
    """Look at the machine without loading torch; milliseconds, with a slow driver up to 5 s."""
    gpus = _nvidia_cards()
    torch_record = _environment_record()
    facts = read_facts(workspace)
    findings = [_python(), _processor(), _memory(), _disk(workspace), _graphics(gpus, facts)]
    if torch_record.get("reason"):
        findings.append(_torch_build(torch_record))
    elif gpus and torch_record.get("wanted") != "cpu" and (unused := _unused_card(facts)) is not None:
        findings.append(unused)
    if facts is not None:
        findings += _torch_findings(facts)
    return Machine(findings=tuple(findings), gpus=gpus, torch_known=facts is not None)


def _python() -> Finding:
    system = f"{platform.system()} {platform.release()} on {platform.machine()}"
    return Finding(
        key="python",
        label="Python",
        value=f"{platform.python_version()}, {system}",
        state="ok",
        sentence="This version of Python fits.",
    )


def _processor() -> Finding:
    affinity = getattr(os, "sched_getaffinity", None)  # a container may have fewer cores than the machine
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    one = cores == 1
    return Finding(
        key="processor",
        label="Processor",
        value=f"{cores} core{'' if one else 's'}",
        state="attention" if one else "ok",
        sentence="With one core, the app gets slow while a run goes on."
        if one
        else "This is enough for the demo.",
        fix="Use a computer with two cores or more." if one else "",
    )


def _memory() -> Finding:
    memory = psutil.virtual_memory()
    total, free = _container_limit(memory.total), memory.available / _GIB
    low = min(free, total) < _MEMORY_ADVISED_GIB
    return Finding(
        key="memory",
        label="Memory",
        value=f"{min(free, total):.1f} GiB free of {total:.1f} GiB",
        state="attention" if low else "ok",
        sentence="A training may have too little memory." if low else "This is enough for the demo.",
        fix="Close programs that you do not need." if low else "",
    )


def _container_limit(total_bytes: int) -> float:
    try:
        text = Path("/sys/fs/cgroup/memory.max").read_text("ascii").strip()
        return min(total_bytes, int(text)) / _GIB
    except (OSError, ValueError):  # no such limit: another system, or the word `max`
        return total_bytes / _GIB


def disk(workspace: Workspace) -> Finding:
    """What is free where the workspace lies, without a look at anything else."""
    return _disk(workspace)


def _disk(workspace: Workspace) -> Finding:
    place = workspace.root
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free / _GIB
    state: State = "problem" if free < _DISK_NEEDED_GIB else "attention" if free < _DISK_ADVISED_GIB else "ok"
    return Finding(
        key="disk",
        label="Disk",
        value=f"{free:.1f} GiB free",
        state=state,
        sentence={
            "problem": "There is no room for a training.",
            "attention": "This is enough for the demo, but not for large models.",
            "ok": "There is room for models and trainings.",
        }[state],
        fix="" if state == "ok" else "Free some space, or start the app with --workspace on a larger disk.",
    )


def cards() -> tuple[Gpu, ...]:
    """The NVIDIA cards as they are now; none where the driver does not answer within 5 s."""
    return _nvidia_cards()


def _nvidia_cards() -> tuple[Gpu, ...]:
    """The cards that `nvidia-smi` lists; none when it is missing or does not answer."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    fields = "name,driver_version,memory.total,memory.used"
    command = [program, f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_SMI_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    rows = [[cell.strip() for cell in line.split(",")] for line in answer.stdout.splitlines() if line.strip()]
    return tuple(
        Gpu(name=row[0], driver=row[1], memory_mib=_whole(row[2]), memory_used_mib=_whole(row[3]))
        for row in rows
        if len(row) == fields.count(",") + 1
    )


def _whole(text: str) -> int:
    return int(text) if text.isdigit() else 0  # `[N/A]` on some cards


def _graphics(gpus: Sequence[Gpu], facts: Mapping[str, Any] | None) -> Finding:
    if gpus:
        named = ", ".join(f"{gpu.name} with {gpu.memory_mib / 1024:.0f} GiB" for gpu in gpus)
        value, sentence = (
            f"{named}, driver {gpus[0].driver}",
            "The card can be used if PyTorch was made for it.",
        )
        return Finding(key="graphics", label="Graphics card", value=value, state="ok", sentence=sentence)
    if facts is not None and facts.get("device") in {"cuda", "mps"}:
        value, sentence = str(facts.get("device_name") or facts["device"]), "Trainings use this card."
        return Finding(key="graphics", label="Graphics card", value=value, state="ok", sentence=sentence)
    return Finding(
        key="graphics",
        label="Graphics card",
        value="none found",
        state="attention",
        sentence="Trainings use the processor. The demo takes about two minutes, and large models take days.",
        fix="For large models, use a computer with a card, your own or a rented one.",
    )


def _environment_record() -> dict[str, Any]:
    """What start.py wrote about torch; empty in an environment that it did not make."""
    try:
        record = json.loads((Path(sys.prefix) / TORCH_RECORD_NAME).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _torch_build(record: Mapping[str, Any]) -> Finding:
    return Finding(
        key="torch_build",
        label="Build of PyTorch",
        value=f"{record.get('installed', 'unknown')} in place of {record.get('wanted', 'another')}",
        state="attention",
        sentence=f"Trainings do not use your graphics card. {record['reason']}",
        fix=str(record.get("fix") or _SET_UP_AGAIN),
    )


def _unused_card(facts: Mapping[str, Any] | None) -> Finding | None:
    """What to tell where a card is and torch does not use it, in an environment of whatever making."""
    if facts is None:
        build = "cpu" if (_installed("torch") or "").endswith("+cpu") else ""  # the label of PyTorch's index
    else:
        build = "" if "error" in facts or facts.get("device") != "cpu" else str(facts.get("build"))
    if not build:
        return None
    if build == "cpu":
        why = "The PyTorch that is installed was made for the processor alone."
        fix = f"{_SET_UP_AGAIN} - or install the PyTorch build for your card in an environment of your own."
    else:
        why = "PyTorch was made for a card, and the card does not answer it."
        fix = "Update the card's driver and restart the computer. Then look at this computer again on Setup."
    return Finding(
        key="torch_build",
        label="Build of PyTorch",
        value=build,
        state="attention",
        sentence=f"Trainings do not use your graphics card. {why}",
        fix=fix,
    )


def read_facts(workspace: Workspace) -> dict[str, Any] | None:
    """What torch said at the last look; None when it was never asked, or when torch has changed since."""
    try:
        record = read_json(workspace.root / RECORD_NAME, newest_format=FORMAT)
    except (OSError, WorkspaceError):
        return None
    facts = record.get("torch")
    if not isinstance(facts, dict) or record.get("torch_version") != _installed("torch"):
        return None
    return facts


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _torch_findings(facts: Mapping[str, Any]) -> list[Finding]:
    if "error" in facts:
        return [
            Finding(
                key="torch",
                label="PyTorch",
                value="does not start",
                state="problem",
                sentence=f"No training can start. Its last words were: {facts['error']}",
                fix=_SET_UP_AGAIN,
            )
        ]
    device = str(facts.get("device_name") or facts.get("device"))
    exact = (
        "bf16 is fast on it."
        if facts.get("bf16")
        else "bf16 is slow or missing on it, so leave the precision at “no”."
    )
    found = [
        Finding(
            key="torch",
            label="PyTorch",
            value=f"{facts.get('torch')} on {device}",
            state="ok",
            sentence=f"Trainings use {device}. {exact}",
        )
    ]
    if (providers := facts.get("providers")) is not None:
        found.append(
            Finding(
                key="tagging",
                label="ONNX Runtime",
                value=", ".join(str(name).removesuffix("ExecutionProvider") for name in providers),
                state="ok",
                sentence="It runs the models that tag pictures.",
            )
        )
    return found


def run_probe(workspace: Workspace, params: Mapping[str, Any], reporter: Reporter) -> None:
    """Ask torch and ONNX Runtime what they would use, and keep the answer; the work of a `machine` job."""
    del params  # a look needs nothing to go by
    reporter.phase("Asking torch what it can use")
    facts = _ask_torch()
    if "error" in facts:
        reporter.note(f"torch did not start. Its last words were: {facts['error']}")
    record = {"format": FORMAT, "at": time.time(), "torch_version": _installed("torch"), "torch": facts}
    write_json(workspace.root / RECORD_NAME, record)


def _ask_torch() -> dict[str, Any]:
    """The answer of `python -m lora_core.machine --torch`, or the last line that it wrote as `error`."""
    command = [sys.executable, "-m", "lora_core.machine", "--torch"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=APP_ROOT, timeout=_TORCH_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return {"error": f"It gave no answer for {_TORCH_TIMEOUT_S} seconds."}
    lines = done.stdout.strip().splitlines()
    if done.returncode == 0 and lines and lines[-1].startswith("{"):
        facts: dict[str, Any] = json.loads(lines[-1])  # packages may print before it, not after it
        return facts
    said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return {"error": said[-1][:300] if said else f"It ended with code {done.returncode}."}


def torch_facts() -> dict[str, Any]:
    """What torch and ONNX Runtime would use. Loads both: only for a process of its own."""
    import torch

    facts: dict[str, Any] = {"torch": torch.__version__, "device": "cpu", "device_name": "the processor"}
    facts["build"] = f"rocm {torch.version.hip}" if torch.version.hip else f"cuda {torch.version.cuda}"
    if torch.cuda.is_available():  # ROCm answers under this name too
        memory = torch.cuda.get_device_properties(0).total_memory
        facts |= {
            "device": "cuda",
            "device_name": torch.cuda.get_device_name(0),
            "memory_mib": memory // 2**20,
            "device_count": torch.cuda.device_count(),
            "visible_devices": os.environ.get("CUDA_VISIBLE_DEVICES"),
        }
        facts["bf16"] = torch.cuda.is_bf16_supported(including_emulation=False)
    elif torch.backends.mps.is_available():
        facts |= {"device": "mps", "device_name": "the Apple graphics chip", "bf16": True}
    else:
        facts |= {"build": "cpu", "bf16": bool(torch.cpu._is_avx512_bf16_supported())}
    try:
        import onnxruntime
    except ImportError:
        facts["providers"] = None
    else:
        facts["providers"] = onnxruntime.get_available_providers()
    return facts


if __name__ == "__main__":
    if sys.argv[1:] != ["--torch"]:
        sys.exit("python -m lora_core.machine --torch")
    sys.stdout.write(json.dumps(torch_facts()) + "\n")
