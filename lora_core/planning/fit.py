"""Changes that make a run fit this machine, the least harmful first, as few as will do.

Covered: GPU memory, memory, and what the run itself writes to the disk. Each change is one setting with its
reason; nothing is changed here. Not covered: other files on the disk, where only the user can tell what may
go, and the time.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final

from lora_core.errors import SettingsError
from lora_core.planning.estimates import Estimate, Known, estimated, look
from lora_core.planning.images import RunImages
from lora_core.planning.refused import family_for, refused
from lora_core.settings import RunConfig, no_effect, setting, value_in, with_values
from lora_core.workspace import Workspace

FITTED: Final = frozenset({"gpu", "memory", "disk"})
"""The lines of the card that changes of settings can help with."""
_GRID: Final = 64
_SMALLEST_SIDE: Final = 256
_MOST_STEPS: Final = 40


@dataclass(frozen=True, slots=True)
class Change:
    """One setting that would be changed."""

    key: str
    before: Any
    after: Any
    why: str
    """What it saves and what it costs, in one sentence."""


@dataclass(frozen=True, slots=True)
class Fitting:
    """What can be done about a run that does not fit."""

    changes: tuple[Change, ...]
    """To be applied together with `settings.with_values`; empty when it fits, or when nothing helps."""
    fits: bool
    """Whether the run fits with them."""
    sentence: str


def make_it_fit(run: RunConfig, engine: str, ws: Workspace, images: RunImages | None = None) -> list[Change]:
    """The changes with which `run` fits; empty when it fits as it is, or when no change is enough."""
    return list(fitting(run, engine, ws, images).changes)


def fitting(run: RunConfig, engine: str, ws: Workspace, images: RunImages | None = None) -> Fitting:
    """The same with a sentence that says whether it is enough."""
    known = look(run, ws, images)
    before = estimated(run, engine, known)
    if not _over(before):
        return _as_it_is(before)
    found, changed = list[Change](), run
    for offer in _OFFERS:
        for changes in offer(changed, known):
            tried = _with(changed, changes)
            if tried is None or not _acts(tried, changes[0], engine):
                continue
            if not _helps(changed, tried, engine, known):
                continue
            found, changed = _joined(found, changes), tried
            if not _over(estimated(changed, engine, known)):
                kept = _needed(run, found, engine, known)
                told = f"{len(kept)} change{'s' if len(kept) != 1 else ''}"
                return Fitting(tuple(kept), True, f"With {told} it fits.")
    fix = "Use a smaller base model, or a computer with more memory."
    if _over(before) == ["disk"]:
        fix = "Remove files that you no longer need."
    return Fitting((), False, f"No change of settings makes it fit. {fix}")


def cheaper(run: RunConfig, known: Known, engine: str) -> Iterator[list[Change]]:
    """Each change that `run` could have next to need less, the least harmful first; nothing is measured.

    Those that the engine would refuse are left out. Of smaller batches and smaller pictures the next size
    alone is told.
    """
    for offer in _OFFERS:
        seen: set[str] = set()
        for changes in offer(run, known):
            tried = _with(run, changes)
            if tried is None or changes[0].key in seen or not _acts(tried, changes[0], engine):
                continue
            if len(_errors(tried, engine)) > len(_errors(run, engine)):
                continue
            seen.add(changes[0].key)
            yield changes


def _as_it_is(found: Estimate) -> Fitting:
    """Nothing to change: because it fits, or because nobody knows what it needs."""
    open_ = [line for line in found.card if line.kind in FITTED and line.verdict == "not measured"]
    if open_:
        return Fitting((), False, f"No change can be told. {open_[0].sentence}")
    return Fitting((), True, "The training fits as it is.")


def _over(found: Estimate) -> list[str]:
    """What does not fit and could be helped."""
    return [line.kind for line in found.too_much if line.kind in FITTED]


def _need(found: Estimate) -> tuple[int, ...]:
    return tuple(line.needed or 0 for kind in _over(found) if (line := found.line(kind)) is not None)


def _helps(before: RunConfig, after: RunConfig, engine: str, known: Known) -> bool:
    """True when less of what is short is needed, nothing else becomes short, and no new error appears."""
    old, new = estimated(before, engine, known), estimated(after, engine, known)
    if set(_over(new)) - set(_over(old)) or _more_on_disk(old, new):
        return False
    less = any(
        (a.needed or 0) < (b.needed or 0)
        for kind in _over(old)
        if (a := new.line(kind)) is not None and (b := old.line(kind)) is not None
    )
    return less and len(_errors(after, engine)) <= len(_errors(before, engine))


def _more_on_disk(old: Estimate, new: Estimate) -> bool:
    """True when a disk that is too small already would have to hold more."""
    before, after = old.line("disk"), new.line("disk")
    return (
        "disk" in _over(old)
        and before is not None
        and after is not None
        and ((after.needed or 0) > (before.needed or 0))
    )


def _errors(run: RunConfig, engine: str) -> list[str]:
    """What `engine` itself would refuse; sd-scripts is answered for whether it is here or not."""
    problems = refused(run, engine, family_for(run, engine))
    return [problem.what for problem in problems if problem.severity == "error"]


def _acts(changed: RunConfig, change: Change, engine: str) -> bool:
    """False for a change that `engine` reads over, such as captions read once in sd-scripts' SD 1.x."""
    return change.key not in no_effect(value_in(changed), engine, family_for(changed, engine))


def _with(run: RunConfig, changes: list[Change]) -> RunConfig | None:
    try:
        return with_values(run, {change.key: change.after for change in changes})
    except SettingsError:
        return None


def _joined(found: list[Change], more: list[Change]) -> list[Change]:
    """One change a setting: from what it was at first to what it is at last."""
    merged = {change.key: change for change in found}
    for change in more:
        first = merged.get(change.key)
        merged[change.key] = Change(
            change.key, first.before if first else change.before, change.after, change.why
        )
    return list(merged.values())


def _needed(run: RunConfig, found: list[Change], engine: str, known: Known) -> list[Change]:
    """`found` without those that the later ones made superfluous."""
    kept = list(found)
    for change in found[:-1]:
        fewer = [each for each in kept if each is not change]
        tried = _with(run, fewer)
        if change.key in _PAIRED or tried is None:
            continue
        if not _over(estimated(tried, engine, known)) and len(_errors(tried, engine)) <= len(
            _errors(run, engine)
        ):
            kept = fewer
    return kept


_PAIRED: Final = frozenset({"batch_size", "gradient_accumulation_steps"})
"""They change together, so that a step learns from as many pictures as before."""


def _change(run: RunConfig, key: str, after: Any, why: str) -> Change:
    place = setting(key)
    if place.concern == "datasets":
        before = getattr(run.dataset.datasets[0], key)
    else:
        before = getattr(getattr(run, place.concern), key)
    return Change(key, before, after, why)


def _prepared(run: RunConfig, known: Known) -> Iterator[list[Change]]:
    """What is prepared before the first step stays in memory."""
    del known
    if run.precision.cache_latents_to_disk and run.precision.cache_latents:
        why = "Prepared pictures stay in memory. They are made anew at each start."
        yield [_change(run, "cache_latents_to_disk", False, why)]
    if run.text.cache_text_encoder_outputs_to_disk and run.text.cache_text_encoder_outputs:
        why = "Captions that were read stay in memory. They are read anew at each start."
        yield [_change(run, "cache_text_encoder_outputs_to_disk", False, why)]


def _half_files(run: RunConfig, known: Known) -> Iterator[list[Change]]:
    del known
    if run.precision.save_precision == "float":
        why = "Each LoRA file takes half of the space. Pictures look the same."
        yield [_change(run, "save_precision", "fp16", why)]


def _fewer_states(run: RunConfig, known: Known) -> Iterator[list[Change]]:
    """The newest state alone: a run that broke off goes on from there."""
    del known
    saving, why = run.saving, "Only the newest state stays. A training that breaks off goes on from it."
    if not saving.save_state:
        return
    changes = []
    if _by_epochs(run) and saving.save_last_n_epochs_state != 1:
        changes.append(_change(run, "save_last_n_epochs_state", 1, why))
    every = saving.save_every_n_steps
    if every and saving.save_last_n_steps_state != every:
        changes.append(_change(run, "save_last_n_steps_state", every, why))
    if changes:
        yield changes


def _by_epochs(run: RunConfig) -> bool:
    return bool(run.saving.save_every_n_epochs or run.continuing.save_n_epoch_ratio)


def _fewer_files(run: RunConfig, known: Known) -> Iterator[list[Change]]:
    """Fewer LoRA files from the way, so that one has fewer to choose from."""
    del known
    saving = run.saving
    for number in _FILES_KEPT:
        why = f"Only the newest {number} from the way stay. You have fewer to choose from."
        why = "Only the newest one from the way stays, and the finished one." if number == 1 else why
        changes = []
        if _by_epochs(run) and (saving.save_last_n_epochs or number + 1) > number:
            changes.append(_change(run, "save_last_n_epochs", number, why))
        back = (saving.save_every_n_steps or 0) * number
        if back and (saving.save_last_n_steps or back + 1) > back:
            changes.append(_change(run, "save_last_n_steps", back, why))
        if changes:
            yield changes


def _no_states(run: RunConfig, known: Known) -> Iterator[list[Change]]:
    del known
    if run.saving.save_state:
        why = "No states are kept. A training that breaks off has to start anew."
        yield [_change(run, "save_state", False, why)]


_FILES_KEPT: Final = (10, 5, 3, 1)


def _latents(run: RunConfig, known: Known) -> Iterator[list[Change]]:
    del known
    precision = run.precision
    if not (precision.cache_latents or precision.cache_latents_to_disk):
        why = "The VAE is then put away before the first step. It costs nothing."
        yield [_change(run, "cache_latents", True, why)]
    if precision.vae_batch_size != 1:
        why = "Pictures are made ready one by one. It takes a little longer before the first step."
        yield [_change(run, "vae_batch_size", 1, why)]
    if precision.cache_latents and not precision.cache_latents_to_disk:
        why = "Prepared pictures lie on the disk and not in memory. Steps stay as fast."
        yield [_change(run, "cache_latents_to_disk", True, why)]


def _texts(run: RunConfig, known: Known) -> Iterator[list[Change]]:
    del known
    if run.network.network_train_unet_only and not run.text.cache_text_encoder_outputs:
        why = "The text encoders are then put away before the first step. Captions must stay as they are."
        yield [_change(run, "cache_text_encoder_outputs", True, why)]


def _checkpointing(run: RunConfig, known: Known) -> Iterator[list[Change]]:
    del known
    if not run.precision.gradient_checkpointing:
        why = "It saves the most. Each step takes about a third longer, and the result is the same."
        yield [_change(run, "gradient_checkpointing", True, why)]


def _optimizer(run: RunConfig, known: Known) -> Iterator[list[Change]]:
    has_it = known.free.device == "cuda" and find_spec("bitsandbytes") is not None
    if has_it and run.optimizer.optimizer_type == "AdamW":
        why = "The optimizer then remembers in 8 bits. Results are nearly the same."
        yield [_change(run, "optimizer_type", "AdamW8bit", why)]


def _batch(run: RunConfig, known: Known) -> Iterator[list[Change]]:
    """Smaller batches, more of them for a step: each batch is cut to a divisor of what it was."""
    del known
    sizes = {dataset.batch_size for dataset in run.dataset.datasets}
    accumulation = run.batch.gradient_accumulation_steps
    if len(sizes) != 1:  # one number could not keep the product of each
        return
    batch = sizes.pop()
    for smaller in range(batch - 1, 0, -1):
        if batch % smaller == 0:
            more = accumulation * batch // smaller
            why = f"{more} smaller batches make one step, so it learns from as many pictures. It is slower."
            yield [
                _change(run, "batch_size", smaller, why),
                _change(run, "gradient_accumulation_steps", more, why),
            ]


def _precision(run: RunConfig, known: Known) -> Iterator[list[Change]]:
    if run.precision.mixed_precision == "no":
        # Older cards have fp16 alone; everything else works with bf16, if slowly.
        half = "fp16" if known.free.device == "cuda" and known.free.bf16 is False else "bf16"
        slow = "" if half == "fp16" or known.free.bf16 else " It can be slower here."
        why = f"The base model then takes half of the memory.{slow}"
        yield [_change(run, "mixed_precision", half, why)]


def _eight_bits(run: RunConfig, known: Known) -> Iterator[list[Change]]:
    if known.free.device == "cuda" and run.precision.mixed_precision != "no" and not run.precision.fp8_base:
        why = "The base model then takes half again. Very fine detail may suffer."
        yield [_change(run, "fp8_base", True, why)]


def _resolution(run: RunConfig, known: Known) -> Iterator[list[Change]]:
    """Smaller pictures, step by step; buckets follow."""
    del known
    sizes = {dataset.resolution for dataset in run.dataset.datasets}
    if len(sizes) != 1:
        return
    width, height = sizes.pop()
    low = min(dataset.min_bucket_reso for dataset in run.dataset.datasets)
    for number in range(1, _MOST_STEPS):
        shorter = min(width, height) - number * _GRID
        if shorter < _SMALLEST_SIDE:
            return
        longer = max(width, height) * shorter // min(width, height) // _GRID * _GRID
        size = (shorter, longer) if width <= height else (longer, shorter)
        why = "Smaller pictures teach less detail. Change this last."
        changes = [_change(run, "resolution", size, why)]
        if low > shorter:
            changes.append(
                _change(run, "min_bucket_reso", shorter, "No bucket may be larger than this size.")
            )
        yield changes


_OFFERS: Final[tuple[Callable[[RunConfig, Known], Iterator[list[Change]]], ...]] = (
    _prepared,
    _half_files,
    _fewer_states,
    _fewer_files,
    _latents,
    _texts,
    _checkpointing,
    _optimizer,
    _batch,
    _precision,
    _eight_bits,
    _no_states,
    _resolution,
)
"""From what costs nothing to what costs the most."""
