"""Which pictures each step learns from.

The order of an epoch is a pure function of seed and epoch, so any step of a run can be looked up
without going through those before it; that is what makes resuming in the middle of an epoch exact.

Covered: repeats, class images, batches of one size, shuffling, accumulation, how long a run is, the
texts of a batch; counts are those of sd-scripts (batches rounded up bucket by bucket, then steps rounded
up once an epoch). Not covered: what is in a batch (see `latents.py` and `noise.py`).
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from lora_core.datasets.buckets import Size
from lora_core.datasets.words import Moment
from lora_core.engines.diffusers.noise import Purpose, generator
from lora_core.engines.diffusers.pictures import Picture, uses_of
from lora_core.settings import RunConfig

Batch = tuple[Picture, ...]
_Bucket = tuple[int, Size]
_REMEMBERED_EPOCHS: Final = 4
"""More than steps are looked up ahead: an epoch may be one step long."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a step is. All count from 0."""

    step: int
    epoch: int
    in_epoch: int


class Plan:
    """Every step of a run: how many there are and which pictures each uses."""

    def __init__(self, run: RunConfig, pictures: Sequence[Picture]) -> None:
        self._seed = run.batch.seed
        self._buckets = _buckets(pictures, repeated=True)
        self._batch_sizes = [dataset.batch_size for dataset in run.dataset.datasets]
        self._group = run.batch.gradient_accumulation_steps
        self.batches_per_epoch = sum(
            math.ceil(len(uses) / self._batch_sizes[dataset]) for (dataset, _), uses in self._buckets.items()
        )
        self.steps_per_epoch = math.ceil(self.batches_per_epoch / self._group)
        epochs = run.schedule.max_train_epochs
        self.steps = epochs * self.steps_per_epoch if epochs else run.schedule.max_train_steps
        self.epochs = math.ceil(self.steps / self.steps_per_epoch)
        self._epoch = lru_cache(maxsize=_REMEMBERED_EPOCHS)(self._shuffled)

    def place(self, step: int) -> Place:
        """Where step number `step` is."""
        return Place(step, *divmod(step, self.steps_per_epoch))

    def batches(self, place: Place) -> list[Batch]:
        """The batches of one step: as many as are accumulated, at the end of an epoch maybe fewer."""
        first = place.in_epoch * self._group
        return self._epoch(place.epoch)[first : first + self._group]

    def words(self, place: Place, batch: Batch, first: int) -> list[str]:
        """The texts of a batch at `place`; `first` is the number of its first sample within the step."""
        moment = Moment(epoch=place.epoch + 1, step=place.step, steps=self.steps)
        return [
            picture.words(generator(self._seed, Purpose.CAPTION, place.step, first + index), moment)
            for index, picture in enumerate(batch)
        ]

    def bucket_counts(self) -> dict[_Bucket, int]:
        """Uses of pictures in one epoch, for each dataset and size."""
        return {bucket: len(uses) for bucket, uses in self._buckets.items()}

    def _shuffled(self, epoch: int) -> list[Batch]:
        rng = generator(self._seed, Purpose.ORDER, epoch)
        batches: list[Batch] = []
        for (dataset, _), uses in self._buckets.items():
            order = rng.permutation(len(uses))
            batches += _cut([uses[index] for index in order], self._batch_sizes[dataset])
        return [batches[index] for index in rng.permutation(len(batches))]


def held_out_batches(run: RunConfig, pictures: Sequence[Picture]) -> list[Batch]:
    """The test pictures, each once and always in the same order and company."""
    batches: list[Batch] = []
    for (dataset, _), uses in _buckets(pictures, repeated=False).items():
        batches += _cut(uses, run.dataset.datasets[dataset].batch_size)
    return batches[: run.validation.max_validation_steps]


def _buckets(pictures: Sequence[Picture], *, repeated: bool) -> dict[_Bucket, list[Picture]]:
    found: dict[_Bucket, list[Picture]] = defaultdict(list)
    for number in {picture.dataset for picture in pictures}:
        uses = uses_of(picture for picture in pictures if picture.dataset == number)
        for picture, count in uses.items():
            found[number, picture.placement.bucket] += [picture] * (count if repeated else 1)
    return {bucket: uses for bucket, uses in sorted(found.items()) if uses}


def _cut(uses: Sequence[Picture], size: int) -> list[Batch]:
    return [tuple(uses[start : start + size]) for start in range(0, len(uses), size)]
