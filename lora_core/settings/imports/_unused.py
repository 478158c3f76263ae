"""Settings that a training script accepts and then does not use, beside the others of a recipe.

Covered: what `lora_core.settings.ignored` knows, for all families of sd-scripts. Not covered: what depends on
the target, which a recipe does not have.
"""

from collections.abc import Callable
from typing import Any, Final

from lora_core.settings._description import EVERY_FAMILY, SD_SCRIPTS
from lora_core.settings.ignored import no_effect as beside_the_others

Value = Callable[[str], Any]

STILL_CHECKED: Final = frozenset({"min_bucket_reso", "max_bucket_reso", "learning_rate"})
"""They stay as they are: sd-scripts compares the first two with the size even where it does not use them, and
the rate counts again as soon as a part has none of its own."""


def no_effect(value_of: Value, family: str | None) -> dict[str, str]:
    """Key -> one sentence why it does nothing beside the other values."""
    return beside_the_others(value_of, SD_SCRIPTS, family if family in EVERY_FAMILY else None)
