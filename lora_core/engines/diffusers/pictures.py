"""The pictures of a run: which are trained on, which are held back, and their pixels.

Covered: every folder of the dataset file, captions, buckets, the held-out share, decoding,
resizing and cutting as sd-scripts does. Not covered: latents (see `latents.py`), the order of
training (see `batches.py`), masks, flips and random cuts.
"""

import hashlib
import math
import random
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from lora_core.datasets.buckets import Buckets, Placement
from lora_core.datasets.captions import Shuffler, shuffle
from lora_core.datasets.images import BROKEN, FORMATS, ImageEntry, scan
from lora_core.errors import DatasetError, SettingsError
from lora_core.reporting import Reporter
from lora_core.settings import DatasetSettings, RunConfig, SubsetSettings

_NAMED_FILES = 20
"""More names than this in one note help nobody; the count is always told."""


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One picture, its caption, and how it is cut for training. Equal only to itself."""

    entry: ImageEntry
    caption: str
    placement: Placement
    dataset: int
    """Number of its dataset table, from 0; batches never mix two."""
    subset: SubsetSettings

    @property
    def path(self) -> Path:
        return self.entry.path

    def words(self, rng: Shuffler) -> str:
        """The caption of one use: with its tags in a new order, if the folder asks for that."""
        if not self.subset.shuffle_caption:
            return self.caption
        settings = self.subset
        return shuffle(
            self.caption, keep_tokens=settings.keep_tokens, separator=settings.caption_separator, rng=rng
        )


@dataclass(frozen=True, slots=True)
class Pictures:
    """What one run learns from and is tested on."""

    training: tuple[Picture, ...]
    held_out: tuple[Picture, ...]

    @property
    def all(self) -> tuple[Picture, ...]:
        return self.training + self.held_out

    def without(self, broken: Iterable[Picture]) -> "Pictures":
        """The same without some.

        Raises:
            DatasetError: none is left to learn from.
        """
        gone = set(broken)
        kept = tuple(picture for picture in self.training if picture not in gone)
        if not kept:
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
        DatasetError: a folder is missing or has no pictures.
        CaptionError: a caption is empty or not UTF-8 text.
        SettingsError: the bucket settings contradict each other.
    """
    training: list[Picture] = []
    held_out: list[Picture] = []
    left_out: list[tuple[str, str]] = []
    for number, dataset in enumerate(run.dataset.datasets):
        buckets = _buckets(dataset)
        seed = run.batch.seed if dataset.validation_seed is None else dataset.validation_seed
        for subset in dataset.subsets:
            found, problems = _read_folder(subset, buckets, number)
            left_out += problems
            learned, tested = split(found, dataset.validation_split, seed)
            training += learned
            held_out += tested
    if not training:
        raise _nothing_left("No picture fits a bucket.")
    note_left_out(reporter, left_out)
    _note_uncaptioned(reporter, [picture for picture in training if not picture.caption])
    if any(dataset.validation_split for dataset in run.dataset.datasets) and not held_out:
        reporter.note("No picture was held back for tests, because there are too few of them.")
    return Pictures(tuple(training), tuple(held_out))


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
    subset: SubsetSettings, buckets: Buckets, dataset: int
) -> tuple[list[Picture], list[tuple[str, str]]]:
    folder = scan(subset.image_dir, extension=subset.caption_extension)
    folder.require_trainable()
    left_out = [(problem.file, problem.what) for problem in folder.problems if problem.effect == "skipped"]
    pictures = []
    for entry in folder.images:
        placement = buckets.place(entry.width, entry.height)
        if placement is None:
            left_out.append((entry.name, f"No bucket fits its size of {entry.width}x{entry.height}."))
        else:
            caption = entry.caption or subset.class_tokens or ""
            pictures.append(Picture(entry, caption, placement, dataset, subset))
    return pictures, left_out


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


@dataclass(frozen=True, slots=True)
class Pixels:
    """One picture as the VAE wants it."""

    values: np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]
    """(height, width, 3), RGB."""
    content: int
    """64 bits that stand for the file's bytes and the cut: equal only if the pixels are."""


def read_pixels(picture: Picture) -> Pixels:
    """Decode, resize and cut one picture; transparency is dropped, EXIF turns are not applied.

    Raises:
        DatasetError: the file is damaged, or is another one than when it was listed.
    """
    entry, placement = picture.entry, picture.placement
    try:
        data = entry.path.read_bytes()
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            values = np.asarray(image.convert("RGB"))
    except BROKEN as error:
        raise _unusable(picture, "The file is damaged or cut off.") from error
    if values.shape[:2] != (entry.height, entry.width):
        raise _unusable(picture, "It was changed while the run was starting.")
    left, top, right, bottom = placement.box
    digest = hashlib.sha256(data + repr(placement).encode())
    return Pixels(
        _resized(values, placement)[top:bottom, left:right],
        content=int.from_bytes(digest.digest()[:8], "big"),
    )


def _resized(
    values: np.ndarray[tuple[int, int, int], np.dtype[np.uint8]], placement: Placement
) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    height, width = values.shape[:2]
    wanted = placement.resized
    if (width, height) == wanted:
        return values
    if width >= wanted.width and height >= wanted.height:
        # AREA averages every source pixel; the other modes skip some when shrinking a lot.
        return np.asarray(cv2.resize(values, wanted, interpolation=cv2.INTER_AREA), np.uint8)
    return np.asarray(Image.fromarray(values).resize(wanted, Image.Resampling.LANCZOS))


def _unusable(picture: Picture, why: str) -> DatasetError:
    return DatasetError(
        f"The picture {picture.entry.name} was not read.",
        why=why,
        fix="Replace it by a good copy, or remove it.",
    )
