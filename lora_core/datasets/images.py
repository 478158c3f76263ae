"""Which images of a folder are trained on, and what is wrong with the others.

One folder, not its sub folders, as sd-scripts lists it. Sizes come from file headers, so that
10,000 images are listed in seconds; `verify=True` decodes every image and finds those that are
cut off. A broken image costs only itself: it is named, skipped and counted.

Turned photographs (EXIF orientation) are trained on as they are stored, because sd-scripts does
not turn them either; they are reported.

Covered: formats, sizes, captions, broken and oversized images, links, names that clash. Not
covered: duplicates and quality, masks, sub folders as subsets.
"""

import os
import struct
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import Final, Literal

from PIL import Image, UnidentifiedImageError

from lora_core.datasets.captions import EXTENSION, caption_path, first_line, read_text
from lora_core.errors import CaptionError, DatasetError

FORMATS: Final = ("PNG", "JPEG", "WEBP", "BMP")
"""What sd-scripts reads, by Pillow's names. Others are never handed to a decoder."""
SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
OTHER_PICTURES: Final = frozenset({".avif", ".gif", ".heic", ".heif", ".jxl", ".tif", ".tiff"})
"""Pictures that training does not read; named so that nobody wonders where they went."""
BROKEN: Final = (
    OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, ArithmeticError, MemoryError,
    struct.error, zlib.error, Image.DecompressionBombError, Image.DecompressionBombWarning,
)  # fmt: skip
"""All that Pillow's decoders were seen to raise over damaged files."""
_ORIENTATION: Final = 0x0112

Effect = Literal["stops", "skipped", "advice"]
"""`stops`: no run can start. `skipped`: the file is left out. `advice`: training goes on with it."""
Kind = Literal["broken", "too_large", "format", "link", "caption", "uncaptioned", "same_stem", "turned"]


@dataclass(frozen=True, kw_only=True, slots=True)
class FileProblem:
    """What is wrong with one file of a dataset."""

    kind: Kind
    """What sort of problem; files with the same one can be listed together."""
    file: str
    """Name of the file in its folder."""
    what: str
    """What is wrong, in one sentence."""
    fix: str
    """What to do about it, in one sentence."""
    effect: Effect


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageEntry:
    """One image that is trained on."""

    path: Path
    width: int
    """As stored in the file, in pixels, before any EXIF rotation."""
    height: int
    caption: str | None
    """First line of the caption file; None when there is no readable one."""
    size_bytes: int
    mtime_ns: int

    @property
    def name(self) -> str:
        return self.path.name


@dataclass(frozen=True, kw_only=True, slots=True)
class Folder:
    """What was found in a dataset's folder."""

    path: Path
    images: tuple[ImageEntry, ...]
    """In the order of their names."""
    problems: tuple[FileProblem, ...]

    def require_trainable(self) -> None:
        """Do nothing if a run can start with this folder.

        Raises:
            CaptionError: a caption is empty or not UTF-8; every one is named.
            DatasetError: there is no image to train on.
        """
        if not self.images:
            skipped = sum(problem.effect == "skipped" for problem in self.problems)
            raise DatasetError(
                f"There are no pictures to train on in {self.path.name}.",
                why=f"{skipped} files were left out; see the list of problems."
                if skipped
                else "It has none.",
                fix="Add png, jpg, webp or bmp pictures.",
            )
        stopping = [problem for problem in self.problems if problem.effect == "stops"]
        if stopping:
            raise CaptionError(
                f"{len(stopping)} captions of {self.path.name} cannot be used.",
                why=" ".join(f"{problem.file}: {problem.what}" for problem in stopping[:20]),
                fix=stopping[0].fix,
            )


@dataclass(frozen=True, slots=True)
class Header:
    """What the first bytes of an image file tell."""

    width: int
    height: int
    turned: bool
    """True when the camera noted that the picture is to be shown turned or mirrored."""


def read_header(path: Path, *, verify: bool = False) -> Header:
    """Size of an image, from its header; with `verify` every pixel is decoded as well.

    Raises:
        DatasetError: the file is not one of `FORMATS`, is damaged, or is too large to decode
            (`PIL.Image.MAX_IMAGE_PIXELS`).
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            _refuse_bomb(image.width, image.height, path.name)
            turned = _turned(image)
            if verify:
                image.load()
            return Header(image.width, image.height, turned)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(path.name) from error
    except BROKEN as error:
        raise DatasetError(
            f"The picture {path.name} was not read.",
            why=_reason(error),
            fix="Replace it by a good copy, or remove it.",
        ) from error


def _turned(image: Image.Image) -> bool:
    # Pillow decodes a whole PNG to look for EXIF behind its pixels; ours lies before them or not at all.
    if "exif" not in image.info:
        return False
    return image.getexif().get(_ORIENTATION, 1) not in {0, 1}


def _refuse_bomb(width: int, height: int, name: str) -> None:
    # Pillow only warns between its limit and twice its limit.
    if Image.MAX_IMAGE_PIXELS is not None and width * height > Image.MAX_IMAGE_PIXELS:
        raise _too_large(name)


class PictureTooLargeError(DatasetError):
    """An image has more pixels than is safe to decode."""


def _too_large(name: str) -> PictureTooLargeError:
    limit = (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
    return PictureTooLargeError(
        f"The picture {name} was not read.",
        why=f"It has more than {limit} million pixels.",
        fix="Make it smaller in a picture program, or remove it.",
    )


def _reason(error: BaseException) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "Its content is not a png, jpg, webp or bmp picture."
    if isinstance(error, OSError) and error.errno is not None:
        return f"The system answered: {error.strerror}."
    return "The file is damaged or cut off."


def scan(folder: Path, *, extension: str = EXTENSION, verify: bool = False) -> Folder:
    """List the images of `folder` with size and caption, and every problem found.

    Reads the header of each image and its caption; with `verify` decodes each image. Hidden
    files and files of other kinds are ignored.

    Raises:
        DatasetError: the folder does not exist or cannot be listed.
    """
    found = listing(folder)
    looks = [look(found.root / name, extension, verify=verify) for name in found.images]
    return Folder(
        path=found.root,
        images=tuple(seen.entry for seen in looks if seen.entry is not None),
        problems=(
            *found.problems,
            *(problem for seen in looks for problem in seen.problems),
            *same_stems([seen.entry.name for seen in looks if seen.entry is not None]),
        ),
    )


@dataclass(frozen=True, slots=True)
class Listing:
    """The file names of a folder, before any file is opened."""

    root: Path
    images: tuple[str, ...]
    """Names with the ending of an image, sorted."""
    problems: tuple[FileProblem, ...]
    stamps: dict[str, tuple[int, int]]
    """Size in bytes and time of change in ns of every file; a file with the same stamp has not changed."""


def listing(folder: Path) -> Listing:
    """List `folder` without opening a file.

    Raises:
        DatasetError: the folder does not exist or cannot be listed.
    """
    try:
        root = folder.resolve()
        with os.scandir(root) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except (OSError, ValueError) as error:
        reason = (
            f"The system answered: {error.strerror}."
            if isinstance(error, OSError)
            else "Its path holds a sign that no path can have."
        )
        raise DatasetError(
            f"The folder {folder.name} was not read.",
            why=reason,
            fix="Choose a folder that exists and that this app may read.",
        ) from error
    names: list[str] = []
    problems: list[FileProblem] = []
    stamps: dict[str, tuple[int, int]] = {}
    for entry in found:
        if entry.name.startswith(".") or entry.is_dir(follow_symlinks=False):
            continue
        facts = _facts(entry)
        if facts is not None:
            stamps[entry.name] = (facts.st_size, facts.st_mtime_ns)
        suffix = Path(entry.name).suffix
        if suffix.lower() not in SUFFIXES | OTHER_PICTURES:
            continue
        problem = _refusal(entry, root, is_file=facts is not None and S_ISREG(facts.st_mode))
        if problem is None:
            names.append(entry.name)
        else:
            problems.append(problem)
    return Listing(root, tuple(names), tuple(problems), stamps)


def _facts(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        return entry.stat()
    except OSError:
        return None  # a link that leads nowhere, or a file removed while we looked


def _refusal(entry: os.DirEntry[str], root: Path, *, is_file: bool) -> FileProblem | None:
    """Why a picture is left out by its name alone; None when it is not."""
    suffix = Path(entry.name).suffix
    if not is_text(entry.name):
        told = entry.name.encode("utf-8", "replace").decode()
        return _skipped("format", told, "Its name is not UTF-8 text.", "Rename it.")
    if suffix.lower() in OTHER_PICTURES:
        what, fix = f"Training does not read {suffix} files.", "Save it as png or jpg."
        return _skipped("format", entry.name, what, fix)
    if entry.is_symlink() and leads_outside(Path(entry.path), root):
        return _skipped("link", entry.name, "It is a link to another folder.", "Copy the picture here.")
    if suffix not in {suffix.lower(), suffix.upper()}:
        what = f"Its ending {suffix} mixes small and large letters, and trainers do not list it."
        return _skipped("format", entry.name, what, f"Rename it to end in {suffix.lower()}.")
    if not is_file:
        return _skipped("broken", entry.name, "It is not a file, or leads nowhere.", "Remove it.")
    return None


@dataclass(frozen=True, slots=True)
class Look:
    """What opening one image and its caption showed."""

    entry: ImageEntry | None
    """None when the image cannot be used."""
    problems: tuple[FileProblem, ...]


def look(path: Path, extension: str = EXTENSION, *, verify: bool = False) -> Look:
    """Open one image and its caption; never raises over their content."""
    try:
        header = read_header(path, verify=verify)
        facts = path.stat()
    except PictureTooLargeError as error:
        return Look(None, (_skipped("too_large", path.name, error.why, error.fix),))
    except DatasetError as error:
        return Look(None, (_skipped("broken", path.name, error.why, error.fix),))
    except FileNotFoundError:
        return Look(None, ())  # it was removed while we looked
    caption, problems = _caption(path, extension)
    if header.turned:
        problems = (*problems, _turned_problem(path.name))
    entry = ImageEntry(
        path=path,
        width=header.width,
        height=header.height,
        caption=caption,
        size_bytes=facts.st_size,
        mtime_ns=facts.st_mtime_ns,
    )
    return Look(entry, problems)


def is_text(name: str) -> bool:
    """False for a file name of bytes that are no UTF-8: no page can show it and no index can keep it."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def leads_outside(path: Path, root: Path) -> bool:
    """True when following the links of `path` ends outside `root`."""
    return not path.resolve().is_relative_to(root)


def _skipped(kind: Kind, file: str, what: str, fix: str) -> FileProblem:
    return FileProblem(kind=kind, file=file, what=what, fix=fix, effect="skipped")


def _caption(image: Path, extension: str) -> tuple[str | None, tuple[FileProblem, ...]]:
    path = caption_path(image, extension)
    if path.is_symlink() and leads_outside(path, image.parent):
        what, fix = "It is a link to another folder.", "Copy the caption here."
        return None, (_skipped("link", path.name, what, fix),)
    try:
        caption = first_line(read_text(path), path.name)
    except CaptionError as error:
        problem = FileProblem(kind="caption", file=path.name, what=error.why, fix=error.fix, effect="stops")
        return None, (problem,)
    if caption is not None:
        return caption, ()
    missing = FileProblem(
        kind="uncaptioned",
        file=image.name,
        what="It has no caption.",
        fix="Write a caption, or train with a trigger word alone.",
        effect="advice",
    )
    return None, (missing,)


def _turned_problem(name: str) -> FileProblem:
    return FileProblem(
        kind="turned",
        file=name,
        what="The camera noted that it is to be shown turned. Training uses it as it is stored.",
        fix="Turn it in a picture program and save it.",
        effect="advice",
    )


def same_stems(names: Sequence[str]) -> Iterator[FileProblem]:
    """Problems of images whose names differ in the ending only, so that they share a caption."""
    counts = Counter(Path(name).stem for name in names)
    for name in names:
        if counts[Path(name).stem] > 1:
            yield FileProblem(
                kind="same_stem",
                file=name,
                what=f"{counts[Path(name).stem]} pictures differ in the ending only, and share a caption.",
                fix="Rename all but one of them.",
                effect="advice",
            )
