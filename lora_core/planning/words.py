"""Sizes and durations as people read them.

Covered: bytes in MiB and GiB, seconds up to days, both rounded to what matters. Not covered: other
languages.
"""

from typing import Final

_MIB: Final = 2**20
_GIB: Final = 2**30
_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86_400


def size(count: int) -> str:
    """`850 MiB`, `6.4 GiB`, `120 GiB`."""
    if count < _GIB:
        return f"{max(1, round(count / _MIB))} MiB"
    return f"{count / _GIB:.1f} GiB" if count < 100 * _GIB else f"{count / _GIB:.0f} GiB"


def duration(seconds: float) -> str:
    """`40 seconds`, `12 minutes`, `3 hours 20 minutes`, `2 days 4 hours`."""
    if seconds < 1.5 * _MINUTE:
        return _counted(max(1, round(seconds)), "second")
    if seconds < 1.5 * _HOUR:
        return _counted(round(seconds / _MINUTE), "minute")
    if seconds < 2 * _DAY:
        tens = round(seconds / _MINUTE / 10) * 10
        return _two(tens // 60, "hour", tens % 60, "minute")
    hours = round(seconds / _HOUR)
    return _two(hours // 24, "day", hours % 24, "hour")


def _two(large: int, name: str, small: int, smaller: str) -> str:
    return _counted(large, name) + (f" {_counted(small, smaller)}" if small else "")


def _counted(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"
