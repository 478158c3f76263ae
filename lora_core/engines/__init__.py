"""The trainers, behind one interface. Import from here, not from the private modules.

Covered: which trainers there are, and what each promises. Importing this package, looking an
engine up and checking a run load no torch; training does.
"""

from lora_core.engines._base import Engine
from lora_core.engines._registry import get, names

__all__ = ["Engine", "get", "names"]
