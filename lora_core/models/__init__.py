"""Base models: what they are and which there are. Loads no torch.

Import from here. Covered: diffusers folders and single files of Stable Diffusion 1.x and SDXL, and names
on the Hugging Face hub whose files are in its cache. Not covered: other families.
"""

from lora_core.models.available import DEMO_BASE, FoundBase, list_bases, look_for_bases
from lora_core.models.base import FAMILY_NAMES, BaseModel, inspect_base
from lora_core.models.kind import kind_of
from lora_core.models.tokenizers import tokenizer_folder
from lora_core.models.vae import vae_place

__all__ = [
    "DEMO_BASE",
    "FAMILY_NAMES",
    "BaseModel",
    "FoundBase",
    "inspect_base",
    "kind_of",
    "list_bases",
    "look_for_bases",
    "tokenizer_folder",
    "vae_place",
]
