"""Which datasets a workspace has, and where a named one lies.

A name is looked up in the list of folders, never joined into a path, so that whatever asks (a
page, an address in a browser) cannot leave the workspace.

Covered: names, folders, the folders of pictures in one, the newest one. Not covered: what is in them (see
`lora_core.datasets.index`) and how they came (see `lora_core.datasets.importing`).
"""

import os
from pathlib import Path

from lora_core.datasets.images import SUFFIXES, is_text
from lora_core.errors import DatasetError
from lora_core.workspace import Workspace


def dataset_names(workspace: Workspace) -> tuple[str, ...]:
    """Every dataset, in the order of their names; unfinished imports are hidden and not among them."""
    try:
        with os.scandir(workspace.datasets) as entries:
            return tuple(
                sorted(entry.name for entry in entries if _can_be_one(entry.name) and entry.is_dir())
            )
    except FileNotFoundError:
        return ()


def _can_be_one(name: str) -> bool:
    # A name of bytes that are no text would end every page that lists it.
    return not name.startswith(".") and is_text(name)


def dataset_folder(workspace: Workspace, name: str) -> Path:
    """The folder of the dataset `name`.

    Raises:
        DatasetError: the workspace has no such dataset.
    """
    if name not in dataset_names(workspace):
        raise DatasetError(
            f"There is no dataset {name}.",
            why="Its folder is not in the workspace; it may have been renamed or removed.",
            fix="Choose another dataset.",
        )
    return workspace.datasets / name


def picture_folders(dataset: Path) -> list[Path]:
    """The folders that hold a dataset's pictures: itself, or those in it when it has none of its own."""
    try:
        entries = sorted(entry for entry in dataset.iterdir() if not entry.name.startswith("."))
    except OSError:
        return [dataset]  # whoever looks into it is told what is wrong
    if any(entry.is_file() and entry.suffix.lower() in SUFFIXES for entry in entries):
        return [dataset]
    return [entry for entry in entries if entry.is_dir()] or [dataset]


def newest_dataset(workspace: Workspace) -> str | None:
    """The dataset whose folder was made or changed last; None when there is none."""
    names = dataset_names(workspace)
    return max(names, key=lambda name: (workspace.datasets / name).stat().st_mtime_ns, default=None)
