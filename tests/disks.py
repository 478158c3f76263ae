"""Small disks for tests: what happens where there is no room, or nothing may be written."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small(place: Path, size: str) -> Iterator[Path]:
    """A disk of this size, such as `2m`, in the new folder `place`; skips the test where none can be made."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("a small disk can be made by root on Linux only")
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    done = subprocess.run(mount, check=False, capture_output=True)
    if done.returncode:
        pytest.skip(f"no small disk could be made here: {done.stderr.decode().strip()}")
    try:
        yield place
    finally:
        # Lazily: a process that was just killed may still have a file of it open.
        subprocess.run(["umount", "-l", str(place)], check=True)


def make_read_only(place: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
