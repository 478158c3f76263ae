"""Keeping the memory that one step freed for the next one, on a CPU.

Covered: the C library of Linux, glibc. Not covered: others, which are left as they are; GPUs, for which torch
keeps memory itself.
"""

import ctypes
import sys
from typing import Final

_TRIM_THRESHOLD: Final = -1
_MMAP_MAX: Final = -4
"""Names of glibc's malloc.h."""


def keep_freed_memory() -> bool:
    """Tell the C library to keep what is freed; True where it does.

    A step frees gigabytes of activations. glibc gives large pieces back to the system at once, and the
    system clears every page again when the next step asks: at the full width of SD 1.x that was a tenth of
    all work. The process stays as large as it was at its largest. See mallopt(3).
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False  # another C library, such as musl
    # No separate mappings, so that nothing goes back one by one; and -1: nothing goes back at all.
    return bool(mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, -1))
