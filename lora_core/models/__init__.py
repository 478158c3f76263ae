"""Base models: what they are and which there are. Loads no torch.

Import from here. Not covered yet: downloads, single files, families besides Stable Diffusion 1.x.
"""

from lora_core.models.available import DEMO_BASE, FoundBase, list_bases, look_for_bases
from lora_core.models.base import FAMILY_NAMES, BaseModel, inspect_base

__all__ = [
    "DEMO_BASE",
    "FAMILY_NAMES",
    "BaseModel",
    "FoundBase",
    "inspect_base",
    "list_bases",
    "look_for_bases",
]
