"""Masks and class images of a run: what is missing for them, and what they would not do.

Covered: folders of masks, class images without images to learn, switches without effect. Not covered:
how often class images are used (see `steps.py`), and what an engine refuses by itself.
"""

from collections.abc import Iterator

from lora_core.datasets.masks import find_masks
from lora_core.errors import DatasetError, Problem
from lora_core.planning.images import RunImages
from lora_core.settings import DatasetSettings, RunConfig


def masks_and_class_images(run: RunConfig, found: RunImages) -> Iterator[Problem]:
    """Errors and advice about both."""
    subsets = [subset for dataset in run.dataset.datasets for subset in dataset.subsets]
    named = [subset for subset in subsets if subset.conditioning_data_dir is not None]
    if run.batch.masked_loss and not named and not any(subset.alpha_mask for subset in subsets):
        what = "Masks are turned on, but no folder names any."
        yield Problem(
            setting="masked_loss",
            what=what,
            fix="Set a folder of masks, or turn this off.",
            severity="advice",
            mend={"masked_loss": False},
            mend_label="Turn off masks",
        )
    if run.batch.masked_loss:
        yield from _of_folders(found)
    for dataset in run.dataset.datasets:
        yield from _class_images(dataset)
    if run.batch.prior_loss_weight != 1 and not any(subset.is_reg for subset in subsets):
        what = "It does nothing, because no folder holds class images."
        fix = "Leave it at 1, or mark the folder of class images."
        yield Problem(
            setting="prior_loss_weight",
            what=what,
            fix=fix,
            severity="advice",
            mend={"prior_loss_weight": 1.0},
            mend_label="Set it to 1",
        )


def _of_folders(found: RunImages) -> Iterator[Problem]:
    for images in found.subsets:
        masks = images.subset.conditioning_data_dir
        if masks is not None and images.folder is not None:
            try:
                find_masks(masks, images.folder.images)
            except DatasetError as error:
                what = f"{error.what} {error.why}"
                yield Problem(setting="conditioning_data_dir", what=what, fix=error.fix)


def _class_images(dataset: DatasetSettings) -> Iterator[Problem]:
    if all(subset.is_reg for subset in dataset.subsets):
        what = "All folders hold class images, and there is nothing to learn beside them."
        yield Problem(
            setting="is_reg",
            what=what,
            fix="Turn it off for the folder with your own images.",
            mend={"is_reg": False},
            mend_label="Learn from all folders",
        )
