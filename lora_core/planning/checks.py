"""Every reason why a run cannot start, and every piece of advice about it, in one list.

Covered: what the engine refuses, the images, the buckets, files that are named, settings that do
nothing beside each other, and values far from what others use. Errors are only what would stop the
run; all else is advice. Not covered: time and memory.
"""

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final

from lora_core import machine
from lora_core.errors import Problem, SettingsError
from lora_core.planning.device import needs_a_card
from lora_core.planning.images import RunImages, look_at_images
from lora_core.planning.masks import masks_and_class_images
from lora_core.planning.refused import as_told_of, family_for, idle_in, refused
from lora_core.planning.steps import Plan, buckets_of, plan
from lora_core.settings import (
    FLOW_FAMILIES,
    SD_SCRIPTS,
    Advice,
    Placed,
    RunConfig,
    SubsetSettings,
    advice_for,
    placed_values,
    prompt_lines,
    setting,
    typed_number,
    value_in,
)
from lora_core.workspace import Workspace

FEW_IMAGES: Final = 5
MANY_ENOUGH_TO_HOLD_BACK: Final = 40
_NAMED: Final = 5
"""Names in one sentence; the count is always told."""
_RATES: Final = frozenset({"learning_rate", "unet_lr", "text_encoder_lr"})
_OF_TESTS: Final = ("validate_every_n_epochs", "validate_every_n_steps", "max_validation_steps")


def check(
    run: RunConfig,
    engine: str,
    workspace: Workspace | None = None,
    *,
    images: RunImages | None = None,
    family: str | None = None,
    given: Collection[str] = (),
) -> list[Problem]:
    """All problems of `run` at once, errors first. `images` spares a second look at the folders.

    `given` are settings whose value a preset gave: that such a value is not a usual one is no news.

    sd-scripts is answered for as well, whether it is here or not. For it the rules follow `family`; without
    one they follow the base model, or what the settings tell.

    Raises:
        EngineError: there is no such engine.
    """
    found = look_at_images(run) if images is None else images
    amount = plan(run, found)
    family = family or family_for(run, engine)
    problems = [*refused(run, engine, family), *_buckets(run), *_folders(found), *_files(run)]
    problems += [*masks_and_class_images(run, found), *_resumed(run, amount)]
    problems += as_told_of(engine, _too_few(run, amount))
    if workspace is not None:
        problems += needs_a_card(run, workspace)
    advice: list[Problem] = []
    for look in _ADVICE:
        advice += look(run, found)
    told = {problem.setting for problem in [*problems, *advice]}.union(given)  # by someone who knows more
    advice += [problem for problem in _far_from_usual(run) if problem.setting not in told]
    advice += [*_about_plan(run, amount), *_second_rate(run, engine, family)]
    advice += idle_in(run, engine, family, [*problems, *advice])
    if workspace is not None:
        advice += _about_machine(run, workspace)
    listed = list(dict.fromkeys([*problems, *advice]))
    return [p for p in listed if p.severity == "error"] + [p for p in listed if p.severity != "error"]


def _advice(key: str, what: str, fix: str, mend: Mapping[str, Any] | None = None, label: str = "") -> Problem:
    return Problem(
        setting=key, what=what, fix=fix, severity="advice", mend=mend or {}, mend_label=label if mend else ""
    )


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def _buckets(run: RunConfig) -> Iterator[Problem]:
    for dataset in run.dataset.datasets:
        yield from buckets_of(dataset).problems()


def _folders(found: RunImages) -> Iterator[Problem]:
    for images in found.subsets:
        if images.problem is not None:
            yield Problem(
                setting="image_dir",
                what=f"{images.problem.what} {images.problem.why}",
                fix=images.problem.fix,
            )
        elif images.folder is not None:
            name = images.folder.path.name
            if not images.folder.images:
                yield Problem(
                    setting="image_dir",
                    what=f"There are no pictures to train on in {name}.",
                    fix="Add png, jpg, webp or bmp pictures.",
                )
            for problem in images.folder.problems:
                if problem.effect == "stops":
                    yield Problem(
                        setting="image_dir", what=f"{problem.file}: {problem.what}", fix=problem.fix
                    )


def _too_few(run: RunConfig, amount: Plan | None) -> Iterator[Problem]:
    uses = Counter[int]()
    for count in amount.buckets if amount is not None else ():
        uses[count.dataset] += count.uses
    for number, total in uses.items():
        batch = run.dataset.datasets[number].batch_size
        if total < batch:
            what = f"An epoch uses {_count(total, 'picture')}, repeats included, and a batch takes {batch}."
            fix = f"Set the batch size to {total} or less, or raise the repeats."
            mend, label = {"batch_size": total}, f"Set the batch size to {total}"
            yield Problem(
                setting="batch_size",
                what=what,
                fix=fix,
                mend=mend if total else {},
                mend_label=label if total else "",
            )


def _files(run: RunConfig) -> Iterator[Problem]:
    try:
        prompt_lines(run)
    except SettingsError as error:
        yield Problem(setting="sample_prompts", what=f"{error.what} {error.why}", fix=error.fix)
    if run.saving.resume is not None and not run.saving.resume.is_dir():
        yield Problem(
            setting="resume",
            what=f"There is no saved state at {run.saving.resume}.",
            fix="Choose the folder of a state, or leave it out to start from the beginning.",
            mend={"resume": None},
            mend_label="Start from the beginning",
        )


def _resumed(run: RunConfig, amount: Plan | None) -> Iterator[Problem]:
    """A run that would go on from behind its own end."""
    if run.saving.resume is None or amount is None:
        return
    try:
        step = json.loads((run.saving.resume / "state.json").read_text("utf-8"))["step"]
    except (OSError, ValueError, KeyError, TypeError):
        return  # the engine says what is wrong with the state
    if isinstance(step, int) and step > amount.steps:
        by_epochs = run.schedule.max_train_epochs is not None
        key = "max_train_epochs" if by_epochs else "max_train_steps"
        enough = -(-step // amount.steps_per_epoch) if by_epochs else step
        yield Problem(
            setting=key,
            what=f"The state is from step {step}, and the training has {amount.steps} steps.",
            fix="Set more steps or epochs, or go on from an earlier state.",
            mend={key: enough},
            mend_label=f"Set it to {enough}",
        )


def _about_images(run: RunConfig, found: RunImages) -> Iterator[Problem]:
    del run
    if 0 < found.count < FEW_IMAGES:
        what = f"There {'is' if found.count == 1 else 'are'} only {_count(found.count, 'picture')}."
        yield _advice("image_dir", what, "Add more if you can. Most LoRAs learn from 15 pictures or more.")
    bare = [
        entry.name
        for images in found.subsets
        if images.folder is not None and not images.subset.class_tokens
        for entry in images.folder.images
        if not entry.caption
    ]
    if bare:
        named = ", ".join(bare[:_NAMED]) + (", …" if len(bare) > _NAMED else "")
        what = f"{_count(len(bare), 'picture has', 'pictures have')} no caption: {named}."
        yield _advice("image_dir", what, "Write captions, or set a caption for pictures that have none.")
    folders = [images.folder for images in found.subsets if images.folder is not None]
    if skipped := [
        problem for folder in folders for problem in folder.problems if problem.effect == "skipped"
    ]:
        first, left_out = skipped[0], _count(len(skipped), "file is", "files are")
        what = f"{left_out} left out, such as {first.file}: {first.what}"
        yield _advice("image_dir", what, skipped[0].fix)


def _about_captions(run: RunConfig, found: RunImages) -> Iterator[Problem]:
    trigger = (run.metadata.metadata_trigger_phrase or "").strip()
    if not trigger:
        return
    own = [images for images in found.subsets if not images.subset.is_reg]
    folders = [
        [trigger.casefold() in _said(images.subset, entry.caption).casefold() for entry in held]
        for images in own
        if images.folder is not None and (held := images.folder.images)
    ]
    # A folder beside others without one such caption holds ordinary pictures, on purpose.
    named = [folder for folder in folders if any(folder)] or folders
    captions = [says for folder in named for says in folder]
    without = captions.count(False)
    if without:
        what = f"The trigger word {trigger} is missing from {without} of {_count(len(captions), 'caption')}."
        yield _advice("metadata_trigger_phrase", what, f"Put {trigger} at the start of each caption.")
    kept = [images.subset.keep_tokens or images.subset.keep_tokens_separator for images in own]
    if any(images.subset.shuffle_caption and not keep for images, keep in zip(own, kept, strict=True)):
        what = f"Tags are shuffled, and so {trigger} does not stay in front."
        fix = "Set the tags that stay in front to 1."
        yield _advice("keep_tokens", what, fix, {"keep_tokens": 1}, "Keep the first tag in front")


def _said(subset: SubsetSettings, caption: str | None) -> str:
    """What a picture's caption starts from: its own, or the class's, after the folder's prefix."""
    return f"{subset.caption_prefix or ''} {caption or subset.class_tokens or ''}"


def _about_samples(run: RunConfig, found: RunImages) -> Iterator[Problem]:
    del found
    sampling = run.sampling
    if sampling.sample_every_n_epochs and sampling.sample_every_n_steps:
        what = "Samples are drawn by epochs, so this number of steps is not used."
        mend = {"sample_every_n_steps": None}
        yield _advice(
            "sample_every_n_steps", what, "Leave one of the two empty.", mend, "Leave the steps out"
        )
    if sampling.sample_prompts and not (
        sampling.sample_every_n_epochs or sampling.sample_every_n_steps or sampling.sample_at_first
    ):
        what = "There are prompts for samples, but none are drawn while the training goes on."
        fix, each = "Set it to 1 to see samples after each epoch.", {"sample_every_n_epochs": 1}
        yield _advice("sample_every_n_epochs", what, fix, each, "Draw samples after each epoch")


def _without_effect(run: RunConfig, found: RunImages) -> Iterator[Problem]:
    del found
    if run.network.conv_alpha is not None and run.network.conv_dim is None:
        what = "It does nothing, because the larger image filters are not trained."
        fix = "Set a rank for them too, or leave it empty."
        yield _advice("conv_alpha", what, fix, {"conv_alpha": None}, "Leave conv_alpha out")
    if run.schedule.max_train_epochs and run.schedule.max_train_steps != setting("max_train_steps").default:
        what = "It is not used, because a number of epochs is set."
        fix, mend = "Leave the epochs empty if you want to count in steps.", {"max_train_epochs": None}
        yield _advice("max_train_steps", what, fix, mend, "Count in steps")
    tests = run.validation
    wanted = tests.validate_every_n_epochs or tests.validate_every_n_steps or tests.max_validation_steps
    if wanted and not any(dataset.validation_split for dataset in run.dataset.datasets):
        what = "No test is made, because no picture is held back for it."
        fix = "Set it to 0.1, or leave the settings of the tests empty."
        yield _advice("validation_split", what, fix, dict.fromkeys(_OF_TESTS), "Make no tests")


def _held_back(run: RunConfig, found: RunImages) -> Iterator[Problem]:
    split = any(dataset.validation_split for dataset in run.dataset.datasets)
    if split and 0 < found.count < MANY_ENOUGH_TO_HOLD_BACK:
        what = f"Some of your {_count(found.count, 'picture')} are held back and not learned from."
        fix = "With fewer than 40 pictures, set it to 0."
        yield _advice("validation_split", what, fix, {"validation_split": 0.0}, "Learn from all pictures")


def _twice(run: RunConfig, found: RunImages) -> Iterator[Problem]:
    del run
    seen: set[tuple[int, str]] = set()
    for images in found.subsets:
        place = (images.dataset, str(images.subset.image_dir))
        if place in seen:
            what = f"The folder {images.subset.image_dir.name} stands in one dataset twice."
            yield _advice("image_dir", what, "Name it once and set its repeats.")
        seen.add(place)


def _far_from_usual(run: RunConfig) -> Iterator[Problem]:
    value_of = value_in(run)
    for placed in placed_values(run):
        key, advice = placed.setting.key, advice_for(placed.setting, value_of)
        unused = key == "max_train_steps" and run.schedule.max_train_epochs
        # An optimizer of this kind that nobody described: advice for others says nothing about it.
        factor = key in _RATES and advice is placed.setting.advice and _finds_its_rate(run)
        if advice is not None and not unused and not factor and _outside(placed, advice):
            values = placed.value if isinstance(placed.value, tuple) else (placed.value,)
            what = f"{placed.setting.label} is {' and '.join(map(typed_number, values))}. {advice.reason}"
            yield _advice(key, what, "Keep it if you meant it.")


def _second_rate(run: RunConfig, engine: str, family: str | None = None) -> Iterator[Problem]:
    """sd-scripts hands a LoRA of SDXL the first rate for both text parts (`train_network.py`, 48d368f)."""
    rates, network = run.network.text_encoder_lr or (), run.network
    one = engine == SD_SCRIPTS and family not in FLOW_FAMILIES
    if one and len(set(rates)) > 1 and not network.network_train_unet_only:
        yield _advice(
            "text_encoder_lr",
            f"sd-scripts uses the first rate, {typed_number(rates[0])}, for both text parts. "
            "The other does nothing.",
            "Write one rate.",
            {"text_encoder_lr": rates[:1]},
            "Keep the first rate",
        )


def _finds_its_rate(run: RunConfig) -> bool:
    name = run.optimizer.optimizer_type.rpartition(".")[2].lower()
    return name.startswith(("prodigy", "dadapt"))


def _outside(placed: Placed, advice: Advice) -> bool:
    # A length that is not used, and a rate of 0, which switches something off, are no slips.
    if placed.value == placed.setting.default and advice is placed.setting.advice:
        return False
    values = placed.value if isinstance(placed.value, tuple) else (placed.value,)
    numbers = [value for value in values if isinstance(value, int | float) and value]
    low, high = advice.low, advice.high
    return any((low is not None and n < low) or (high is not None and n > high) for n in numbers)


def _about_plan(run: RunConfig, amount: Plan | None) -> Iterator[Problem]:
    if amount is None:
        return
    if amount.left_out:
        what = f"{_count(amount.left_out, 'picture has', 'pictures have')} a size that no bucket can hold."
        yield _advice("image_dir", what, "Cut these pictures to a less extreme shape.")
    warmup = run.schedule.lr_warmup_steps
    if isinstance(warmup, int) and warmup >= amount.steps:
        what = f"The warm-up takes {warmup} steps, and the whole training takes {amount.steps}."
        fix, mend = "Set fewer steps, or a share such as 0.05.", {"lr_warmup_steps": 0.05}
        yield _advice("lr_warmup_steps", what, fix, mend, "Warm up for 5 percent of the training")
    yield from _fall_and_warmup(run, amount)
    small = [count for count in amount.buckets if count.uses < run.dataset.datasets[count.dataset].batch_size]
    if small and len(amount.buckets) > 1:
        sizes = ", ".join(str(count.size) for count in small[:_NAMED])
        what = (
            f"{_count(len(small), 'bucket has', 'buckets have')} too few pictures to fill a batch: {sizes}."
        )
        yield _advice("batch_size", what, "This works. A smaller batch size uses all pictures more evenly.")
    for key, name in (("save_every_n_epochs", "saved"), ("sample_every_n_epochs", "drawn")):
        every = getattr(run.saving if name == "saved" else run.sampling, key)
        if every and every > amount.epochs:
            short = _count(amount.epochs, "epoch")
            what = f"Nothing is {name} on the way, because the training has only {short}."
            fix, mend = f"Set it to {amount.epochs} or less.", {key: amount.epochs}
            yield _advice(key, what, fix, mend, f"Set it to {amount.epochs}")


def _fall_and_warmup(run: RunConfig, amount: Plan) -> Iterator[Problem]:
    """Warm-up and fall that take more than the whole run together."""
    schedule = run.schedule
    if schedule.lr_scheduler != "warmup_stable_decay" or schedule.lr_scheduler_type:
        return
    parts = (schedule.lr_warmup_steps, schedule.lr_decay_steps)
    taken = sum(int(part * amount.steps) if isinstance(part, float) else part for part in parts)
    if taken > amount.steps:
        yield _advice(
            "lr_decay_steps",
            f"Warm-up and fall take {taken} steps, and the whole training takes {amount.steps}.",
            "Set shares, such as 0.05 for the warm-up and 0.2 for the fall.",
            {"lr_warmup_steps": 0.05, "lr_decay_steps": 0.2},
            "Use 5 and 20 percent of the training",
        )


def _about_machine(run: RunConfig, workspace: Workspace) -> Iterator[Problem]:
    facts = machine.read_facts(workspace)
    if run.precision.mixed_precision == "bf16" and facts is not None and facts.get("bf16") is False:
        what = "This machine is slow at bf16, or lacks it."
        yield _advice("mixed_precision", what, "Set it to no.", {"mixed_precision": "no"}, "Use no")
    disk = machine.disk(workspace)
    if disk.state == "problem":
        yield _advice("", f"{disk.sentence} Only {disk.value} on the disk.", disk.fix)


_ADVICE: Final[tuple[Callable[[RunConfig, RunImages], Iterator[Problem]], ...]] = (
    _about_images,
    _about_captions,
    _about_samples,
    _without_effect,
    _held_back,
    _twice,
)
