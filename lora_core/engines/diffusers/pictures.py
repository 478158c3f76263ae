"""The pictures of a run: which are trained on, which are held back, and what belongs to each.

Covered: every folder of the dataset file, captions, class images, buckets, masks, the held-out share.
Not covered: pixels (see `pixels.py`), latents (see `latents.py`), the order of training (see
`batches.py`).
"""

import hashlib
import math
import random
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_core.datasets.buckets import Buckets, Placement, conditioning_cut
from lora_core.datasets.captions import read_lines
from lora_core.datasets.class_images import class_uses
from lora_core.datasets.images import ImageEntry, scan
from lora_core.datasets.masks import find_masks
from lora_core.datasets.words import Chance, Moment, words
from lora_core.errors import DatasetError, SettingsError
from lora_core.reporting import Reporter
from lora_core.settings import DatasetSettings, RunConfig, SubsetSettings

_NAMED_FILES = 20
"""More names than this in one note help nobody; the count is always told."""
_PLACES = {"image_dir", "conditioning_data_dir"}
"""Where things lie changes nothing; what lies there is in the content."""
_AT_THE_END = Moment(epoch=1, step=sys.maxsize, steps=1)
"""Where every tag is in use, however long they take to come in."""
_NEVER_DROPPED = {"caption_dropout_rate": 0.0, "caption_dropout_every_n_epochs": 0}


class _Still:
    """Chance that leaves all in its place: nothing is dropped or moved, and the first choice is taken."""

    def random(self) -> float:
        return 1.0

    def shuffle(self, x: Any, /) -> None:
        pass

    def integers(self, low: int, /) -> int:
        return 0


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One picture, its caption, and how it is cut for training. Equal only to itself."""

    entry: ImageEntry
    caption: str
    placement: Placement
    dataset: int
    """Number of its dataset table, from 0; batches never mix two."""
    subset: SubsetSettings
    mask: Path | None = None
    """The picture that says which parts are learned; None to learn all, or what is not transparent."""

    @property
    def path(self) -> Path:
        return self.entry.path

    def words(self, rng: Chance, moment: Moment) -> str:
        """The text of one use: its caption as the folder's settings change it at `moment`."""
        return words(self.caption, self.subset, moment, rng)

    def tested_words(self) -> str:
        """The text when it is held back: its caption as the folder's settings change it, without chance."""
        return words(self.caption, self.subset.model_copy(update=_NEVER_DROPPED), _AT_THE_END, _Still())

    def size_ids(self, *, flipped: bool) -> tuple[int, ...]:
        """What SDXL is told of sizes: height and width of the original, top and left of the cut, height
        and width of the bucket. The cut is the one that sd-scripts tells, which is not the real one.
        """
        bucket = self.placement.bucket
        left, top, right = conditioning_cut(bucket, self.entry.width, self.entry.height)
        left = bucket.width - right if flipped else left
        return (self.entry.height, self.entry.width, int(top), int(left), bucket.height, bucket.width)


@dataclass(frozen=True, slots=True)
class Pictures:
    """What one run learns from and is tested on."""

    training: tuple[Picture, ...]
    held_out: tuple[Picture, ...]

    @property
    def all(self) -> tuple[Picture, ...]:
        return self.training + self.held_out

    def texts(self) -> list[str]:
        """Every text that the run meets as long as captions stay as they are: learned, tested, left out."""
        return [*dict.fromkeys([*(picture.tested_words() for picture in self.all), ""])]

    def digest(self, content: Callable[["Picture"], str]) -> str:
        """Stands for what is learned from: another picture, cut, caption or order gives another text.

        `content` tells what a picture holds, so that it may lie elsewhere.
        """
        uses = [
            (content(each), each.caption, each.dataset, each.subset.model_dump(exclude=_PLACES))
            for each in self.training
        ]
        return hashlib.sha256(repr(uses).encode()).hexdigest()

    def without(self, broken: Iterable[Picture]) -> "Pictures":
        """The same without some.

        Raises:
            DatasetError: none is left to learn from.
        """
        gone = set(broken)
        kept = tuple(picture for picture in self.training if picture not in gone)
        if all(picture.subset.is_reg for picture in kept):
            raise _nothing_left(f"All {len(gone)} pictures were left out; see the notes of this run.")
        return Pictures(kept, tuple(picture for picture in self.held_out if picture not in gone))


def _nothing_left(why: str) -> DatasetError:
    return DatasetError(
        "There are no pictures to train on.",
        why=why,
        fix="Add png, jpg, webp or bmp pictures that open well.",
    )


def read_pictures(run: RunConfig, reporter: Reporter) -> Pictures:
    """List the pictures of every folder from their headers; broken ones are named and left out.

    Raises:
        DatasetError: a folder is missing or has no pictures, a mask is missing or of another size, or
            there are fewer pictures than a batch takes.
        CaptionError: a caption is empty or not UTF-8 text.
        SettingsError: the bucket settings contradict each other.
    """
    training: list[Picture] = []
    held_out: list[Picture] = []
    left_out: list[tuple[str, str]] = []
    for number, dataset in enumerate(run.dataset.datasets):
        buckets = _buckets(dataset)
        seed = run.batch.seed if dataset.validation_seed is None else dataset.validation_seed
        mine: list[Picture] = []
        for subset in dataset.subsets:
            found, problems = _read_folder(subset, buckets, number, masked=run.batch.masked_loss)
            left_out += problems
            # As in sd-scripts, class images are not tested.
            learned, tested = split(found, 0 if subset.is_reg else dataset.validation_split, seed)
            mine += learned
            held_out += tested
        training += _used(mine, dataset, reporter)
    if not training:
        raise _nothing_left("No picture fits a bucket.")
    note_left_out(reporter, left_out)
    _note_uncaptioned(reporter, [picture for picture in training if not picture.caption])
    if any(dataset.validation_split for dataset in run.dataset.datasets) and not held_out:
        reporter.note("No picture was held back for tests, because there are too few of them.")
    return Pictures(tuple(training), tuple(held_out))


def uses_of(pictures: Iterable[Picture]) -> dict[Picture, int]:
    """How often each picture of one dataset table is used in an epoch, in their order.

    Class images are used as often as all others together; those that are not needed have 0.
    """
    listed = list(pictures)
    uses = {picture: picture.subset.num_repeats for picture in listed}
    of_class = [picture for picture in listed if picture.subset.is_reg]
    learned = sum(uses[picture] for picture in listed if not picture.subset.is_reg)
    counts = class_uses([uses[picture] for picture in of_class], learned)
    return uses | dict(zip(of_class, counts, strict=True))


def _used(pictures: list[Picture], dataset: DatasetSettings, reporter: Reporter) -> list[Picture]:
    uses = uses_of(pictures)
    used = [picture for picture in pictures if uses[picture]]
    if pictures and not used:
        raise _nothing_left("All of them are class images, and there is nothing to learn beside them.")
    if spare := len(pictures) - len(used):
        unused = "1 class image is" if spare == 1 else f"{spare} class images are"
        reporter.note(f"{unused} not used, because there are more of them than other pictures.")
    total = sum(uses.values())
    if 0 < total < dataset.batch_size:
        raise DatasetError(
            "There are too few pictures for one batch.",
            why=f"An epoch uses {total}, repeats included, and a batch takes {dataset.batch_size}.",
            fix=f"Set batch_size to {total} or less, or raise num_repeats.",
        )
    return used


def _buckets(dataset: DatasetSettings) -> Buckets:
    buckets = Buckets(
        resolution=dataset.resolution,
        min_bucket_reso=dataset.min_bucket_reso,
        max_bucket_reso=dataset.max_bucket_reso,
        bucket_reso_steps=dataset.bucket_reso_steps,
        bucket_no_upscale=dataset.bucket_no_upscale,
        enable_bucket=dataset.enable_bucket,
    )
    if problems := buckets.problems():
        raise SettingsError(problems)
    return buckets


def _read_folder(
    subset: SubsetSettings, buckets: Buckets, dataset: int, *, masked: bool
) -> tuple[list[Picture], list[tuple[str, str]]]:
    folder = scan(subset.image_dir, extension=subset.caption_extension)
    folder.require_trainable()
    left_out = [(problem.file, problem.what) for problem in folder.problems if problem.effect == "skipped"]
    masks = {}
    if masked and subset.conditioning_data_dir is not None:
        masks = find_masks(subset.conditioning_data_dir, folder.images)
    pictures = []
    for entry in folder.images:
        placement = buckets.place(entry.width, entry.height)
        if placement is None:
            left_out.append((entry.name, f"No bucket fits its size of {entry.width}x{entry.height}."))
        else:
            caption = _caption(entry, subset)
            pictures.append(Picture(entry, caption, placement, dataset, subset, masks.get(entry.path)))
    return pictures, left_out


def _caption(entry: ImageEntry, subset: SubsetSettings) -> str:
    written = entry.caption
    if written and subset.enable_wildcard:  # a further line may be the one that is picked
        written = read_lines(entry.path, subset.caption_extension)
    return written or subset.class_tokens or ""


def split(pictures: list[Picture], share: float, seed: int) -> tuple[list[Picture], list[Picture]]:
    """The pictures to learn from and the pictures to hold back.

    Order and count of the first are those of sd-scripts. Of the second it takes round(share x
    count) from the end, which can take a picture that is also learned from; here none is in both.
    """
    if not share:
        return pictures, []
    shuffled = list(pictures)
    random.Random(seed).shuffle(shuffled)  # noqa: S311  the generator whose order sd-scripts has
    learned = math.ceil(len(shuffled) * (1 - share))
    return shuffled[:learned], shuffled[learned:]


def note_left_out(reporter: Reporter, left_out: list[tuple[str, str]]) -> None:
    """Tell which files were left out and why; all are counted, the first ones are named."""
    if not left_out:
        return
    named = " ".join(f"{name}: {why}" for name, why in left_out[:_NAMED_FILES])
    files = "1 file was" if len(left_out) == 1 else f"{len(left_out)} files were"
    reporter.note(f"{files} left out. {named}")


def _note_uncaptioned(reporter: Reporter, pictures: list[Picture]) -> None:
    if pictures:
        named = ", ".join(picture.entry.name for picture in pictures[:_NAMED_FILES])
        count = len(pictures)
        have = "1 picture has" if count == 1 else f"{count} pictures have"
        reporter.note(f"{have} no caption and will be learned without words: {named}.")
