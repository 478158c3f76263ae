"""The images of a run as planning sees them: listed once, then used by every count and check.

Covered: one look at each folder, from file headers. Not covered: pixels, duplicates, quality.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from lora_core.datasets.images import Folder, scan
from lora_core.errors import DatasetError
from lora_core.settings import RunConfig, SubsetSettings


@dataclass(frozen=True, slots=True)
class SubsetImages:
    """One folder of a run."""

    dataset: int
    """Number of its dataset table, from 0."""
    subset: SubsetSettings
    folder: Folder | None
    """None when it cannot be listed."""
    problem: DatasetError | None
    """Why it cannot be listed."""


@dataclass(frozen=True, slots=True)
class RunImages:
    """All folders of a run, in the order of the dataset file."""

    subsets: tuple[SubsetImages, ...]

    def of_dataset(self, number: int) -> Iterator[SubsetImages]:
        """The folders of one dataset table."""
        return (found for found in self.subsets if found.dataset == number)

    @property
    def count(self) -> int:
        """Images that can be read, each counted once."""
        return sum(len(found.folder.images) for found in self.subsets if found.folder is not None)


def look_at_images(run: RunConfig) -> RunImages:
    """List every folder of `run`; about a second for 3,000 images, so keep the result while it holds."""
    return RunImages(
        tuple(
            _look(number, subset)
            for number, dataset in enumerate(run.dataset.datasets)
            for subset in dataset.subsets
        )
    )


def _look(number: int, subset: SubsetSettings) -> SubsetImages:
    try:
        return SubsetImages(number, subset, scan(subset.image_dir, extension=subset.caption_extension), None)
    except DatasetError as error:
        return SubsetImages(number, subset, None, error)
