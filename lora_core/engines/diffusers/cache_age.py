"""Removing what caches on the disk keep and no run has used for a long time.

Covered: marking an entry as used, removing old ones. Not covered: what the entries are (see `latent_cache.py`
and `text.py`).
"""

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

UNUSED_DAYS: Final = 30
"""What no run used for so long belongs to a picture or caption that was edited, or left the dataset."""


def mark_used(entry: Path) -> None:
    """Note on the entry that it was used today."""
    with suppress(OSError):  # a folder that can only be read from, where nothing is removed either
        os.utime(entry)


def forget_unused(cache: Path) -> int:
    """Remove the entries of the folder `cache` that were not used for `UNUSED_DAYS`; returns how many.

    A run that still wants one makes it anew, so nothing but time can be lost.
    """
    oldest, removed = time.time() - UNUSED_DAYS * 86_400, 0
    for entry in cache.glob("*.safetensors"):
        with suppress(OSError):  # gone already, or not ours to remove
            if entry.stat().st_mtime < oldest:
                entry.unlink()
                removed += 1
    return removed
