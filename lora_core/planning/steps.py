"""How many steps and epochs a run takes: counted bucket by bucket, as sd-scripts and our engine do.

Covered: repeats, class images, buckets, held-out images, batches rounded up in each bucket, accumulation
rounded up once an epoch, several processes that share an epoch (sd-scripts on several cards). Not covered:
time and memory.
"""

import math
import random
from collections import Counter
from dataclasses import dataclass

from lora_core.datasets.buckets import Buckets, Size
from lora_core.datasets.class_images import class_uses
from lora_core.datasets.images import ImageEntry
from lora_core.planning.images import RunImages, SubsetImages, look_at_images
from lora_core.settings import DatasetSettings, RunConfig


@dataclass(frozen=True, slots=True)
class BucketCount:
    """One image size of one dataset table."""

    dataset: int
    size: Size
    images: int
    uses: int
    """Images times their repeats: what an epoch learns from."""
    batches: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a run amounts to, before it starts."""

    steps: int
    """Optimizer steps in all."""
    epochs: int
    """Epochs that are begun; the last may be cut short by a number of steps."""
    steps_per_epoch: int
    batches_per_epoch: int
    images: int
    """Images that are learned from."""
    held_out: int
    """Images that are kept for tests."""
    left_out: int
    """Images that no bucket can hold."""
    buckets: tuple[BucketCount, ...]

    @property
    def saves_by_epoch(self) -> int:
        """Whole epochs in the run."""
        return self.steps // self.steps_per_epoch if self.steps_per_epoch else 0


def buckets_of(dataset: DatasetSettings) -> Buckets:
    """The image sizes of one dataset table."""
    return Buckets(
        resolution=dataset.resolution,
        min_bucket_reso=dataset.min_bucket_reso,
        max_bucket_reso=dataset.max_bucket_reso,
        bucket_reso_steps=dataset.bucket_reso_steps,
        bucket_no_upscale=dataset.bucket_no_upscale,
        enable_bucket=dataset.enable_bucket,
    )


def plan(run: RunConfig, images: RunImages | None = None, *, processes: int = 1) -> Plan | None:
    """The steps of `run`; None when there is no image to learn from or a bucket setting cannot be.

    `processes` share the batches of an epoch; the app itself starts one.
    """
    found = look_at_images(run) if images is None else images
    counts: list[BucketCount] = []
    held_out = left_out = 0
    for number, dataset in enumerate(run.dataset.datasets):
        buckets = buckets_of(dataset)
        if buckets.problems():
            return None
        seed = run.batch.seed if dataset.validation_seed is None else dataset.validation_seed
        used: list[_Used] = []
        for subset in found.of_dataset(number):
            placed, outside = _placed(subset, buckets)
            is_reg = subset.subset.is_reg
            learned, tested = split_sizes(placed, 0 if is_reg else dataset.validation_split, seed)
            held_out, left_out = held_out + len(tested), left_out + outside
            used += [_Used(size, subset.subset.num_repeats, is_reg) for size in learned]
        entries: Counter[Size] = Counter()
        uses: Counter[Size] = Counter()
        for one, count in _with_class_images(used):
            entries[one.size] += 1
            uses[one.size] += count
        counts += [
            BucketCount(number, size, entries[size], uses[size], math.ceil(uses[size] / dataset.batch_size))
            for size in sorted(entries)
        ]
    return _summed(run, counts, held_out, left_out, processes) if counts else None


@dataclass(frozen=True, slots=True)
class _Used:
    """One image that is learned from."""

    size: Size
    repeats: int
    is_reg: bool


def _with_class_images(images: list[_Used]) -> list[tuple[_Used, int]]:
    """The images that an epoch uses and how often: class images as often as all others together."""
    learned = [(image, image.repeats) for image in images if not image.is_reg]
    of_class = [image for image in images if image.is_reg]
    counts = class_uses([image.repeats for image in of_class], sum(count for _, count in learned))
    return learned + [(image, count) for image, count in zip(of_class, counts, strict=True) if count]


def _placed(subset: SubsetImages, buckets: Buckets) -> tuple[list[Size], int]:
    """The bucket of each image in the order of the folder, and how many images have none."""
    entries: tuple[ImageEntry, ...] = subset.folder.images if subset.folder is not None else ()
    placements = [buckets.place(entry.width, entry.height) for entry in entries]
    sizes = [placement.bucket for placement in placements if placement is not None]
    return sizes, len(placements) - len(sizes)


def split_sizes(sizes: list[Size], share: float, seed: int) -> tuple[list[Size], list[Size]]:
    """What is learned from and what is held back: the same images that the built-in engine takes."""
    if not share:
        return sizes, []
    shuffled = list(sizes)
    random.Random(seed).shuffle(shuffled)  # noqa: S311  the order of sd-scripts, no secret
    learned = math.ceil(len(shuffled) * (1 - share))
    return shuffled[:learned], shuffled[learned:]


def _summed(run: RunConfig, counts: list[BucketCount], held_out: int, left_out: int, processes: int) -> Plan:
    batches = sum(count.batches for count in counts)
    per_epoch = math.ceil(batches / processes / run.batch.gradient_accumulation_steps)
    epochs = run.schedule.max_train_epochs
    steps = epochs * per_epoch if epochs else run.schedule.max_train_steps
    return Plan(
        steps=steps,
        epochs=math.ceil(steps / per_epoch),
        steps_per_epoch=per_epoch,
        batches_per_epoch=batches,
        images=sum(count.images for count in counts),
        held_out=held_out,
        left_out=left_out,
        buckets=tuple(counts),
    )
