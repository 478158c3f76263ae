"""What the engine itself reported about a run, beside what it was asked for.

Covered: optimizer, rank, alpha, layers, steps and rates, and every setting that a LoRA file's notes name.
The engine's word comes from the file that it saved (its tensors and its `ss_` notes) and from its
`progress.jsonl`. Not covered: whether the numbers are good (see `metrics.py`), other programs' files.

Nothing of the app stands between: what was asked is read from the frozen files of the run, what was
reported from what the engine wrote.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from lora_core import loras
from lora_core.engines.diffusers.optimizer_names import class_path
from lora_core.errors import LoraFileError, SettingsError
from lora_core.jobs import Job
from lora_core.loras import LoraInfo
from lora_core.runs.facts import checkpoints_of, settings_of
from lora_core.runs.metrics import Curve, Progress
from lora_core.settings import RunConfig, catalogue, setting, typed_number

_NOT_NOTES: Final = frozenset(
    {"optimizer_type", "network_dim", "network_alpha", "learning_rate", "max_train_steps"}
)
"""Settings with a line of their own, or whose note means something else."""
_OWN_RATES: Final = ("prodigy", "adafactor", "schedulefree", "dadapt")
"""Optimizers that report a rate of their own making."""
_NEAR_THE_TOP: Final = 0.95
_UNSET: Final = frozenset({"", "None"})


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was asked for, and what the engine said it did."""

    what: str
    asked: str
    reported: str
    same: bool | None
    """None where the two cannot be compared, such as a rate that is still rising."""
    source: str
    """Where the engine's word stands: `LoRA file` or `progress`."""


def echo(job: Job) -> list[Line]:
    """What can be compared now; differences first. Empty before the engine has written anything."""
    try:
        run = settings_of(job)
    except SettingsError:
        return []  # the frozen files were changed; the page says so elsewhere
    progress = Progress(job.folder)
    progress.refresh()
    lines = [*_of_progress(run, progress.total, progress.curve)]
    if (info := _newest_file(job)) is not None:
        lines += [*_of_file(run, info), *_of_notes(run, info.metadata)]
    return sorted(lines, key=lambda line: line.same is not False)


def _newest_file(job: Job) -> LoraInfo | None:
    for checkpoint in reversed(checkpoints_of(job)):
        try:
            return loras.inspect(checkpoint.path)
        except LoraFileError:  # it is being written
            continue
    return None


def _of_progress(run: RunConfig, total: int | None, curve: Curve) -> Iterator[Line]:
    schedule = run.schedule
    if total is not None and not schedule.max_train_epochs:
        asked = schedule.max_train_steps
        yield Line("Steps", str(asked), str(total), total == asked, "progress")
    rates = [rate for rate in curve.lr if math.isfinite(rate)]
    if rates:
        asked_rate = (
            run.optimizer.unet_lr if run.optimizer.unet_lr is not None else run.optimizer.learning_rate
        )
        yield Line(
            "Highest learning rate so far",
            typed_number(asked_rate),
            typed_number(float(f"{max(rates):.6g}")),
            _same_rate(run, asked_rate, curve),
            "progress",
        )


def _same_rate(run: RunConfig, asked: float, curve: Curve) -> bool | None:
    """None while it rises, where an optimizer finds its rate itself, and where parts have rates of their own.

    A run that goes on from another one begins in the middle of the course.
    """
    rates = [rate for rate in curve.lr if math.isfinite(rate)]
    network = run.network
    parts = not network.network_train_unet_only or any(
        (network.down_lr_weight, network.mid_lr_weight, network.up_lr_weight)
    )
    own = any(name in run.optimizer.optimizer_type.lower() for name in _OWN_RATES)
    if own or parts or curve.steps[0] > 1:
        return None
    # A long curve is thinned, so its highest point may be left out; the points beside it are close.
    if asked * _NEAR_THE_TOP <= max(rates) <= asked * (1 + 1e-6):
        return True
    rising = bool(run.schedule.lr_warmup_steps) and rates[-1] == max(rates) < asked
    return None if rising else False


def _of_file(run: RunConfig, info: LoraInfo) -> Iterator[Line]:
    network, notes = run.network, info.metadata
    if said := _note(notes, "ss_optimizer"):
        name = said.partition("(")[0].rpartition(".")[2]
        wanted = class_path(run.optimizer.optimizer_type).rpartition(".")[2]
        yield Line(
            "Optimizer", run.optimizer.optimizer_type, said, name.lower() == wanted.lower(), "LoRA file"
        )
    if info.ranks:
        ranks = {network.network_dim} | ({network.conv_dim} if network.conv_dim else set())
        asked = " and ".join(map(str, sorted(ranks)))
        yield Line("Rank", asked, _listed(info.ranks), _within(info.ranks, ranks, run), "LoRA file")
    if info.alphas:
        alphas = {network.network_alpha} | ({network.conv_alpha} if network.conv_alpha else set())
        wanted = " and ".join(typed_number(alpha) for alpha in sorted(alphas))
        yield Line("Alpha", wanted, _listed(info.alphas), _within(info.alphas, alphas, run), "LoRA file")
    yield from _layers(run, info)


def _within(found: tuple[float, ...], asked: set[Any], run: RunConfig) -> bool | None:
    if all(any(math.isclose(one, other, rel_tol=1e-3) for other in asked) for one in found):
        return True
    # These give single layers sizes of their own.
    own = ("block", "reg_dims", "reg_alphas", "dim_from_weights", "factor", "rs_lora", "conv_")
    changed = [key for key, value in run.network.model_dump().items() if value != setting(key).default]
    return None if any(part in key for key in changed for part in own) else False


def _layers(run: RunConfig, info: LoraInfo) -> Iterator[Line]:
    network = run.network
    for name, trained, count in (
        ("Layers of the image part", not network.network_train_text_encoder_only, info.unet_layers),
        ("Layers of the text part", not network.network_train_unet_only, info.text_encoder_layers),
    ):
        yield Line(
            name,
            "trained" if trained else "left as they are",
            str(count),
            (count > 0) == trained,
            "LoRA file",
        )


def _of_notes(run: RunConfig, notes: Mapping[str, str]) -> Iterator[Line]:
    """Every setting of the whole run that the file names under its own key."""
    for s in catalogue():
        key = f"ss_{s.key}"
        if s.place != "argument" or s.key in _NOT_NOTES or key not in notes:
            continue
        asked = getattr(getattr(run, s.concern), s.key)
        if isinstance(asked, tuple):
            asked = asked[0] if len(asked) == 1 else list(asked)
        said = notes[key]
        same = said == str(asked) or (said in _UNSET and asked in {None, ""}) or _same_number(said, asked)
        yield Line(s.label, str(asked), said, same, "LoRA file")


def _same_number(said: str, asked: Any) -> bool:
    try:
        return not isinstance(asked, bool) and float(said) == float(asked)
    except (TypeError, ValueError):
        return False


def _note(notes: Mapping[str, str], key: str) -> str:
    said = notes.get(key, "")
    return "" if said in _UNSET else said


def _listed(values: tuple[float, ...]) -> str:
    return ", ".join(typed_number(value) for value in values[:6]) + (", …" if len(values) > 6 else "")
