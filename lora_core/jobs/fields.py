"""Single fields of a job's files, which may hold anything: a wrong one counts as unknown.

Covered: texts, numbers, moments and counts of a record that was read from JSON. Not covered: which fields
there are (records.py).
"""

import math
from collections.abc import Mapping
from typing import Any, Final

LAST_MOMENT: Final = 32_500_000_000.0
"""Unix time in the year 2999: Windows shows none later."""
_TOO_MANY: Final = 2**63  # steps; a file that says more was not written by us


def text(record: Mapping[str, Any], key: str) -> str:
    value = record.get(key)
    return value if isinstance(value, str) else ""


def number(record: Mapping[str, Any], key: str) -> float | None:
    value = record.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # NaN is kept: a loss that is not a number is news, not rubbish.
    return None if math.isinf(value) else float(value)


def finite(record: Mapping[str, Any], key: str) -> float | None:
    value = number(record, key)
    return None if value is None or math.isnan(value) else value


def moment(record: Mapping[str, Any], key: str) -> float:
    """A Unix time that a calendar can show; 0 for any other."""
    value = finite(record, key)
    return value if value is not None and 0 <= value <= LAST_MOMENT else 0.0


def whole(record: Mapping[str, Any], key: str) -> int | None:
    value = record.get(key)
    known = isinstance(value, int) and not isinstance(value, bool) and abs(value) < _TOO_MANY
    return value if known else None


def mapping(record: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = record.get(key)
    return dict(value) if isinstance(value, dict) else {}
