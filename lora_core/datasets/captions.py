"""Read and save the caption file that lies beside each training image.

A caption file is named like its image and holds UTF-8 text; training uses its first line. The
rules are those of sd-scripts, with two differences, both stricter: a first line that is blank
is refused (sd-scripts trains on an empty caption without a word), and a byte-order mark is
dropped (sd-scripts keeps it as part of the first tag).

Covered: finding, reading and replacing a caption, all lines of a file for choices, splitting into tags
and joining. Not covered: what a caption becomes at each use (see `words.py`), undo (see
`lora_core.datasets.index`), and the second place where sd-scripts looks for a caption (the image's
name without its last four `_` parts).
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from lora_core.errors import CaptionError
from lora_core.workspace import write_atomic

EXTENSION: Final = ".txt"
"""Ours. The default of sd-scripts is `.caption`, so it is always passed along."""
SEPARATOR: Final = ","
JOINT: Final = ", "
"""What stands between tags in a file, and after shuffling in sd-scripts, whatever the separator."""
MAX_BYTES: Final = 1 << 20
"""A larger file is no caption: the longest that a text encoder reads has a few hundred words."""


def caption_path(image: Path, extension: str = EXTENSION) -> Path:
    """Where the caption of `image` lies: same folder, same name, `extension` instead of its own."""
    dot = "" if extension.startswith(".") or not extension else "."  # sd-scripts takes `txt` for `.txt` too
    return image.with_name(f"{image.stem}{dot}{extension}")


def read_caption(image: Path, extension: str = EXTENSION) -> str | None:
    """The first line of the caption of `image`, stripped; None when there is no caption file.

    Raises:
        CaptionError: the file is empty, its first line is blank, or it is not UTF-8 text.
    """
    return first_line(read_text(caption_path(image, extension)), caption_path(image, extension).name)


def read_text(path: Path) -> str | None:
    """All of a caption file without a byte-order mark; None when there is no such file.

    Raises:
        CaptionError: it is not UTF-8 text, or is far too long for a caption.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CaptionError(
            f"The caption {path.name} was not read.",
            why=f"The system answered: {error.strerror}.",
            fix="Allow reading this file, or remove it.",
        ) from error
    return decode(data, path.name)


def decode(data: bytes, name: str) -> str:
    """The text in `data`, with `\\n` line ends; `name` is for the message.

    Raises:
        CaptionError: it is not UTF-8 text, or is far too long for a caption.
    """
    if len(data) > MAX_BYTES:
        raise CaptionError(
            f"The caption {name} was not read.",
            why="It is larger than 1 MB, so it is not a caption.",
            fix="Remove this file, or write a short caption in its place.",
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _not_utf8(name) from error
    if "\0" in text:  # UTF-16 without a mark decodes as UTF-8 when it is all English
        raise _not_utf8(name)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _not_utf8(name: str) -> CaptionError:
    return CaptionError(
        f"The caption {name} was not read.",
        why="It is not UTF-8 text.",
        fix="Save it as UTF-8 in a text editor, or write the caption again.",
    )


def first_line(text: str | None, name: str) -> str | None:
    """The line that training uses; None stays None.

    Raises:
        CaptionError: there is no text, or none in the first line.
    """
    if text is None:
        return None
    line = text.split("\n", 1)[0].strip()
    if line:
        return line
    raise CaptionError(
        f"The caption {name} is empty.",
        why="Its first line has no text." if text.strip() else "The file has no text.",
        fix="Write a caption in its first line, or remove the file.",
    )


def read_lines(image: Path, extension: str = EXTENSION) -> str | None:
    """Every line of the caption of `image` that has text, stripped; None when there is no caption file.

    Raises:
        CaptionError: the file has no text, or is not UTF-8 text.
    """
    path = caption_path(image, extension)
    text = read_text(path)
    if text is None:
        return None
    kept = "\n".join(line.strip() for line in text.split("\n") if line.strip())
    return kept or first_line(text, path.name)


def write_caption(image: Path, caption: str | None, extension: str = EXTENSION) -> None:
    """Replace the caption of `image`; a blank or missing caption removes the file.

    Never leaves an empty file: sd-scripts stops on one. The text is kept as it is apart from
    blanks around it; it ends with a line end.

    Raises:
        DiskFullError: the disk is full; the old caption is still there.
    """
    path = caption_path(image, extension)
    text = (caption or "").strip()
    if text:
        write_atomic(path, text + "\n")
    else:
        path.unlink(missing_ok=True)


def split_tags(caption: str, separator: str = SEPARATOR) -> tuple[str, ...]:
    """The tags of a caption: split at the separator only, trimmed, no empties, first of equals kept.

    Brackets, backslashes and colons are part of a tag; nothing is read as a weight.
    """
    parts = (part.strip() for part in caption.split(separator))
    return tuple(dict.fromkeys(part for part in parts if part))


def join_tags(tags: Iterable[str], separator: str = SEPARATOR) -> str:
    """A caption from tags, in their order; what `split_tags` takes apart again.

    Raises:
        CaptionError: a tag holds the separator, so it would come back as two.
    """
    kept = [tag.strip() for tag in tags]
    for tag in kept:
        if separator in tag or "\n" in tag:
            raise CaptionError(
                f"The tag “{tag}” was not added.",
                why=f"It holds “{separator}” or a line end, which is what stands between tags.",
                fix="Write it as two tags, or leave that sign out.",
            )
    glue = JOINT if separator == SEPARATOR else f"{separator} "
    return glue.join(dict.fromkeys(tag for tag in kept if tag))
