"""How long a training step takes, against a bare diffusers loop and against sd-scripts.

Without a GPU: SD 1.x at 256 px, batch 2, rank 8, in float32 and bfloat16. With one: SD 1.x at 512 px
and SDXL at 1024 px, batch 1 and 4, rank 16, in bfloat16. Weights are random and of full size; only
the UNet's LoRA is trained. The trainers take turns, each time in a fresh process; a step's time is
from the end of one to the end of the next, all that a trainer does between them included. Also: from
the start of the process to the end of the first step, and peak memory.

sd-scripts takes part where LORA_SD_SCRIPTS names a checkout. Not covered: how well they learn.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.machine import machine
from benchmarks.model_folder import Family, write_pictures
from benchmarks.processes import CannotMeasureError, watched
from benchmarks.record import UNAVAILABLE, Measurement, Unit, emit, tell
from benchmarks.trainers import BARE, OURS, SD_SCRIPTS, Case, Dtype, Place, Timed, bare, ours, sd_scripts

_TRAINERS: Final[dict[str, Callable[[Case, Place], Timed]]] = {OURS: ours, BARE: bare, SD_SCRIPTS: sd_scripts}
_BARE_RATIO: Final = 1.0
_CPU_RATIO: Final = 1.05
_GPU_RATIO: Final = 1.4
_GPU_MEMORY_RATIO: Final = 1 / 0.8


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--family", nargs="+", choices=("sd1", "sdxl"), help="models; sd1, with a GPU both")
    add("--size", type=int, help="pixels of a side; 256, with a GPU 512 for sd1 and 1024 for sdxl")
    add("--batch", type=int, nargs="+", help="pictures in a step; 2, with a GPU 1 and 4")
    add("--rank", type=int, help="8, with a GPU 16")
    add("--dtype", nargs="+", choices=("fp32", "bf16"), help="both, with a GPU bf16")
    add("--steps", type=int, default=10, help="steps of each process; 10 unless told otherwise")
    add("--warmup", type=int, default=2, help="steps after the first that are not counted; 2")
    add("--rounds", type=int, default=3, help="turns of each trainer; 3 unless told otherwise")
    add("--checkpointing", action="store_true", help="gradient checkpointing in all trainers")
    add("--compile", action="store_true", help="torch.compile in all trainers that have it")
    add("--memory-limit-gb", type=float, help="GPU memory that torch may take; more is an error")
    add("--only", nargs="+", choices=("ours", "bare", "sd-scripts"), help="leave the other trainers out")
    add("--models", type=Path, help="folder that keeps the base models for the next time (2 to 9 GB)")
    add("--tiny", action="store_true", help="a tiny model, to try the benchmark; sd-scripts cannot take it")


def run(options: argparse.Namespace) -> None:
    if options.steps < options.warmup + 2:
        raise CannotMeasureError(
            "Of the steps, the first and those of --warmup do not count: set more --steps."
        )
    gpu = machine()["gpu"] is not None
    with tempfile.TemporaryDirectory() as folder:
        for case in cases(options, gpu=gpu):
            turns = _take_turns(case, options, Path(folder))
            if turns.subject not in turns.found:
                tell(f"{case.name}: nothing could be measured.")
                continue
            settings = {key: getattr(options, key) for key in ("tiny", "steps", "warmup", "rounds")}
            for figure in figures(options.warmup, gpu=gpu):
                for measurement in turns.measurements(figure, settings):
                    emit(measurement)


def cases(options: argparse.Namespace, *, gpu: bool) -> Iterator[Case]:
    """What is measured: what was asked for, filled up with what this machine is for."""
    families: list[Family] = options.family or (["sd1", "sdxl"] if gpu else ["sd1"])
    dtypes: list[Dtype] = options.dtype or (["bf16"] if gpu else ["fp32", "bf16"])
    for family in families:
        for batch in options.batch or ((1, 4) if gpu else (2,)):
            for dtype in dtypes:
                yield Case(
                    family=family,
                    size=options.size or ((512 if family == "sd1" else 1024) if gpu else 256),
                    batch=batch,
                    rank=options.rank or (16 if gpu else 8),
                    dtype=dtype,
                    steps=options.steps,
                    checkpointing=options.checkpointing,
                    compile=options.compile,
                    memory_limit_gb=options.memory_limit_gb,
                )


def _take_turns(case: Case, options: argparse.Namespace, folder: Path) -> "Turns":
    """Every trainer in each round, one after the other."""
    base = (options.models or folder) / f"{case.family}{'-tiny' if options.tiny else ''}"
    if not base.is_dir():
        tell(f"Writing a base model of random weights, {case.family} …")
        command = [sys.executable, "-m", "benchmarks.model_folder", base, case.family]
        watched([*command, *["--tiny"] * options.tiny])
    pictures = folder / "pictures" / str(case.batch) / str(case.size)
    if not pictures.is_dir():
        write_pictures(pictures, 2 * case.batch, case.size)
    found: dict[str, list[Timed]] = {}
    reasons: dict[str, str] = {}
    names = {"ours": OURS, "bare": BARE, "sd-scripts": SD_SCRIPTS}
    chosen = [names[name] for name in options.only or names]
    if options.tiny and SD_SCRIPTS in chosen:
        reasons[SD_SCRIPTS] = "sd-scripts is left out: its UNet has one size."
    for number in range(options.rounds):
        for name in chosen:
            if name in reasons:
                continue
            with tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as work:
                try:
                    seen = _TRAINERS[name](case, Place(base, pictures, Path(work)))
                except CannotMeasureError as error:
                    reasons[name] = str(error)
                    continue
            found.setdefault(name, []).append(seen)
            tell(f"{case.name}, round {number + 1} of {options.rounds}, {name}: {_words(seen)}")
    for reason in reasons.values():
        tell(reason)
    return Turns(case, found, reasons)


def _words(seen: Timed) -> str:
    steps = ", ".join(f"{seconds:.3g}" for seconds in seen.steps_s)
    gpu = "" if seen.gpu_memory_mb is None else f", GPU {seen.gpu_memory_mb:.0f} MB"
    return f"first step after {seen.first_step_s:.1f} s, then {steps} s; {seen.memory_mb:.0f} MB{gpu}"


class _Figure(NamedTuple):
    name: str
    what: str
    unit: Unit
    values: Callable[[list[Timed]], list[float]]
    ratios: dict[str, float]
    """The least ratio that is aimed at, for each alternative."""


def figures(warmup: int, *, gpu: bool) -> Iterator[_Figure]:
    yield _Figure(
        "training_step",
        "end of one step to the end of the next",
        "s",
        lambda turns: [seconds for turn in turns for seconds in turn.steps_s[warmup:]],
        {BARE: _BARE_RATIO, SD_SCRIPTS: _GPU_RATIO if gpu else _CPU_RATIO},
    )
    yield _Figure(
        "training_first_step",
        "start of the process to the end of the first step; the bare loop prepares no pictures",
        "s",
        lambda turns: [turn.first_step_s for turn in turns],
        {},
    )
    yield _Figure(
        "training_memory",
        "peak memory of the process",
        "MB",
        lambda turns: [turn.memory_mb for turn in turns],
        {},
    )
    if gpu:
        yield _Figure(
            "training_gpu_memory",
            "peak GPU memory that torch held, the preparation included",
            "MB",
            lambda turns: [turn.gpu_memory_mb or 0.0 for turn in turns],
            {SD_SCRIPTS: _GPU_MEMORY_RATIO},
        )


@dataclass(frozen=True, slots=True)
class Turns:
    """What the trainers took for one case."""

    case: Case
    found: dict[str, list[Timed]]
    """Each round of each trainer that could take part."""
    reasons: dict[str, str]
    """Why another could not."""

    @property
    def subject(self) -> str:
        """Ours; without it, the bare loop's figures are still worth having."""
        return OURS if OURS in self.found else BARE

    def measurements(self, figure: _Figure, settings: dict[str, Any]) -> Iterator[Measurement]:
        """The figure against each alternative; one that could not run counts where there is a target."""
        settings = {**settings, "case": self.case.name, "trainer": self.subject}
        others = [name for name in (BARE, SD_SCRIPTS) if name != self.subject]
        told = False
        for other in others:
            if other in self.found:
                told = True
                yield self._against(figure, other, settings)
            elif other in self.reasons and other in figure.ratios and self.subject == OURS:
                told = True
                left_out = {"left_out": other, "why": self.reasons[other]}
                yield self._against(figure, UNAVAILABLE, settings | left_out, figure.ratios[other])
        if not told:
            yield self._against(figure, None, settings)

    def _against(
        self, figure: _Figure, other: str | None, settings: dict[str, Any], ratio: float | None = None
    ) -> Measurement:
        # A tiny model's step is overhead, and the bare loop has no targets.
        aimed = self.subject == OURS and not settings["tiny"]
        return Measurement(
            name=f"{figure.name}_{self.case.name}",
            what=f"{self.subject}: {figure.what}",
            unit=figure.unit,
            values=figure.values(self.found[self.subject]),
            against=other,
            against_values=figure.values(self.found[other]) if other in self.found else (),
            target_ratio=(ratio or figure.ratios.get(other or "")) if aimed else None,
            settings=settings,
        )
