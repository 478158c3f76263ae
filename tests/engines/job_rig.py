"""Kinds of jobs for tests, and the entries that make real runner and worker processes know them.

Production has no way to add a kind from outside: this script changes the table in its own
process and then calls the real `main`. `python job_rig.py runner WORKSPACE`, `… worker FOLDER`.

Everything is steered by files in the job's folder, so that tests wait for conditions, not times.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lora_core.engines import manifest
from lora_core.errors import DatasetError
from lora_core.jobs import runner, spawn, worker
from lora_core.jobs.kinds import KINDS, Kind, Task
from lora_core.reporting import Ended, Progress

HERE = str(Path(__file__).resolve())
TICK_S = 0.01
RIG_KINDS = {
    "walk": Kind(work="job_rig:walk", label="Walking", grace_s=20.0),
    "walk_device": Kind(work="job_rig:walk", label="Walking on the device", grace_s=20.0, device=True),
    "deaf": Kind(work="job_rig:deaf", label="Hearing nothing", grace_s=0.4),
    "fail": Kind(work="job_rig:fail", label="Failing"),
    "leave_child": Kind(work="job_rig:leave_child", label="Leaving a child behind"),
}


def walk(task: Task) -> Path | None:
    """Step on until the file `enough` is there; save a state each 5 steps and when asked to end."""
    folder, reporter = task.job.folder, task.reporter
    step = _step_of(task.resume_from)
    (folder / "card").write_text(os.environ.get("CUDA_VISIBLE_DEVICES", "all"))
    (folder / "began").write_text(f"{os.getpid()} {step}\n")
    reporter.phase("Walking")
    while not (folder / "enough").exists():
        step += 1
        with (folder / "progress.jsonl").open("a") as file:
            file.write(json.dumps({"kind": "step", "step": step, "loss": 1 / step}) + "\n")
        reporter.progress(Progress(step=step, total=1000, loss=1 / step))
        if reporter.take("save") or step % 5 == 0:
            reporter.saved(_save(folder, step), step)
        if (asked := reporter.request()) is not None:
            reporter.saved(_save(folder, step), step)
            raise Ended(asked, step=step)
        time.sleep(TICK_S)
    result = folder / "result.txt"
    result.write_text(str(step))
    return result


def _save(folder: Path, step: int) -> Path:
    state = folder / "states" / f"walk-step{step:08d}-state"
    state.mkdir(parents=True, exist_ok=True)
    (state / "lora.safetensors").write_text(str(step))
    manifest.seal(state, {"step": step, "epoch": 1, "loss": 1 / step})
    return state


def _step_of(state: Path | None) -> int:
    return 0 if state is None else int((state / "lora.safetensors").read_text())


def deaf(task: Task) -> None:
    """Hear no request and no SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (task.job.folder / "began").write_text(f"{os.getpid()} 0\n")
    while True:
        time.sleep(TICK_S)


def fail(task: Task) -> None:
    """End as `how` says."""
    how = task.job.params["how"]
    if how == "explained":
        raise DatasetError("There are no images.", why="The folder is empty.", fix="Put images into it.")
    if how == "unknown":
        raise ValueError("the moon is full")
    if how == "memory":
        sys.stderr.write("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB.\n")
        os._exit(1)
    if how == "silent":
        os._exit(int(task.job.params.get("code", 7)))
    raise AssertionError(how)


def leave_child(task: Task) -> None:
    """Fork a child that lives on, as a loader worker would, and wait to be killed."""
    runs, told = os.pipe()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.write(told, b".")
        while True:
            time.sleep(TICK_S)
    os.read(runs, 1)  # a fork lets go of its parent's locks when it first runs
    (task.job.folder / "child").write_text(str(child))
    (task.job.folder / "began").write_text(f"{os.getpid()} 0\n")
    while True:
        time.sleep(TICK_S)


def clock_from(place: Path) -> None:
    """Let this process's clock be off by the seconds that stand in the file at `place`, while it is there."""
    real = time.time

    def now() -> float:
        try:
            return real() + float(place.read_text())
        except (OSError, ValueError):
            return real()

    time.time = now


def install() -> None:
    """Let this process know the rig's kinds and start the rig's processes."""
    if place := os.environ.get("RIG_CLOCK"):
        clock_from(Path(place))
    KINDS.update(RIG_KINDS)
    spawn.RUNNER_COMMAND[:] = [sys.executable, HERE, "runner"]
    spawn.WORKER_COMMAND[:] = [sys.executable, HERE, "worker"]
    runner.IDLE_S = float(os.environ.get("RIG_IDLE_S", "1.5"))
    runner.KILL_AFTER_S = 0.4


if __name__ == "__main__":
    install()
    entry = {"runner": runner.main, "worker": worker.main}[sys.argv[1]]
    sys.exit(entry(sys.argv[2:]))
