"""What a run will take before it starts: steps, saves, disk, memory, time, and a card of four lines.

Covered: counts that are exact, memory counted from the model and corrected by what runs on this machine
took, time from such runs alone. Not covered: the counts themselves (`steps.py`, `disk.py`, `memory.py`),
changes that make a run fit (`fit.py`). Nothing here stops a run.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Final, Literal

from lora_core import engines
from lora_core.planning.disk import Files, files
from lora_core.planning.free import Free, free
from lora_core.planning.images import RunImages, look_at_images
from lora_core.planning.memory import CONTEXT, Memory, Phase, memory
from lora_core.planning.recorded import Measured, likeness, measured
from lora_core.planning.steps import Plan, plan
from lora_core.planning.words import duration, size
from lora_core.settings import RunConfig
from lora_core.workspace import Workspace

Verdict = Literal["fits", "tight", "will not fit", "not measured"]
Basis = Literal["measured", "corrected", "counted", "none"]

ROOM: Final = 0.85
"""Share of what is free up to which a run fits well; the system and other programs change what they use."""
DISK_LEFT: Final = 10 * 2**30
"""Less than this left on the disk is tight."""
_MIB: Final = 2**20
_TRY: Final = "Try two steps to measure it."
_OF_ANOTHER: Final = "It was counted for the built-in trainer, and {} may need another amount."
_NEAR: Final = 8
"""Newest runs that correct a count."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One line of the card."""

    kind: Literal["gpu", "memory", "disk", "time"]
    verdict: Verdict
    sentence: str
    basis: Basis
    """`measured`: by a run of the same kind; `corrected`: counted, then held against other runs here."""
    needed: int | None = None
    """Bytes; for time, seconds at most."""
    free: int | None = None
    """Bytes; None where nothing is compared."""
    parts: Mapping[str, int] = field(default_factory=dict)
    """The numbers behind it, in bytes, for whoever asks for them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seconds:
    """How long a run takes, from runs of the same kind on this machine."""

    low: float
    high: float
    step: float
    """One step, in the middle of what was measured."""
    runs: int
    smoke_only: bool
    """True when no such run has finished yet, only two steps were tried."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """What a run will take."""

    plan: Plan | None
    """None when there is nothing to learn from; `check` says why."""
    files: Files | None
    memory: Memory | None
    seconds: Seconds | None
    card: tuple[Line, ...]

    @property
    def steps(self) -> int | None:
        return self.plan.steps if self.plan else None

    @property
    def epochs(self) -> int | None:
        return self.plan.epochs if self.plan else None

    @property
    def saves(self) -> int | None:
        """LoRA files that are written, the finished one included."""
        return self.files.saves if self.files else None

    def line(self, kind: str) -> Line | None:
        """The line of this kind; None where the machine has nothing to say about it."""
        return next((line for line in self.card if line.kind == kind), None)

    @property
    def too_much(self) -> tuple[Line, ...]:
        """The lines that say that it will not fit."""
        return tuple(line for line in self.card if line.verdict == "will not fit")


@dataclass(frozen=True, slots=True)
class Known:
    """What many estimates of similar runs share: images, what is free, what was measured."""

    images: RunImages
    free: Free
    measured: tuple[Measured, ...]


def look(run: RunConfig, ws: Workspace, images: RunImages | None = None) -> Known:
    """Look once, for several estimates."""
    found = look_at_images(run) if images is None else images
    return Known(found, free(ws), tuple(measured(ws)))


def estimate(run: RunConfig, engine: str, ws: Workspace, images: RunImages | None = None) -> Estimate:
    """What `run` will take on this machine. `images` spares a second look at the folders."""
    return estimated(run, engine, look(run, ws, images))


def estimated(run: RunConfig, engine: str, known: Known) -> Estimate:
    """The same, from what is known already."""
    amount = plan(run, known.images)
    device = known.free.device or "cpu"
    needed = memory(run, device=device, plan=amount, captions=known.images.count)
    written = files(run, amount, known.images) if amount else None
    seconds = _seconds(run, engine, known, amount)
    lines = [
        _gpu(run, engine, known, needed),
        _ram(run, engine, known, needed),
        _disk(known, written),
        _time(run, seconds, engine),
    ]
    card = tuple(line for line in lines if line is not None)
    return Estimate(plan=amount, files=written, memory=needed, seconds=seconds, card=card)


def _verdict(needed: int, available: int) -> Verdict:
    if needed > available:
        return "will not fit"
    return "fits" if needed <= ROOM * available else "tight"


def _gpu(run: RunConfig, engine: str, known: Known, needed: Memory | None) -> Line | None:
    if known.free.device is None:
        sentence = "It is not known yet what trainings use. Look at this computer on Setup."
        return Line(kind="gpu", verdict="not measured", sentence=sentence, basis="none")
    if known.free.device == "cpu":
        return None
    if needed is None or needed.gpu_phase is None:
        return Line(kind="gpu", verdict="not measured", sentence=_NO_BASE, basis="none")
    if known.free.device == "mps":  # one memory for both, so both needs count together
        return None
    amount, basis = _corrected(run, engine, known, needed, "gpu")
    amount += CONTEXT
    return _compared("gpu", amount, known.free.gpu, basis, needed.gpu_phase, engine)


def _ram(run: RunConfig, engine: str, known: Known, needed: Memory | None) -> Line:
    if needed is None:
        return Line(kind="memory", verdict="not measured", sentence=_NO_BASE, basis="none")
    amount, basis = _corrected(run, engine, known, needed, "ram")
    if known.free.device == "mps":
        amount += needed.gpu
    return _compared("memory", amount, known.free.ram, basis, needed.ram_phase, engine)


_NO_BASE: Final = "The base model cannot be read, so nothing can be counted."


def _compared(
    kind: Literal["gpu", "memory"],
    needed: int,
    available: int | None,
    basis: Basis,
    phase: Phase,
    engine: str,
) -> Line:
    what = "GPU memory" if kind == "gpu" else "memory"
    start = f"The training needs {'' if basis == 'measured' else 'about '}{size(needed)} of {what}"
    if available is None:
        sentence = f"{start}. The graphics driver does not tell how much is free."
        sentence += f" {_TRY}" if engine in engines.names() else ""
        return Line(
            kind=kind,
            verdict="not measured",
            sentence=sentence,
            basis=basis,
            needed=needed,
            parts=phase.parts,
        )
    verdict = _verdict(needed, available)
    joined = {"fits": ", and", "tight": ", and only"}.get(verdict, ", but only")
    # Trying is no good advice where the computer itself would run out of memory.
    trying = "" if kind == "memory" and verdict == "will not fit" else f" {_TRY}"
    if engine not in engines.names():  # it cannot be tried here, and counts are those of the built-in one
        trying = f" {_OF_ANOTHER.format(engine)}"
    told = f" This was counted and not measured on this machine.{trying}" if basis == "counted" else ""
    are = "are" if size(available) != size(2**30) else "is"
    return Line(
        kind=kind,
        verdict=verdict,
        sentence=f"{start}{joined} {size(available)} {are} free.{told}",
        basis=basis,
        needed=needed,
        free=available,
        parts=phase.parts,
    )


def _corrected(
    run: RunConfig, engine: str, known: Known, needed: Memory, of: Literal["gpu", "ram"]
) -> tuple[int, Basis]:
    """The need in bytes, by what runs on this machine took, and what it rests on."""
    counted = needed.gpu if of == "gpu" else needed.ram
    if needed.device == "mps":  # what a process holds there does not tell what its graphics chip holds
        return counted, "counted"
    like = likeness(run, engine)
    near = [
        one
        for one in known.measured
        if like is not None
        and one.device == needed.device
        and (one.like.engine, one.like.family, one.like.weights, one.like.precision)
        == (like.engine, like.family, like.weights, like.precision)
        and one.ratio(of) is not None
    ]
    for one in near:
        same = one.like == like and one.rank == run.network.network_dim
        took = one.gpu_mib if of == "gpu" else one.ram_mib
        if same and one.optimizer == run.optimizer.optimizer_type and took:
            if _samples_need_more(took * _MIB, one, run, counted):
                return counted, "corrected"
            return int(took * _MIB), "measured"
    ratios = [ratio for one in near[:_NEAR] if (ratio := one.ratio(of)) is not None]
    return (int(counted * median(ratios)), "corrected") if ratios else (counted, "counted")


def _samples_need_more(took: float, one: Measured, run: RunConfig, counted: int) -> bool:
    # Two tried steps draw no samples, and those can need more than a step.
    return one.kind == "smoke" and bool(run.sampling.sample_prompts) and counted > took


def _disk(known: Known, written: Files | None) -> Line:
    if written is None:
        sentence = "Without a base model and images nothing can be counted."
        return Line(kind="disk", verdict="not measured", sentence=sentence, basis="none")
    left = known.free.disk - written.total
    saves = f"{written.kept} LoRA file{'s' if written.kept != 1 else ''}"
    start = f"The training writes about {size(written.total)}, with {saves}"
    if left < 0:
        verdict, end = "will not fit", f", but only {size(known.free.disk)} are free."
    elif left < DISK_LEFT:
        verdict, end = "tight", f". Then {size(left)} are left. 10 GiB or more are advised."
    else:
        verdict, end = "fits", f", and {size(known.free.disk)} are free."
    return Line(
        kind="disk",
        verdict=verdict,  # type: ignore[arg-type]  # mypy widens the words to str
        sentence=start + end,
        basis="counted",
        needed=written.total,
        free=known.free.disk,
        parts=written.parts,
    )


def _seconds(run: RunConfig, engine: str, known: Known, amount: Plan | None) -> Seconds | None:
    like = likeness(run, engine)
    device = known.free.device or "cpu"
    same = [one for one in known.measured if one.like == like and one.device == device]
    same = [one for one in same if one.kind == "train"] or same
    if amount is None or not same:
        return None
    # A process has loaded and prepared before its first step is done; that took as long each time.
    starts = [max(0.0, one.start_s - one.step_s[1]) for one in same if one.start_s is not None] or [0.0]
    return Seconds(
        low=amount.steps * min(one.step_s[0] for one in same) + min(starts),
        high=amount.steps * max(one.step_s[2] for one in same) + max(starts),
        step=median(one.step_s[1] for one in same),
        runs=len(same),
        smoke_only=same[0].kind == "smoke",
    )


def _time(run: RunConfig, seconds: Seconds | None, engine: str) -> Line:
    if seconds is None:
        sentence = "How long it takes was not measured on this machine yet."
        sentence += f" {_TRY}" if engine in engines.names() else ""
        return Line(kind="time", verdict="not measured", sentence=sentence, basis="none")
    low, high = duration(seconds.low), duration(seconds.high)
    told = f"It takes about {high}" if low == high else f"It takes from {low} to {high}"
    source = "two tried steps" if seconds.smoke_only else "trainings like it on this machine"
    drawn = run.sampling.sample_prompts and (
        run.sampling.sample_every_n_epochs or run.sampling.sample_every_n_steps
    )
    sentence = f"{told}, told from {source}.{' Drawing samples comes on top.' if drawn else ''}"
    return Line(kind="time", verdict="fits", sentence=sentence, basis="measured", needed=round(seconds.high))
