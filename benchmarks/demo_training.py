"""How long the demo's training takes by the command that a user types: `python -m lora_core demo`.

Timed, each time in a fresh workspace: the training phase with its samples (from the trainer's first
record to its last step), one step (the median of the run), the command from its start to the end of
the first step, and the whole command.

Not covered: how well the LoRA does; `python -m lora_core.demo.measure` judges that.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.processes import CannotMeasureError, Finished, watched
from benchmarks.record import Measurement, emit, tell

TARGET_S: Final = 150.0


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--times", type=int, default=5, help="fresh workspaces; 5 unless told otherwise")
    parser.add_argument(
        "--steps", type=int, help="fewer steps than the demo has, to try the benchmark itself"
    )


@dataclass(frozen=True, slots=True)
class Times:
    """What one run took, in seconds."""

    training: float
    """From the trainer's first record, before the samples at the start, to the end of the last step."""
    first_step: float
    """From the start of the command to the end of the first step."""
    step: float
    """The median step, samples and saves between steps left out."""
    total: float
    """The whole command."""


def run(options: argparse.Namespace) -> None:
    found: list[Times] = []
    for number in range(options.times):
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            found.append(_one(Path(folder), options.steps))
        seen = found[-1]
        tell(f"{number + 1} of {options.times}: training {seen.training:.1f} s, in all {seen.total:.1f} s")
    settings = {"steps": options.steps or "all of the demo"}
    whole = options.steps is None  # a shortened run says nothing about the target
    for name, what, values, target in (
        ("demo_training", "training phase, samples included", [t.training for t in found], TARGET_S),
        ("demo_step", "one step of 4 pictures, the median of each run", [t.step for t in found], None),
        ("demo_first_step", "command typed to end of the first step", [t.first_step for t in found], None),
        ("demo_total", "the whole command", [t.total for t in found], None),
    ):
        emit(
            Measurement(
                name=name,
                what=what,
                unit="s",
                values=values,
                target=target if whole else None,
                settings=settings,
            )
        )


def _one(folder: Path, steps: int | None) -> Times:
    """Train the demo once, with all that it writes inside `folder`."""
    command = [sys.executable, "-m", "lora_core", "demo"]
    if steps is not None:
        config = _written_config(folder)
        command = [
            sys.executable,
            "-m",
            "lora_core",
            "train",
            str(config),
            "--set",
            f"max_train_steps={steps}",
        ]
    ended = watched([*command, "--json", "--workspace", str(folder / "workspace")])
    return times(ended, _job_folder(ended))


def _written_config(folder: Path) -> Path:
    """The demo as files that `train` takes, because `demo` has no options for its length."""
    from lora_core.demo import create_demo
    from lora_core.settings import CONFIG_NAME, run_files
    from lora_core.workspace import Workspace

    for name, text in run_files(create_demo(Workspace.open(folder / "workspace"))).items():
        (folder / name).write_text(text, "utf-8")
    return folder / CONFIG_NAME


def _job_folder(ended: Finished) -> Path:
    """Where the run's records are: the command prints the job's record when the job has ended."""
    for line in reversed(ended.lines):
        if line.text.startswith("{"):
            record = json.loads(line.text)
            if "folder" in record:
                return Path(record["folder"])
    raise CannotMeasureError("The command did not say where the run's folder is.")


def times(ended: Finished, job: Path) -> Times:
    """What `progress.jsonl` in the job's folder tells, beside what was seen from outside."""
    lines = (job / "progress.jsonl").read_text("utf-8").splitlines()
    records: Sequence[dict[str, Any]] = [json.loads(line) for line in lines]
    steps = [record for record in records if record["kind"] == "step"]
    if not steps:
        raise CannotMeasureError("The run has no step.")
    return Times(
        training=steps[-1]["time"] - records[0]["time"],
        first_step=steps[0]["time"] - ended.started,
        step=float(median(record["step_s"] for record in steps)),
        total=ended.ended - ended.started,
    )
