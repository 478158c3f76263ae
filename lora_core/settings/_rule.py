"""How a setting that does nothing is written down: one rule, and what a rule sees.

Covered: the rule and the settings as it sees them. Not covered: the rules (see `ignored.py` and
`ignored_by_sd_scripts.py`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lora_core.settings._owners import ValueOf


@dataclass(frozen=True, slots=True)
class Look:
    """The settings as they are now, for one engine and one family of base models."""

    value_of: ValueOf
    engine: str
    family: str | None

    def __getitem__(self, key: str) -> Any:
        return self.value_of(key)


@dataclass(frozen=True, slots=True)
class Rule:
    """Settings that do nothing while `when` holds."""

    keys: tuple[str, ...]
    when: Callable[[Look], bool]
    why: str
    engines: tuple[str, ...] = field(default=())
    """Engines that it is true of; all when empty."""
