"""Which kind of base model a file probably is, so that a recipe can be suggested for it.

Covered: a guess from the name, the title in a single file's notes, the family and what it predicts. Not
covered: certainty; models made from Illustrious, NoobAI and Pony have the very same tensors as SDXL, so
only names tell them apart. The user can always choose another kind.
"""

from lora_core.errors import LoraFileError
from lora_core.loras import read_header
from lora_core.models.base import BaseModel
from lora_core.settings.presets import BaseGuess, base_kind_of

_TITLE = "modelspec.title"


def kind_of(base: BaseModel) -> BaseGuess | None:
    """The kind that `base` probably is, with what the guess rests on; None if there is no recipe for it."""
    names = f"{base.name} {_title(base)}".strip()
    return base_kind_of(names, base.family, predicts_v=base.predicts_v)


def _title(base: BaseModel) -> str:
    if not base.is_file:
        return ""
    try:
        return str(read_header(base.path).metadata.get(_TITLE, ""))
    except LoraFileError:  # it was whole when it was listed, and is gone or damaged now
        return ""
