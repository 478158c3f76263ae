"""The recipe inside a zip of a whole run, as this app writes it: its two settings files, read as one.

Covered: finding them, limits, a zip that is damaged or holds none. Not covered: what the settings
mean (see the modules of the formats), the pictures (see `lora_core.datasets.importing`).
"""

import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePosixPath
from typing import IO, Final

from lora_core.settings._toml import SIZE_LIMIT
from lora_core.settings.files import CONFIG_NAME, DATASET_NAME
from lora_core.settings.imports._parse import refused
from lora_core.settings.imports._report import Imported, combined

_UNREADABLE: Final = (
    zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, EOFError, NotImplementedError, OSError,
    RuntimeError, ValueError,
)  # fmt: skip
"""What a zip raises that is damaged, locked by a password, or packed in a way that is not known."""


def read_zip(name: str, file: IO[bytes], read: Callable[[str, bytes], Imported]) -> Imported:
    """The recipe of the run whose zip `file` is; `read` reads one settings file.

    Raises:
        SettingsError: it is no whole zip, or one without settings that can be read.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            texts = _settings(archive)
    except _UNREADABLE as error:
        raise refused(
            name, "It is damaged, or locked, and cannot be opened.", "Make the zip again."
        ) from error
    if not texts:
        raise refused(
            name,
            f"There is no {CONFIG_NAME} in it, so it is not the zip of a run.",
            "Choose the zip of a run, or a settings file. Pictures are brought in on the page Dataset.",
        )
    found = [read(one, data) for one, data in texts]
    whole = found[0] if len(found) == 1 else combined(*found)
    return replace(whole, name=name)


def _settings(archive: zipfile.ZipFile) -> list[tuple[str, bytes]]:
    """Both files by name, from the top of the zip or the folder next to it; never more than is read."""
    paths = {PurePosixPath(member.filename): member for member in archive.infolist()}
    configs = sorted((path for path in paths if path.name == CONFIG_NAME), key=lambda path: len(path.parts))
    if not configs:
        return []
    wanted = (configs[0], configs[0].with_name(DATASET_NAME))
    found = []
    for path in wanted:
        if path in paths:
            with archive.open(paths[path]) as opened:
                found.append((path.name, opened.read(SIZE_LIMIT + 1)))
    return found
